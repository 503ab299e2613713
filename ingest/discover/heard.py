"""What was heard, bounded in topics, samples and bytes.

Too many topics are no reason to know only those that came first (a broker sends retained messages branch by branch):
the topics kept are those with the smallest hashes, which is a fair choice among all of them, and how densely their
hashes lie tells how many there are.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from ingest.packets import RETAIN_BIT, Burst

MAX_TOPIC_BYTES = 1_024
_HASHES = 2**64
_HEAD = 8
_TAIL = 8


class Sample(NamedTuple):
    """A message of a topic."""

    arrival_us: int
    payload: bytes
    retained: bool
    number: int = 0
    """Of all messages: some formats build on what was said before on other topics."""


@dataclass(slots=True)
class Heard:
    """A topic's messages: the first few, and the last few."""

    messages: int = 0
    retained: int = 0
    """Messages that the broker had kept: they tell nothing about how often there are some."""
    payload_bytes: int = 0
    too_large: int = 0
    """Messages that were not kept for their size."""
    head: list[Sample] = field(default_factory=list)
    tail: deque[Sample] = field(default_factory=lambda: deque(maxlen=_TAIL))

    @property
    def samples(self) -> list[Sample]:
        """In the order they came."""
        return [*self.head, *self.tail]

    @property
    def gap(self) -> int | None:
        """The place in `samples` before which messages are left out; None if none is."""
        return len(self.head) if self.messages > len(self.head) + len(self.tail) else None


class Hearing:
    """Takes messages in. max_topics, max_bytes (of payloads) and max_payload_bytes bound what is kept of them."""

    def __init__(self, max_topics: int = 20_000, max_bytes: int = 64 * 2**20, max_payload_bytes: int = 262_144) -> None:
        self._max_topics = max_topics
        self.max_payload_bytes = max_payload_bytes
        # One half is shared out evenly, so that no topic is left without; who comes first has the other.
        self._share = max_bytes // 2 // max_topics
        self._free = max_bytes - self._share * max_topics
        self._ranks: list[tuple[int, bytes]] = []
        self._dropped = False
        self.topics: dict[bytes, Heard] = {}
        self.messages = 0
        self.overlong = 0
        """Messages whose topic is longer than any sensor path."""

    def take(self, burst: Burst, arrival_us: int) -> None:
        """Remember what is worth it."""
        for topic, payload, first in zip(burst.topics, burst.payloads, burst.first, strict=True):
            if topic.startswith(b"$SYS/"):
                continue
            self.messages += 1
            heard = self.topics.get(topic) or self._admit(topic)
            if heard is not None:
                self._keep(heard, Sample(arrival_us, payload, bool(first & RETAIN_BIT), self.messages))

    @property
    def more_topics(self) -> int:
        """How many topics there were beyond those that are kept: an estimate, good to about 1 % with 20,000."""
        if not self._dropped:
            return 0
        highest = -self._ranks[0][0]
        return max(1, round((len(self._ranks) - 1) * (_HASHES / (highest + 1))) - len(self.topics))

    def _admit(self, topic: bytes) -> Heard | None:
        if len(topic) > MAX_TOPIC_BYTES:
            self.overlong += 1
            return None
        rank = int.from_bytes(blake2b(topic, digest_size=8).digest(), "big")
        if len(self.topics) >= self._max_topics:
            self._dropped = True
            if rank >= -self._ranks[0][0]:
                return None
            _, evicted = heapq.heapreplace(self._ranks, (-rank, topic))
            gone = self.topics.pop(evicted)
            self._free += max(0, gone.payload_bytes - self._share)
        else:
            heapq.heappush(self._ranks, (-rank, topic))
        heard = self.topics[topic] = Heard()
        return heard

    def _keep(self, heard: Heard, sample: Sample) -> None:
        heard.messages += 1
        heard.retained += sample.retained
        replaced = len(heard.tail[0].payload) if len(heard.tail) == _TAIL else 0
        more = len(sample.payload) - replaced
        beyond = max(0, heard.payload_bytes + more - self._share) - max(0, heard.payload_bytes - self._share)
        if len(sample.payload) > self.max_payload_bytes or beyond > self._free:
            heard.too_large += 1
            return
        self._free -= beyond
        heard.payload_bytes += more
        if len(heard.head) < _HEAD:
            heard.head.append(sample)
        else:
            heard.tail.append(sample)

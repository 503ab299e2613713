"""What a draft would read of what was heard: its own routes and decoders, run over the samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from ingest.batcher import Batcher
from ingest.contract.errors import Reason
from ingest.discover.heard import Heard
from ingest.packets import Burst
from ingest.topic_table import Route

_SLICE = 4_096
_MAX_SENSORS = 200_000
_MAX_PAYLOAD_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a topic is not read, and a payload of it."""

    reason: Reason
    detail: str
    payload: bytes


@dataclass(slots=True)
class Trial:
    """read: topics most of whose messages became readings. refused: the others. sensors: how many there were."""

    read: set[bytes] = field(default_factory=set)
    refused: dict[bytes, Refusal] = field(default_factory=dict)
    sensors: int = 0


def try_routes(routes: Sequence[Route], topics: Mapping[bytes, Heard]) -> Trial:
    """Run the routes over all samples."""
    out, refusals, first = Trial(), Counter[bytes](), dict[bytes, Refusal]()
    batcher = Batcher.alone(routes, partitions=1, max_sensors=_MAX_SENSORS, max_payload_bytes=_MAX_PAYLOAD_BYTES)
    messages = ((topic, sample.payload) for topic, heard in topics.items() for sample in heard.samples)
    for burst in _bursts(messages):
        batch = batcher.batch(burst, np.zeros(len(burst), np.int64))
        for refused in batch.refused:
            refusals[refused.topic] += 1
            first.setdefault(refused.topic, Refusal(refused.reason, refused.detail, refused.payload))
    for topic, heard in topics.items():
        samples = len(heard.samples)
        if samples and 2 * refusals[topic] < samples:
            out.read.add(topic)
        elif topic in first:
            out.refused[topic] = first[topic]
    out.sensors = batcher.sensors
    return out


def _bursts(messages: Iterable[tuple[bytes, bytes]]) -> Iterator[Burst]:
    rest = iter(messages)
    while some := list(islice(rest, _SLICE)):
        yield Burst([topic for topic, _ in some], [payload for _, payload in some], [0] * len(some))

"""Asking nodes to be born again: not too often, and without a clock of its own."""

from __future__ import annotations

from ingest.decoders.base import Request
from ingest.decoders.sparkplug.births import REBIRTH
from ingest.decoders.sparkplug.schema import Payload
from ingest.decoders.sparkplug.topics import NAMESPACE

_BOOLEAN = 11


class Rebirths:
    """One request a node within `every_us`. Remembers at most `most` nodes: while it knows more, it asks no others."""

    def __init__(self, every_us: int, most: int) -> None:
        self._every_us = every_us
        self._most = most
        self._asked_us: dict[str, int] = {}  # the longest ago first

    def ask(self, node: str, now_us: int) -> Request | None:
        """A request to `group/node`; None if it was asked already."""
        asked_us = self._asked_us.get(node)
        if asked_us is not None and now_us - asked_us < self._every_us:
            return None
        if asked_us is None and len(self._asked_us) >= self._most:
            oldest = next(iter(self._asked_us))
            if now_us - self._asked_us[oldest] < self._every_us:
                return None
            del self._asked_us[oldest]
        self._asked_us.pop(node, None)
        self._asked_us[node] = now_us
        group, _, name = node.partition("/")
        return Request(f"{NAMESPACE}/{group}/NCMD/{name}", rebirth_payload(now_us // 1_000))


def rebirth_payload(at_ms: int) -> bytes:
    """The command, as of a time in ms since 1970."""
    payload = Payload(timestamp=at_ms)
    payload.metrics.add(name=REBIRTH, timestamp=at_ms, datatype=_BOOLEAN, boolean_value=True)
    written: bytes = payload.SerializeToString(deterministic=True)
    return written

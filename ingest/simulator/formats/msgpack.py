"""MessagePack: the documents of `json` in binary."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ingest.simulator.formats.base import Route, Sensors, Session
from ingest.simulator.formats.documents import Documents, Writing

_DUMP = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Msgpack(Documents):
    """The options of `Documents`."""

    def route(self, topic: str, device: str, below: str) -> Route:
        """Of the decoder `msgpack`."""
        return self._route("msgpack", topic, device)

    def open(self, sensors: Sensors) -> Session:
        """Any sensors."""
        return Writing(self, sensors, _DUMP)

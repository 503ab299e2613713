"""CBOR: the documents of `json` in binary (RFC 8949)."""

from __future__ import annotations

from dataclasses import dataclass

import cbor2

from ingest.simulator.formats.base import Route, Sensors, Session
from ingest.simulator.formats.documents import Documents, Writing


@dataclass(frozen=True, slots=True)
class Cbor(Documents):
    """The options of `Documents`."""

    def route(self, topic: str, device: str, below: str) -> Route:
        """Of the decoder `cbor`."""
        return self._route("cbor", topic, device)

    def open(self, sensors: Sensors) -> Session:
        """Any sensors."""
        return Writing(self, sensors, cbor2.dumps)

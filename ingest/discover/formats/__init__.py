"""Which format payloads are in: one detector a format (or family) and one line in the table."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.discover.formats.base import Detector, Facts, Format, Look, look_at
from ingest.discover.formats.documents import Documents
from ingest.discover.formats.influx import Influx
from ingest.discover.formats.kepware import Kepware
from ingest.discover.formats.opcua_json import OpcUaJson
from ingest.discover.formats.plain import Plain
from ingest.discover.formats.senml import Senml
from ingest.discover.formats.sparkplug_b import SparkplugB

# Who knows the payloads of which decoders; the most specific first: who comes later takes more.
_TABLE: tuple[tuple[Detector, tuple[str, ...]], ...] = (
    (SparkplugB(), ("sparkplug_b",)),
    (Senml(), ("senml",)),
    (Kepware(), ("kepware",)),
    (OpcUaJson(), ("opcua_json",)),
    (Documents(), ("json", "cbor", "msgpack")),
    (Influx(), ("influx",)),
    (Plain(), ("plain",)),
)
RULES: dict[str, Detector] = {decoder: detector for detector, decoders in _TABLE for decoder in decoders}
"""Who knows the options of a decoder."""


def inspect(payloads: Sequence[bytes], arrival_us: int, topic: bytes = b"") -> Facts:
    """Look at a topic's payloads. arrival_us: when one of them came, to know a time when it is seen."""
    look = look_at(topic, payloads, arrival_us)
    for detector, _ in _TABLE:
        found = detector.detect(look)
        if found is not None:
            return found
    return Facts(None, look.reasons.most_common(1)[0][0] if look.reasons else "no payload was kept")


__all__ = ["RULES", "Facts", "Format", "Look", "inspect"]

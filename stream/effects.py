"""Alert transitions as records of the alerts topic, compacted by alert id.

Readers drop a record whose generation is lower than one they have seen of the same partition: it is the late word of
a worker that has lost it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ingest.contract.log_writer import Outgoing
from ingest.contract.partition import murmur2
from ingest.contract.wire import JSON, SCHEMA_VERSION
from stream.fold.alerts import Transition


def alert_record(
    transition: Transition, *, partition: int, generation: int, offset: int, labels: dict[str, str]
) -> Outgoing:
    """key: the alert's id. value: JSON. Headers: schema, content-type, kind, partition, generation, offset.

    partition and offset are those of the readings record that caused it; times are µs UTC in event time.
    """
    value: dict[str, Any] = {
        "id": transition.id,
        "phase": transition.phase.name.lower(),
        "sensor": transition.sensor,
        "labels": labels,
        "rule": transition.rule,
        "revision": transition.revision,
        "severity": transition.severity,
        "at_us": transition.at_us,
        "since_us": transition.since_us,
        "value": transition.value,
        "score": transition.score,
        "model": transition.model,
    }
    headers = [
        ("schema", SCHEMA_VERSION.encode()),
        ("content-type", JSON.encode()),
        ("kind", b"alert"),
        ("partition", b"%d" % partition),
        ("generation", b"%d" % generation),
        ("offset", b"%d" % offset),
    ]
    return Outgoing(msgspec.json.encode(value), transition.id.encode(), headers)


def alerts_partition(sensor: str, partitions: int) -> int:
    """All alerts of a site, its path's first segment, stay in order."""
    return (murmur2(sensor.partition("/")[0].encode()) & 0x7FFFFFFF) % partitions

"""Alert transitions as records of the alerts topic, compacted by alert id.

Readers drop a record whose generation is lower than one they have seen of the same partition: it is the late word of
a worker that has lost it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from ingest.contract.class_settings import ClassSettings
from ingest.contract.classes import glob
from ingest.contract.log_writer import Outgoing
from ingest.contract.partition import murmur2
from ingest.contract.settings import PlantSettings
from ingest.contract.wire import JSON, SCHEMA_VERSION
from stream.fold.alerts import Transition


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of a sensor, for those who read its alerts. armed: whether anybody is to be told."""

    labels: dict[str, str]
    name: str
    unit: str
    class_name: str
    armed: bool


def is_armed(sensor: str, one: ClassSettings, plant: PlantSettings) -> bool:
    """The class decides, then the plant, for all of it or for parts."""
    if one.armed is not None:
        return one.armed
    return plant.armed or any(glob(pattern).fullmatch(sensor) for pattern in plant.armed_paths)


def alert_record(
    transition: Transition, what: Description, *, partition: int, generation: int, group: str, offset: int
) -> Outgoing:
    """key: the alert's id. value: JSON. Headers: schema, content-type, kind, group, partition, generation, offset.

    partition and offset are those of the readings record that caused it, generation that of the worker's group; times
    are µs UTC in event time.
    """
    value: dict[str, Any] = {
        "id": transition.id,
        "phase": transition.phase.name.lower(),
        "armed": what.armed,
        "sensor": transition.sensor,
        "display_name": what.name or None,
        "labels": what.labels,
        "class": what.class_name,
        "unit": what.unit or None,
        "rule": transition.rule,
        "revision": transition.revision,
        "severity": transition.severity,
        "at_us": transition.at_us,
        "since_us": transition.since_us,
        "value": transition.value,
        "band": transition.band,
        "score": transition.score,
        "model": transition.model,
    }
    headers = [
        ("schema", SCHEMA_VERSION.encode()),
        ("content-type", JSON.encode()),
        ("kind", b"alert"),
        ("group", group.encode()),
        ("partition", b"%d" % partition),
        ("generation", b"%d" % generation),
        ("offset", b"%d" % offset),
    ]
    return Outgoing(msgspec.json.encode(value), transition.id.encode(), headers)


def alerts_partition(sensor: str, partitions: int) -> int:
    """All alerts of a site, its path's first segment, stay in order."""
    return (murmur2(sensor.partition("/")[0].encode()) & 0x7FFFFFFF) % partitions

"""What follows from the log, as records: alert transitions and digests, compacted by their ids, and late readings.

Readers of alerts drop a record whose generation is lower than one they have seen of the same partition: it is the late
word of a worker that has lost it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from ingest.contract.class_settings import ClassSettings
from ingest.contract.classes import glob
from ingest.contract.log_writer import Outgoing
from ingest.contract.partition import murmur2
from ingest.contract.readings import Readings
from ingest.contract.settings import PlantSettings
from ingest.contract.wire import ARROW, JSON, SCHEMA_VERSION, HeaderList, encode_readings, headers_of
from stream.fold.alerts import Transition
from stream.fold.backlog import SEVERITIES, Digest
from stream.fold.partition import Effects

LISTED = 100
"""Episodes that a digest's record lists, the worst; the rest are counted."""


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


def may_be_armed(site: str, classes: Iterable[ClassSettings], plant: PlantSettings) -> bool:
    """Whether a site may have sensors of which anybody is to be told; `site`: the first segment of their paths."""
    found = tuple(one.armed for one in classes)
    paths = plant.armed or any(glob(one.partition("/")[0]).fullmatch(site) for one in plant.armed_paths)
    return True in found or (paths and None in found)


def alert_record(
    transition: Transition, what: Description, *, partition: int, generation: int, group: str, offset: int
) -> Outgoing:
    """key: the alert's id. value: JSON. Headers: schema, content-type, kind, group, partition, generation, offset.

    partition and offset are those of the readings record that caused it (of foreign records folded at once, the last of
    them), generation its owner's fence: it never goes back for a partition and fits into 64 bits; times are µs UTC in
    event time. score is the model's own divided by `boundary`; recent_alerts: of this sensor, of about a day;
    budget_share: what they are of `plant.alerts_per_day`. data_quality: "good", "refused: out of range", …
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
        "boundary": transition.width,
        "recent_alerts": transition.spent,
        "budget_share": transition.share,
        "data_quality": transition.quality,
        "together": transition.together,
        "node": transition.node,
    }
    headers = _headers("alert", group, partition, generation, offset)
    return Outgoing(msgspec.json.encode(value), transition.id.encode(), headers)


def _headers(kind: str, group: str, partition: int, generation: int, offset: int) -> HeaderList:
    return [
        ("schema", SCHEMA_VERSION.encode()),
        ("content-type", JSON.encode()),
        ("kind", kind.encode()),
        *_origin(group, partition, generation, offset),
    ]


def _origin(group: str, partition: int, generation: int, offset: int) -> HeaderList:
    return [
        ("group", group.encode()),
        ("partition", b"%d" % partition),
        ("generation", b"%d" % generation),
        ("offset", b"%d" % offset),
    ]


def digest_records(
    digest: Digest,
    describe: Callable[[str], Description],
    *,
    others_armed: bool,
    partition: int,
    generation: int,
    group: str,
    offset: int,
    alerts_partitions: int,
) -> list[tuple[int, Outgoing]]:
    """(partition of the alerts topic, record); none where all in it is of sensors that are not armed.

    key: the digest's id. value: JSON. Headers as those of alerts, but kind `digest`. describe: a sensor's description.
    count: all of the armed sensors' episodes, and those that were not kept, which may be anybody's. others_armed:
    whether they may be armed ones' (`may_be_armed`); then there is a record even if none can be listed, with the times
    of all that were kept, and a severity that none has exceeded.
    """
    told = [(one, what) for one in digest.episodes if (what := describe(one.sensor)).armed]
    more = digest.more if others_armed else 0
    if not told and not more:
        return []
    times = [one for one, _ in told] or digest.episodes
    severity = told[0][0].severity if told else digest.episodes[-1].severity if digest.episodes else SEVERITIES[-1]
    value: dict[str, Any] = {
        "id": digest.id,
        "phase": "digest",
        "armed": True,
        "site": digest.site,
        "severity": severity,
        "at_us": digest.at_us,
        "since_us": min((one.since_us for one in times), default=digest.at_us),
        "until_us": max((one.until_us for one in times), default=digest.at_us),
        "count": len(told) + more,
        "worst": [
            {
                "id": one.id,
                "sensor": one.sensor,
                "display_name": what.name or None,
                "rule": one.rule,
                "severity": one.severity,
                "since_us": one.since_us,
                "until_us": one.until_us,
                "peak_score": one.peak_score,
            }
            for one, what in told[:LISTED]
        ],
    }
    headers = _headers("digest", group, partition, generation, offset)
    record = Outgoing(msgspec.json.encode(value), digest.id.encode(), headers)
    return [(alerts_partition(digest.site, alerts_partitions), record)]


def late_records(
    effects: Effects, *, partition: int, generation: int, group: str, max_record_bytes: int
) -> list[Outgoing]:
    """The late rows of a record as records of the topic of late readings; none where it has none.

    value: Arrow, as on the readings topic. Headers: those of the record that they came in, and group, partition,
    generation and offset as on the alerts topic. No key. Usually one; several, in order, where one would be too large.
    """
    if effects.late is None or effects.envelope is None:
        return []
    envelope = replace(effects.envelope, content_type=ARROW)
    headers = headers_of(envelope) + _origin(group, partition, generation, effects.offset)
    timestamp_ms = effects.envelope.arrival_us // 1000
    return [Outgoing(value, None, headers, timestamp_ms) for value in _encoded(effects.late, max_record_bytes)]


def _encoded(readings: Readings, max_record_bytes: int) -> list[bytes]:
    """What came in one record may need several: it may have been packed better."""
    value, rows = encode_readings(readings), len(readings)
    if len(value) <= max_record_bytes or rows == 1:
        return [value]
    halves = np.array_split(np.arange(rows), 2)
    return [piece for half in halves for piece in _encoded(readings.take(half), max_record_bytes)]


def alerts_partition(sensor: str, partitions: int) -> int:
    """All alerts of a site, its path's first segment, stay in order."""
    return (murmur2(sensor.partition("/")[0].encode()) & 0x7FFFFFFF) % partitions

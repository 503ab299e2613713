"""What the newest snapshots say of maintenance and of changed levels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from deploy.quarantine.shown import aligned, utc
from deploy.sensors.known import Known, NoSnapshotError
from ingest.contract.clock import SystemClock
from ingest.contract.settings import Settings
from ingest.discover.printing import printable
from stream.fold.checking import scalars_of
from stream.fold.levels import EVENT_OPEN, Stage
from stream.fold.masks import Maintenance
from stream.fold.slots import FREE
from stream.fold.state import Frozen
from stream.snapshot_store import SnapshotStore, open_objects

_PATH_WIDTH, _TEXT_WIDTH = 120, 60
CHANGED, LEARNED, REJECTED = "changed", "learned", "rejected"


@dataclass(frozen=True, slots=True)
class Window:
    """A maintenance window. partitions: those whose snapshots have it."""

    window: Maintenance
    partitions: frozenset[int]

    def state(self, now_us: int) -> str:
        """In a word."""
        if self.window.until_us <= max(now_us, self.window.from_us):
            return "over"
        return "on" if self.window.from_us <= now_us else "to come"


@dataclass(frozen=True, slots=True)
class KnownLevel:
    """A sensor whose level has changed. state: CHANGED (models learn anew), LEARNED, or REJECTED.

    low, high: the old level's band. value: the newest reading. since_us: by the sensor's own clock, where it is known.
    """

    sensor: str
    state: str
    low: float
    high: float
    value: float
    since_us: int | None


@dataclass(slots=True)
class Steered:
    """known: without its sensors, but with what is to be remarked; sensors: their names."""

    known: Known
    windows: dict[str, Window] = field(default_factory=dict)
    levels: list[KnownLevel] = field(default_factory=list)
    sensors: set[str] = field(default_factory=set)


async def read_steered(settings: Settings) -> Steered:
    """Read the newest snapshot of every partition; nothing where there is none. Raises StoreError, StopError."""
    worker, topic = settings.worker, settings.kafka.topics.readings
    objects = open_objects(worker.snapshots, worker.state_dir)
    store = SnapshotStore(objects, worker.group, topic.name, topic.partitions)
    found = Steered(Known(settings, store, SystemClock().now_us()))
    for partition in range(topic.partitions):
        newest = (await store.newest_valid(partition)).snapshot
        if newest is None:
            found.known.missing.append(partition)
            continue
        found.known.made_us[partition] = newest.made_us
        try:
            _add(found, partition, newest.frozen)
        except (ValueError, KeyError, IndexError) as error:
            raise NoSnapshotError(f"the snapshot of partition {partition}: {error}") from error
    found.levels.sort(key=lambda one: one.sensor)
    return found


def _add(found: Steered, partition: int, frozen: Frozen) -> None:
    for one in scalars_of(frozen.scalars).masks:
        before = found.windows.get(one.id)
        places = frozenset({partition}) if before is None else before.partitions | {partition}
        found.windows[one.id] = Window(one, places)
    found.sensors.update(name for name in frozen.names if name != FREE)
    levels, sensors, kept = frozen.arrays["levels"], frozen.arrays["sensors"], frozen.arrays["kept"]
    answerable = {int(row["slot"]): row for row in kept if row["changed"]}
    busy = np.flatnonzero(np.isin(levels["stage"], (*EVENT_OPEN, Stage.REJECTED))).tolist()
    for slot in sorted({*busy, *answerable}):
        row, stage = levels[slot], int(levels[slot]["stage"])
        state = REJECTED if stage == Stage.REJECTED else CHANGED if stage in EVENT_OPEN else LEARNED
        band: Any = answerable[slot] if state == LEARNED else row
        value, since_us = float(sensors[slot]["shown_value"]), int(row["since_us"])
        level = KnownLevel(
            frozen.names[slot],
            state,
            float(band["low"]),
            float(band["high"]),
            value,
            since_us if state == CHANGED else None,
        )
        found.levels.append(level)


def table_of_windows(windows: Sequence[Window], now_us: int) -> Iterator[str]:
    """For people."""
    rows = [["ID", "STATE", "FROM", "UNTIL", "SENSORS", "BY", "NOTE"]]
    for one in windows:
        window = one.window
        rows.append(
            [
                printable(window.id, _TEXT_WIDTH),
                one.state(now_us),
                utc(window.from_us),
                utc(window.until_us),
                printable(window.match, _PATH_WIDTH),
                printable(window.by, _TEXT_WIDTH),
                printable(window.note, _TEXT_WIDTH),
            ]
        )
    yield from aligned(rows)


def table_of_levels(levels: Sequence[KnownLevel]) -> Iterator[str]:
    """For people."""
    rows = [["SENSOR", "STATE", "OLD LEVEL", "NOW", "SINCE"]]
    for one in levels:
        band, since = f"{one.low:.6g} … {one.high:.6g}", "" if one.since_us is None else utc(one.since_us)
        rows.append([printable(one.sensor, _PATH_WIDTH), one.state, band, f"{one.value:.6g}", since])
    yield from aligned(rows, right=frozenset({"NOW"}))


def json_of_window(one: Window, now_us: int) -> str:
    """One window as JSON in ASCII."""
    return json.dumps({**one.window._asdict(), "state": one.state(now_us), "partitions": sorted(one.partitions)})


def json_of_level(one: KnownLevel) -> str:
    """One level as JSON in ASCII."""
    return json.dumps(
        {
            "sensor": one.sensor,
            "state": one.state,
            "low": one.low,
            "high": one.high,
            "value": one.value if isfinite(one.value) else None,
            "since_us": one.since_us,
        }
    )

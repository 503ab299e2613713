"""What the newest snapshots say of sensors, read without a group and without a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from deploy.quarantine.shown import age, aligned, utc
from deploy.registries import model_registry
from deploy.sensors.explained import Explained, explained
from ingest.contract.classes import ClassTable, glob
from ingest.contract.clock import SystemClock
from ingest.contract.errors import QuarantineError, StopError
from ingest.contract.settings import Settings
from ingest.discover.printing import printable
from stream.fold.commands import Adopt, row_data
from stream.fold.definitions import Definitions
from stream.fold.explaining import reason_of
from stream.fold.migrate import plan_from
from stream.fold.slots import FREE
from stream.fold.state import LayoutError, PartitionState
from stream.snapshot import Snapshot
from stream.snapshot_store import SnapshotStore, open_objects

_PATH_WIDTH, _TEXT_WIDTH = 120, 40
_OLD_US = 3_600_000_000
_QUALITIES = {"maintenance": "in maintenance", "warming": "warming up"}


class NoSnapshotError(StopError):
    """Nothing is known: the workers have not made a snapshot yet, or it cannot be used."""


@dataclass(frozen=True, slots=True)
class KnownSensor:
    """A sensor as its partition's newest snapshot has it.

    last_us: time of the newest reading, by the sensor's own clock; None if none was shown. value: a number, a text, or
    None. silent_us: for how long nothing was heard, in time in which the log went on. alerts: how many are open.
    refused: why the latest reading that came is in no window and no model ("out of range"); "" where it is.
    rollovers, resets: of a counter, how often it began anew and was counted on.
    """

    path: str
    class_name: str
    partition: int
    last_us: int | None
    value: float | str | None
    silent_us: int
    alerts: int
    refused: str = ""
    rollovers: int = 0
    resets: int = 0
    explained: Explained = field(default_factory=Explained)


@dataclass(slots=True)
class Known:
    """All sensors by path. digests: of the definitions in force, by partition; made_us: of the snapshots, likewise."""

    settings: Settings
    store: SnapshotStore
    now_us: int
    sensors: dict[str, KnownSensor] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    made_us: dict[int, int] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)

    @property
    def partitions(self) -> int:
        """Of the readings topic."""
        return self.settings.kafka.topics.readings.partitions

    def chosen(self, match: str | None, silent_us: int | None) -> list[KnownSensor]:
        """Those of a path pattern that were silent for at least so long; the longest first, else by path."""
        pattern = None if match is None else glob(match)
        found = [
            one
            for path, one in sorted(self.sensors.items())
            if (pattern is None or pattern.fullmatch(path)) and (silent_us is None or one.silent_us >= silent_us)
        ]
        return found if silent_us is None else sorted(found, key=lambda one: -one.silent_us)

    def remarks(self) -> Iterator[str]:
        """What else is to be known."""
        oldest_us = self.now_us - min(self.made_us.values())
        yield f"as of {age(oldest_us)} ago" + (": do the workers run?" if oldest_us > _OLD_US else "")
        if self.missing:
            some = ", ".join(map(str, self.missing[:8])) + (" …" if len(self.missing) > 8 else "")
            yield f"of {len(self.missing)} of {self.partitions} partitions there is no snapshot yet: {some}"

    async def adoption(self, sensor: KnownSensor, to: str) -> Adopt:
        """What is known of a sensor, for another partition. Raises StoreError, StopError."""
        snapshot = (await self.store.newest_valid(sensor.partition)).snapshot
        if snapshot is not None:
            plan = plan_from(snapshot.definitions, model_registry())
            try:
                state = PartitionState.thaw(plan, snapshot.frozen)
            except LayoutError as error:
                raise NoSnapshotError(f"the snapshot of partition {sensor.partition}: {error}") from error
            if (slot := state.slots.get(sensor.path)) is not None:
                return Adopt(to, plan.definitions.digest, row_data(state.row(slot)), state.texts.get(slot))
        raise NoSnapshotError(f"{sensor.path} is not in the newest snapshot any more")


async def read_known(settings: Settings) -> Known:
    """Read the newest snapshot of every partition. Raises StoreError, StopError."""
    worker, topic = settings.worker, settings.kafka.topics.readings
    objects = open_objects(worker.snapshots, worker.state_dir)
    store = SnapshotStore(objects, worker.group, topic.name, topic.partitions)
    known = Known(settings, store, SystemClock().now_us())
    for partition in range(topic.partitions):
        found = await store.newest_valid(partition)
        if found.snapshot is None:
            if found.skipped:
                raise NoSnapshotError(f"partition {partition}: no snapshot can be used: {found.skipped[0][1]}")
            known.missing.append(partition)
        else:
            _add(known, found.snapshot)
    if not known.digests:
        raise NoSnapshotError(
            f"there is no snapshot of {topic.name} and group {worker.group} in {objects.place} yet: a worker makes the "
            "first one soon after its start; [worker] in the settings says where"
        )
    return known


def _add(known: Known, snapshot: Snapshot) -> None:
    frozen, partition = snapshot.frozen, snapshot.partition
    try:
        definitions = Definitions.from_bytes(snapshot.definitions)
        classes = ClassTable(definitions.classes, definitions.tags).classes
    except (QuarantineError, ValueError, LookupError) as error:
        raise NoSnapshotError(f"the snapshot of partition {partition}: {error}") from error
    known.digests[partition], known.made_us[partition] = definitions.digest, snapshot.made_us
    sensors, silent_us = frozen.arrays["sensors"], frozen.scalars["alive_us"] - frozen.arrays["heard_us"]
    alerts = np.count_nonzero(frozen.arrays["episodes"]["phase"], axis=1)
    columns = (
        frozen.arrays["class_of"], sensors["shown_us"], sensors["shown_value"], silent_us, alerts,
        *(_newer_column(sensors, name) for name in ("refused", "rollovers", "resets")),
    )  # fmt: skip
    rows = zip(frozen.names, *(column.tolist() for column in columns), strict=True)
    explanations = explained(frozen, definitions, classes)
    for slot, (path, class_index, shown_us, value, silent, open_, refused, rollovers, resets) in enumerate(rows):
        if path == FREE:
            continue
        known.sensors[path] = KnownSensor(
            path,
            classes[class_index].name,
            partition,
            shown_us or None,
            frozen.texts.get(slot, value if isfinite(value) and shown_us else None),
            silent,
            open_,
            reason_of(refused),
            rollovers,
            resets,
            explanations.get(path, Explained()),
        )


def _newer_column(sensors: Any, name: str) -> Any:
    """What workers of an earlier version do not write down; their snapshots can still be read."""
    return sensors[name] if name in sensors.dtype.names else np.zeros(len(sensors), np.int64)


def table(sensors: Sequence[KnownSensor]) -> Iterator[str]:
    """For people."""
    if not sensors:
        return
    rows = [["SENSOR", "CLASS", "SILENT", "LAST READING", "VALUE", "ALERTS", "PARTITION"]]
    for one in sensors:
        value = printable(one.value, _TEXT_WIDTH) if isinstance(one.value, str) else _number(one.value)
        rows.append(
            [
                printable(one.path, _PATH_WIDTH),
                one.class_name,
                age(one.silent_us),
                "" if one.last_us is None else utc(one.last_us),
                value,
                str(one.alerts or ""),
                str(one.partition),
            ]
        )
    if any(said := ["; ".join(_remarks(one)) for one in sensors]):
        for row, remark in zip(rows, ["REMARKS", *said], strict=True):
            row.append(remark)
    yield from aligned(rows, right=frozenset({"SILENT", "VALUE", "ALERTS", "PARTITION"}))


def _remarks(one: KnownSensor) -> Iterator[str]:
    why = one.explained
    if one.refused:
        yield f"refused: {one.refused}"
    if why.quality is not None and not why.quality.startswith(("good", "refused")):
        yield _QUALITIES.get(why.quality, why.quality)
    if round(why.recent_alerts) > 0:
        many = round(why.recent_alerts)
        yield f"{many} recent alert{'s' if many != 1 else ''}, {why.budget_share:.0%} of the budget"
    for count, what in ((one.rollovers, "rollover"), (one.resets, "reset")):
        if count:
            yield f"{count:,} {what}{'s' if count != 1 else ''}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def json_line(one: KnownSensor) -> str:
    """One sensor as JSON in ASCII."""
    content: dict[str, Any] = {
        "sensor": one.path,
        "class": one.class_name,
        "partition": one.partition,
        "last": None if one.last_us is None else utc(one.last_us).replace(" UTC", "Z").replace(" ", "T"),
        "last_us": one.last_us,
        "value": one.value,
        "silent_s": one.silent_us // 1_000_000,
        "alerts": one.alerts,
        "refused": one.refused or None,
        "rollovers": one.rollovers,
        "resets": one.resets,
        "data_quality": one.explained.quality,
        "score": one.explained.score,
        "model": one.explained.model,
        "band": one.explained.band,
        "boundary": one.explained.boundary,
        "recent_alerts": round(one.explained.recent_alerts, 3),
        "budget_share": round(one.explained.budget_share, 4),
    }
    return json.dumps(content)

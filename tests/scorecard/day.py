"""A simulated day: the plant, the settings that it is watched with, and its log in columns.

The day that counts comes after a warm-up in which models learn. All times are the log's own.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deploy.registries import model_registry
from ingest.contract.partition import partition_of
from ingest.contract.readings import Readings, Words
from ingest.contract.settings import Settings
from ingest.contract.wire import ARROW, JSON, Envelope, Kind, encode_readings, headers_of
from ingest.decoders import DECODERS
from ingest.simulator.description import PlantDescription
from ingest.simulator.description_file import parse_plant
from ingest.simulator.faults.catalogue import KINDS
from ingest.simulator.plant import Plant
from ingest.simulator.ranges import Names
from ingest.simulator.rows import Rows
from ingest.simulator.settings_text import settings_text
from stream.fold.commands import Maintain, encode_command
from stream.fold.partition import LogRecord

START_US = 1_699_833_600_000_000
"""A Monday, midnight UTC."""
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
_LONGEST_US = 300_000_000
_STEP_US = 30_000_000


@dataclass(frozen=True, slots=True)
class Load:
    """What to simulate.

    slower: all periods times this, but not beyond five minutes, so that a day of many sensors stays affordable.
    faults: about how many there are, 0 for a quiet day; of `kinds`. record_s: what a record spans, so the finest gap in
    which a sensor is heard; below the minute from which on a partition's clock doubts a record. alerts_per_day: instead
    of the default budget.
    """

    sensors: int = 1_000
    hours: float = 24.0
    warm_up_hours: float = 24.0
    slower: float = 1.0
    faults: int = 0
    kinds: tuple[str, ...] = tuple(KINDS)
    seed: int = 1
    partitions: int = 2
    record_s: int = 2
    alerts_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Whose alerts do not count, and when: a planned stop, and until all is warm again. match: path patterns."""

    match: tuple[str, ...]
    groups: tuple[int, ...]
    from_us: int
    until_us: int


class Batch(NamedTuple):
    """A record of a partition, and what is known of its rows: sensor and true time, shape (rows,)."""

    partition: int
    record: LogRecord
    sensor: NDArray[np.int64]
    at_us: NDArray[np.int64]


class Day:
    """A plant on a simulated day."""

    def __init__(self, load: Load, text: str | None = None) -> None:
        """text: a description; default: the bundled `quiet_day`."""
        if text is None:
            folder = files("deploy") / "plants" / "simulated"
            text = (folder / "quiet_day.toml").read_text(encoding="utf-8")
        self.load, self.text = load, text
        self.from_us = START_US + round(load.warm_up_hours * HOUR_US)
        self.until_us = self.from_us + round(load.hours * HOUR_US)
        self.described = _in_time(parse_plant(text, "quiet_day"), load)
        every_s = (load.hours * 3_600) / load.faults if load.faults else 0.0
        self.plant = Plant(
            self.described, load.seed, START_US, sensors=load.sensors, fault_every_s=every_s, fault_kinds=load.kinds
        )
        roster = self.plant.roster
        self.period_us = _periods(self.described, roster.template, roster.templates)
        self.partition = np.array([partition_of(path, load.partitions) for path in roster.paths])

    @property
    def share_done(self) -> float:
        """How much of the time was played."""
        return (self.plant.now_us - START_US) / (self.until_us - START_US)

    def settings(self, models: Sequence[str] | None = None) -> Settings:
        """Those that the simulator says, everything else at its default: what a plant gets that sets nothing.

        models: of gauges, instead of the default ones.
        """
        data: dict[str, Any] = tomllib.loads(settings_text(self.described, self.load.sensors))
        if self.load.alerts_per_day is not None:
            data["plant"]["alerts_per_day"] = self.load.alerts_per_day
        for one in data["class"]:
            if models is not None and one.get("kind", "gauge") == "gauge":
                one["models"] = list(models)
        return Settings.model_validate(data, context={"decoder": DECODERS, "model": model_registry()})

    @cached_property
    def maintenance(self) -> list[Maintenance]:
        """The planned stops."""
        found = []
        for number, group in enumerate(self.described.group):
            stop = group.duty.stop
            if stop is None:
                continue
            # After five of the longest time constants less than a hundredth of it is left.
            settle_us = max((one.stopped.settle for one in group.sensor if one.stopped is not None), default=0)
            match = tuple(f"{Names.parse(one).glob}/**" for one in group.machines)
            begin_us = START_US + stop.after
            found.append(Maintenance(match, (number,), begin_us, begin_us + stop.last + 5 * settle_us))
        return found

    def batches(self) -> Iterator[Batch]:
        """The log, in order of arrival; every partition hears record's time, whether or not it reads."""
        record_us = self.load.record_s * 1_000_000
        numbers = np.unique(self.partition).tolist()
        is_text = np.array([one.said.kind == "enum" for one in self.plant.roster.templates])[self.plant.roster.template]
        offsets = [0] * self.load.partitions
        for partition in numbers:
            for record in commands_of(self, offsets[partition]):
                offsets[partition] += 1
                yield Batch(partition, record, np.empty(0, np.int64), np.empty(0, np.int64))
        for until_us, rows in self._pieces(record_us):
            partition_of_row = self.partition[rows.sensor]
            for partition in numbers:
                mine = rows.take(np.flatnonzero(partition_of_row == partition))
                readings = _readings(mine, self.plant.roster.paths, is_text)
                record = _record(readings, offsets[partition], until_us - 1_000, self.load.partitions)
                offsets[partition] += 1
                yield Batch(partition, record, mine.sensor, mine.at_us)

    def _pieces(self, record_us: int) -> Iterator[tuple[int, Rows]]:
        """(its end, the rows of a record), of all partitions. A step of the plant is many records: they cost less."""
        for from_us in range(START_US, self.until_us, step_us := -(-_STEP_US // record_us) * record_us):
            rows = self.plant.advance(min(from_us + step_us, self.until_us))
            ends_us = np.arange(from_us + record_us, min(from_us + step_us, self.until_us) + 1, record_us)
            begin = 0
            for until_us, end in zip(ends_us.tolist(), np.searchsorted(rows.at_us, ends_us).tolist(), strict=True):
                yield until_us, rows.take(slice(begin, end))
                begin = end


def commands_of(day: Day, offset: int) -> list[LogRecord]:
    """What people tell a partition: the plant's maintenance, announced before it begins."""
    said = [(match, one.from_us, one.until_us) for one in day.maintenance for match in one.match]
    values = [encode_command(Maintain(f"stop-{number}", *one)) for number, one in enumerate(said)]
    return [
        LogRecord(at, headers_of(Envelope(Kind.COMMAND, JSON, "people", at, START_US, day.load.partitions)), value)
        for at, value in enumerate(values, offset)
    ]


def _in_time(described: PlantDescription, load: Load) -> PlantDescription:
    """With the load's periods, its stop within the day that counts, and faults only there."""
    groups = []
    for group in described.group:
        update: dict[str, Any] = {"period": _longer(group.period, load.slower)}
        update["sensor"] = [
            one if one.period is None else one.model_copy(update={"period": _longer(one.period, load.slower)})
            for one in group.sensor
        ]
        stop = group.duty.stop
        if stop is not None:
            # Described for a second day of 24 hours.
            share = (stop.after - DAY_US) / DAY_US
            after_us = round((load.warm_up_hours + share * load.hours) * HOUR_US)
            last_us = round(stop.last * min(1.0, load.hours / 24))
            stop = stop.model_copy(update={"after": after_us, "last": last_us})
            update["duty"] = group.duty.model_copy(update={"stop": stop})
        groups.append(group.model_copy(update=update))
    faults = described.faults.model_copy(update={"warm_up": round(load.warm_up_hours * HOUR_US)})
    return described.model_copy(update={"group": groups, "faults": faults})


def _longer(period_us: int, slower: float) -> int:
    return max(period_us, min(round(period_us * slower / 1_000) * 1_000, _LONGEST_US))


def _periods(described: PlantDescription, template: NDArray[np.int32], templates: Sequence[Any]) -> NDArray[np.int64]:
    periods = [one.said.period or described.group[one.group].period for one in templates]
    return np.array(periods, np.int64)[template]


def _readings(rows: Rows, paths: Sequence[str], is_text: NDArray[np.bool_]) -> Readings:
    nothing, text, value = np.zeros(len(rows), np.uint8), None, rows.value
    texts = np.flatnonzero(is_text[rows.sensor])
    if len(texts):
        said = Words.encode(rows.other[texts].tolist())
        index = np.full(len(rows), -1, np.int32)
        index[texts] = said.index
        value = value.copy()
        value[texts] = np.nan
        text = Words(index, said.words)
    sensors, word = np.unique(rows.sensor, return_inverse=True)
    named = Words(word.astype(np.int32), [paths[at] for at in sensors.tolist()])
    return Readings(named, rows.ts_us, value, nothing, nothing, text)


def _record(readings: Readings, offset: int, at_us: int, partitions: int) -> LogRecord:
    if not len(readings):
        return LogRecord(offset, headers_of(Envelope(Kind.TICK, JSON, "simulator", offset, at_us, partitions)), b"")
    envelope = Envelope(Kind.READINGS, ARROW, "simulator", offset, at_us, partitions)
    return LogRecord(offset, headers_of(envelope), encode_readings(readings))

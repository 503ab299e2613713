"""Recorded rows through the worker's own fold: the same gate, windows, models and alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deploy.backtest.log import Batch, batches, closing
from deploy.backtest.rows import Rows
from deploy.backtest.unjudged import Unjudged, unjudged_of
from ingest.contract.class_settings import EVERYTHING_ELSE
from ingest.contract.registry import Registry
from ingest.contract.settings import PlantSettings
from ingest.contract.worker_settings import WorkerSettings
from models.base import Model
from stream.fold.alerts import Phase, Transition
from stream.fold.definitions import Definitions
from stream.fold.gate import FOLDED, Verdict
from stream.fold.partition import PartitionFold
from stream.fold.plan import make_plan
from stream.fold.scored import Scored


@dataclass(slots=True)
class Alert:
    """One that fired. Times: event time, µs. over_us: None while it fires at the end. score, value: when it fired."""

    sensor: int
    rule: str
    severity: str
    model: str | None
    since_us: int
    fired_us: int
    over_us: int | None
    value: float
    score: float


class Found(NamedTuple):
    """What the fold found of one record's rows, all of shape (rows,).

    rows: sensors by their number. model: number in `Replay.models`, -1 for none. band: shape (rows, 2), NaN where none
    was known. alert: number in `Replay.alerting`, of what fires for the sensor at the row; 0: nothing does.
    """

    rows: Rows
    verdict: NDArray[np.uint8]
    score: NDArray[np.float64]
    model: NDArray[np.int16]
    band: NDArray[np.float64]
    alert: NDArray[np.int32]


@dataclass(slots=True)
class Replay:
    """What became of recorded data under one configuration.

    verdicts: rows by `Verdict`. rows_of: by sensor; peak: highest score from `count_from_us` on; shape (sensors,).
    class_of: names of classes by sensor. alerts: all that fired, in the order in which they did. alerting: names of
    rules in force at a row, by `Found.alert`. learned_of, counted_of: rows that models saw, of them those from
    `count_from_us` on; by sensor. unjudged: known at the end.
    """

    models: list[str]
    count_from_us: int
    first_us: int = 0
    last_us: int = 0
    verdicts: dict[Verdict, int] = field(default_factory=dict)
    rows_of: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    peak: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    class_of: list[str] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    alerting: list[str] = field(default_factory=lambda: [""])
    learned_of: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    counted_of: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    unjudged: list[Unjudged] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """All, whatever became of them."""
        return sum(self.verdicts.values())

    @property
    def counted_us(self) -> int:
        """How much time the figures are of."""
        return max(0, self.last_us - max(self.first_us, self.count_from_us)) if self.rows else 0


def default_definitions() -> Definitions:
    """Those of a plant whose settings say nothing about its sensors."""
    return Definitions([EVERYTHING_ELSE], PlantSettings().max_sensors, WorkerSettings().future)


def replay(
    blocks: Iterable[Rows],
    paths: list[str],
    definitions: Definitions,
    models: Registry[Model],
    *,
    count_from_us: int = 0,
    see: Callable[[Found], None] | None = None,
) -> Replay:
    """Fold recorded rows. paths: by sensor's number. see: is shown what was found of each record's rows.

    count_from_us: alerts that fired before are not counted. Raises ValueError for definitions that contradict
    themselves.
    """
    replaying = Replaying(paths, definitions, models, count_from_us=count_from_us, see=see)
    for batch in batches(blocks, paths):
        replaying.take(batch)
    return replaying.end()


class Replaying:
    """A replay, a batch at a time: several configurations may share the batches."""

    def __init__(
        self,
        paths: list[str],
        definitions: Definitions,
        models: Registry[Model],
        *,
        count_from_us: int = 0,
        see: Callable[[Found], None] | None = None,
    ) -> None:
        plan = make_plan(definitions, models)
        self._paths, self._see = paths, see
        self._scored: Scored | None = None
        self._fold = PartitionFold(plan, 1, partition=0, watch=self._watch)
        self.replay = Replay([used.name for used in plan.models], count_from_us)
        """As far as it is known."""
        self._firing = _Firing(self.replay.alerting)
        self._open: dict[str, Alert] = {}
        self._number_of: dict[str, int] = {}

    def _watch(self, scored: Scored) -> None:
        self._scored = scored

    def take(self, batch: Batch) -> None:
        """Fold one record, and the ticks before it."""
        self._scored = None
        *ticks, readings = batch.records
        transitions = [one for record in ticks for one in self._fold.fold(record).transitions]
        begun = len(transitions)
        transitions += self._fold.fold(readings).transitions
        scored, rows, replay = self._scored, batch.rows, self.replay
        numbers = self._numbers(transitions)
        for one, sensor in zip(transitions, numbers, strict=True):
            self._note(one, sensor)
        self._firing.pass_time(transitions[:begun], numbers[:begun])
        alert = self._firing.at_rows(rows, transitions[begun:], numbers[begun:], len(self._paths))
        first_us, last_us = int(rows.ts_us.min()), int(rows.ts_us.max())
        replay.first_us = min(replay.first_us, first_us) if replay.rows_of.size else first_us
        replay.last_us = max(replay.last_us, last_us)
        if scored is not None:
            self._measure(rows, scored)
            if self._see is not None:
                self._see(Found(rows, scored.verdict, scored.score, scored.model, scored.expected, alert))

    def _numbers(self, transitions: list[Transition]) -> list[int]:
        for at in range(len(self._number_of), len(self._paths)):
            self._number_of[self._paths[at]] = at
        return [self._number_of[one.sensor] for one in transitions]

    def _note(self, one: Transition, sensor: int) -> None:
        if one.phase == Phase.FIRING:
            self._open[one.id] = alert = Alert(
                sensor, one.rule, one.severity, one.model, one.since_us, one.at_us, None, one.value, one.score
            )
            self.replay.alerts.append(alert)
        elif one.phase == Phase.RESOLVED and one.id in self._open:
            self._open.pop(one.id).over_us = one.at_us

    def _measure(self, rows: Rows, scored: Scored) -> None:
        replay, sensors = self.replay, len(self._paths)
        if replay.rows_of.size < sensors:
            more = (0, sensors - replay.rows_of.size)
            replay.rows_of, replay.peak = np.pad(replay.rows_of, more), np.pad(replay.peak, more)
            replay.learned_of, replay.counted_of = np.pad(replay.learned_of, more), np.pad(replay.counted_of, more)
        counted = rows.ts_us >= replay.count_from_us
        replay.rows_of += np.bincount(rows.sensor, minlength=sensors)
        learned = scored.verdict == FOLDED
        replay.learned_of += np.bincount(rows.sensor[learned], minlength=sensors)
        replay.counted_of += np.bincount(rows.sensor[learned & counted], minlength=sensors)
        np.maximum.at(replay.peak, rows.sensor, np.where(counted, scored.score, 0.0))

    def end(self) -> Replay:
        """All of it, once there is no more."""
        replay, classes = self.replay, self._fold.plan.classes
        for record in closing(replay.last_us, self._fold.state.next_offset) if replay.rows_of.size else ():
            transitions = self._fold.fold(record).transitions
            for one, sensor in zip(transitions, self._numbers(transitions), strict=True):
                self._note(one, sensor)
        counts = self._fold.state.counts
        replay.verdicts = {one: int(counts[one]) for one in Verdict if counts[one]}
        replay.class_of = [classes.classes[classes.index_of(path)].name for path in self._paths]
        replay.unjudged = unjudged_of(
            self._fold, self._paths, replay.rows_of, replay.learned_of, replay.counted_of, replay.peak
        )
        return replay


class _Firing:
    """Which rules fire, by sensor, from row to row."""

    def __init__(self, names: list[str]) -> None:
        """names: of sets of rules, by number; it grows."""
        self._names = names
        self._of_name = {"": 0}
        self._rules: dict[int, list[str]] = {}
        self._now = np.zeros(0, np.int32)

    def pass_time(self, transitions: list[Transition], sensors: list[int]) -> None:
        """What changed with time alone, before the rows."""
        for one, sensor in zip(transitions, sensors, strict=True):
            self._change(one, sensor)

    def at_rows(self, rows: Rows, transitions: list[Transition], sensors: list[int], known: int) -> NDArray[np.int32]:
        """The number of what fires at each row. known: how many sensors there are."""
        if self._now.size < known:
            self._now = np.pad(self._now, (0, known - self._now.size))
        found = self._now[rows.sensor]
        of: dict[int, list[Transition]] = {}
        for one, sensor in zip(transitions, sensors, strict=True):
            of.setdefault(sensor, []).append(one)
        for sensor, changes in of.items():
            at = np.flatnonzero(rows.sensor == sensor)
            for one in changes:
                # From the row on that brought it; it stays so for those after it.
                number = self._change(one, sensor)
                found[at[rows.ts_us[at] >= one.at_us]] = number
        return found

    def _change(self, one: Transition, sensor: int) -> int:
        rules = self._rules.setdefault(sensor, [])
        if one.phase == Phase.FIRING and one.rule not in rules:
            rules.append(one.rule)
        elif one.phase == Phase.RESOLVED and one.rule in rules:
            rules.remove(one.rule)
        name = ";".join(sorted(rules))
        if name not in self._of_name:
            self._of_name[name] = len(self._names)
            self._names.append(name)
        if sensor >= self._now.size:
            self._now = np.pad(self._now, (0, sensor + 1 - self._now.size))
        self._now[sensor] = self._of_name[name]
        if not rules:
            del self._rules[sensor]
        return self._of_name[name]

"""Folding a day's log, and what came of it: alerts, and the scores behind them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deploy.registries import model_registry
from stream.fold.alerts import Phase
from stream.fold.definitions import Definitions
from stream.fold.gate import Verdict
from stream.fold.partition import PartitionFold
from stream.fold.plan import Plan, make_plan
from stream.fold.scored import Scored
from tests.scorecard.day import Batch, Day

GAP_US = 600_000_000
"""Scores above 1.0 of one sensor that are less than this apart are one excursion."""
GAP_PERIODS = 20
_SHOWN = np.zeros(len(Verdict), np.bool_)
_SHOWN[[Verdict.FOLDED, Verdict.STATE]] = True


@dataclass(slots=True)
class Alert:
    """One that fired, or an excursion of the score: of sensor number `sensor`, at true time `at_us`.

    by: the model that set the score, else the rule. score: in an excursion the highest.
    """

    sensor: int
    at_us: int
    by: str
    score: float


@dataclass(slots=True)
class Seen:
    """What a day brought. refused: (sensor, true time, verdict) of the rows that models did not see, one row each."""

    alerts: list[Alert] = field(default_factory=list)
    excursions: list[Alert] = field(default_factory=list)
    refused: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    readings: int = 0
    made_cpu_s: float = 0.0
    folded_cpu_s: float = 0.0


class _Watch:
    """Takes what each record brought. The fold shows rows; whose they are, and when they truly were, the batch knows."""

    def __init__(self, day: Day, plan: Plan) -> None:
        self._names = [one.name for one in plan.models]
        self._gap_us = np.maximum(GAP_US, GAP_PERIODS * day.period_us)
        self._last_us = np.zeros(len(day.period_us), np.int64)
        self._open: dict[int, Alert] = {}
        self._number = {path: at for at, path in enumerate(day.plant.roster.paths)}
        self.scored: Scored | None = None
        self.refused: list[NDArray[np.int64]] = []
        self.seen = Seen()

    def show(self, scored: Scored) -> None:
        self.scored = scored

    def take(self, batch: Batch, fold: PartitionFold) -> None:
        self.scored = None
        effects = fold.fold(batch.record)
        if self.scored is not None:
            self._take_rows(batch, self.scored)
        for one in effects.transitions:
            if one.phase is not Phase.FIRING:
                continue
            sensor, at_us = self._number[one.sensor], fold.state.now_us
            if self.scored is not None:
                rows = np.flatnonzero((batch.sensor == sensor) & (self.scored.readings.ts_us == one.at_us))
                at_us = int(batch.at_us[rows[0]]) if len(rows) else at_us
            self.seen.alerts.append(Alert(sensor, at_us, one.model or one.rule, one.score))

    def _take_rows(self, batch: Batch, scored: Scored) -> None:
        self.seen.readings += len(batch.sensor)
        strange = np.flatnonzero(~_SHOWN[scored.verdict])
        if len(strange):
            found = (batch.sensor[strange], batch.at_us[strange], scored.verdict[strange].astype(np.int64))
            self.refused.append(np.stack(found, axis=1))
        for row in np.flatnonzero(scored.score >= 1.0).tolist():
            sensor, at_us, score = int(batch.sensor[row]), int(batch.at_us[row]), float(scored.score[row])
            was = self._open.get(sensor)
            if was is not None and at_us - self._last_us[sensor] < self._gap_us[sensor]:
                was.score = max(was.score, score)
            else:
                self._open[sensor] = one = Alert(sensor, at_us, self._names[scored.model[row]], score)
                self.seen.excursions.append(one)
            self._last_us[sensor] = at_us


def watch(day: Day) -> Seen:
    """Fold the whole of it, warm-up included."""
    definitions = Definitions.of(day.settings())
    plan = make_plan(definitions, model_registry())
    watching = _Watch(day, plan)
    folds = [
        PartitionFold(plan, day.load.partitions, partition=number, watch=watching.show)
        for number in range(day.load.partitions)
    ]
    seen, batches = watching.seen, day.batches()
    while True:
        began = time.process_time()
        batch = next(batches, None)
        made = time.process_time()
        seen.made_cpu_s += made - began
        if batch is None:
            break
        watching.take(batch, folds[batch.partition])
        seen.folded_cpu_s += time.process_time() - made
    if watching.refused:
        seen.refused = np.concatenate(watching.refused)
    return seen


def verdicts(refused: NDArray[np.int64]) -> Counter[str]:
    """How many rows of each."""
    return Counter(Verdict(one).name.lower() for one in refused[:, 2].tolist())

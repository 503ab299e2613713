"""Folding a day's log, and what came of it: alerts, and the scores behind them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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

HIT = np.dtype([("sensor", np.int64), ("at_us", np.int64), ("score", np.float64), ("by", np.int64)])
"""A moment at which something was found of a sensor (its number), in true time; by: index of `Seen.names`."""
REFUSED = np.dtype([("sensor", np.int64), ("at_us", np.int64), ("verdict", np.int64)])
"""A row that no model saw."""
_SHOWN = np.zeros(len(Verdict), np.bool_)
_SHOWN[[Verdict.FOLDED, Verdict.STATE]] = True


@dataclass(slots=True)
class Seen:
    """What a day brought, warm-up included, each sorted by sensor and time.

    names: of models, then of rules. alerts: HIT, those that fired. beyond: HIT, rows whose score was 1.0 or more.
    refused: REFUSED. readings, made_cpu_s, folded_cpu_s: what it took to make the log, and to fold it.
    """

    names: list[str]
    alerts: NDArray[Any]
    beyond: NDArray[Any]
    refused: NDArray[Any]
    readings: int
    made_cpu_s: float
    folded_cpu_s: float


class _Watch:
    """Takes what each record brought. The fold shows rows; whose they are, and when they truly were, the batch knows."""

    def __init__(self, day: Day, plan: Plan) -> None:
        self.names = [one.name for one in plan.models]
        self._number = {path: at for at, path in enumerate(day.plant.roster.paths)}
        self._scored: Scored | None = None
        self.alerts: list[tuple[int, int, float, int]] = []
        self.beyond: list[NDArray[Any]] = []
        self.refused: list[NDArray[Any]] = []
        self.readings = 0

    def show(self, scored: Scored) -> None:
        self._scored = scored

    def take(self, batch: Batch, fold: PartitionFold) -> None:
        self._scored = None
        effects = fold.fold(batch.record)
        scored = self._scored
        if scored is not None:
            self._take_rows(batch, scored)
        for one in effects.transitions:
            if one.phase is not Phase.FIRING:
                continue
            sensor, at_us = self._number[one.sensor], fold.state.now_us
            if scored is not None:
                rows = np.flatnonzero((batch.sensor == sensor) & (scored.readings.ts_us == one.at_us))
                at_us = int(batch.at_us[rows[0]]) if len(rows) else at_us
            self.alerts.append((sensor, at_us, one.score, self._by(one.model or one.rule)))

    def _take_rows(self, batch: Batch, scored: Scored) -> None:
        self.readings += len(batch.sensor)
        strange = np.flatnonzero(~_SHOWN[scored.verdict])
        if len(strange):
            self.refused.append(_rows(REFUSED, batch.sensor, batch.at_us, scored.verdict, at=strange))
        high = np.flatnonzero(scored.score >= 1.0)
        if len(high):
            self.beyond.append(_rows(HIT, batch.sensor, batch.at_us, scored.score, scored.model, at=high))

    def _by(self, name: str) -> int:
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)


def _rows(kind: np.dtype[Any], *columns: NDArray[Any], at: NDArray[np.intp]) -> NDArray[Any]:
    found = np.empty(len(at), kind)
    for name, column in zip(kind.names or (), columns, strict=True):
        found[name] = column[at]
    return found


def _sorted(kind: np.dtype[Any], parts: list[NDArray[Any]]) -> NDArray[Any]:
    whole = np.concatenate([np.empty(0, kind), *parts])
    return whole[np.lexsort((whole["at_us"], whole["sensor"]))]


def watch(day: Day, say: Callable[[float], None] | None = None) -> Seen:
    """Fold the whole of it, warm-up included. say: is told the share that is done."""
    plan = make_plan(Definitions.of(day.settings()), model_registry())
    watching = _Watch(day, plan)
    count = day.load.partitions
    folds = [PartitionFold(plan, count, partition=number, watch=watching.show) for number in range(count)]
    batches, made_s, folded_s = day.batches(), 0.0, 0.0
    while True:
        began = time.process_time()
        batch = next(batches, None)
        made = time.process_time()
        made_s += made - began
        if batch is None:
            break
        watching.take(batch, folds[batch.partition])
        folded_s += time.process_time() - made
        if say is not None:
            say(day.share_done)
    return Seen(
        watching.names,
        _sorted(HIT, [np.array(watching.alerts, HIT)]),
        _sorted(HIT, watching.beyond),
        _sorted(REFUSED, watching.refused),
        watching.readings,
        made_s,
        folded_s,
    )

"""Folding a day's log, and what came of it: alerts, and the scores behind them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.registries import model_registry
from stream.fold.alerts import Phase
from stream.fold.definitions import Definitions
from stream.fold.gate import Verdict
from stream.fold.partition import PartitionFold
from stream.fold.plan import make_plan
from stream.fold.scored import Scored
from tests.scorecard.day import Batch, Day

HIT = np.dtype([("sensor", np.int64), ("at_us", np.int64), ("score", np.float64), ("by", np.int64)])
"""A moment at which something was found of a sensor (its number), in true time; by: index of `Seen.names`."""
REFUSED = np.dtype([("sensor", np.int64), ("at_us", np.int64), ("verdict", np.int64)])
"""A row that no model saw."""
_FINE = np.array([one.name in ("FOLDED", "STATE", "MASKED") for one in Verdict])
"""By verdict: whether there is nothing wrong with the row. MASKED: in maintenance."""


@dataclass(slots=True)
class Seen:
    """What a day brought, warm-up included, each sorted by sensor and time.

    names: of models, then of rules. alerts: HIT, those that fired. beyond: HIT, rows whose combined score, before any
    calibration, was 1.0 or more. refused: REFUSED. readings, made_cpu_s, folded_cpu_s: what it took to make the log
    (once for all that were watched together), and to fold it.
    """

    names: list[str]
    alerts: NDArray[Any]
    beyond: NDArray[Any]
    refused: NDArray[Any]
    readings: int
    made_cpu_s: float
    folded_cpu_s: float


class _Watch:
    """Takes what each record brought: the fold shows rows, the batch knows when they truly were."""

    def __init__(self, day: Day, models: Sequence[str] | None) -> None:
        plan, count = make_plan(Definitions.of(day.settings(models)), model_registry()), day.load.partitions
        self._folds = [PartitionFold(plan, count, partition=number, watch=self._show) for number in range(count)]
        self.names = [one.name for one in plan.models]
        self._number = {path: at for at, path in enumerate(day.plant.roster.paths)}
        self._scored: Scored | None = None
        self.alerts: list[tuple[int, int, float, int]] = []
        self.beyond: list[NDArray[Any]] = []
        self.refused: list[NDArray[Any]] = []
        self.readings = 0
        self.cpu_s = 0.0

    def _show(self, scored: Scored) -> None:
        self._scored = scored

    def take(self, batch: Batch) -> None:
        began = time.process_time()
        self._scored, fold = None, self._folds[batch.partition]
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
        self.cpu_s += time.process_time() - began

    def spend_as(self, other: _Watch) -> None:
        """Go on with the budget that another one has left."""
        for mine, its in zip(self._folds, other._folds, strict=True):
            mine.state.pools[:] = its.state.pools

    def seen(self, made_cpu_s: float) -> Seen:
        alerts = _sorted(HIT, [np.array(self.alerts, HIT)])
        beyond, refused = _sorted(HIT, self.beyond), _sorted(REFUSED, self.refused)
        return Seen(self.names, alerts, beyond, refused, self.readings, made_cpu_s, self.cpu_s)

    def _take_rows(self, batch: Batch, scored: Scored) -> None:
        self.readings += len(batch.sensor)
        strange = np.flatnonzero(~_FINE[scored.verdict])
        if len(strange):
            self.refused.append(_rows(REFUSED, batch.sensor, batch.at_us, scored.verdict, at=strange))
        combined = scored.score * scored.width
        high = np.flatnonzero(combined >= 1.0)
        if len(high):
            self.beyond.append(_rows(HIT, batch.sensor, batch.at_us, combined, scored.model, at=high))

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


def watch(
    day: Day, sets: Sequence[Sequence[str] | None] = (None,), say: Callable[[float], None] | None = None
) -> list[Seen]:
    """Fold the whole of it, warm-up included, once for each set of models; None: the default ones.

    say: is told the share that is done.
    """
    watching, batches = [_Watch(day, models) for models in sets], _Making(day)
    while (batch := batches.next()) is not None:
        for one in watching:
            one.take(batch)
        if say is not None:
            say(day.share_done)
    return [one.seen(batches.cpu_s) for one in watching]


def watch_alone(
    day: Day, sets: Sequence[Sequence[str] | None] = (None,), say: Callable[[float], None] | None = None
) -> tuple[list[Seen], list[Seen]]:
    """Fold the same day with and without its faults, side by side; what came of each, for each set of models.

    Each fault is met as if it were the only one: what hundreds of them would make of a budget of alerts, no plant with
    that budget ever sees. So the budget is what the day without faults leaves.
    """
    calm = Day(replace(day.load, faults=0), day.text)
    watching, calmly = ([_Watch(day, models) for models in sets] for _ in range(2))
    batches, calm_batches = _Making(day), _Making(calm)
    while (batch := batches.next()) is not None and (calm_batch := calm_batches.next()) is not None:
        for one, other in zip(watching, calmly, strict=True):
            one.spend_as(other)
            one.take(batch)
            other.take(calm_batch)
        if say is not None:
            say(day.share_done)
    return [one.seen(batches.cpu_s) for one in watching], [one.seen(calm_batches.cpu_s) for one in calmly]


class _Making:
    """A day's log, and what it took to make it."""

    def __init__(self, day: Day) -> None:
        self._batches, self.cpu_s = day.batches(), 0.0

    def next(self) -> Batch | None:
        began = time.process_time()
        batch = next(self._batches, None)
        self.cpu_s += time.process_time() - began
        return batch

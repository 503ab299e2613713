"""Sensors that no model ever judged: that nothing was found of them means nothing, and a backtest has to say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.fold.partition import PartitionFold
from stream.fold.warming import warming


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A sensor, by number: how many readings it had, how many of them came to the models, and why these say nothing."""

    sensor: int
    readings: int
    learned: int
    why: str


def unjudged_of(
    fold: PartitionFold,
    paths: Sequence[str],
    rows_of: NDArray[np.int64],
    learned_of: NDArray[np.int64],
    counted_of: NDArray[np.int64],
    peak: NDArray[np.float64],
) -> list[Unjudged]:
    """Those without any score above 0 whose models still know nothing at the end, or had nothing to judge.

    fold: at the end. By sensor's number, shape (sensors,): rows_of: all; learned_of: those that models saw; counted_of:
    of these, those that the figures are of; peak: highest score of those.
    """
    found = []
    for sensor in np.flatnonzero((rows_of > 0) & (peak <= 0.0)).tolist():
        learned, counted = int(learned_of[sensor]), int(counted_of[sensor])
        if why := _why(fold, paths[sensor], learned, counted):
            found.append(Unjudged(sensor, int(rows_of[sensor]), learned, why))
    return found


def _why(fold: PartitionFold, path: str, learned: int, counted: int) -> str:
    """Why nothing was judged; "" if something may have been."""
    plan = fold.plan
    of = plan.classes.index_of(path)
    models = [used.model for used in plan.models if used.uses[of]]
    if not models:
        return f"its class {plan.classes.classes[of].name!r} has no models"
    if not learned:
        return "none of them came to the models"
    # One that waits for repeats counts its warm-up in changes of the value.
    by_reading = [model for model in models if not getattr(model, "of_repeats", False)] or models
    own = min(int(getattr(model, "warm_up", 0)) for model in by_reading)
    needed = max(own, int(plan.limits[of]["warm_up"]))
    if learned <= needed:
        return f"too few for warm_up: models need more than {needed:,}"
    if not counted:
        return "all of them are before --train-until"
    slot = int(fold.state.slots.find([path])[0])
    if slot < 0 or not warming(plan, fold.state, [slot])[0]:
        return ""
    if fold.state.sensors[slot]["changed_us"] == fold.state.levels[slot]["first_us"]:
        return "its value never changed, so models have no measure of it"
    return "its models expect nothing of it yet"

"""Models at work on a series, for the tests of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import models
from models.base import Model
from tests.unit.stream.logs import MODELS, S_US, START_US, as_row, eager

NAMES = sorted(models.TABLE)

_USUAL: dict[str, dict[str, Any]] = {"seasonal": {"period_s": 48.0}, "time_of_day": {"period_s": 48.0}}
_EAGER: dict[str, dict[str, Any]] = {
    "ewma_horizons": {"warm_up": 3, "alphas": (0.5, 0.4, 0.3)},
    "level_shift": {"warm_up": 3, "threshold": 2.0},
    "seasonal": {"period_s": 8.0, "days": 2},
    "time_of_day": {"period_s": 8.0, "warm_up": 3, "short": 2, "boundary_sigmas": 1.0},
}


def usual_model(name: str, **options: Any) -> Model:
    """With default options, but a day of a minute: tests have a reading a second and no weeks."""
    return MODELS.create(name, {**_USUAL.get(name, {}), **options})


def eager_model(name: str) -> Model:
    """With options that make it score as soon, and as high, as it may."""
    return MODELS.create(name, _EAGER.get(name) or eager(name))


def scores(
    model: Model,
    series: Sequence[float] | NDArray[Any],
    row: Any = None,
    step: Callable[..., float] | None = None,
    *,
    first: int = 0,
    ts_us: NDArray[np.int64] | None = None,
) -> list[float]:
    """What a model says to a series.

    row: what it knows before. ts_us: times of the readings; default: one a second, from the `first`th second on.
    """
    row = as_row(model.state) if row is None else row
    step = model.step if step is None else step
    params = model.params
    if ts_us is None:
        ts_us = START_US + (first + np.arange(len(series))) * S_US
    return [
        float(step(row, at_us, value, params))
        for at_us, value in zip(ts_us, np.asarray(series, np.float64), strict=True)
    ]


def noise(count: int, seed: int = 1, level: float = 20.0, spread: float = 1.0) -> NDArray[np.float64]:
    """Normal noise."""
    return np.random.default_rng(seed).normal(level, spread, count)

"""EWMA z-score at several horizons: the largest deviation from a short, a middle and a long memory.

What is far from the last minute may be usual for the day, and the other way round: a spike on a slow swing stands out
against the short memory, a creeping change only against the long one. Each horizon is learned as by `ewma_z` and takes
part once it has seen 1 / alpha readings. The boundary is wider: eleven standard deviations are rare for exponential
tails as well, and three horizons ask three times as often.

Source: T. Finch, "Incremental calculation of weighted mean and variance", University of Cambridge, 2009, section 9;
bounded influence after P. J. Huber, "Robust Estimation of a Location Parameter", Ann. Math. Statist. 35, 1964. That
memories of several lengths be asked at once is ours.
Cost: some 40 ns a reading, 88 bytes a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.compiled import bank
from models.options import at_least_2, positive
from models.recurring import RECURRING, give_way
from models.resolution import see_move

_HORIZONS = 3
_USUAL_SIGMAS = 3.0

_STATE = np.dtype(
    [
        ("seen", np.int64),
        ("last", np.float64),
        ("resolution", np.float64),
        ("mean", np.float64, (_HORIZONS,)),
        ("variance", np.float64, (_HORIZONS,)),
        *RECURRING,
    ]
)


def _step(row: Any, ts_us: int, value: float, params: NDArray[np.float64]) -> float:
    boundary_sigmas, warm_up = params[0], params[1]
    mean, variance = row["mean"], row["variance"]
    if row["seen"] == 0:
        for k in range(_HORIZONS):
            mean[k] = value
        row["last"] = value
        row["seen"] = 1
        return 0.0
    score = 0.0
    for k in range(_HORIZONS):
        alpha = params[2 + k]
        deviation = value - mean[k]
        # As in `ewma_z`: a sensor's smallest step is the least that can mean anything, and what is far out teaches
        # only as much as the rim of the usual.
        sigma = max(np.sqrt(variance[k]), row["resolution"])
        if row["seen"] >= max(warm_up, 1.0 / alpha) and sigma > 0.0:
            score = max(score, abs(deviation) / (boundary_sigmas * sigma))
            usual = _USUAL_SIGMAS * sigma
            deviation = min(max(deviation, -usual), usual)
        mean[k] += alpha * deviation
        variance[k] = (1.0 - alpha) * (variance[k] + alpha * deviation * deviation)
    see_move(row, abs(value - row["last"]))
    row["last"] = value
    row["seen"] += 1
    return give_way(row, min(score, 1e9))


def _band(row: Any, params: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.nan, np.nan
    for k in range(_HORIZONS):
        sigma = max(np.sqrt(row["variance"][k]), row["resolution"])
        if row["seen"] < max(params[1], 1.0 / params[2 + k]) or sigma == 0.0:
            continue
        room = params[0] * sigma * (1.0 + row["extra"])
        if np.isnan(low):
            low, high = row["mean"][k] - room, row["mean"][k] + room
        else:
            low, high = max(low, row["mean"][k] - room), min(high, row["mean"][k] + room)
    return low, high


_COMPILED, _BAND, _RUN = bank(_step, _band)


@dataclass(frozen=True, slots=True)
class EwmaHorizons:
    """Options of the EWMA z-score at several horizons.

    alphas: weight of the newest reading at each of three horizons, 0 < alpha < 1; a memory is about 2 / alpha readings.
    boundary_sigmas: the deviation that scores 1.0, in standard deviations.
    warm_up: readings before anything is scored.

    >>> model = EwmaHorizons()
    >>> row = np.zeros(1, model.state)[0]
    >>> usual = [model.step(row, 0, 20.0 + i % 3, model.params) for i in range(600)]
    >>> max(usual) < 1.0 < model.step(row, 0, 60.0, model.params)
    True
    """

    alphas: tuple[float, float, float] = (0.03, 0.008, 0.002)
    boundary_sigmas: float = 11.0
    warm_up: int = 100

    state: ClassVar[np.dtype[Any]] = _STATE
    step: ClassVar[Any] = staticmethod(_COMPILED)
    band: ClassVar[Any] = staticmethod(_BAND)
    run: ClassVar[Any] = staticmethod(_RUN)

    def __post_init__(self) -> None:
        if not all(0.0 < alpha < 1.0 for alpha in self.alphas):
            raise ValueError("alphas must be between 0 and 1, both excluded")
        positive(boundary_sigmas=self.boundary_sigmas)
        at_least_2(warm_up=self.warm_up)

    @property
    def params(self) -> NDArray[np.float64]:
        """boundary_sigmas, warm_up, alphas."""
        return np.array([self.boundary_sigmas, self.warm_up, *self.alphas], np.float64)

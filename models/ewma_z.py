"""EWMA z-score: how many standard deviations a reading is from an exponentially weighted mean.

Source: the exponentially weighted moving variance after T. Finch, "Incremental calculation of weighted mean and
variance", University of Cambridge, 2009, section 9; bounded influence after P. J. Huber, "Robust Estimation of a
Location Parameter", Ann. Math. Statist. 35, 1964. Cost: some 10 ns a reading, 40 bytes a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.compiled import bank
from models.options import at_least_2, positive, weight
from models.resolution import see_move

_USUAL_SIGMAS = 3.0

_STATE = np.dtype(
    [
        ("seen", np.int64),
        ("mean", np.float64),
        ("variance", np.float64),
        ("last", np.float64),
        ("resolution", np.float64),
    ]
)


def _step(row: Any, ts_us: int, value: float, params: NDArray[np.float64]) -> float:
    alpha, boundary_sigmas, warm_up = params[0], params[1], params[2]
    if row["seen"] == 0:
        row["mean"] = value
        row["last"] = value
        row["seen"] = 1
        return 0.0
    see_move(row, abs(value - row["last"]))
    row["last"] = value
    deviation = value - row["mean"]
    # A quantised sensor at rest has no variance; its smallest step seen is the least that can mean anything. Until
    # it has moved once, nothing is known about its noise.
    sigma = max(np.sqrt(row["variance"]), row["resolution"])
    score = 0.0
    if row["seen"] >= warm_up and sigma > 0.0:
        score = abs(deviation) / (boundary_sigmas * sigma)
        # What is far out teaches only as much as the rim of the usual: one spike must not blind the model, and a
        # drift must not drag the band along as fast as it runs. A lasting change is learned all the same: the band
        # widens by a few per cent a reading until it holds the new level.
        usual = _USUAL_SIGMAS * sigma
        deviation = min(max(deviation, -usual), usual)
    row["mean"] += alpha * deviation
    row["variance"] = (1.0 - alpha) * (row["variance"] + alpha * deviation * deviation)
    row["seen"] += 1
    return min(score, 1e9)


def _band(row: Any, params: NDArray[np.float64]) -> tuple[float, float]:
    sigma = max(np.sqrt(row["variance"]), row["resolution"])
    if row["seen"] < params[2] or sigma == 0.0:
        return np.nan, np.nan
    return row["mean"] - params[1] * sigma, row["mean"] + params[1] * sigma


_COMPILED, _BAND, _RUN = bank(_step, _band)


@dataclass(frozen=True, slots=True)
class EwmaZ:
    """Options of the EWMA z-score.

    alpha: weight of the newest reading, 0 < alpha < 1; memory is about 2 / alpha readings.
    boundary_sigmas: the deviation that scores 1.0, in standard deviations. Six are rare for normal noise, eleven for
        exponential tails as well.
    warm_up: readings before anything is scored.

    >>> model = EwmaZ(warm_up=50)
    >>> row = np.zeros(1, model.state)[0]
    >>> usual = [model.step(row, 0, 20.0 + i % 3, model.params) for i in range(100)]
    >>> max(usual) < 1.0 < model.step(row, 0, 60.0, model.params)
    True
    """

    alpha: float = 0.02
    boundary_sigmas: float = 10.5
    warm_up: int = 100

    state: ClassVar[np.dtype[Any]] = _STATE
    step: ClassVar[Any] = staticmethod(_COMPILED)
    band: ClassVar[Any] = staticmethod(_BAND)
    run: ClassVar[Any] = staticmethod(_RUN)

    def __post_init__(self) -> None:
        weight(alpha=self.alpha)
        positive(boundary_sigmas=self.boundary_sigmas)
        at_least_2(warm_up=self.warm_up)

    @property
    def params(self) -> NDArray[np.float64]:
        """alpha, boundary_sigmas, warm_up."""
        return np.array([self.alpha, self.boundary_sigmas, self.warm_up], np.float64)

"""Robust band: how far a reading is from the median, measured by quantiles that outliers cannot move.

The median, and the half and three-quarter quantiles of the distance from it, are followed by stochastic approximation:
each reading moves each of them by a small step, by its side alone, however far out it is. A fifth of the readings may
be nonsense, and is called so every time. The ratio of the two distances tells how heavy the tails are (1.71 for normal
noise, 2 for exponential), and so how far out the boundary has to be: a band for Gaussian noise cries wolf on spiky
sensors, one for these is deaf.

Source: H. Robbins and S. Monro, "A Stochastic Approximation Method", Ann. Math. Statist. 22, 1951; streaming quantiles
as in Q. Ma, S. Muthukrishnan, M. Sandler, "Frugal Streaming for Estimating Quantiles", 2013; median absolute deviation
after F. R. Hampel, "The Influence Curve and its Role in Robust Estimation", JASA 69, 1974.
Cost: some 20 ns a reading, 56 bytes a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.compiled import bank, kernel
from models.options import at_least_2, positive
from models.resolution import see_move

_SIGMAS_PER_HALF = 1.4826  # for normal noise
_NORMAL_RATIO, _EXPONENTIAL_RATIO = 1.705, 2.0
_FIRST_STEPS = 4.0  # the best gain for a median of normal noise is some 4 / n
_LOST = 0.5

_STATE = np.dtype(
    [
        ("seen", np.int64),
        ("median", np.float64),
        ("half", np.float64),  # half of the readings are nearer to the median
        ("most", np.float64),  # three quarters are
        ("outside", np.float64),  # share of the recent readings beyond the boundary
        ("last", np.float64),
        ("resolution", np.float64),
    ]
)


@kernel
def _room(half: float, most: float, boundary_sigmas: float) -> float:
    """How far from the median the boundary is: up to twice as far for exponential tails as for normal ones."""
    weight = (most / half - _NORMAL_RATIO) / (_EXPONENTIAL_RATIO - _NORMAL_RATIO)
    return boundary_sigmas * _SIGMAS_PER_HALF * half * (1.0 + min(max(weight, 0.0), 1.0))


def _step(row: Any, ts_us: int, value: float, params: NDArray[np.float64]) -> float:
    rate, boundary_sigmas, warm_up, patience = params[0], params[1], params[2], params[3]
    if row["seen"] == 0:
        row["median"] = value
        row["half"] = 0.0
        row["most"] = 0.0
        row["outside"] = 0.0
        row["last"] = value
        row["seen"] = 1
        return 0.0
    see_move(row, abs(value - row["last"]))
    row["last"] = value
    deviation = value - row["median"]
    distance = abs(deviation)
    if row["half"] == 0.0:
        # It has never moved: there is no measure of what is far, and the first distance is one.
        row["half"] = distance
        row["most"] = distance
        row["seen"] += 1
        return 0.0
    score = 0.0
    if row["seen"] >= warm_up:
        score = distance / _room(row["half"], row["most"], boundary_sigmas)
        row["outside"] += ((1.0 if score > 1.0 else 0.0) - row["outside"]) / patience
        if row["outside"] > _LOST:
            # Whatever is outside more often than not is the usual now: a changed level, or another noise.
            row["seen"] = 0
    gain = min(max(rate, _FIRST_STEPS / row["seen"]), 1.0) if row["seen"] > 0 else rate
    if deviation > 0.0:
        row["median"] += 0.5 * gain * row["most"]
    elif deviation < 0.0:
        row["median"] -= 0.5 * gain * row["most"]
    row["half"] *= 1.0 + gain * ((1.0 if distance > row["half"] else 0.0) - 0.5)
    row["most"] *= 1.0 + gain * ((1.0 if distance > row["most"] else 0.0) - 0.25)
    # A quantised sensor at rest has no spread; its smallest step is the least that can mean anything.
    row["half"] = max(row["half"], row["resolution"])
    row["most"] = max(row["most"], row["half"])
    if row["seen"] > 0:
        row["seen"] += 1
    return min(score, 1e9)


def _band(row: Any, params: NDArray[np.float64]) -> tuple[float, float]:
    if row["seen"] < params[2] or row["half"] == 0.0:
        return np.nan, np.nan
    room = _room(row["half"], row["most"], params[1])
    return row["median"] - room, row["median"] + room


_COMPILED, _BAND, _RUN = bank(_step, _band)


@dataclass(frozen=True, slots=True)
class RobustBand:
    """Options of the robust band.

    rate: step of the quantiles, as a share of the spread, 0 < rate <= 0.5; memory is about 2 / rate readings.
    boundary_sigmas: the distance that scores 1.0, in standard deviations of normal noise; up to twice as many where
        the tails are heavier.
    warm_up: readings before anything is scored.
    patience: the model starts anew when more than half of about so many readings were outside.

    >>> model = RobustBand()
    >>> row = np.zeros(1, model.state)[0]
    >>> usual = [model.step(row, 0, 20.0 + i % 3, model.params) for i in range(400)]
    >>> max(usual) < 1.0 < model.step(row, 0, 60.0, model.params)
    True
    """

    rate: float = 0.002
    boundary_sigmas: float = 7.5
    warm_up: int = 200
    patience: int = 300

    state: ClassVar[np.dtype[Any]] = _STATE
    step: ClassVar[Any] = staticmethod(_COMPILED)
    band: ClassVar[Any] = staticmethod(_BAND)
    run: ClassVar[Any] = staticmethod(_RUN)

    def __post_init__(self) -> None:
        if not 0.0 < self.rate <= 0.5:
            raise ValueError("rate must be above 0 and at most 0.5")
        positive(boundary_sigmas=self.boundary_sigmas)
        at_least_2(warm_up=self.warm_up, patience=self.patience)

    @property
    def params(self) -> NDArray[np.float64]:
        """rate, boundary_sigmas, warm_up, patience."""
        return np.array([self.rate, self.boundary_sigmas, self.warm_up, self.patience], np.float64)

"""Rate of change: how fast a sensor moved, against how fast it usually does.

The distance of two readings over the time between them, or over the usual time between them where that is longer: two
readings that follow each other at once differ by their noise, and noise over next to no time would be any rate. The
usual interval is followed by its median, so sampling may be irregular, change, or pause. Of readings with the same time
the first counts.

Source: the rate-of-change test of IOOS QARTOD, "Manual for Real-Time Quality Control of In-situ Temperature and
Salinity Data", 2020, with limits that are learned instead of set; the median as in `robust_band`.
Cost: some 20 ns a reading, 64 bytes a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.compiled import bank
from models.options import at_least_2, positive, weight
from models.recurring import RECURRING, give_way
from models.resolution import see_move

_US_PER_S = 1e6
_USUAL_SIGMAS = 3.0
_INTERVAL_STEP = 0.005  # smaller than what the square may grow by, so that a change of sampling is no change of rate

_STATE = np.dtype(
    [
        ("seen", np.int64),
        ("last_us", np.int64),
        ("last", np.float64),
        ("interval_s", np.float64),
        ("square", np.float64),
        ("resolution", np.float64),
        *RECURRING,
    ]
)


def _step(row: Any, ts_us: int, value: float, params: NDArray[np.float64]) -> float:
    alpha, boundary_sigmas, warm_up = params[0], params[1], params[2]
    if row["seen"] == 0:
        row["last"] = value
        row["last_us"] = ts_us
        row["seen"] = 1
        return 0.0
    passed_s = (ts_us - row["last_us"]) / _US_PER_S
    if passed_s <= 0.0:
        return 0.0
    move = abs(value - row["last"])
    row["last"] = value
    row["last_us"] = ts_us
    if row["interval_s"] == 0.0:
        row["interval_s"] = passed_s
    rate = move / max(passed_s, row["interval_s"])
    # A quantised sensor at rest has no rate; its smallest step is the least that can mean anything.
    sigma = max(np.sqrt(row["square"]), row["resolution"] / row["interval_s"])
    score = 0.0
    gain = max(alpha, 1.0 / row["seen"])
    usual = rate
    if row["seen"] >= warm_up and sigma > 0.0:
        score = rate / (boundary_sigmas * sigma)
        usual = min(rate, _USUAL_SIGMAS * sigma)
    row["square"] += gain * (usual * usual - row["square"])
    see_move(row, move)
    step = max(_INTERVAL_STEP, 0.5 / row["seen"])
    if passed_s > row["interval_s"]:
        row["interval_s"] *= 1.0 + step
    elif passed_s < row["interval_s"]:
        row["interval_s"] *= 1.0 - step
    row["seen"] += 1
    return give_way(row, min(score, 1e9))


def _band(row: Any, ts_us: int, params: NDArray[np.float64]) -> tuple[float, float]:
    passed_s = (ts_us - row["last_us"]) / _US_PER_S
    if row["seen"] < params[2] or passed_s <= 0.0 or row["interval_s"] == 0.0:
        return np.nan, np.nan
    sigma = max(np.sqrt(row["square"]), row["resolution"] / row["interval_s"])
    if sigma == 0.0:
        return np.nan, np.nan
    room = params[1] * sigma * (1.0 + row["extra"]) * max(passed_s, row["interval_s"])
    return row["last"] - room, row["last"] + room


_COMPILED, _BAND, _RUN = bank(_step, _band)


@dataclass(frozen=True, slots=True)
class RateOfChange:
    """Options of the rate of change.

    alpha: weight of the newest reading, 0 < alpha < 1; memory is about 2 / alpha readings.
    boundary_sigmas: the rate that scores 1.0, in root mean squares of the usual rates.
    warm_up: readings before anything is scored.

    >>> model = RateOfChange()
    >>> row = np.zeros(1, model.state)[0]
    >>> usual = [model.step(row, i * 1_000_000, 20.0 + i % 3, model.params) for i in range(300)]
    >>> max(usual) < 1.0 < model.step(row, 300 * 1_000_000, 60.0, model.params)
    True
    """

    alpha: float = 0.01
    boundary_sigmas: float = 9.0
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

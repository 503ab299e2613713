"""Stuck: a sensor that repeats its value for longer than its own noise and quantisation make plausible.

How often a sensor repeats itself is learned from its runs of equal values: a noisy one hardly ever does, one that is
quantised more coarsely than its noise does for a while. If runs end by chance, one of n times their mean length has a
probability of less than exp(-n); where they end by something else (a process that rests), the longest run so far is the
measure. Counted in readings, not in time: a connection that was down is no stuck sensor.

Nothing is known of a sensor before it has moved often enough, so one that never moved is not odd. Meaningless for
sensors that report on change: they do not repeat themselves. Its band is unknown: any other value is fine.

Source: the flat line test of IOOS QARTOD, "Manual for Real-Time Quality Control of In-situ Temperature and Salinity
Data", 2020, with limits that are learned instead of set.
Cost: some 5 ns a reading, 40 bytes a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.compiled import bank
from models.options import at_least_2

_LONGEST = 0.1  # a run of `times` x 0.1 = three times the longest is odd
_FADING = 0.001
_MEMORY = 0.01

_STATE = np.dtype(
    [
        ("runs", np.int64),  # that have ended
        ("length", np.int64),  # of the present run, in readings; 0: nothing was seen
        ("last", np.float64),
        ("mean", np.float64),  # length of the runs
        ("longest", np.float64),
    ]
)


def _step(row: Any, ts_us: int, value: float, params: NDArray[np.float64]) -> float:
    times, warm_up = params[0], params[1]
    if row["length"] == 0:
        row["last"] = value
        row["length"] = 1
        return 0.0
    limit = times * max(row["mean"], _LONGEST * row["longest"])
    known = row["runs"] >= warm_up
    if value == row["last"]:
        row["length"] += 1
        return min(row["length"] / limit, 1e9) if known else 0.0
    # It moved. A run beyond the limit teaches as much as one at the limit: a fault is no licence for the next one,
    # and rests that recur are accepted all the same.
    length = row["length"] + 0.0
    if known:
        length = min(length, limit)
    row["runs"] += 1
    row["mean"] += max(_MEMORY, 1.0 / row["runs"]) * (length - row["mean"])
    row["longest"] = max(row["longest"] - _FADING * (row["longest"] - row["mean"]), length)
    row["last"] = value
    row["length"] = 1
    return 0.0


def _band(row: Any, params: NDArray[np.float64]) -> tuple[float, float]:
    return np.nan, np.nan


_COMPILED, _BAND, _RUN = bank(_step, _band)


@dataclass(frozen=True, slots=True)
class Stuck:
    """Options of stuck.

    times: the run of equal values that scores 1.0, in mean lengths of such runs; for a sensor that once rested for
        longer, a tenth of it times the longest run.
    warm_up: runs that must have ended before anything is scored: so often the value must have changed.

    >>> model = Stuck()
    >>> row = np.zeros(1, model.state)[0]
    >>> usual = [model.step(row, 0, 20.0 + i // 2 % 3, model.params) for i in range(400)]
    >>> stuck = [model.step(row, 0, 20.0, model.params) for i in range(100)]
    >>> max(usual) < 1.0 < max(stuck)
    True
    """

    times: float = 30.0
    warm_up: int = 50

    state: ClassVar[np.dtype[Any]] = _STATE
    step: ClassVar[Any] = staticmethod(_COMPILED)
    band: ClassVar[Any] = staticmethod(_BAND)
    run: ClassVar[Any] = staticmethod(_RUN)

    def __post_init__(self) -> None:
        if not self.times > 1.0:
            raise ValueError("times must be more than 1")
        at_least_2("runs", warm_up=self.warm_up)

    @property
    def params(self) -> NDArray[np.float64]:
        """times, warm_up."""
        return np.array([self.times, self.warm_up], np.float64)

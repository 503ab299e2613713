"""Stuck: a sensor that goes on repeating its value, in the midst of what it usually says.

How often a sensor repeats itself is learned: a noisy one hardly ever does, one that is quantised about as coarsely as
its noise does now and then. By chance a run of n repeats has a probability of share ** n, and what comes of chance has
been there before: the score is the smaller one of the run's improbability and of its length over the longest one known,
squared, as chance falls much more quickly with it than with the scores of other models, which share a budget with it.
What repeats itself more often than not is too coarse to be told from one that is stuck: nothing is said of it.

A machine that comes to rest is not stuck. Whoever freezes does so without a jump, inside of the range in which the
sensor moves, and where it never rested before; all other runs neither score nor teach. A process that comes to rest in
the midst of its range is told once, and then known for days by how long it did.

Counted in readings, not in time: a connection that was down is no stuck sensor. Nothing is known of a sensor before it
has moved often enough, so one that never moved is not odd. Meaningless for sensors that report on change: they do not
repeat themselves. Its band is unknown: any other value is fine.

Source: the flat line test of IOOS QARTOD, "Manual for Real-Time Quality Control of In-situ Temperature and Salinity
Data", 2020, with limits that are learned instead of set; runs of chance after L. J. Gordon, M. F. Schilling,
M. S. Waterman, "An Extreme Value Theory for Long Head Runs", Probab. Theory Relat. Fields 72, 1986.
Cost: some 30 ns a reading, 72 bytes a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.compiled import bank, kernel
from models.options import at_least_2, weight

_SHORTEST = 8  # readings: nobody is stuck for less, however fine an instrument
_NATS = 10.0  # improbability of a run that chance explains, as a natural logarithm: about once in 20,000 readings
_EXPERIENCE = 20.0  # a run is odd where there was none in so many times its length
_MEMORY = 0.001  # of runs
_LASTS = 0.6  # of a run that was odd: a fifth more than it is odd again
_FADING = 2e-5  # of what was long, by runs
_JUMP = 4.0  # usual moves
_BOUNDED = 3.0
_RIM = 0.002  # of the range
_GROWTH = 0.1  # of what is beyond it, or of itself
_NARROWING = 2e-6
_NOWHERE = 1e300  # farther than any value that is folded

_STATE = np.dtype(
    [
        ("runs", np.float64),  # that have taught
        ("length", np.float64),  # of the present run, in readings; negative: it does not count; 0: nothing was seen
        ("last", np.float64),
        ("mean", np.float64),  # length of the runs
        ("longest", np.float64),
        ("move", np.float64),  # from one value to the next one
        ("low", np.float64),  # range of the values that it has moved to
        ("high", np.float64),
        ("rest", np.float64),  # where it stayed for longer than is usual; nowhere, until it is known
    ]
)


@kernel
def _score(length: float, runs: float, mean: float, longest: float, times: float, coarsest: float) -> float:
    """Of a run of so many readings, by what is known of those before it."""
    # Laplace's rule of succession, as nobody has seen enough to know that something never happens.
    few = min(runs, 1.0 / _MEMORY)
    share = ((mean - 1.0) * few + 1.0) / (mean * few + 2.0)
    if share > coarsest:
        return 0.0
    by_chance, longest = times * _NATS / -np.log(share), times * longest
    if runs * mean < _EXPERIENCE * max(_SHORTEST, by_chance, longest):
        return 0.0
    found: float = min((length - 1.0) / by_chance, length / longest, 1e4)
    return found * found


def _step(row: Any, ts_us: int, value: float, params: NDArray[np.float64]) -> float:
    length, runs, last = row["length"], row["runs"], row["last"]
    if value == last and length != 0.0:
        score = 0.0
        if length >= _SHORTEST - 1.0 and runs >= params[1]:
            score = _score(length + 1.0, runs, row["mean"], row["longest"], params[0], params[2])
        row["length"] = length + 1.0 if length > 0.0 else length - 1.0
        if score >= 1.0 or length < -_SHORTEST:
            row["rest"] = last
        return score
    low, high, usual = row["low"], row["high"], row["move"]
    if length > 0.0:
        # The run that has ended teaches.
        mean, longest = row["mean"], row["longest"]
        runs += 1.0
        mean += max(1.0 / runs, _MEMORY) * (length - mean)
        longest -= _FADING * (longest - mean)
        if length > longest:
            is_odd = length >= _SHORTEST and length > params[0] * longest
            longest = max(_LASTS * length, longest) if is_odd else length
        row["runs"] = runs
        row["mean"] = mean
        row["longest"] = longest
    elif length == 0.0:
        last = value
        low = value
        high = value
        row["rest"] = _NOWHERE
    # The next one may be where it freezes if it begins in the midst of what is usual.
    move, width = abs(value - last), high - low
    rim = _RIM * width
    counts = (move <= _JUMP * usual) & (value > low + rim) & (value < high - rim) & (value != row["rest"])
    row["length"] = 1.0 if counts else -1.0
    row["last"] = value
    if runs < params[1]:
        usual += (move - usual) / (runs + 1.0)
    else:
        usual += _MEMORY * (min(move, _BOUNDED * usual) - usual)
    row["move"] = usual
    if value < low:
        low -= min(low - value, width) * _GROWTH if runs >= params[1] and width > 0.0 else low - value
    elif value > high:
        high += min(value - high, width) * _GROWTH if runs >= params[1] and width > 0.0 else value - high
    row["low"] = low + _NARROWING * (value - low)
    row["high"] = high + _NARROWING * (value - high)
    return 0.0


def _band(row: Any, params: NDArray[np.float64]) -> tuple[float, float]:
    return np.nan, np.nan


_COMPILED, _BAND, _RUN = bank(_step, _band)


@dataclass(frozen=True, slots=True)
class Stuck:
    """Options of stuck.

    times: the run of equal values that scores 1.0, in lengths of the longest one that is known, and of what chance
        explains, at least 1; never less than 8 readings.
    warm_up: runs that must have ended before anything is scored: so often the value must have changed.
    coarsest: the share of readings that may repeat the one before; of a sensor with more nothing is said, 0 to 1, both
        excluded.

    >>> model = Stuck()
    >>> row = np.zeros(1, model.state)[0]
    >>> usual = [model.step(row, 0, 20.0 + i * i % 31, model.params) for i in range(400)]
    >>> stuck = [model.step(row, 0, 37.0, model.params) for i in range(20)]
    >>> max(usual) < 1.0 < max(stuck)
    True
    """

    times: float = 2.0
    warm_up: int = 50
    coarsest: float = 0.5

    of_repeats: ClassVar[bool] = True
    state: ClassVar[np.dtype[Any]] = _STATE
    step: ClassVar[Any] = staticmethod(_COMPILED)
    band: ClassVar[Any] = staticmethod(_BAND)
    run: ClassVar[Any] = staticmethod(_RUN)

    def __post_init__(self) -> None:
        if not self.times >= 1.0:
            raise ValueError("times must be at least 1")
        at_least_2("runs", warm_up=self.warm_up)
        weight(coarsest=self.coarsest)

    @property
    def params(self) -> NDArray[np.float64]:
        """times, warm_up, coarsest."""
        return np.array([self.times, self.warm_up, self.coarsest], np.float64)

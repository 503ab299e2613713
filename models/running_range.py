"""Running range: how far a reading, or the mean of the last few, is beyond anything seen before.

The idea is that of the simplest novelty detectors: a process that has been watched for a while has shown its range,
and what lies a good part of that range outside is new. Asked twice: of the reading itself, and of the distance of a
short mean from a long one, whose range is far narrower, so that a shift or a slow swing too small for any single
reading is seen, while a slow drift of the level is none.

What is a little outside is no alarm, yet more than nothing: records are rare, so they score between 0.85 and 1.0 within
the margin. The margin is wider while few readings are known, as records are common then.

Source: K. N. Chandler, "The Distribution and Frequency of Record Values", J. R. Stat. Soc. B 14, 1952; a short mean
against a long one after S. W. Roberts, "Control Chart Tests Based on Geometric Moving Averages", Technometrics 1, 1959.
Cost: some 30 ns a reading, 56 bytes a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.compiled import bank, kernel
from models.options import at_least_2, positive

_RECORD = 0.85
_FEW = 150.0  # readings
_FARTHEST = 2.0  # one reading is so many margins beyond the range at most, for the short mean

_STATE = np.dtype(
    [
        ("seen", np.int64),
        ("low", np.float64),
        ("high", np.float64),
        ("short", np.float64),
        ("long", np.float64),
        ("lowest", np.float64),  # distance of the short mean from the long one
        ("highest", np.float64),
    ]
)


@kernel
def _wider(seen: int) -> float:
    """How much wider the margins are, as records are common while few readings are known."""
    return 1.0 + _FEW / seen


@kernel
def _score(beyond: float, room: float) -> float:
    if beyond <= 0.0 or room <= 0.0:
        return 0.0
    return max(_RECORD + (1.0 - _RECORD) * min(beyond / room, 1.0), beyond / room)


@kernel
def _reach(beyond: float, room: float, growth: float) -> float:
    """By how much the range widens: slowly, and by no more than the margin at once.

    A spike is no licence for the next one, a drift outruns it, and a sentinel (65535) is no licence for all that lies
    below it, while a lasting change is accepted after some 1 / growth readings.
    """
    return min(growth * beyond, room) if room > 0.0 else beyond


def _step(row: Any, ts_us: int, value: float, params: NDArray[np.float64]) -> float:
    margin, growth, warm_up = params[0], params[1], params[2]
    alpha, beta, short_margin = params[3], params[4], params[5]
    if row["seen"] == 0:
        row["low"] = value
        row["high"] = value
        row["short"] = value
        row["long"] = value
        row["seen"] = 1
        return 0.0
    seen = row["seen"] + 0
    first = 1.0 / (seen + 1.0)
    # Without a width there is no measure of what is far.
    wider = _wider(seen) if seen >= warm_up else 0.0
    room = margin * wider * (row["high"] - row["low"])
    beyond = max(value - row["high"], row["low"] - value)
    score = _score(beyond, room)
    if value > row["high"]:
        row["high"] += _reach(beyond, room, growth)
    elif value < row["low"]:
        row["low"] -= _reach(beyond, room, growth)
    # As a sentinel must not stay in the mean for longer than any other spike.
    bounded = value
    if room > 0.0:
        bounded = min(max(value, row["low"] - _FARTHEST * room), row["high"] + _FARTHEST * room)
    row["short"] += max(alpha, first) * (bounded - row["short"])
    distance = row["short"] - row["long"]
    room = short_margin * wider * (row["highest"] - row["lowest"])
    beyond = max(distance - row["highest"], row["lowest"] - distance)
    score = max(score, _score(beyond, room))
    if distance > row["highest"]:
        row["highest"] += _reach(beyond, room, growth)
    elif distance < row["lowest"]:
        row["lowest"] -= _reach(beyond, room, growth)
    row["long"] += max(beta, first) * (bounded - row["long"])
    row["seen"] += 1
    return min(score, 1e9)


def _band(row: Any, params: NDArray[np.float64]) -> tuple[float, float]:
    if row["seen"] < params[2] or row["high"] <= row["low"]:
        return np.nan, np.nan
    wider = _wider(row["seen"])
    room = params[0] * wider * (row["high"] - row["low"])
    low, high = row["low"] - room, row["high"] + room
    room = params[5] * wider * (row["highest"] - row["lowest"])
    if room > 0.0:
        # The readings that bring the short mean to its boundary.
        gain = max(params[3], 1.0 / (row["seen"] + 1.0))
        low = max(low, row["short"] + (row["long"] + row["lowest"] - room - row["short"]) / gain)
        high = min(high, row["short"] + (row["long"] + row["highest"] + room - row["short"]) / gain)
    return low, high


_COMPILED, _BAND, _RUN = bank(_step, _band)


@dataclass(frozen=True, slots=True)
class RunningRange:
    """Options of the running range.

    margin: how far beyond the range scores 1.0, as a share of its width, > 0; twice as much after 150
        readings, half as much again after 300.
    growth: share of the excess by which a reading beyond the range widens it (by the margin at most),
        0 < growth <= 1.
    warm_up: readings before anything is scored.
    short: readings that the short mean is over, at least 2.
    long: readings of the long window, more than `short`.
    short_margin: as margin, for the short mean's distance from the long one.

    >>> model = RunningRange(margin=0.5, warm_up=50)
    >>> row = np.zeros(1, model.state)[0]
    >>> usual = [model.step(row, 0, 20.0 + i % 3, model.params) for i in range(300)]
    >>> max(usual), model.step(row, 0, 23.5, model.params)
    (0.0, 1.0)
    """

    margin: float = 0.75
    growth: float = 0.03
    warm_up: int = 150
    short: int = 15
    long: int = 500
    short_margin: float = 0.65

    state: ClassVar[np.dtype[Any]] = _STATE
    step: ClassVar[Any] = staticmethod(_COMPILED)
    band: ClassVar[Any] = staticmethod(_BAND)
    run: ClassVar[Any] = staticmethod(_RUN)

    def __post_init__(self) -> None:
        positive(margin=self.margin, short_margin=self.short_margin)
        if not 0.0 < self.growth <= 1.0:
            raise ValueError("growth must be above 0 and at most 1")
        at_least_2(warm_up=self.warm_up)
        if not 2 <= self.short < self.long:
            raise ValueError("short must be at least 2 readings, and less than long")

    @property
    def params(self) -> NDArray[np.float64]:
        """margin, growth, warm_up, the windows as weights of the newest reading, short_margin."""
        weights = [2.0 / (self.short + 1.0), 2.0 / (self.long + 1.0)]
        return np.array([self.margin, self.growth, self.warm_up, *weights, self.short_margin], np.float64)

"""Running range: how far a reading is beyond anything seen before.

The idea is that of the simplest novelty detectors: a process that has been watched for a while has shown its range,
and what lies a good part of that range outside is new. Cost: some 5 ns a reading, 24 bytes a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.compiled import bank
from models.options import at_least_2, positive

_STATE = np.dtype([("seen", np.int64), ("low", np.float64), ("high", np.float64)])


def _step(row: Any, ts_us: int, value: float, params: NDArray[np.float64]) -> float:
    margin, growth, warm_up = params[0], params[1], params[2]
    if row["seen"] == 0:
        row["low"] = value
        row["high"] = value
        row["seen"] = 1
        return 0.0
    room = margin * (row["high"] - row["low"])
    beyond = max(value - row["high"], row["low"] - value)
    score = 0.0
    # Without a width there is no measure of what is far.
    if row["seen"] >= warm_up and beyond > 0.0 and room > 0.0:
        score = beyond / room
    # Once warm, the range follows slowly: a spike is no licence for the next one, and a drift outruns it, while a
    # lasting change is accepted after some 1 / growth readings. By no more than the margin at once: a sentinel
    # (65535) is no licence for all that lies below it.
    reach = min(growth * beyond, room) if row["seen"] >= warm_up and room > 0.0 else beyond
    if value > row["high"]:
        row["high"] += reach
    elif value < row["low"]:
        row["low"] -= reach
    row["seen"] += 1
    return min(score, 1e9)


def _band(row: Any, params: NDArray[np.float64]) -> tuple[float, float]:
    room = params[0] * (row["high"] - row["low"])
    if row["seen"] < params[2] or room <= 0.0:
        return np.nan, np.nan
    return row["low"] - room, row["high"] + room


_COMPILED, _BAND, _RUN = bank(_step, _band)


@dataclass(frozen=True, slots=True)
class RunningRange:
    """Options of the running range.

    margin: how far beyond the range scores 1.0, as a share of its width, > 0.
    growth: share of the excess by which a reading beyond the range widens it (by the margin at most),
        0 < growth <= 1.
    warm_up: readings before anything is scored.

    >>> model = RunningRange(margin=0.5, warm_up=50)
    >>> row = np.zeros(1, model.state)[0]
    >>> usual = [model.step(row, 0, 20.0 + i % 3, model.params) for i in range(100)]
    >>> max(usual), model.step(row, 0, 23.0, model.params)
    (0.0, 1.0)
    """

    margin: float = 0.6
    growth: float = 0.03
    warm_up: int = 100

    state: ClassVar[np.dtype[Any]] = _STATE
    step: ClassVar[Any] = staticmethod(_COMPILED)
    band: ClassVar[Any] = staticmethod(_BAND)
    run: ClassVar[Any] = staticmethod(_RUN)

    def __post_init__(self) -> None:
        positive(margin=self.margin)
        if not 0.0 < self.growth <= 1.0:
            raise ValueError("growth must be above 0 and at most 1")
        at_least_2(warm_up=self.warm_up)

    @property
    def params(self) -> NDArray[np.float64]:
        """margin, growth, warm_up."""
        return np.array([self.margin, self.growth, self.warm_up], np.float64)

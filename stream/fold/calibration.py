"""Calibration: a sensor's score is held against the budget of its class, and against its own past.

The combined score, the highest over the sensor's models, is divided by the class's boundary (`budget.py`) and by the
sensor's width: who alerts again and again must be the more unusual for the next one, so that a single bad actor neither
spends the whole budget nor raises the boundary for others.

A time of excitement begins with a score of 0.5 and lasts 100 readings, longer if the score is still outside then. It
counts as one peak, and all in it is held against the boundary that was there when it began.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import ORDERLY, kernel
from stream.fold.budget import FIRST, count_peak

REFRACTORY = 100
"""Readings that belong to one time of excitement."""
_AGAIN = 25  # readings by which it goes on
_STILL = 0.8
_WIDENING = 0.15
_HOUR_US = 3_600_000_000
_DAY_US = 86_400_000_000.0

ALLOWANCE = np.dtype([("width", np.float64), ("spent", np.float64), ("warming", np.int64)])
"""Of a row. width: what its combined score was divided by. spent: alerts of its sensor within about a day before.
warming: 1 where models do not know the sensor, or its new level, yet; see `levels.follow_levels`.
"""


@kernel
def _widen(row: Any, ts_us: int, alerts: float) -> None:
    """Forget alerts of long ago, and add some."""
    days = max(0.0, (ts_us - row["spent_us"]) / _DAY_US)
    row["spent"] = row["spent"] * math.exp(-days) + alerts
    row["spent_us"] = ts_us
    if row["spent"] < 0.05:
        row["spent"] = 0.0
    root = 1.0 + _WIDENING * row["spent"]
    row["extra"] = root * root - 1.0


@kernel
def calibrate(
    sensors: Any,
    pools: Any,
    pool_of: NDArray[np.int32],
    class_of: NDArray[np.int32],
    slot: NDArray[np.int32],
    ts_us: NDArray[np.int64],
    verdict: NDArray[np.uint8],
    score: NDArray[np.float64],
    allowance: Any,
) -> None:
    """Make combined scores calibrated ones, in place and in order.

    sensors: SENSOR, shape (slots,). pools: POOL, shape (pools,). pool_of: by class. verdict: rows that are not ORDERLY
    are left alone. score: shape (rows,). allowance: ALLOWANCE, shape (rows,): width and spent are
    written.
    """
    for i in range(slot.size):
        if verdict[i] != ORDERLY:
            continue
        row = sensors[slot[i]]
        pool = pools[pool_of[class_of[slot[i]]]]
        if row["extra"] > 0.0 and row["left"] == 0 and ts_us[i] - row["spent_us"] >= _HOUR_US:
            _widen(row, ts_us[i], 0.0)
        width = 1.0 + row["extra"]
        own = score[i] / width
        boundary = pool["boundary"] if pool["boundary"] > 0.0 else 1.0
        if row["left"] > 0:
            boundary = row["bar"]
            row["left"] -= 1
            if own > row["top"]:
                if row["top"] < boundary <= own:
                    pool["spent"] += 1.0
                count_peak(pool, own, row["top"])
                row["top"] = own
            if row["left"] == 0:
                if own >= _STILL * boundary:
                    row["left"] = _AGAIN
                elif row["top"] >= boundary:
                    _widen(row, ts_us[i], 1.0)
        elif own >= FIRST:
            row["left"] = REFRACTORY
            row["bar"] = boundary
            row["top"] = own
            if own >= boundary:
                pool["spent"] += 1.0
            count_peak(pool, own, 0.0)
        allowance[i]["width"] = width * boundary
        allowance[i]["spent"] = row["spent"]
        score[i] = own / boundary

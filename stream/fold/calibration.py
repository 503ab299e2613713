"""Calibration: a sensor's score is held against the budget of its class, and against its own past.

The combined score, the highest over the sensor's models, is divided by the class's boundary (`budget.py`) and by the
sensor's width: who alerts again and again must be the more unusual for the next one, so that a single bad actor neither
spends the whole budget nor raises the boundary for others.

A time of excitement begins with a score of 0.5 and lasts 100 readings, longer if the score is still outside then. It
counts as one peak, and all in it is held against the boundary that was there when it began, or that the peaks of others
have made since while it has raised no alert: what happens to many at once is told of the first few.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import ORDERLY, inlined_kernel, kernel
from models.prefetch import ahead, prefetch
from stream.fold.budget import FIRST, boundary_beside, count_peak, expect_of_new
from stream.fold.levels import CHANGED, OUT, follow_level, outside_of_rejected, says_nothing

REFRACTORY = 100
"""Readings that belong to one time of excitement."""
_AGAIN = 25  # readings by which it goes on
_STILL = 0.8
_WIDENING = 0.15
_HOUR_US = 3_600_000_000
_DAY_US = 86_400_000_000.0

ALLOWANCE = np.dtype([("width", np.float64), ("spent", np.float64), ("warming", np.int64)])
"""Of a row. width: what its combined score was divided by. spent: alerts of its sensor within about a day before.
warming: 1 where models do not know the sensor, or its new level, yet; see `levels.says_nothing`.
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


@inlined_kernel
def _calibrated(row: Any, pool: Any, ts_us: int, score: float, allowance: Any) -> float:
    """The calibrated score of a combined one. row: SENSOR. pool: POOL. allowance: ALLOWANCE, is written."""
    if row["extra"] > 0.0 and row["left"] == 0 and ts_us - row["spent_us"] >= _HOUR_US:
        _widen(row, ts_us, 0.0)
    width = 1.0 + row["extra"]
    own = score / width
    boundary = pool["boundary"] if pool["boundary"] > 0.0 else 1.0
    if row["left"] > 0:
        boundary = row["bar"]
        row["left"] -= 1
        if own > row["top"]:
            if row["top"] < boundary:
                boundary = max(boundary, boundary_beside(pool, row["top"]))
                row["bar"] = boundary
            if row["top"] < boundary <= own:
                pool["spent"] += 1.0
            count_peak(pool, own, row["top"])
            row["top"] = own
        if row["left"] == 0:
            if own >= _STILL * boundary:
                row["left"] = _AGAIN
            elif row["top"] >= boundary:
                _widen(row, ts_us, 1.0)
    elif own >= FIRST:
        row["left"] = REFRACTORY
        row["bar"] = boundary
        row["top"] = own
        if own >= boundary:
            pool["spent"] += 1.0
        count_peak(pool, own, 0.0)
    allowance["width"] = width * boundary
    allowance["spent"] = row["spent"]
    calibrated: float = own / boundary
    return calibrated


@kernel
def calibrate(
    sensors: Any,
    pools: Any,
    levels: Any,
    pool_of: NDArray[np.int32],
    class_of: NDArray[np.int32],
    limits: Any,
    slot: NDArray[np.int32],
    ts_us: NDArray[np.int64],
    value: NDArray[np.float64],
    seen: NDArray[np.uint8],
    held: NDArray[np.uint8],
    score: NDArray[np.float64],
    scored_by: NDArray[np.int16],
    expected: NDArray[np.float64],
    allowance: Any,
) -> int:
    """Make combined scores those that rules will see, in place and in order, and follow levels by them. Returns how
    many rows were of sensors whose level is not calm.

    sensors: SENSOR, levels: LEVEL, shape (slots,). pools: POOL, shape (pools,). pool_of: by class. seen: rows that are
    not ORDERLY are left alone. held: what `levels.hold` wrote, or of no length where it was not needed. score: shape
    (rows,). allowance: ALLOWANCE, shape (rows,), is written.

    Both in one loop, row by row: what says nothing (`levels.says_nothing`) spends nothing of the budget, and what it
    spends decides where a run begins.
    """
    busy = 0
    for i in range(slot.size):
        for k in ahead(i, slot.size):
            prefetch(sensors, slot[k])
            prefetch(levels, slot[k])
        if seen[i] != ORDERLY:
            continue
        at = slot[i]
        row, level, limit = sensors[at], levels[at], limits[class_of[at]]
        if level["seen"] == 0:
            level["first_us"] = ts_us[i]
            if limit["scored"]:
                expect_of_new(pools[pool_of[class_of[at]]])
        level["seen"] += 1
        is_held = held.size > 0 and held[i] != 0
        if is_held and held[i] == OUT:
            score[i] = outside_of_rejected(level, value[i])
            scored_by[i] = -1
            expected[i, 0] = level["low"]
            expected[i, 1] = level["high"]
            allowance[i]["width"] = 1.0
            allowance[i]["spent"] = row["spent"]
            continue
        nothing = 0 if is_held else says_nothing(level, limit["warm_up"], value[i])
        allowance[i]["warming"] = nothing == 1 or level["stage"] == CHANGED
        if nothing != 0:
            score[i] = 0.0
            scored_by[i] = -1
            expected[i, 0] = np.nan if nothing == 1 else level["low"]
            expected[i, 1] = np.nan if nothing == 1 else level["high"]
        score[i] = _calibrated(row, pools[pool_of[class_of[at]]], ts_us[i], score[i], allowance[i])
        if not is_held and nothing != 1:
            busy += follow_level(level, limit, ts_us[i], value[i], score[i], expected[i, 0], expected[i, 1])
    return busy

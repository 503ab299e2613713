"""Level changes: a sensor that alerted and then stays elsewhere, as steady as before, has another level.

A reading that scores 1.0 and is outside a band with two ends begins a run. The run goes on until ten readings in a row
are inside that old band again. The level has changed if an alert on a score was open when the run began, and after
`level_after` readings and `level_lasts` the run's mean is well beyond the band, by a quarter of its width, and its
spread is like the band's: a standard deviation of at most a quarter of its width, as bands are several of the old one's
wide. So what is still moving is no level, nor is what a shift or a night brings and takes, nor what is stuck. Nor has a
sensor another level before it has been known for `level_lasts`.

Kernels only mark rows. What follows (alerts end, models begin anew) is done when the partition's clock moves on, in
`relearning.py`: models run over a batch one after the other, so only there the result is the same for any split.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import borrowing_kernel, inlined_kernel
from stream.fold.gate import FOLDED, MASKED


class Stage(IntEnum):
    """Where a sensor's level stands."""

    CALM = 0
    OUTSIDE = 1
    """A run began. When the clock moves on, it is watched, or not if no alert is open."""
    WATCHED = 2
    """A run with an alert."""
    STEADY = 3
    """The level has changed; the clock has not moved on yet."""
    CHANGED = 4
    """Models learn anew."""
    BACK = 5
    """It came back while models learned anew; the clock has not moved on yet."""
    LEARNED = 6
    """Models have learned anew; the clock has not moved on yet."""
    REJECTED = 7
    """The new level is wrong: until it is back, what is outside the old band is an anomaly, and not learned."""
    SETTLED = 8
    """Models have learned anew, and what they knew before is kept: to come back to it is no anomaly."""


_CALM, _OUTSIDE, _WATCHED, _STEADY, _CHANGED, _BACK, _LEARNED, _REJECTED, _SETTLED = (int(one) for one in Stage)
CHANGED = _CHANGED
EVENT_OPEN = (_CHANGED, _BACK, _LEARNED)
"""Stages of a "level changed" that is not over."""

LEVEL = np.dtype(
    [
        ("seen", np.int64),  # readings that models might have learned, since the sensor's begin
        ("since_us", np.int64),  # when the run began
        ("low", np.float64),  # the band before the run
        ("high", np.float64),
        ("mean", np.float64),  # of the run: the new level
        ("m2", np.float64),
        ("stage", np.int32),
        ("run", np.int32),  # readings in it, negative below the band; of CHANGED: readings since
        ("inside", np.int32),  # readings in a row inside the old band
        ("told", np.int32),  # 1: people know of the alert, so they are told of the event
        ("first_us", np.int64),  # of the readings seen
    ]
)
"""State per sensor."""

BACK_AFTER = 10
"""So many readings in a row inside the old band: the sensor is back."""
_LONGEST = 2**30
_WORST = 1e9
IN, OUT = 1, 2
"""What `hold` says of a row."""


@borrowing_kernel
def hold(
    levels: Any,
    slot: NDArray[np.int32],
    value: NDArray[np.float64],
    seen: NDArray[np.uint8],
    taught: NDArray[np.uint8],
    held: NDArray[np.uint8],
) -> None:
    """Keep from models what is outside the old band of a sensor whose new level was rejected.

    seen: verdicts; taught: a copy, in which such rows become MASKED. held: zeros; becomes 1 where such a sensor is
    inside, and 2 where it is outside.
    """
    for i in range(slot.size):
        if seen[i] != FOLDED:
            continue
        row = levels[slot[i]]
        if row["stage"] != _REJECTED:
            continue
        if row["low"] <= value[i] <= row["high"]:
            held[i] = IN
            row["inside"] += 1
            if row["inside"] >= BACK_AFTER:
                row["stage"] = _CALM
        else:
            held[i] = OUT
            taught[i] = MASKED
            row["inside"] = 0


@borrowing_kernel
def outside_of_rejected(row: Any, value: float) -> float:
    """The score of a reading that `hold` has held: its distance from the middle of the old band, in halves of its
    width.
    """
    half = 0.5 * (row["high"] - row["low"])
    middle = row["low"] + half
    score: float = min(max(abs(value - middle) / half, 1.0), _WORST)
    return score


@borrowing_kernel
def says_nothing(row: Any, warm_up: int, value: float) -> int:
    """Whether a reading's score is none: 1 before its class's `warm_up` is over, 2 where a level before is kept and the
    reading is in its band: models know nothing of it, and it is not unusual. Else 0.
    """
    if row["seen"] <= warm_up:
        return 1
    return 2 if row["stage"] >= _CHANGED and row["low"] <= value <= row["high"] else 0


@inlined_kernel
def follow_level(row: Any, limit: Any, ts_us: int, value: float, score: float, low: float, high: float) -> int:
    """Follow a sensor's level by one more reading, with the score that rules will see and its band; 1 if the level is
    not calm, else 0.
    """
    if row["stage"] == _SETTLED:
        come_back(row, value)
    stage = row["stage"]
    if stage in (_CALM, _SETTLED):
        # What has been there for less time than another level has to last was none itself.
        if score >= 1.0 and limit["level_after"] > 0 and ts_us - row["first_us"] >= limit["level_lasts_us"]:
            begin_run(row, ts_us, value, low, high)
            return 1
        return 0
    if stage in (_OUTSIDE, _WATCHED):
        go_on(row, ts_us, value, limit["level_after"], limit["level_lasts_us"])
    elif stage == _CHANGED:
        learn_anew(row, value, max(limit["level_after"], limit["warm_up"]))
    return 1


@borrowing_kernel
def begin_run(row: Any, ts_us: int, value: float, low: float, high: float) -> None:
    """A reading scores 1.0 or more: a run begins with it, if it is outside a band with two ends and a width."""
    if not (np.isfinite(low) and np.isfinite(high) and low < high and np.isfinite(high - low)):
        return
    if low <= value <= high:
        return
    row["stage"] = _OUTSIDE
    row["since_us"] = ts_us
    row["low"] = low
    row["high"] = high
    row["run"] = 1 if value > high else -1
    row["inside"] = 0
    row["mean"] = value
    row["m2"] = 0.0
    row["told"] = 0


@borrowing_kernel
def go_on(row: Any, ts_us: int, value: float, after: int, lasts_us: int) -> None:
    """The next reading of a run."""
    sign = 1 if row["run"] > 0 else -1
    readings = min(abs(row["run"]), _LONGEST) + 1
    deviation = value - row["mean"]
    row["mean"] += deviation / readings
    row["m2"] += deviation * (value - row["mean"])
    row["run"] = sign * readings
    beyond = value > row["high"] if sign > 0 else value < row["low"]
    row["inside"] = 0 if beyond else row["inside"] + 1
    if row["inside"] >= BACK_AFTER or after == 0:
        row["stage"] = _CALM
    elif row["stage"] == _WATCHED and readings >= after:
        quarter = 0.25 * (row["high"] - row["low"])
        # Half as far again from the middle of the band as its end is.
        away = row["mean"] - row["high"] if sign > 0 else row["low"] - row["mean"]
        # What does not vary at all is stuck, or a switch.
        if away >= quarter and 0.0 < row["m2"] <= quarter * quarter * (readings - 1):
            if ts_us - row["since_us"] >= lasts_us:
                row["stage"] = _STEADY
                row["inside"] = 0
        else:
            # It is still on its way, or restless: as many readings from here on, again.
            row["run"] = sign
            row["mean"] = value
            row["m2"] = 0.0


@borrowing_kernel
def learn_anew(row: Any, value: float, after: int) -> None:
    """The next reading after a changed level."""
    row["run"] = min(row["run"], _LONGEST) + 1
    come_back(row, value)
    if row["stage"] == _CHANGED and row["run"] >= after:
        row["stage"] = _LEARNED


@borrowing_kernel
def come_back(row: Any, value: float) -> None:
    """The next reading of one that may come back to the level before."""
    row["inside"] = row["inside"] + 1 if row["low"] <= value <= row["high"] else 0
    if row["inside"] >= BACK_AFTER:
        row["stage"] = _BACK


def calm(levels: NDArray[Any]) -> None:
    """Forget runs and events of some rows; what was rejected stays so."""
    rejected = levels["stage"] == Stage.REJECTED
    for name in levels.dtype.names or ():
        if name not in ("seen", "first_us"):
            kept = rejected & (name not in ("since_us", "mean", "m2", "run", "told"))
            levels[name] = np.where(kept, levels[name], 0)


def wrong_levels(levels: NDArray[Any], named: NDArray[np.bool_]) -> str | None:
    """What is wrong with rows that come from outside, if anything is. named: by row, whether a sensor has it."""
    stage = levels["stage"]
    if ((stage < 0) | (stage > _SETTLED) | ((stage != 0) & ~named)).any():
        return "a level in a stage that there is not"
    seen, run, most = levels["seen"], levels["run"], _LONGEST + 1
    if ((seen < 0) | (seen > 2**62) | (levels["inside"] < 0) | (run > most) | (run < -most)).any():
        return "a level with fewer readings than none, or more than all"
    if ((levels["inside"] > BACK_AFTER) | (levels["told"] < 0) | (levels["told"] > 1)).any():
        return "a level that is neither here nor there"
    low, high, busy = levels["low"], levels["high"], stage != _CALM
    with np.errstate(all="ignore"):
        right = np.isfinite(low) & np.isfinite(high) & (low < high) & np.isfinite(high - low)
        right &= np.isfinite(levels["mean"]) & np.isfinite(levels["m2"])
    return "a level of no band" if (busy & ~right).any() else None

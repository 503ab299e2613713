"""The loop over a batch: gate, then windows, while the sensor's row is in the cache."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import borrowing_kernel
from models.prefetch import ahead, prefetch
from stream.fold.counters import COUNTER_FIELDS, unwrap
from stream.fold.gate import (
    BAD,
    BAD_QUALITY,
    DUPLICATE,
    FOLDED,
    LATE,
    OUT_OF_ORDER,
    OVER_BUDGET,
    RING,
    SENTINEL,
    STATE,
    believe,
    is_far,
    judge,
)
from stream.fold.windows import add_sample, floor_of, goes_to, held_until, hold

SENSOR = np.dtype(
    [
        ("shown_us", np.int64),  # newest reading of any quality
        ("shown_value", np.float64),
        ("shown_quality", np.int32),
        ("shown_text", np.int16),  # whether it was text
        ("refused", np.int16),  # the verdict of the reading that came last, 0 if that was all right
        ("last_us", np.int64),  # newest folded reading
        ("last_value", np.float64),  # as it came: of a counter, without the offset
        ("last_now_us", np.int64),  # the partition's clock when it came
        ("changed_us", np.int64),  # since when folded readings have had this value
        ("on_change", np.int64),  # 1: it sends when its value changes
        ("holds", np.int64),  # on-change: the last value is still in force
        ("until_us", np.int64),  # on-change: a bad reading after the last one; none if it is not after it
        ("score", np.float64),
        ("scored_by", np.int64),
        ("low", np.float64),  # the band that the score's model expected
        ("high", np.float64),
        ("ring_at", np.int64),
        ("ring_used", np.int64),
        ("left", np.int64),  # calibration: readings left of a time of excitement; 0: there is none
        ("top", np.float64),  # the highest score in it
        ("bar", np.float64),  # the boundary when it began
        ("spent", np.float64),  # own alerts within about a day
        ("spent_us", np.int64),  # as of when
        ("extra", np.float64),  # by how much the sensor's own boundary is wider, as a share of it
        ("ring", np.int64, (RING,)),
        *COUNTER_FIELDS,
    ]
)


@borrowing_kernel
def fold_rows(
    sensors: Any,
    panes: Any,
    class_of: NDArray[np.int32],
    limits: Any,
    levels: NDArray[np.int64],
    now_us: int,
    latest_us: int,
    slot: NDArray[np.int32],
    ts_us: NDArray[np.int64],
    value: NDArray[np.float64],
    is_text: NDArray[np.bool_],
    quality: NDArray[np.uint8],
    flags: NDArray[np.uint8],
    verdict: NDArray[np.uint8],
    reworded: NDArray[np.bool_],
    folded: NDArray[np.float64],
    turns: NDArray[np.int64],
) -> None:
    """Judge and fold each row, in order. Slots are in [-1, len(sensors)), -1 for a sensor over the budget.

    Writes verdict, and True to `reworded` where the row brought its sensor's text or ended it. folded: has the values,
    and gets what windows and models have instead, where that is another number; turns: by `counters.Turn`.
    """
    # Of the finest level, to divide seldom: the pane of the row before, and of the one that was asked for before.
    number, place, next_number, next_place, next_above = 0, 0, 0, 0, 0
    width_us = levels[0, 0]
    for i in range(slot.size):
        for k in ahead(i, slot.size):
            prefetch(sensors, slot[k])
            if not 0 <= ts_us[k] - next_number * width_us < width_us:
                next_number = ts_us[k] // width_us
                next_place = next_number % levels[0, 2]
                next_above = goes_to(levels, next_number - levels[0, 2])
            prefetch(panes[slot[k]], next_place)
            prefetch(panes[slot[k]], next_above)
        at = slot[i]
        if at < 0:
            verdict[i] = OVER_BUDGET
            continue
        row = sensors[at]
        limit = limits[class_of[at]]
        t, x = ts_us[i], value[i]
        found = judge(row, t, x, is_text[i], quality[i], flags[i], latest_us, limit)
        if found == SENTINEL and limit["sentinels_named"] == 0 and not is_far(panes, at, x):
            found = believe(row, t, x, flags[i], limit)
        if found in (FOLDED, OUT_OF_ORDER):
            in_order = found == FOLDED
            weight = 1.0
            if row["on_change"] != 0:
                weight = 0.0
                if in_order:
                    end_us = held_until(row, t, limit["staleness_us"])
                    if end_us > row["last_us"]:
                        hold(panes, at, levels, row["last_us"], end_us, row["last_value"] + row["offset"])
            y = x
            if limit["counter"] != 0:
                y = unwrap(row, panes, at, t, x, in_order, limit["max_rate"], turns)
                folded[i] = y
            if not 0 <= t - number * width_us < width_us:
                number = t // width_us
                place = number % levels[0, 2]
            if not in_order and t < floor_of(levels, levels.shape[0] - 1, row["last_us"]):
                found = LATE  # no window reaches back so far
            elif not add_sample(panes, at, levels, number, place, t, y, weight):
                found = LATE
            elif in_order:
                if row["last_us"] == 0 or x != row["last_value"]:
                    row["changed_us"] = t
                row["last_us"] = t
                row["last_value"] = x
                row["last_now_us"] = now_us
                if row["on_change"] != 0:
                    if row["until_us"] <= t < row["shown_us"] and row["shown_quality"] == BAD:
                        # The bad one that is known ended an earlier value; another one, after this, is known as well.
                        row["until_us"] = row["shown_us"]
                    row["holds"] = row["until_us"] <= t
        elif found == BAD_QUALITY and row["on_change"] != 0 and limit["numeric"] != 0 and t > row["last_us"]:
            # The value holds until its source says that it cannot be trusted. It counts when a reading moves the
            # sensor's time on: panes beyond it would take the places of those that its windows ask for.
            if row["until_us"] <= row["last_us"] or t < row["until_us"]:
                row["until_us"] = t
            row["holds"] = 0
        verdict[i] = found
        if found > STATE:
            # What was only sent again says nothing; a clock that stands still does.
            if found != DUPLICATE or (t == row["shown_us"] and (x < row["shown_value"] or x > row["shown_value"])):
                row["refused"] = found
        elif row["refused"] != 0:
            row["refused"] = 0
        if t > row["shown_us"] and t <= latest_us:
            row["shown_us"] = t
            row["shown_value"] = x
            row["shown_quality"] = quality[i]
            reworded[i] = is_text[i] or row["shown_text"] != 0
            row["shown_text"] = is_text[i]


@borrowing_kernel
def keep_scores(
    sensors: Any,
    slot: NDArray[np.int32],
    verdict: NDArray[np.uint8],
    score: NDArray[np.float64],
    scored_by: NDArray[np.int16],
    expected: NDArray[np.float64],
) -> None:
    """Let each sensor remember the score of its newest folded reading."""
    for i in range(slot.size):
        for k in ahead(i, slot.size):
            prefetch(sensors, slot[k])
        if verdict[i] == FOLDED:
            sensors[slot[i]]["score"] = score[i]
            sensors[slot[i]]["scored_by"] = scored_by[i]
            sensors[slot[i]]["low"] = expected[i, 0]
            sensors[slot[i]]["high"] = expected[i, 1]

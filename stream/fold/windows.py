"""Windows: levels of rings of panes, merged on read. Any number of window lengths share the panes.

A pane covers [id × width, (id + 1) × width) in event time. What is new goes into the finest level; a pane that has to
make room is merged into the next level's, so everything is in exactly one pane, as fine as its age allows. For
periodic sensors each reading weighs 1; for on-change sensors the value weighs the seconds it held.

Mean and M2 (the sum of squared deviations) after B. P. Welford, Technometrics 4, 1962; weighted after D. H. D. West,
Comm. ACM 22, 1979; merged, with the co-moment of value and time that a slope needs, after T. F. Chan et al., 1979.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import borrowing_kernel, inlined_kernel

PANE = np.dtype(
    [
        ("id", np.int64),
        ("samples", np.int64),
        ("weight", np.float64),
        ("mean", np.float64),
        ("m2", np.float64),
        ("t_mean", np.float64),  # of the time, in seconds since the pane's begin
        ("t_m2", np.float64),
        ("co", np.float64),  # co-moment: the sum of products of both deviations
        ("min", np.float64),
        ("max", np.float64),
        ("first", np.float64),
        ("first_us", np.int64),
        ("last", np.float64),
        ("last_us", np.int64),
    ]
)
NO_PANE = -1
_NO_PLACE = -1
_US_PER_S = 1e6
_S_PER_US = 1e-6
_EARLIEST_US, _LATEST_US = -(2**63), 2**63 - 1

STATISTICS = np.dtype(
    [
        ("samples", np.int64),
        ("covered", np.float64),
        ("mean", np.float64),
        ("stddev", np.float64),
        ("min", np.float64),
        ("max", np.float64),
        ("first", np.float64),
        ("last", np.float64),
        ("slope", np.float64),
    ]
)
"""Of one window. covered: seconds in which a value was in force (on-change), or from the earliest reading to the latest
(periodic). slope: of the least-squares line, per minute. NaN where nothing is known."""


@borrowing_kernel
def renew(pane: Any, number: int) -> None:
    """Make it the pane of a number, with nothing in it."""
    pane["id"] = number
    pane["samples"] = 0
    pane["weight"] = 0.0
    pane["mean"] = 0.0
    pane["m2"] = 0.0
    pane["t_mean"] = 0.0
    pane["t_m2"] = 0.0
    pane["co"] = 0.0
    pane["min"] = np.inf
    pane["max"] = -np.inf
    pane["first"] = np.nan
    pane["first_us"] = _LATEST_US
    pane["last"] = np.nan
    pane["last_us"] = _EARLIEST_US


@borrowing_kernel
def weigh(pane: Any, value: float, weight: float, at_s: float, t_m2: float) -> None:
    """Let a value count with a weight at a time, or with a spread around it."""
    total = pane["weight"] + weight
    # The quotient first: the first value's share is exactly 1, so a mean of one value is that value.
    share = weight / total
    deviation = value - pane["mean"]
    after = at_s - pane["t_mean"]
    pane["weight"] = total
    pane["mean"] += deviation * share
    pane["t_mean"] += after * share
    rest = value - pane["mean"]
    pane["m2"] += weight * deviation * rest
    pane["co"] += weight * after * rest
    pane["t_m2"] += weight * after * (at_s - pane["t_mean"]) + t_m2


@borrowing_kernel
def span(pane: Any, value: float, from_us: int, to_us: int) -> None:
    """A value's part in extremes and ends: it was there from one time to another, both included."""
    pane["min"] = min(pane["min"], value)
    pane["max"] = max(pane["max"], value)
    if from_us < pane["first_us"]:
        pane["first_us"] = from_us
        pane["first"] = value
    if to_us > pane["last_us"]:
        pane["last_us"] = to_us
        pane["last"] = value


@borrowing_kernel
def weigh_held(pane: Any, begin_us: int, from_us: int, until_us: int, value: float) -> None:
    """A value held over [from_us, until_us), in a pane that begins at begin_us."""
    held_s = (until_us - from_us) / _US_PER_S
    middle_s = ((from_us - begin_us) + (until_us - begin_us)) / (2.0 * _US_PER_S)
    # The second moment of a time that is spread evenly.
    weigh(pane, value, held_s, middle_s, held_s * held_s * held_s / 12.0)
    span(pane, value, from_us, until_us - 1)


@borrowing_kernel
def merge(into: Any, pane: Any, shift_s: float) -> None:
    """Add a pane that begins `shift_s` after another to that one."""
    if pane["weight"] > 0.0:
        total = into["weight"] + pane["weight"]
        share = pane["weight"] / total
        both = into["weight"] * share
        deviation = pane["mean"] - into["mean"]
        after = pane["t_mean"] + shift_s - into["t_mean"]
        into["weight"] = total
        into["mean"] += deviation * share
        into["t_mean"] += after * share
        into["m2"] += pane["m2"] + deviation * deviation * both
        into["co"] += pane["co"] + deviation * after * both
        into["t_m2"] += pane["t_m2"] + after * after * both
    into["samples"] += pane["samples"]
    into["min"] = min(into["min"], pane["min"])
    into["max"] = max(into["max"], pane["max"])
    if pane["first_us"] < into["first_us"]:
        into["first_us"] = pane["first_us"]
        into["first"] = pane["first"]
    if pane["last_us"] > into["last_us"]:
        into["last_us"] = pane["last_us"]
        into["last"] = pane["last"]


@inlined_kernel
def place_of(panes: Any, slot: int, levels: NDArray[np.int64], level: int, ts_us: int) -> tuple[int, int, int]:
    """(place, level, number) of the pane of a time: on this level or the first above that has not moved past it.

    The place may hold an older pane. Place -1 if all levels have moved on: no window sees that time any more.
    """
    for at_level in range(level, levels.shape[0]):
        number = ts_us // levels[at_level, 0]
        at = levels[at_level, 1] + number % levels[at_level, 2]
        if panes[slot, at]["id"] <= number:
            return at, at_level, number
    return _NO_PLACE, level, 0


@inlined_kernel
def goes_to(levels: NDArray[np.int64], number: int) -> int:
    """The place on the next level of a pane of the finest one when it has to make room; 0 if there is no next level."""
    if levels.shape[0] < 2:
        return 0
    place: int = levels[1, 1] + number * levels[0, 0] // levels[1, 0] % levels[1, 2]
    return place


@borrowing_kernel
def roll_up(panes: Any, slot: int, levels: NDArray[np.int64], at: int, level: int) -> None:
    """Empty a place: merge its pane into the first level above that has a place for it, or forget it."""
    while panes[slot, at]["id"] != NO_PANE:
        source, source_level = at, level
        while True:
            begin_us = panes[slot, source]["id"] * levels[source_level, 0]
            target, target_level, number = place_of(panes, slot, levels, source_level + 1, begin_us)
            if target == _NO_PLACE:
                break
            if panes[slot, target]["id"] != number:
                if panes[slot, target]["id"] != NO_PANE:
                    # An older pane is in the way and has to go first.
                    source, source_level = target, target_level
                    continue
                renew(panes[slot, target], number)
            merge(panes[slot, target], panes[slot, source], (begin_us - number * levels[target_level, 0]) * _S_PER_US)
            break
        panes[slot, source]["id"] = NO_PANE


@inlined_kernel
def open_pane(panes: Any, slot: int, levels: NDArray[np.int64], level: int, ts_us: int) -> tuple[int, int]:
    """(place of the pane of a time, its begin): on this level or one above, fresh if need be; (-1, 0) if too old."""
    at, at_level, number = place_of(panes, slot, levels, level, ts_us)
    if at == _NO_PLACE:
        return _NO_PLACE, 0
    if panes[slot, at]["id"] != number:
        roll_up(panes, slot, levels, at, at_level)
        renew(panes[slot, at], number)
    return at, number * levels[at_level, 0]


@inlined_kernel
def add_sample(
    panes: Any, slot: int, levels: NDArray[np.int64], number: int, at: int, ts_us: int, value: float, weight: float
) -> bool:
    """Add a reading; False if its panes are gone. Weight 0: it counts, and holds from now on (on-change).

    number, at: of the time's pane of the finest level, and the place of that; most often it is the newest one's.
    """
    begin_us = number * levels[0, 0]
    if panes[slot, at]["id"] != number:
        at, begin_us = open_pane(panes, slot, levels, 0, ts_us)
        if at == _NO_PLACE:
            return False
    pane = panes[slot, at]
    if weight > 0.0:
        weigh(pane, value, weight, (ts_us - begin_us) * _S_PER_US, 0.0)
    span(pane, value, ts_us, ts_us)
    pane["samples"] += 1
    return True


@borrowing_kernel
def floor_of(levels: NDArray[np.int64], level: int, newest_us: int) -> int:
    """The begin of the oldest pane that a level's ring can hold beside that of the newest time."""
    width_us = levels[level, 0]
    floor_us: int = (newest_us // width_us - levels[level, 2] + 1) * width_us
    return floor_us


@borrowing_kernel
def held_until(row: Any, until_us: int, staleness_us: int) -> int:
    """When the newest folded value of an on-change sensor ceased to hold, `until_us` at the latest.

    Not after `row["last_us"]` if it does not hold at all.
    """
    if row["last_us"] == 0:
        return 0
    end_us: int = until_us if row["holds"] != 0 else min(until_us, row["until_us"])
    stale_us: int = row["last_us"] + staleness_us
    return min(end_us, stale_us)


@borrowing_kernel
def hold(panes: Any, slot: int, levels: NDArray[np.int64], from_us: int, until_us: int, value: float) -> None:
    """A value held over [from_us, until_us): every pane that it crosses counts the seconds.

    What the finer levels would only roll up again goes straight into the coarser ones: at most one update per pane.
    """
    newest_us = until_us - 1
    level = 0
    # What lies before the coarsest ring is not seen by any window.
    at_us = max(from_us, floor_of(levels, 0, newest_us))
    while at_us > from_us and level + 1 < levels.shape[0]:
        level += 1
        at_us = max(from_us, floor_of(levels, level, newest_us))
    while level >= 0:
        width_us = levels[level, 0]
        end_us = until_us if level == 0 else floor_of(levels, level - 1, newest_us)
        while at_us < end_us:
            stop_us = min(end_us, (at_us // width_us + 1) * width_us)
            at, begin_us = open_pane(panes, slot, levels, level, at_us)
            if at != _NO_PLACE:
                weigh_held(panes[slot, at], begin_us, at_us, stop_us, value)
            at_us = stop_us
        level -= 1


@borrowing_kernel
def read(
    sensors: Any,
    panes: Any,
    class_of: NDArray[np.int32],
    limits: Any,
    levels: NDArray[np.int64],
    level: int,
    window_us: int,
    now_us: int,
    total: Any,
    out: Any,
) -> None:
    """Statistics of one window length for all slots; nothing is changed. out: STATISTICS, shape (slots,).

    level: the window's. total: a PANE to work with. The window of a sensor ends with that level's pane of the
    sensor's own latest time. `now_us`, the partition's clock, moves it on only as far as the sensor has been idle;
    then a held value counts on, up to the staleness limit.
    """
    width_us = levels[level, 0]
    for slot in range(out.size):
        row = sensors[slot]
        limit = limits[class_of[slot]]
        idle_us = max(0, now_us - row["last_now_us"])
        until_us = row["last_us"] + idle_us
        if row["on_change"] == 0:
            # A pane of grace: the reading that would move the window may be on its way.
            until_us = max(row["last_us"], until_us - levels[0, 0])
        end_us = (until_us // width_us + 1) * width_us
        begin_us = end_us - window_us
        renew(total, 0)
        for finer in range(level + 1):
            for at in range(levels[finer, 1], levels[finer, 1] + levels[finer, 2]):
                pane = panes[slot, at]
                pane_us = pane["id"] * levels[finer, 0]
                if pane["id"] != NO_PANE and begin_us <= pane_us and pane_us < end_us:
                    merge(total, pane, (pane_us - begin_us) / _US_PER_S)
        at_once = False
        if row["on_change"] != 0:
            held_from = max(row["last_us"], begin_us)
            # What is known to have ended it counts in all of the window, as readings do.
            to_us = held_until(row, until_us if row["holds"] != 0 else end_us, limit["staleness_us"])
            if to_us > held_from:
                weigh_held(total, begin_us, held_from, to_us, row["last_value"] + row["offset"])
            elif row["holds"] != 0 and total["weight"] == 0.0 and total["samples"] > 0:
                # It came, and no time has passed since.
                at_once = True
        found = out[slot]
        weight = total["weight"]
        found["samples"] = total["samples"]
        found["covered"] = weight
        if row["on_change"] == 0 and total["samples"] > 0:
            found["covered"] = (total["last_us"] - total["first_us"]) / _US_PER_S
        found["mean"], found["stddev"], found["slope"] = np.nan, np.nan, np.nan
        if weight > 0.0:
            found["mean"] = total["mean"]
            found["stddev"] = np.sqrt(max(0.0, total["m2"] / weight))
            if total["t_m2"] > 0.0:
                found["slope"] = total["co"] / total["t_m2"] * 60.0
        elif at_once:
            found["mean"], found["stddev"] = row["last_value"] + row["offset"], 0.0
        known = total["min"] <= total["max"]
        found["min"] = total["min"] if known else np.nan
        found["max"] = total["max"] if known else np.nan
        found["first"] = total["first"]
        found["last"] = total["last"]


def unchanged_s(sensors: NDArray[Any], staleness_us: NDArray[np.int64], now_us: int) -> NDArray[np.float64]:
    """For how long each sensor has had the value that it has, in seconds; NaN where there is none, or none in force.

    A periodic sensor's value is known up to its newest reading; an on-change sensor's holds until now, up to its
    staleness limit. sensors: rows.SENSOR; staleness_us: of each; both of shape (slots,).
    """
    on_change = sensors["on_change"] != 0
    idle_us = np.clip(now_us - sensors["last_now_us"], 0, staleness_us)
    until_us = sensors["last_us"] + np.where(on_change, idle_us, 0)
    known = (sensors["last_us"] > 0) & (~on_change | (sensors["holds"] != 0))
    return np.where(known, (until_us - sensors["changed_us"]) / _US_PER_S, np.nan)

"""Counters: what a cumulative count comes to when its device starts it anew, or it has reached its highest number.

A count that falls has either rolled over (16, 24 or 32 bits are full, and it goes on from 0) or was reset. Windows,
quantiles and models have the *unwrapped* count: value + offset, where the offset grows with each such turn, so that it
never falls and a difference is what was counted. What people see, ranges and limits of rules are of the value itself.

An out-of-order reading makes no turn. It belongs before the latest one or after it, and the row remembers both offsets.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import borrowing_kernel
from stream.fold.windows import NO_PANE

COUNTER_FIELDS: list[tuple[str, type]] = [
    ("offset", np.float64),  # what the value lacks of the unwrapped count
    ("before", np.float64),  # the offset before the latest turn
    ("turned_us", np.int64),  # when the latest turn was seen
    ("turned_value", np.float64),  # the first value after it
    ("rollovers", np.int32),
    ("resets", np.int32),
]
"""What a sensor's row remembers of a counter."""


class Turn(IntEnum):
    """Why a count fell. Its lower-case name labels the worker's counter."""

    ROLLOVER = 0
    RESET = 1


_ROLLOVER, _RESET = int(Turn.ROLLOVER), int(Turn.RESET)
_SMALLEST, _LARGEST = 2.0**16, 2.0**32
_STEP = 2.0**8
# A rollover goes on at the pace of before, or is but a small part of the way round.
_PACE, _PART = 4.0, 1.0 / 16.0


@borrowing_kernel
def unwrap(
    row: Any, panes: Any, slot: int, ts_us: int, value: float, in_order: bool, max_rate: float, turns: NDArray[np.int64]
) -> float:
    """The unwrapped count of a reading; one that is in order may be a turn, which is counted in `turns` (by `Turn`).

    row: the sensor's, as it was before the reading. max_rate: per second.
    """
    if not in_order:
        # What came between the turn and the first reading after it is at most as large as that.
        of_now = ts_us >= row["turned_us"] or value <= row["turned_value"]
        offset: float = row["offset"] if of_now else row["before"]
        return value + offset
    last = row["last_value"]
    if row["last_us"] > 0 and value < last:
        top = _rolled_over(row, panes, slot, ts_us, value, max_rate)
        row["before"] = row["offset"]
        row["turned_us"] = ts_us
        row["turned_value"] = value
        if top > 0.0:
            row["offset"] += top
            row["rollovers"] += 1
            turns[_ROLLOVER] += 1
        else:
            # It began at 0 and has counted since; what fell by less was put right: nothing was counted, or taken back.
            began_anew = 0.0 <= value <= last / 2.0
            row["offset"] += last if began_anew else last - value
            row["resets"] += 1
            turns[_RESET] += 1
    offset = row["offset"]
    return value + offset


@borrowing_kernel
def _rolled_over(row: Any, panes: Any, slot: int, ts_us: int, value: float, max_rate: float) -> float:
    """After how many counts it began at 0 again; 0 if it was something else that made it fall."""
    last = row["last_value"]
    if value < 0.0 or value != np.floor(value) or last != np.floor(last):
        return 0.0
    top = _SMALLEST
    while top <= last:
        top *= _STEP
    if top > _LARGEST:
        return 0.0
    went = top - last + value
    passed_s = (ts_us - row["last_us"]) / 1e6
    if went > max_rate * passed_s:
        return 0.0
    if went <= top * _PART or (went <= top / 2.0 and went <= _PACE * pace(panes, slot) * passed_s):
        return top
    return 0.0


@borrowing_kernel
def pace(panes: Any, slot: int) -> float:
    """How much a counter has counted per second in all that its panes hold."""
    low, high = np.inf, -np.inf
    first_us, last_us = 2**62, 0
    for at in range(panes.shape[1]):
        pane = panes[slot, at]
        if pane["id"] != NO_PANE and pane["samples"] > 0:
            low, high = min(low, pane["min"]), max(high, pane["max"])
            first_us, last_us = min(first_us, pane["first_us"]), max(last_us, pane["last_us"])
    return (high - low) / ((last_us - first_us) / 1e6) if last_us > first_us else 0.0


def forget_turns(sensors: NDArray[Any], which: NDArray[np.bool_]) -> None:
    """From now on these sensors count from the value that they have. Both: shape (slots,)."""
    for name, _ in COUNTER_FIELDS:
        sensors[name][which] = 0


def move(panes: NDArray[Any], by: float) -> NDArray[Any]:
    """A counter's panes as they would be with another offset."""
    if by == 0.0:
        return panes
    moved = panes.copy()
    for name in ("mean", "min", "max", "first", "last"):
        moved[name] += by
    return moved

"""Quantiles of windows, by rank: sketches for the sensors whose class asks for them, and for no others.

A window's sketch has panes of its own, a fifth of it wide where that is a whole number of µs. Each folded reading of a
periodic sensor weighs 1; the value of an on-change sensor weighs the milliseconds it held.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel
from stream.fold.gate import BAD_QUALITY, FOLDED, OUT_OF_ORDER
from stream.fold.sketch import DESK, PANES, SKETCH, at_rank, put, ranked

PER_MILLE = (500, 900, 990)
_US_PER_MS = 1_000
_FIRST_ROWS = 16
# Names in a frozen state.
OF, ROWS = "sketch.of", "sketch.rows"
_PAST = ("last_us", "last_value", "holds")


def panes_of(window_us: int) -> int:
    """Of how many panes a window's sketch is: a whole number of µs each.

    >>> panes_of(60_000_000), panes_of(1_000_001)
    (5, 1)
    """
    return next(count for count in range(PANES, 0, -1) if window_us % count == 0)


class Sketches:
    """Which sensor has which rows of SKETCH: one for each window of its class that has quantiles.

    windows_us: by class, shape (classes, most of a class), 0 where there is none.
    """

    def __init__(self, windows_us: NDArray[np.int64], slots: int) -> None:
        self.windows_us = windows_us
        self.of = np.zeros((slots, windows_us.shape[1]), np.int32)
        """By slot, and window of its class: the row, counted from 1; 0 where there is none."""
        self.rows = np.zeros(0, SKETCH)
        self._made = 0
        self._free: list[int] = []

    def grow(self) -> None:
        """Twice as many slots."""
        self.of = np.concatenate([self.of, np.zeros_like(self.of)])

    def give(self, slot: int, class_index: int, sensor: Any) -> None:
        """Let a sensor have the rows that its class asks for, if it has not. sensor: its row, whose value may hold."""
        for at in np.flatnonzero(self.windows_us[class_index]).tolist():
            if self.of[slot, at]:
                continue
            row = heappop(self._free) if self._free else self._more()
            self.of[slot, at] = row + 1
            if sensor["holds"]:
                for name in _PAST:
                    self.rows[row][name] = sensor[name]
                self.rows[row]["last_value"] += sensor["offset"]

    def free(self, slot: int) -> None:
        """Take a sensor's rows back; the lowest ones are given first."""
        for row in self.of[slot][self.of[slot] > 0].tolist():
            self.rows[row - 1] = np.zeros((), SKETCH)
            heappush(self._free, row - 1)
        self.of[slot] = 0

    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self.of.nbytes + self.rows.nbytes

    def frozen(self, slots: int) -> dict[str, NDArray[Any]]:
        """A copy, by name: of so many slots, and all rows ever given."""
        return {OF: self.of[:slots].copy(), ROWS: self.rows[: self._made].copy()}

    def thaw(self, arrays: Mapping[str, NDArray[Any]], slots: int) -> str | None:
        """Take over what was frozen of so many slots; what is wrong with it otherwise."""
        of, rows = arrays[OF], arrays[ROWS]
        if of.dtype != self.of.dtype or of.shape != (slots, *self.of.shape[1:]):
            return f"{OF} is {of.shape} of {of.dtype}"
        if rows.dtype != SKETCH or rows.ndim != 1:
            return f"{ROWS} is {rows.shape} of {rows.dtype}"
        given = np.sort(of[of != 0])
        if given.size and not (given[0] > 0 and given[-1] <= rows.size and (np.diff(given) > 0).all()):
            return "a sketch is nobody's, or of two sensors"
        self.of[:slots] = of
        self.rows, self._made = rows.copy(), rows.size
        self._free = np.setdiff1d(np.arange(rows.size), given - 1).tolist()
        heapify(self._free)
        return None

    def _more(self) -> int:
        if self._made == self.rows.size:
            # Not concatenated: what is not yet used costs no memory.
            larger = np.zeros(max(_FIRST_ROWS, 2 * self._made), SKETCH)
            larger[: self._made] = self.rows
            self.rows = larger
        self._made += 1
        return self._made - 1


def carry_sketches(
    old_us: NDArray[np.int64],
    arrays: Mapping[str, NDArray[Any]],
    new_us: NDArray[np.int64],
    class_of: NDArray[np.int32],
    kept: NDArray[np.bool_],
    sensors: NDArray[Any],
) -> dict[str, NDArray[Any]]:
    """The frozen sketches of sensors whose classes ask for other windows from now on, which some may have before.

    old_us, new_us: see `Sketches`. arrays: frozen. class_of, sensors: by slot, under the new plan; a class of -1 is of
    a slot that nobody has. kept: by slot, whether its numbers still mean the same.
    """
    slots, was = len(class_of), arrays["class_of"]
    before = Sketches(old_us, slots)
    before.thaw(arrays, slots)
    made = Sketches(new_us, slots)
    for slot in np.flatnonzero((before.of > 0).any(axis=1)).tolist():
        wanted = new_us[class_of[slot]].tolist() if kept[slot] and class_of[slot] >= 0 else []
        for at, window_us in enumerate(old_us[was[slot]].tolist()):
            if window_us and window_us in wanted:
                made.of[slot, wanted.index(window_us)] = before.of[slot, at]
                before.of[slot, at] = 0
        before.free(slot)
    made.thaw({OF: made.of.copy(), ROWS: before.rows}, slots)
    for slot in np.flatnonzero(class_of >= 0).tolist() if new_us.shape[1] else []:
        made.give(slot, int(class_of[slot]), sensors[slot])
    return made.frozen(slots)


def fold_sketches(
    sketches: Sketches,
    sensors: NDArray[Any],
    class_of: NDArray[np.int32],
    limits: NDArray[Any],
    slot: NDArray[np.int32],
    ts_us: NDArray[np.int64],
    value: NDArray[np.float64],
    verdict: NDArray[np.uint8],
) -> None:
    """Let the rows of a batch count, in order, after the gate: those that panes have, too."""
    if sketches.of.shape[1]:
        _fold_rows(
            sketches.rows, sketches.of, sketches.windows_us, sensors, class_of, limits, slot, ts_us, value, verdict,
            np.empty(1, DESK)[0],
        )  # fmt: skip


def read_sketches(
    sketches: Sketches,
    sensors: NDArray[Any],
    class_of: NDArray[np.int32],
    limits: NDArray[Any],
    grace_us: int,
    window_us: int,
    now_us: int,
) -> NDArray[np.float64]:
    """p50, p90 and p99 of a window by slot, shape (slots, 3); NaN where none are asked for or known.

    sensors, class_of: of the slots. grace_us: by how much the clock may be ahead of a periodic sensor.
    """
    out = np.full((len(class_of), len(PER_MILLE)), np.nan)
    has = sketches.windows_us == window_us
    if has.any():
        columns = np.where(has.any(axis=1), has.argmax(axis=1), -1)
        _read_rows(
            sketches.rows, sketches.of, columns, panes_of(window_us), window_us, sensors, class_of, limits, grace_us,
            now_us, np.array(PER_MILLE), np.empty(1, DESK)[0], out,
        )  # fmt: skip
    return out


@kernel
def _fold_rows(
    rows: Any,
    of: NDArray[np.int32],
    windows_us: NDArray[np.int64],
    sensors: Any,
    class_of: NDArray[np.int32],
    limits: Any,
    slot: NDArray[np.int32],
    ts_us: NDArray[np.int64],
    value: NDArray[np.float64],
    verdict: NDArray[np.uint8],
    desk: Any,
) -> None:
    for i in range(slot.size):
        found = verdict[i]
        if found != FOLDED and found != OUT_OF_ORDER and found != BAD_QUALITY:
            continue
        at = slot[i]
        on_change = sensors[at]["on_change"] != 0
        staleness_us = limits[class_of[at]]["staleness_us"]
        for k in range(of.shape[1]):
            if of[at, k] == 0:
                continue
            row = rows[of[at, k] - 1]
            window_us = windows_us[class_of[at], k]
            panes = PANES
            while window_us % panes != 0:
                panes -= 1
            if not on_change:
                if found != BAD_QUALITY:
                    put(row, panes, ts_us[i] // (window_us // panes), value[i], 1, desk)
            elif found != OUT_OF_ORDER and ts_us[i] > row["last_us"]:
                # Up to a bad one that was ahead, time has been counted.
                _end_hold(row, panes, window_us // panes, ts_us[i], staleness_us, desk)
                row["last_us"] = ts_us[i]
                if found == FOLDED:
                    row["last_value"] = value[i]
                    row["holds"] = 1


@kernel
def _end_hold(row: Any, panes: int, width_us: int, ts_us: int, staleness_us: int, desk: Any) -> None:
    """The value that held until now, if any: every pane that it crosses counts the milliseconds."""
    if row["holds"] == 0 or ts_us <= row["last_us"]:
        return
    row["holds"] = 0
    until_us = min(ts_us, row["last_us"] + staleness_us)
    at_us = max(row["last_us"], ((until_us - 1) // width_us - panes + 1) * width_us)
    while at_us < until_us:
        pane = at_us // width_us
        stop_us = min(until_us, (pane + 1) * width_us)
        # Of whole milliseconds since 1970, so that no part of one is lost or counted twice.
        held_ms = stop_us // _US_PER_MS - at_us // _US_PER_MS
        if held_ms > 0:
            put(row, panes, pane, row["last_value"], held_ms, desk)
        at_us = stop_us


@kernel
def _read_rows(
    rows: Any,
    of: NDArray[np.int32],
    columns: NDArray[np.int64],
    panes: int,
    window_us: int,
    sensors: Any,
    class_of: NDArray[np.int32],
    limits: Any,
    grace_us: int,
    now_us: int,
    per_mille: NDArray[np.int64],
    desk: Any,
    out: NDArray[np.float64],
) -> None:
    """The windows end as those of `windows.read` do, with panes of their own."""
    width_us = window_us // panes
    for slot in range(class_of.size):
        column = columns[class_of[slot]]
        if column < 0 or of[slot, column] == 0:
            continue
        row, sensor = rows[of[slot, column] - 1], sensors[slot]
        until_us = sensor["last_us"] + max(0, now_us - sensor["last_now_us"])
        if sensor["on_change"] == 0:
            until_us = max(sensor["last_us"], until_us - grace_us)
        last = until_us // width_us
        held_from = max(row["last_us"], (last - panes + 1) * width_us)
        held_until = min(until_us, row["last_us"] + limits[class_of[slot]]["staleness_us"])
        held_ms = 0
        if row["holds"] != 0 and held_until > held_from:
            held_ms = held_until // _US_PER_MS - held_from // _US_PER_MS
        used = ranked(row, panes, last, row["last_value"], held_ms, desk)
        # It came, and no time has passed since.
        at_once = used == 0 and row["holds"] != 0 and row["last_us"] == held_from and held_until >= held_from
        for k in range(per_mille.size):
            out[slot, k] = row["last_value"] if at_once else at_rank(desk, used, per_mille[k])

"""Maintenance windows: whose readings are shown and folded into windows, but neither scored, learned nor judged.

A window is of event time and of a path pattern, so what comes late out of a spool is masked as it would have been.
Which slots a pattern fits is looked up once per sensor and pattern, never per row; that is no state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.contract.classes import glob
from ingest.contract.readings import MAX_TS_US, MIN_TS_US
from models.compiled import borrowing_kernel
from stream.fold.gate import FOLDED, MASKED
from stream.fold.slots import FREE, SlotTable

MOST = 1_000
"""Windows of a partition that are not over."""
KEPT_US = 86_400_000_000
"""For so long, by the partition's clock, a window that is over masks what comes late."""
_MOST_TEXT = {"id": 64, "match": 512, "note": 200, "by": 100}
# Each makes the regular expression's work another power of the path's length, at the worst.
_WILDCARDS = 6


class Maintenance(NamedTuple):
    """A window, [from_us, until_us) in event time. match: a path pattern. note, by: for people."""

    id: str
    match: str
    from_us: int
    until_us: int
    note: str = ""
    by: str = ""

    def problem(self) -> str | None:
        """What is wrong with it, if anything is.

        >>> Maintenance("m1", "demo/line-01/**", 1_700_000_000_000_000, 1_700_000_000_000_001).problem()
        >>> Maintenance("m1", "demo/**", 1_700_000_000_000_001, 1_700_000_000_000_000).problem()
        'ends before it begins'
        """
        for name, most in _MOST_TEXT.items():
            text = getattr(self, name)
            if len(text) > most:
                return f"{name}: more than {most} characters"
            if not all(one.isprintable() for one in text):
                return f"{name}: characters that cannot be shown"
        if not self.id or not self.match:
            return "an id and a pattern are needed"
        if self.match.replace("**", "*").count("*") + self.match.count("?") > _WILDCARDS:
            return f"match: more than {_WILDCARDS} wildcards"
        if not (MIN_TS_US <= self.from_us < MAX_TS_US and MIN_TS_US <= self.until_us < MAX_TS_US):
            return "a time before 1990 or after 2200"
        return "ends before it begins" if self.until_us < self.from_us else None


class Masks:
    """The windows of a partition. Part of its state; `slots` are those of the same state."""

    def __init__(self, slots: SlotTable, windows: Iterable[Sequence[Any]] = ()) -> None:
        """windows: what `frozen` made; it may come out of JSON."""
        self.windows = [Maintenance(*one) for one in windows]
        """In the order in which they came."""
        self._slots = slots
        self._names: list[str] = []
        """By slot, as they were when patterns were held against them; FREE where there was none."""
        self._fitting: dict[str, set[int]] = {}
        """Slots by pattern."""
        self._changes = -1
        self._from_us = self._until_us = self._first = self._of = np.zeros(0, np.int64)
        self._changed()

    def frozen(self) -> list[list[Any]]:
        """All of it, as JSON can hold it."""
        return [list(one) for one in self.windows]

    # --- changing -------------------------------------------------------------------------------------------------

    def add(self, window: Maintenance, now_us: int) -> str:
        """What became of it: "done", "over" (it ended before now) or "full". One whose id is known changes nothing."""
        if any(one.id == window.id for one in self.windows):
            return "done"
        if window.until_us <= now_us:
            return "over"
        if len(self.windows) >= MOST:
            # What is over makes room, the oldest first.
            oldest = min(self.windows, key=lambda one: one.until_us)
            if oldest.until_us > now_us:
                return "full"
            self.windows.remove(oldest)
        self.windows.append(window)
        self._changed()
        return "done"

    def end(self, name: str, at_us: int) -> bool:
        """Let a window end at a time, if it does not end earlier; before its begin: it never is. False: not known."""
        for at, one in enumerate(self.windows):
            if one.id == name:
                # It stays, so that a command that is read again does not begin it anew.
                self.windows[at] = one._replace(until_us=max(one.from_us, min(one.until_us, at_us)))
                self._changed()
                return True
        return False

    def forget(self, now_us: int) -> None:
        """Those that are over for long are gone."""
        if self.windows and self._earliest_end_us + KEPT_US < now_us:
            self.windows = [one for one in self.windows if one.until_us + KEPT_US >= now_us]
            self._changed()

    def _changed(self) -> None:
        patterns = {one.match for one in self.windows}
        self._fitting = {one: self._fitting.get(one, set()) for one in patterns}
        # Patterns that are new are held against all names by `_match`.
        self._new = [one for one in sorted(patterns) if not self._fitting[one]]
        self._from_us = np.array([one.from_us for one in self.windows], np.int64)
        self._until_us = np.array([one.until_us for one in self.windows], np.int64)
        self._earliest_us, self._latest_us = 0, 0
        self._earliest_end_us = 0
        if self.windows:
            self._earliest_us, self._latest_us = int(self._from_us.min()), int(self._until_us.max())
            self._earliest_end_us = int(self._until_us.min())
        self._changes = -1

    # --- asking ---------------------------------------------------------------------------------------------------

    def of_rows(
        self, slot: NDArray[np.int32], ts_us: NDArray[np.int64], verdict: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """The verdicts, FOLDED rows in a window being MASKED; the same array where no window is near."""
        if not self.windows or ts_us.max() < self._earliest_us or ts_us.min() >= self._latest_us:
            return verdict
        self._match()
        seen = verdict.copy()
        mask_rows(self._from_us, self._until_us, self._first, self._of, slot, ts_us, seen)
        return seen

    def at(self, at_us: int) -> NDArray[np.bool_]:
        """Whether each slot's sensor is in maintenance at a time, shape (slots in use,)."""
        found = np.zeros(self._slots.rows, np.bool_)
        on = [one for one in self.windows if one.from_us <= at_us < one.until_us]
        if on:
            self._match()
            for pattern in {one.match for one in on}:
                found[list(self._fitting[pattern])] = True
        return found

    def _match(self) -> None:
        """Bring what is known of patterns and slots up to date."""
        if self._changes == self._slots.changes:
            return
        names, known = self._slots.names, self._names
        for pattern in self._new:
            self._fitting[pattern] = {at for at, one in enumerate(known) if one != FREE and _fits(pattern, one)}
        self._new = []
        known += [FREE] * (len(names) - len(known))
        for at in [at for at, name in enumerate(names) if name is not known[at] and name != known[at]]:
            for pattern, fitting in self._fitting.items():
                if names[at] != FREE and _fits(pattern, names[at]):
                    fitting.add(at)
                else:
                    fitting.discard(at)
            known[at] = names[at]
        self._index(len(names))
        self._changes = self._slots.changes

    def _index(self, rows: int) -> None:
        """Each slot's windows: `_of` from `_first` of it to that of the next."""
        by_window = [
            np.fromiter(fitting, np.int64, len(fitting))
            for fitting in (self._fitting[one.match] for one in self.windows)
        ]
        slots = np.concatenate([np.zeros(0, np.int64), *by_window])
        windows = np.repeat(np.arange(len(by_window)), [one.size for one in by_window])
        order = np.argsort(slots, kind="stable")
        self._of = windows[order]
        self._first = np.searchsorted(slots[order], np.arange(rows + 1))


def _fits(pattern: str, path: str) -> bool:
    return glob(pattern).fullmatch(path) is not None


@borrowing_kernel
def mask_rows(
    from_us: NDArray[np.int64],
    until_us: NDArray[np.int64],
    first: NDArray[np.int64],
    of: NDArray[np.int64],
    slot: NDArray[np.int32],
    ts_us: NDArray[np.int64],
    seen: NDArray[np.uint8],
) -> None:
    """Write MASKED over FOLDED where a row's time is in one of its slot's windows.

    from_us, until_us: by window. of: windows by slot, from first[slot] to first[slot + 1].
    """
    for i in range(slot.size):
        if seen[i] != FOLDED:
            continue
        for k in range(first[slot[i]], first[slot[i] + 1]):
            if from_us[of[k]] <= ts_us[i] < until_us[of[k]]:
                seen[i] = MASKED
                break

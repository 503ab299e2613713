"""What models knew of sensors before their level changed, so that it can be given back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 256
"""Sensors whose changed level may still be answered, of a partition, the newest; and as many runs that are watched."""
KEPT_US = 86_400_000_000
"""For so long, by the partition's clock, a changed level may be answered."""

KEPT = np.dtype(
    [
        ("slot", np.int64),
        ("at_us", np.int64),
        ("low", np.float64),
        ("high", np.float64),
        ("changed", np.int64),  # 0: of a run that is watched, 1: of a level that has changed
    ]
)
_NAME = "kept"
_OF_BANK = "kept.bank."


@dataclass(frozen=True, slots=True)
class Past:
    """at_us: the partition's clock when it was put aside. low, high: the band. banks: a row of each, shape (1,)."""

    at_us: int
    low: float
    high: float
    banks: tuple[NDArray[Any], ...]


class KeptRows:
    """Part of a partition's state; bounded. By slot, in the order in which they were put aside."""

    def __init__(self) -> None:
        self.watched: dict[int, Past] = {}
        self.changed: dict[int, Past] = {}

    def __len__(self) -> int:
        return len(self.watched) + len(self.changed)

    def watch(self, slots: Sequence[int], at_us: int, levels: NDArray[Any], banks: Sequence[NDArray[Any]]) -> None:
        """Put the rows of some slots aside."""
        for slot in slots[-MOST:]:
            self.watched.pop(slot, None)
            row = levels[slot]
            copies = tuple(bank[slot : slot + 1].copy() for bank in banks)
            self.watched[slot] = Past(at_us, float(row["low"]), float(row["high"]), copies)
        _trim(self.watched)

    def change(self, slot: int, at_us: int) -> None:
        """The level has changed."""
        self.changed.pop(slot, None)
        past = self.watched.pop(slot, None)
        if past is not None:
            self.changed[slot] = Past(at_us, past.low, past.high, past.banks)
            _trim(self.changed)

    def drop(self, slot: int) -> None:
        """Nothing of it is needed any more."""
        self.watched.pop(slot, None)
        self.changed.pop(slot, None)

    def forget(self, now_us: int) -> None:
        """What nobody answered for long is accepted."""
        for slot in [slot for slot, past in self.changed.items() if past.at_us + KEPT_US < now_us]:
            del self.changed[slot]

    # --- as arrays ------------------------------------------------------------------------------------------------

    def frozen(self, banks: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All of it: KEPT, and the rows of each bank, by name. banks: those of the state."""
        some = [(slot, past, 0) for slot, past in self.watched.items()]
        some += [(slot, past, 1) for slot, past in self.changed.items()]
        rows = np.zeros(len(some), KEPT)
        for row, (slot, past, changed) in zip(rows, some, strict=True):
            row["slot"], row["at_us"], row["changed"] = slot, past.at_us, changed
            row["low"], row["high"] = past.low, past.high
        found = {_NAME: rows}
        for at, (name, bank) in enumerate(banks.items()):
            found[_OF_BANK + name] = np.concatenate([np.zeros(0, bank.dtype), *(past.banks[at] for _, past, _ in some)])
        return found

    def thaw(
        self, found: Mapping[str, NDArray[Any]], banks: Mapping[str, NDArray[Any]], named: NDArray[Any]
    ) -> str | None:
        """Take what `frozen` made; what is wrong with it, if anything is. named: by slot, whether a sensor has it."""
        rows = found[_NAME]
        if rows.dtype != KEPT or rows.ndim != 1:
            return f"{_NAME} is {rows.shape} of {rows.dtype}"
        for name, bank in banks.items():
            kept = found[_OF_BANK + name]
            if kept.dtype != bank.dtype or kept.shape != rows.shape:
                return f"{_OF_BANK}{name} is {kept.shape} of {kept.dtype}"
        if wrong := _wrong(rows, named):
            return wrong
        for at, row in enumerate(rows):
            of = self.changed if row["changed"] else self.watched
            copies = tuple(found[_OF_BANK + name][at : at + 1].copy() for name in banks)
            of[int(row["slot"])] = Past(int(row["at_us"]), float(row["low"]), float(row["high"]), copies)
        return None


def names_of(banks: Iterable[str]) -> set[str]:
    """What `KeptRows.frozen` calls its arrays."""
    return {_NAME, *(_OF_BANK + name for name in banks)}


def carried(
    arrays: Mapping[str, NDArray[Any]], same: NDArray[np.bool_], banks: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Frozen rows under other definitions. same: by slot, whether all its models are the same. banks: the new ones."""
    rows = arrays[_NAME]
    stays = same[rows["slot"]]
    found = {_NAME: rows[stays]}
    for name, bank in banks.items():
        made = np.zeros(int(stays.sum()), bank.dtype)
        before = arrays.get(_OF_BANK + name)
        if before is not None and before.dtype == bank.dtype:
            made[:] = before[stays]
        found[_OF_BANK + name] = made
    return found


def _wrong(rows: NDArray[Any], named: NDArray[Any]) -> str | None:
    slot, changed = rows["slot"], rows["changed"]
    if ((slot < 0) | (slot >= named.size)).any() or not named[slot].all() or ((changed < 0) | (changed > 1)).any():
        return "something kept of nobody"
    for flag in (0, 1):
        of = slot[changed == flag]
        if of.size > MOST or np.unique(of).size < of.size:
            return "more is kept than there may be"
    if ((rows["at_us"] < 0) | (rows["at_us"] > 2**56)).any():
        return "something kept since a time that there is not"
    right = np.isfinite(rows["low"]) & np.isfinite(rows["high"]) & (rows["low"] < rows["high"])
    return None if right.all() else "something kept of no band"


def _trim(rows: dict[int, Past]) -> None:
    while len(rows) > MOST:
        del rows[next(iter(rows))]

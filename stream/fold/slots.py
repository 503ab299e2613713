"""Which sensor has which slot: a slot is a sensor's row in the arrays.

A hash table over names in UTF-8, compiled, so that the words of a record are looked up as they lie in its buffer and
none becomes a `str`. Open addressing: a bucket holds a hash and a slot, the slot's span says where its name is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.contract.utf8 import Utf8
from models.compiled import kernel
from models.prefetch import prefetch
from stream.fold.hashing import same_bytes, siphash

FREE = ""
"""The name of a slot that nobody has; no path is empty."""

BUCKET = np.dtype([("hash", np.uint64), ("slot", np.int64)])
"""slot: -1 where the bucket is empty."""
SPAN = np.dtype([("start", np.int64), ("size", np.int64)])
"""Of a name, by slot; size 0 where the slot is free."""

# Which bucket a name is in is no state, and nothing that comes out depends on it.
_KEY = np.frombuffer(os.urandom(16), np.uint64)
# So that the first sensor makes it grow: whoever warms the fold up has then compiled that too.
_FEWEST = 1
_AT_ONCE = 65_536
_NEXT = np.uint64(1)


@kernel
def _seek(
    buckets: Any,
    spans: Any,
    names: NDArray[np.uint8],
    hashed: np.uint64,
    data: NDArray[np.uint8],
    start: int,
    size: int,
) -> Any:
    """The bucket of a word, or the empty one where it would go. One is empty always: at most half are in use."""
    last = np.uint64(buckets.size) - _NEXT
    at = hashed & last
    while True:
        bucket = buckets[at]
        slot = bucket["slot"]
        if slot < 0:
            return at
        if bucket["hash"] == hashed:
            span = spans[slot]
            if span["size"] == size and same_bytes(names, span["start"], data, start, size):
                return at
        at = (at + _NEXT) & last


@kernel
def look_up(
    buckets: Any,
    spans: Any,
    names: NDArray[np.uint8],
    data: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    key: NDArray[np.uint64],
    hash_mask: np.uint64,
    slots: NDArray[np.int32],
) -> None:
    """Write the slot of each word, -1 if it has none. slots: shape (words,).

    In several passes, each of which asks for the memory of the next, so that nothing waits for one word's cache misses
    after the other's.
    """
    last = np.uint64(buckets.size) - _NEXT
    hashes, starts = np.empty(slots.size, np.uint64), np.empty(slots.size, np.int64)
    for i in range(slots.size):
        hashes[i] = siphash(data, offsets[i], offsets[i + 1], key) & hash_mask
        prefetch(buckets, hashes[i] & last)
    for i in range(slots.size):
        at = hashes[i] & last
        while buckets[at]["slot"] >= 0 and buckets[at]["hash"] != hashes[i]:
            at = (at + _NEXT) & last
        slots[i] = buckets[at]["slot"]
        prefetch(spans, slots[i])
    for i in range(slots.size):
        starts[i] = -1
        if slots[i] >= 0 and spans[slots[i]]["size"] == offsets[i + 1] - offsets[i]:
            starts[i] = spans[slots[i]]["start"]
            # Both ends of a name, which are seldom in one cache line.
            prefetch(names, starts[i])
            prefetch(names, starts[i] + offsets[i + 1] - offsets[i] - 1)
    for i in range(slots.size):
        size = offsets[i + 1] - offsets[i]
        if slots[i] >= 0 and (starts[i] < 0 or not same_bytes(names, starts[i], data, offsets[i], size)):
            # Another word of the same hash; this one may come after it.
            slots[i] = buckets[_seek(buckets, spans, names, hashes[i], data, offsets[i], size)]["slot"]


@kernel
def put_in(
    buckets: Any,
    spans: Any,
    names: NDArray[np.uint8],
    used: int,
    data: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    key: NDArray[np.uint64],
    hash_mask: np.uint64,
    slots: NDArray[np.int32],
) -> int:
    """Give each word its slot, and its bytes a place from `used` on; returns how many were new. There is room."""
    new = 0
    for i in range(slots.size):
        size = offsets[i + 1] - offsets[i]
        hashed = siphash(data, offsets[i], offsets[i + 1], key) & hash_mask
        bucket = buckets[_seek(buckets, spans, names, hashed, data, offsets[i], size)]
        if bucket["slot"] >= 0:
            continue
        bucket["hash"] = hashed
        bucket["slot"] = slots[i]
        spans[slots[i]]["start"] = used
        spans[slots[i]]["size"] = size
        for k in range(size):
            names[used + k] = data[offsets[i] + k]
        used += size
        new += 1
    return new


@kernel
def take_out(
    buckets: Any, spans: Any, names: NDArray[np.uint8], key: NDArray[np.uint64], hash_mask: np.uint64, slot: int
) -> None:
    """Forget a slot's name. What was displaced by it moves up, so that no bucket needs to remember it."""
    last = np.uint64(buckets.size) - _NEXT
    start, size = spans[slot]["start"], spans[slot]["size"]
    hashed = siphash(names, start, start + size, key) & hash_mask
    hole = _seek(buckets, spans, names, hashed, names, start, size)
    spans[slot]["size"] = 0
    at = hole
    while True:
        at = (at + _NEXT) & last
        if buckets[at]["slot"] < 0:
            break
        # It may go no further up than where its hash would have it.
        if ((at - buckets[at]["hash"]) & last) >= ((at - hole) & last):
            buckets[hole]["hash"] = buckets[at]["hash"]
            buckets[hole]["slot"] = buckets[at]["slot"]
            hole = at
    buckets[hole]["slot"] = -1


@kernel
def move_buckets(old: Any, new: Any) -> None:
    """Into an empty table of another size."""
    last = np.uint64(new.size) - _NEXT
    for i in range(old.size):
        if old[i]["slot"] >= 0:
            at = old[i]["hash"] & last
            while new[at]["slot"] >= 0:
                at = (at + _NEXT) & last
            new[at]["hash"] = old[i]["hash"]
            new[at]["slot"] = old[i]["slot"]


@kernel
def move_names(spans: Any, old: NDArray[np.uint8], new: NDArray[np.uint8]) -> int:
    """Close up what was given free; returns how many bytes are used."""
    used = 0
    for slot in range(spans.size):
        start, size = spans[slot]["start"], spans[slot]["size"]
        for k in range(size):
            new[used + k] = old[start + k]
        spans[slot]["start"] = used
        used += size
    return used


class SlotTable:
    """Names ⇄ slots. Slots of sensors that are gone are given out again, the lowest first.

    >>> table = SlotTable()
    >>> table.add("a/t"), table.add("a/p"), table.free(0), table.add("b/t"), table.names
    (0, 1, None, 0, ['b/t', 'a/p'])
    """

    _hash_mask = np.uint64(2**64 - 1)

    def __init__(self, names: Sequence[str] = ()) -> None:
        """names: by slot, FREE where there is none; of a name that is there twice, the first slot counts."""
        self.names: list[str] = list(names)
        """By slot; FREE where there is none."""
        self._free = [slot for slot, name in enumerate(self.names) if name == FREE]
        """A heap: ascending order is one."""
        self._sensors = 0
        self.changes = 0
        """Grows whenever a slot gets another name, or loses one: for those who remember what fits which."""
        self._buckets = _empty(_FEWEST)
        self._spans = np.zeros(_FEWEST, SPAN)
        self._bytes = np.zeros(_FEWEST, np.uint8)
        self._used_bytes = self._live_bytes = 0
        for first in range(0, len(self.names), _AT_ONCE):
            some = range(first, min(first + _AT_ONCE, len(self.names)))
            taken = [slot for slot in some if self.names[slot] != FREE]
            self._put_in([self.names[slot] for slot in taken], taken)

    @property
    def rows(self) -> int:
        """Rows of the arrays that are or were in use."""
        return len(self.names)

    def __len__(self) -> int:
        """Sensors."""
        return self._sensors

    @property
    def nbytes(self) -> int:
        """Memory of the table, without `names`."""
        return self._buckets.nbytes + self._spans.nbytes + self._bytes.nbytes

    def get(self, name: str) -> int | None:
        """A sensor's slot."""
        slot = int(self.find([name])[0])
        return None if slot < 0 else slot

    def find(self, names: Sequence[str]) -> NDArray[np.int32]:
        """The slots of many, -1 for a sensor that has none: shape (names,). Quick for `Utf8`."""
        words = names if isinstance(names, Utf8) else Utf8.of(names)
        slots = np.empty(len(words), np.int32)
        look_up(
            self._buckets, self._spans, self._bytes, words.data, words.offsets, _KEY, self._hash_mask, slots
        )  # fmt: skip
        return slots

    def add(self, name: str) -> int:
        """A slot for a new sensor. Raises ValueError likewise."""
        return self.add_all([name])[0]

    def add_all(self, names: Sequence[str]) -> list[int]:
        """Slots for new sensors, as if one by one. Raises ValueError if one has a slot, is there twice, or is FREE."""
        if len(set(names)) < len(names) or FREE in names or (self.find(names) >= 0).any():
            raise ValueError("a name that is taken, or none")
        slots = []
        for name in names:
            if self._free:
                slot = heappop(self._free)
                self.names[slot] = name
            else:
                slot = len(self.names)
                self.names.append(name)
            slots.append(slot)
        self._put_in(names, slots)
        return slots

    def free(self, slot: int) -> None:
        """A sensor is gone. Raises KeyError if nobody has the slot."""
        self._take_out(slot)
        self.names[slot] = FREE
        heappush(self._free, slot)

    def rename(self, slot: int, name: str) -> None:
        """A sensor goes by another name now. Raises KeyError if nobody has the slot, ValueError as `add`."""
        if name == self.names[slot] != FREE:
            return
        if name == FREE or self.get(name) is not None:
            raise ValueError("a name that is taken, or none")
        self._take_out(slot)
        self.names[slot] = name
        self._put_in([name], [slot])

    def _put_in(self, names: Sequence[str], slots: list[int]) -> None:
        self.changes += 1
        words = Utf8.of(names)
        self._make_room(len(words), words.data.size)
        new = put_in(
            self._buckets, self._spans, self._bytes, self._used_bytes, words.data, words.offsets, _KEY,
            self._hash_mask, np.array(slots, np.int32),
        )  # fmt: skip
        self._sensors += new
        # Of a name that was there before, the bytes are never written; that costs no more than their place.
        self._used_bytes += words.data.size
        self._live_bytes += words.data.size

    def _take_out(self, slot: int) -> None:
        if slot < 0 or self.names[slot] == FREE:
            raise KeyError(slot)
        self.changes += 1
        self._live_bytes -= int(self._spans[slot]["size"])
        take_out(self._buckets, self._spans, self._bytes, _KEY, self._hash_mask, slot)
        self._sensors -= 1

    def _make_room(self, words: int, size: int) -> None:
        """So that half of the buckets stay empty, and bytes are at most thrice what is in use, or was."""
        if (wanted := 2 * (self._sensors + words)) > self._buckets.size:
            buckets = _empty(_power_of_two(wanted))
            move_buckets(self._buckets, buckets)
            self._buckets = buckets
        if (wanted := len(self.names)) > self._spans.size:
            spans = np.zeros(_power_of_two(wanted), SPAN)
            spans[: self._spans.size] = self._spans
            self._spans = spans
        if self._used_bytes + size > self._bytes.size:
            # With room to spare, or one rename after the other would have to close up.
            data = np.zeros(_power_of_two(3 * (self._live_bytes + size) // 2), np.uint8)
            self._used_bytes = move_names(self._spans, self._bytes, data)
            self._bytes = data


def _empty(buckets: int) -> NDArray[Any]:
    empty = np.zeros(buckets, BUCKET)
    empty["slot"] = -1
    return empty


def _power_of_two(wanted: int) -> int:
    return int(1 << (wanted - 1).bit_length())

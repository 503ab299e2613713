"""`Readings`: the columnar batch that gateway and worker exchange. No object per reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag

import numpy as np
from numpy.typing import NDArray

MIN_TS_US = 631_152_000_000_000  # 1990-01-01: before it a clock was never set
MAX_TS_US = 7_258_118_400_000_000  # 2200-01-01


class Quality(IntEnum):
    """How far a reading may be trusted; the numbers are OPC UA's severities."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


class Flag(IntFlag):
    """What is known of the way a reading came; a bit set in the column `flags`."""

    RETAINED = 1
    """The broker's stored message: old news, not a new reading."""
    REDELIVERED = 2
    """The broker sent it before and may not have been heard."""
    HISTORICAL = 4
    """From a backlog: a spool, a device's own buffer."""
    ARRIVAL_STAMPED = 8
    """The payload had no time; `ts_us` is when it arrived."""
    REPLAYED = 16
    """Read anew from quarantine, after the settings were mended."""
    CLOCK_CORRECTED = 32
    """The device's clock was wrong; `ts_us` is its time plus the offset that was estimated."""
    ON_CHANGE = 64
    """Its source sends when a value changes: the last one holds until the next."""
    BEYOND_RANGE = 128
    """The value is outside the range that its device described in its birth. All eight bits have a meaning now."""


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """A dictionary-encoded column of strings: `words[index[i]]`, -1 for none.

    index: int32, shape (rows,), each in [-1, len(words)). words: `Utf8` where they came over the wire, so that only
    what is looked at becomes a `str`.
    """

    index: NDArray[np.int32]
    words: Sequence[str]

    @classmethod
    def encode(cls, column: Sequence[str | None]) -> Words:
        """Encode plain strings, in order of first appearance.

        >>> Words.encode(["a", None, "b", "a"]).index.tolist()
        [0, -1, 1, 0]
        """
        seen: dict[str, int] = {}
        index = [-1 if text is None else seen.setdefault(text, len(seen)) for text in column]
        return cls(np.array(index, np.int32), list(seen))

    @classmethod
    def join(cls, columns: Sequence[Words | None], sizes: Sequence[int]) -> Words | None:
        """Several columns, one after the other; None for one without any words. None if all are.

        sizes: rows of each.
        """
        if all(column is None for column in columns):
            return None
        seen: dict[str, int] = {}
        index = []
        for column, size in zip(columns, sizes, strict=True):
            words: Sequence[str] = () if column is None else column.words
            # A last -1, so that "none" stays none.
            place = np.array([*(seen.setdefault(word, len(seen)) for word in words), -1], np.int32)
            index.append(place[np.full(size, -1) if column is None else column.index])
        return cls(np.concatenate(index), list(seen))

    def decode(self) -> list[str | None]:
        """The plain strings again (for tests and people, not for a hot path)."""
        return [None if i < 0 else self.words[i] for i in self.index.tolist()]

    def take(self, rows: NDArray[np.intp]) -> Words:
        """Some rows, with only the words they use."""
        used, index = np.unique(self.index[rows], return_inverse=True)
        if used.size and used[0] < 0:
            used, index = used[1:], index - 1
        return Words(index.astype(np.int32), [self.words[i] for i in used.tolist()])


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """A batch of readings in columns, all of shape (rows,).

    sensor:  path, never none.
    ts_us:   int64, µs since 1970-01-01 UTC, the sensor's own time, or the arrival time where the payload had
             none (flag ARRIVAL_STAMPED; then strictly increasing per sensor).
    value:   float64; bool as 0 and 1; NaN where `text` holds the value, or where a bad reading has none.
    quality: uint8, a `Quality`.
    flags:   uint8, bits of `Flag`.
    text:    for enum and text readings; None where no row has one.
    code:    the source's original quality code; None where no row has one.
    """

    sensor: Words
    ts_us: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    text: Words | None = None
    code: Words | None = None

    def __len__(self) -> int:
        return len(self.ts_us)

    def take(self, rows: NDArray[np.intp]) -> Readings:
        """Some rows, in the order given."""
        return Readings(
            self.sensor.take(rows),
            self.ts_us[rows],
            self.value[rows],
            self.quality[rows],
            self.flags[rows],
            None if self.text is None else self.text.take(rows),
            None if self.code is None else self.code.take(rows),
        )

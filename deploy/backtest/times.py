"""A recorded column of times → µs UTC, a block at a time.

A time with a zone is what it says. One without is local: of the zone that was given, or UTC. What a clock skips in
spring is taken as if it had not been changed yet (02:30 becomes 03:30); an hour that comes twice in autumn is the first
one, until the file itself steps back by half an hour or more within it: then it is the second. A number is s, ms, µs or
ns since 1970 by its size: between 1990 and 2200 these do not touch.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.contract.errors import QuarantineError, StopError
from ingest.contract.readings import MAX_TS_US, MIN_TS_US
from ingest.contract.times import to_us

_US = pa.timestamp("us")
_US_UTC = pa.timestamp("us", tz="UTC")
_DAY_US = 86_400_000_000
_QUARTER_US = 900_000_000
_STEP_BACK_US = 1_800_000_000
_RUN_US = 100 * _DAY_US
_NUMBER = r"^[+-]?\d+(\.\d+)?([eE][+]?\d+)?$"
_ZONED = r"(Z|[+-]\d\d(:?\d\d)?)$"
_DATED = r"^\d{4}-\d\d-\d\d"
# Usual ways to write what Arrow reads only in one; days come first where there are dots.
_REWRITTEN = (
    (r"^(\d\d)\.(\d\d)\.(\d{4})", r"\3-\2-\1"),
    (r"^(\d{4})[/.](\d\d)[/.](\d\d)", r"\1-\2-\3"),
    (r"\s*(UTC|GMT|z)$", "Z"),
    (r"\s+([+-]\d\d:?\d\d|Z)$", r"\1"),
    (r"(:\d\d),(\d)", r"\1.\2"),
    (r"(\.\d{6})\d+", r"\1"),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Us = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(slots=True)
class TimeTally:
    """What was met. local, zoned: times without and with a zone. skipped: local times that no clock showed.

    repeated: that clocks showed twice; second: those of them taken for the second. units: numbers by unit. unread: no
    times at all, or not between 1990 and 2200; example: the first of them.
    """

    local: int = 0
    zoned: int = 0
    skipped: int = 0
    repeated: int = 0
    second: int = 0
    units: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    example: str = ""


def read_us(text: str, zone: ZoneInfo | None = None) -> int:
    """One time as a person writes it on a command line or in labels, in µs UTC. Raises ValueError.

    >>> read_us("2024-03-01 12:00", ZoneInfo("Europe/Berlin")) == read_us("2024-03-01T11:00Z")
    True
    """
    at_us, known = TimeReader(zone).read(pa.array([text], pa.utf8()))
    if not known[0]:
        raise ValueError(f"{text!r} is no time between 1990 and 2200; write 2024-03-31T12:00:00Z")
    return int(at_us[0])


class TimeReader:
    """Reads a column in the order of its file."""

    def __init__(self, zone: ZoneInfo | None = None, time_format: str | None = None) -> None:
        """zone: of local times; None: UTC. time_format: as `strptime` has it, for what is not ISO 8601."""
        self.tally = TimeTally()
        self._format = time_format
        self._local = _LocalTimes(zone, self.tally)
        self._usual = 0

    def read(self, column: pa.Array) -> tuple[Us, Mask]:
        """(µs UTC, whether it is a time), each of shape (rows,). Raises StopError for a type that holds no times."""
        kind = column.type
        if pa.types.is_dictionary(kind):
            column, kind = column.dictionary_decode(), kind.value_type
        if pa.types.is_null(kind):
            column, kind = column.cast(pa.utf8()), pa.utf8()
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            found = self._zoned(column.cast(_US_UTC, safe=False))
        elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            found = self._local.read(column.cast(_US, safe=False))
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            found = self._numbers(column)
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            found = self._text(column.cast(pa.utf8()))
        else:
            raise StopError(f"a column of type {kind} holds no times")
        at_us, known = found
        known &= (at_us >= MIN_TS_US) & (at_us < MAX_TS_US)
        unread = np.flatnonzero(~known)
        if unread.size:
            self.tally.unread += int(unread.size)
            self.tally.example = self.tally.example or str(column[int(unread[0])].as_py())[:60]
        return at_us, known

    def _zoned(self, column: pa.Array) -> tuple[Us, Mask]:
        at_us, known = _plain(column)
        self.tally.zoned += int(known.sum())
        return at_us, known

    def _numbers(self, column: pa.Array) -> tuple[Us, Mask]:
        known = _known(column)
        # Unsigned ones beyond 63 bits become negative, and are no times either way.
        kind = pa.int64() if pa.types.is_integer(column.type) else pa.float64()
        numbers = np.where(known, column.cast(kind, safe=False).fill_null(0).to_numpy(zero_copy_only=False), 0)
        known &= np.isfinite(numbers)
        at_us = np.zeros(len(numbers), np.int64)
        for unit, low, high, times, parts in (
            ("s", 0, 1e11, 1_000_000, 1),
            ("ms", 1e11, 1e14, 1_000, 1),
            ("µs", 1e14, 1e17, 1, 1),
            ("ns", 1e17, 9.2e18, 1, 1_000),
        ):
            of_unit = known & (numbers >= low) & (numbers < high)
            if of_unit.any():
                some = numbers[of_unit]
                at_us[of_unit] = np.rint(some * times) if parts == 1 else some // parts
                self.tally.units[unit] += int(of_unit.sum())
        return at_us, known

    def _text(self, column: pa.Array) -> tuple[Us, Mask]:
        if self._format is not None:
            return self._local.read(pc.strptime(column, format=self._format, unit="us", error_is_null=True))
        ways = (
            lambda: self._local.read(column.cast(_US)),
            lambda: self._zoned(column.cast(_US_UTC)),
            lambda: self._numbers(column.cast(pa.int64())),
            lambda: self._numbers(column.cast(pa.float64())),
        )
        # The whole column one way is the rule, and mostly it is the way of the block before.
        for at in (self._usual, *range(len(ways))):
            try:
                found = ways[at]()
            except pa.ArrowInvalid:
                continue
            self._usual = at
            return found
        return self._mixed(column)

    def _mixed(self, column: pa.Array) -> tuple[Us, Mask]:
        """Several ways in one column, or ways that Arrow does not read, or what is no time."""
        text = pc.utf8_trim_whitespace(column)
        for pattern, by in _REWRITTEN:
            text = pc.replace_substring_regex(text, pattern, by)
        number = _where(text, _NUMBER)
        zoned = _where(text, _DATED + ".*" + _ZONED) & _where(text, r":|Z$")
        local = _where(text, _DATED) & ~zoned
        at_us, known = np.zeros(len(text), np.int64), np.zeros(len(text), np.bool_)
        for rows, kind, read in (
            (number, pa.float64(), self._numbers),
            (zoned, _US_UTC, self._zoned),
            (local, _US, self._local.read),
        ):
            if rows.any():
                at_us[rows], known[rows] = read(_cast(text.filter(pa.array(rows)), kind))
        return at_us, known


def _cast(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """With null for what cannot be."""
    if pa.types.is_floating(kind) and not pc.any(pc.match_substring_regex(text, r"[.eE]|\d{19}")).as_py():
        kind = pa.int64()
    try:
        return text.cast(kind)
    except pa.ArrowInvalid:
        # A thirteenth month, an hour alone: these few are looked at one by one.
        return pa.array([_one(one, local=kind == _US) for one in text.to_pylist()], kind)


def _one(text: str, *, local: bool) -> int | None:
    try:
        return to_us(text, "iso") if not local or datetime.fromisoformat(text).tzinfo is None else None
    except (QuarantineError, ValueError):
        return None


def _where(text: pa.Array, pattern: str) -> Mask:
    return np.asarray(pc.match_substring_regex(text, pattern).fill_null(False).to_numpy(zero_copy_only=False))


def _known(column: pa.Array) -> Mask:
    known = column.is_valid().to_numpy(zero_copy_only=False)
    return np.array(known, np.bool_)


def _plain(column: pa.Array) -> tuple[Us, Mask]:
    numbers = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return np.array(numbers, np.int64), _known(column)


class _LocalTimes:
    """Wall-clock times → µs UTC, in the order of a file."""

    def __init__(self, zone: ZoneInfo | None, tally: TimeTally) -> None:
        self._zone = zone
        self._tally = tally
        self._offsets: dict[int, tuple[int, int]] = {}
        # Of the run of repeated times that the last block ended in: its first and its latest, and whether it went back.
        self._run: tuple[int, int, bool] | None = None

    def read(self, column: pa.Array) -> tuple[Us, Mask]:
        local_us, known = _plain(column)
        known &= (local_us >= MIN_TS_US) & (local_us < MAX_TS_US)
        self._tally.local += int(known.sum())
        if self._zone is None or not known.any():
            return local_us, known
        first, second = np.zeros(len(local_us), np.int64), np.zeros(len(local_us), np.int64)
        first[known], second[known] = self._offsets_of(self._zone, local_us[known])
        self._tally.skipped += int((first < second).sum())
        repeated = first > second
        if repeated.any():
            again = self._again(local_us, repeated)
            self._tally.repeated += int(repeated.sum())
            self._tally.second += int(again.sum())
            first = np.where(again, second, first)
        else:
            self._run = None
        return local_us - first, known

    def _offsets_of(self, zone: ZoneInfo, local_us: Us) -> tuple[Us, Us]:
        """From UTC, before and after a change of the clocks. They change at full quarters of an hour."""
        quarter = local_us // _QUARTER_US
        quarters, place = np.unique(quarter, return_inverse=True)
        for one in quarters.tolist():
            if one not in self._offsets:
                at = (_EPOCH + timedelta(microseconds=one * _QUARTER_US)).replace(tzinfo=zone)
                both = (at.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1))
                before, after = (offset // timedelta(microseconds=1) for offset in both)
                self._offsets[one] = before, after
        offsets = np.array([self._offsets[one] for one in quarters.tolist()], np.int64)[place]
        return offsets[:, 0], offsets[:, 1]

    def _again(self, local_us: Us, repeated: Mask) -> Mask:
        """Which of the repeated times are of the second hour: those after a step back in an unbroken run of them."""
        at = np.flatnonzero(repeated)
        some = local_us[at]
        goes_on = self._run is not None and at[0] == 0
        begins = np.diff(at, prepend=at[0] - 1 if goes_on else at[0] - 2) != 1
        run = np.cumsum(begins)
        starts = np.concatenate([[self._run[0] if self._run is not None else some[0]], some[begins]])
        # Runs far apart from each other, so that one running maximum serves all.
        lifted = some - starts[run] + run * _RUN_US
        before = self._run[1] - self._run[0] if self._run is not None and goes_on else -_DAY_US
        latest = np.maximum.accumulate(np.concatenate([[before], lifted]))[1:]
        back = (latest - lifted) >= _STEP_BACK_US
        was_back = self._run is not None and goes_on and self._run[2]
        latched = np.maximum.accumulate(np.concatenate([[0 if was_back else -1], np.where(back, run, -1)]))[1:]
        again = latched == run
        found = np.zeros(len(local_us), np.bool_)
        found[at] = again
        if at[-1] == len(local_us) - 1:
            start = int(starts[run[-1]])
            self._run = start, start + int(latest[-1] - run[-1] * _RUN_US), bool(again[-1])
        else:
            self._run = None
        return found

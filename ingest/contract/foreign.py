"""Readings as other producers write them: plain JSON, without Millstream's headers.

A record is one reading, an array of readings, or columns (docs/foreign.md):

    {"sensor": "demo/press-01/temperature", "ts": "2026-01-31T06:00:00Z", "value": 21.5}
    [{"sensor": "demo/press-01/mode", "text": "RUN"}, …]
    {"sensor": ["demo/press-01/temperature", …], "ts": [1769839200000, …], "value": [21.5, …]}

Values, times and qualities mean what they mean to the gateway's decoders. A record is read whole or not at all.
Producers usually write a record per reading, so records are read many at a time, into the columns of one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from math import nan
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import MAX_TS_US, MIN_TS_US, Flag, Quality, Readings, Words
from ingest.contract.times import many_to_us, to_us
from ingest.contract.values import quality_of, value_of
from ingest.contract.wire import JSON, Envelope, Kind

MAX_ROWS = 10_000
ARRIVAL_GRID_MS = 100
"""Arrival times, as far as they move the fold's clock, are rounded down to it: what shares one is folded at once."""
_SHOWN = 200
_SOURCE = "foreign"
_BLANKS = b" \t\r\n"
_STAMPED = np.uint8(Flag.ARRIVAL_STAMPED)
_STAMPS_US = 1_000_000
_MANY = 8

_Time = int | float | str | None
_Value = float | bool | str | None | UnsetType
_Quality = float | bool | str | None


class _Reading(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    sensor: str
    ts: _Time = None
    value: _Value = UNSET
    quality: _Quality = None
    text: str | None = None


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    sensor: str | list[str]
    ts: _Time | list[_Time] = None
    value: _Value | list[float | bool | str | None] = UNSET
    quality: _Quality | list[_Quality] = None
    text: str | list[str | None] | None = None


_READING = msgspec.json.Decoder(_Reading)
_DOCUMENT = msgspec.json.Decoder(_Document)
_ARRAY = msgspec.json.Decoder(list[_Reading])


def is_foreign(headers: Iterable[tuple[str, bytes | None]]) -> bool:
    """Whether a record says that it is JSON and nothing that only Millstream says.

    >>> is_foreign([("content-type", b"application/json")])
    True
    """
    json = False
    for name, value in headers:
        if name in ("kind", "schema"):
            return False
        if name.lower() == "content-type":
            json = value is not None and value.partition(b";")[0].strip().lower() == JSON.encode()
    return json


def foreign_envelope(timestamp_ms: int, partitions: int) -> Envelope:
    """What Millstream's headers would say, arrival on the grid. timestamp_ms: Kafka's.

    Raises QuarantineError(TIMESTAMP).

    >>> foreign_envelope(1_700_000_000_199, 12).arrival_us
    1700000000100000
    """
    arrival_us = timestamp_ms // ARRIVAL_GRID_MS * ARRIVAL_GRID_MS * 1_000
    if not MIN_TS_US <= arrival_us < MAX_TS_US:
        raise QuarantineError(Reason.TIMESTAMP, f"Kafka's timestamp {timestamp_ms} is not between 1990 and 2200")
    return Envelope(Kind.READINGS, JSON, _SOURCE, 0, arrival_us, partitions)


def decode_foreign(data: bytes | None, arrival_us: int, max_rows: int = MAX_ROWS) -> Readings:
    """Read a record. A reading without a time gets that of its arrival, flagged ARRIVAL_STAMPED; see `stamp`.

    Raises QuarantineError: EMPTY, SYNTAX, ENCODING, TOO_DEEP for what is no JSON; TYPE for another shape; TOO_LARGE
    for more rows than `max_rows`, or a long text; NO_VALUE, NUMBER, TIMESTAMP, QUALITY.

    >>> decode_foreign(b'[{"sensor": "a/b", "value": 1}, {"sensor": "a/c", "text": "on"}]', 10**15).value
    array([ 1., nan])
    """
    run = decode_run([data], [arrival_us], max_rows)
    if run.refused:
        raise run.refused[0]
    return run.readings


@dataclass(frozen=True, slots=True, eq=False)
class ForeignRun:
    """What some records hold, one after the other.

    readings: of those that can be read. record: in which one each row came, counted from 0, shape (rows,), ascending.
    refused: why the others cannot be read, by the same count.
    """

    readings: Readings
    record: NDArray[np.intp]
    refused: dict[int, QuarantineError]

    def without(self, refused: dict[int, QuarantineError]) -> ForeignRun:
        """Refuse these records as well."""
        kept = np.flatnonzero(~np.isin(self.record, list(refused)))
        readings = self.readings.take(kept)
        columns: list[NDArray[Any]] = [readings.ts_us, readings.value, readings.quality, readings.flags]
        words = readings.sensor, readings.text, readings.code
        for column in [*columns, *(one.index for one in words if one is not None)]:
            _fixed(column)
        return ForeignRun(readings, self.record[kept], self.refused | refused)


def decode_run(values: Sequence[bytes | None], arrived_us: Sequence[int], max_rows: int = MAX_ROWS) -> ForeignRun:
    """Read some records, each as `decode_foreign` does: a bad one does its neighbours no harm.

    arrived_us: by record. max_rows: in each.

    >>> decode_run([b'{"sensor": "a/b", "value": 1}', b"?", b'{"sensor": "a/b", "value": 2}'], [10**15] * 3).record
    array([0, 2])
    """
    refused: dict[int, QuarantineError] = {}
    (sensors, times, given, qualities, texts), sizes = _gather(values, max_rows, refused)
    wrong: dict[int, QuarantineError] = {}
    record = np.zeros(sizes[0], np.intp) if len(sizes) == 1 else np.arange(len(sizes)).repeat(sizes)
    ts_us, flags = _times(times, np.array(arrived_us, np.int64)[record], wrong)
    value, text, implied = _values(given, texts, len(sensors), wrong)
    quality, code = _qualities(qualities, implied, wrong)
    readings = Readings(
        _words(sensors),  # type: ignore[arg-type]
        _fixed(ts_us),
        _fixed(value),
        _fixed(quality),
        _fixed(flags),
        _words(text),
        _words(code),
    )
    run = ForeignRun(readings, record, refused)
    if not wrong:
        return run
    first, also = np.cumsum([0, *sizes]), dict[int, QuarantineError]()
    for row, error in wrong.items():
        at = int(record[row])
        also.setdefault(at, QuarantineError(error.reason, f"reading {row - first[at]}: {error.detail}"))
    return run.without(also)


def stamp(
    readings: Readings,
    slot: NDArray[np.int32],
    newest_us: NDArray[np.int64],
    latest_us: int,
    times_of: Callable[[int, Iterable[int]], Iterable[int]],
) -> Readings:
    """Let the stamps of a sensor's readings ascend, within a record and from one to the next.

    Kafka's clock has milliseconds, and of LogAppendTime one for a whole batch: two readings with one stamp would be
    one and its duplicate. slot: by row, -1 for none. newest_us: of what each slot has had so far, up to latest_us; what
    is later is the future. Where that is over a second ahead, it came from another clock: the stamp is the arrival
    time then, or the next that the sensor has not had. times_of: what the fold would know a slot's times by, had it
    seen some more.
    """
    stamped = (readings.flags & _STAMPED) != 0
    if not stamped.any():
        return readings
    times, newest, seen = readings.ts_us.tolist(), dict[int, int](), dict[int, list[int]]()
    before = newest_us[np.maximum(slot, 0)].tolist()
    for row, (at, us, is_stamped) in enumerate(zip(slot.tolist(), times, stamped.tolist(), strict=True)):
        if at < 0:
            continue
        before_us, here = newest.get(at, before[row]), seen.setdefault(at, [])
        if is_stamped and 0 <= before_us - us < _STAMPS_US:
            us = before_us + 1
        elif is_stamped and us < before_us:
            here[:] = times_of(at, here)
            had = set(here)
            while us in had:
                us += 1
        times[row] = us
        # Row by row what the fold will have seen: it must not matter how they are cut into records.
        if us <= latest_us:
            here.append(us)
            newest[at] = max(before_us, us)
    columns = readings.value, readings.quality, readings.flags, readings.text, readings.code
    return Readings(readings.sensor, _fixed(np.array(times, np.int64)), *columns)


_Columns = tuple[Sequence[str], Sequence[Any] | None, Sequence[Any] | None, Sequence[Any] | None, Sequence[Any] | None]


def _gather(
    values: Sequence[bytes | None], max_rows: int, refused: dict[int, QuarantineError]
) -> tuple[_Columns, list[int]]:
    """The columns of all records that have the right shape, and the rows of each; those that do not are refused."""
    if len(values) == 1:
        try:
            columns = _columns(values[0], max_rows)
        except QuarantineError as error:
            refused[0] = error
            columns = [], None, None, None, None
        return columns, [len(columns[0])]
    found: list[_Reading] = []
    sizes = [1] * len(values)
    for at, data in enumerate(values):
        try:
            found.append(_READING.decode(data or b""))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # It is no single reading; perhaps several.
            try:
                several = _apart(_columns(data, max_rows))
            except QuarantineError as error:
                refused[at], several = error, []
            found += several
            sizes[at] = len(several)
    return _of_readings(found), sizes


def _apart(found: _Columns) -> list[_Reading]:
    sensors, times, values, qualities, texts = found
    columns = (times, None), (values, UNSET), (qualities, None), (texts, None)
    filled = (repeat(nothing, len(sensors)) if column is None else column for column, nothing in columns)
    return [_Reading(*row) for row in zip(sensors, *filled, strict=True)]


def _of_readings(found: list[_Reading]) -> _Columns:
    return (
        [one.sensor for one in found],
        [one.ts for one in found],
        [one.value for one in found],
        [one.quality for one in found],
        [one.text for one in found],
    )


def _columns(data: bytes | None, max_rows: int) -> _Columns:
    """(sensor, ts, value, quality, text), all of one length; None for a column that is not there."""
    columns = _shaped(data)
    if (rows := len(columns[0])) > max_rows:
        raise QuarantineError(Reason.TOO_LARGE, f"{rows} readings in a record, at most {max_rows}")
    return columns


def _shaped(data: bytes | None) -> _Columns:
    if data is None or not (start := data.lstrip(_BLANKS)[:1]):
        raise QuarantineError(Reason.EMPTY, "no bytes")
    try:
        found = (_ARRAY if start == b"[" else _DOCUMENT).decode(data)
    except RecursionError as error:
        raise QuarantineError(Reason.TOO_DEEP, "nested too deep") from error
    except UnicodeDecodeError as error:
        raise QuarantineError(Reason.ENCODING, "not UTF-8") from error
    except msgspec.DecodeError as error:
        said = str(error)[:_SHOWN]
        if "out of range" in said:
            raise QuarantineError(Reason.NUMBER, said) from error
        other = isinstance(error, msgspec.ValidationError)
        raise QuarantineError(Reason.TYPE if other else Reason.SYNTAX, said) from error
    if isinstance(found, list):
        return _of_readings(found)
    others = {"ts": found.ts, "value": found.value, "quality": found.quality, "text": found.text}
    if isinstance(found.sensor, str):
        if lists := [name for name, column in others.items() if isinstance(column, list)]:
            raise QuarantineError(Reason.TYPE, f"an array in {lists[0]}, and one sensor")
        return [found.sensor], [found.ts], [found.value], [found.quality], [found.text]
    return found.sensor, *(_column(name, column, len(found.sensor)) for name, column in others.items())  # type: ignore[return-value]


def _column(name: str, column: Any, rows: int) -> Sequence[Any] | None:
    if column is None or column is UNSET:
        return None
    if not isinstance(column, list) or len(column) != rows:
        raise QuarantineError(Reason.TYPE, f"{name} is no array of {rows}, as sensor is")
    return column


def _times(
    times: Sequence[Any] | None, arrived_us: NDArray[np.int64], wrong: dict[int, QuarantineError]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """(ts_us, flags). arrived_us: by row. wrong: what is refused, by row."""
    rows = len(arrived_us)
    if times is None or times.count(None) == rows:
        return arrived_us, np.full(rows, _STAMPED, np.uint8)
    many = rows >= _MANY and set(map(type, times)) in ({int}, {float})
    us = many_to_us(times, "auto") if many else None
    if us is not None:
        return np.array(us, np.int64), np.zeros(rows, np.uint8)
    us = list(_each(lambda time: 0 if time is None else to_us(time, "auto"), 0, wrong, times))
    if None not in times:
        return np.array(us, np.int64), np.zeros(rows, np.uint8)
    stamped = np.array([time is None for time in times], np.bool_)
    return np.where(stamped, arrived_us, np.array(us, np.int64)), np.where(stamped, _STAMPED, np.uint8(0))


_NO_VALUE = nan, None, Quality.BAD


def _values(
    values: Sequence[Any] | None, texts: Sequence[Any] | None, rows: int, wrong: dict[int, QuarantineError]
) -> tuple[NDArray[np.float64], list[str | None] | None, NDArray[np.uint8]]:
    """(value, text, the quality that a value has of itself)."""
    plain = texts is None or texts.count(None) == rows
    if plain and values is not None and set(map(type, values)) <= {float, bool}:
        column = np.array(values, np.float64)
        if np.isfinite(column).all():
            return column, None, np.zeros(rows, np.uint8)
    columns = values or repeat(UNSET, rows), texts or repeat(None, rows)
    found = list(_each(_value_or_text, _NO_VALUE, wrong, *columns))
    value, text, quality = zip(*found, strict=True) if found else ((), (), ())
    return np.array(value, np.float64), list(text), np.array(quality, np.uint8)


def _value_or_text(value: Any, text: str | None) -> tuple[float, str | None, Quality]:
    if text is None:
        if value is UNSET:
            raise QuarantineError(Reason.NO_VALUE, "neither value nor text")
        return value_of(value)
    if value is not UNSET and value is not None:
        raise QuarantineError(Reason.TYPE, "a value and a text")
    return value_of(text)


def _qualities(
    qualities: Sequence[Any] | None, implied: NDArray[np.uint8], wrong: dict[int, QuarantineError]
) -> tuple[NDArray[np.uint8], list[str | None] | None]:
    """(quality, original code). implied: of the values."""
    if qualities is None or qualities.count(None) == len(qualities):
        return implied, None
    known: dict[tuple[type, Any], tuple[int, str | None]] = {(type(None), None): (Quality.GOOD, None)}

    def said(raw: Any) -> tuple[int, str | None]:
        found = known.get((type(raw), raw))
        if found is None:
            found = known[type(raw), raw] = quality_of(raw)
        return found

    found = list(_each(said, (0, None), wrong, qualities))
    return (
        np.maximum(np.array([quality for quality, _ in found], np.uint8), implied),
        [code for _, code in found],
    )


def _each(
    read: Callable[..., Any], instead: Any, wrong: dict[int, QuarantineError], *columns: Iterable[Any]
) -> Iterator[Any]:
    """`map`, with something instead where it fails. wrong: takes the first error of each row."""
    for row, fields in enumerate(zip(*columns, strict=True)):
        try:
            yield read(*fields)
        except QuarantineError as error:
            wrong.setdefault(row, error)
            yield instead


def _words(column: Sequence[str | None] | None) -> Words | None:
    if column is None or (column and column.count(None) == len(column)):
        return None
    words = Words.encode(column)
    _fixed(words.index)
    return words


def _fixed(column: NDArray[Any]) -> NDArray[Any]:
    # As what Arrow reads is: compiled loops have one form for both.
    column.flags.writeable = False
    return column

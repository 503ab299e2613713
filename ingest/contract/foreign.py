"""Readings as other producers write them: plain JSON, without Millstream's headers.

A record is one reading, an array of readings, or columns (docs/foreign.md):

    {"sensor": "demo/press-01/temperature", "ts": "2026-01-31T06:00:00Z", "value": 21.5}
    [{"sensor": "demo/press-01/mode", "text": "RUN"}, …]
    {"sensor": ["demo/press-01/temperature", …], "ts": [1769839200000, …], "value": [21.5, …]}

Values, times and qualities mean what they mean to the gateway's decoders. A record is read whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
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
_SHOWN = 200
_SOURCE = "foreign"
_BLANKS = b" \t\r\n"
_STAMPED = int(Flag.ARRIVAL_STAMPED)
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
    """What Millstream's headers would say. timestamp_ms: Kafka's. Raises QuarantineError(TIMESTAMP)."""
    arrival_us = timestamp_ms * 1_000
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
    sensors, times, values, qualities, texts = _columns(data)
    rows = len(sensors)
    if rows > max_rows:
        raise QuarantineError(Reason.TOO_LARGE, f"{rows} readings in a record, at most {max_rows}")
    ts_us, flags = _times(times, arrival_us, rows)
    value, text, implied = _values(values, texts, rows)
    quality, code = _qualities(qualities, implied)
    return Readings(
        _words(sensors),  # type: ignore[arg-type]
        _fixed(ts_us),
        _fixed(value),
        _fixed(quality),
        _fixed(flags),
        _words(text),
        _words(code),
    )


def stamp(readings: Readings, slot: NDArray[np.int32], newest_us: NDArray[np.int64]) -> Readings:
    """Let the stamps of a sensor's readings ascend, within a record and from one to the next.

    Kafka's clock has milliseconds, and of LogAppendTime one for a whole batch: two readings with one stamp would be
    one and its duplicate. slot: by row, -1 for none. newest_us: of what each slot has had so far. Where that is over a
    second ahead, the arrival time stands: it came from another clock.
    """
    rows = np.flatnonzero(readings.flags & np.uint8(_STAMPED)).tolist()
    if not rows:
        return readings
    ts_us, last = readings.ts_us.copy(), dict[int, int]()
    for row in rows:
        at, arrived_us = int(slot[row]), int(ts_us[row])
        before_us = last.get(at, int(newest_us[at]) if at >= 0 else 0)
        last[at] = ts_us[row] = before_us + 1 if 0 <= before_us - arrived_us < _STAMPS_US else arrived_us
    columns = readings.value, readings.quality, readings.flags, readings.text, readings.code
    return Readings(readings.sensor, _fixed(ts_us), *columns)


_Columns = tuple[Sequence[str], Sequence[Any] | None, Sequence[Any] | None, Sequence[Any] | None, Sequence[Any] | None]


def _columns(data: bytes | None) -> _Columns:
    """(sensor, ts, value, quality, text), all of one length; None for a column that is not there."""
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
        return (
            [one.sensor for one in found],
            [one.ts for one in found],
            [one.value for one in found],
            [one.quality for one in found],
            [one.text for one in found],
        )
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


def _times(times: Sequence[Any] | None, arrival_us: int, rows: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """(ts_us, flags)."""
    if times is None or times.count(None) == rows:
        return np.full(rows, arrival_us, np.int64), np.full(rows, _STAMPED, np.uint8)
    flags = np.array([_STAMPED if time is None else 0 for time in times], np.uint8)
    many = rows >= _MANY and set(map(type, times)) in ({int}, {float})
    us = many_to_us(times, "auto") if many else None
    if us is None:
        us = list(_each(lambda time: arrival_us if time is None else to_us(time, "auto"), times))
    return np.array(us, np.int64), flags


def _values(
    values: Sequence[Any] | None, texts: Sequence[Any] | None, rows: int
) -> tuple[NDArray[np.float64], list[str | None] | None, NDArray[np.uint8]]:
    """(value, text, the quality that a value has of itself)."""
    plain = texts is None or texts.count(None) == rows
    if plain and values is not None and set(map(type, values)) <= {float, bool}:
        column = np.array(values, np.float64)
        if np.isfinite(column).all():
            return column, None, np.zeros(rows, np.uint8)
    found = list(_each(_value_or_text, values or repeat(UNSET, rows), repeat(None, rows) if texts is None else texts))
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
    qualities: Sequence[Any] | None, implied: NDArray[np.uint8]
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

    found = list(_each(said, qualities))
    return (
        np.maximum(np.array([quality for quality, _ in found], np.uint8), implied),
        [code for _, code in found],
    )


def _each(read: Callable[..., Any], *columns: Iterable[Any]) -> Iterable[Any]:
    """`map`, which says of which row an error is."""
    for row, fields in enumerate(zip(*columns, strict=True)):
        try:
            yield read(*fields)
        except QuarantineError as error:
            raise QuarantineError(error.reason, f"reading {row}: {error.detail}") from error


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

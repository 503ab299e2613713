"""CBOR (RFC 8949), read as JSON is: maps for objects, tags 0 and 1 for times, typed arrays for waveforms.

Only cbor2's reading of plain data is used. Of the tags it knows, those that compile, that share and cycle, or that
make objects nobody asked for are refused before they do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from math import inf, ldexp
from typing import Any

import cbor2
import msgspec
import numpy as np

from ingest.contract.errors import QuarantineError, Reason
from ingest.decoders.columns import Columns, Keys, columns_of
from ingest.decoders.documents import Documents

MAX_DEPTH = 64
"""Nesting of arrays, maps and tags, anywhere in a document."""

_SELF_DESCRIBED = b"\xd9\xd9\xf7"  # RFC 8949, 3.4.6
_MIN_READ_BYTES = 64
# Documents whose objects are alive at once: few enough to stay in a core's cache.
_TOGETHER = 256
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_MANTISSA = 2**64
_MAX_EXPONENT = 10_000

# RFC 8746, 2.1: tag → type of the numbers in a byte string. 83 and 87 are of 128 bits.
_TYPED_ARRAYS = {
    64: ">u1",
    65: ">u2",
    66: ">u4",
    67: ">u8",
    68: ">u1",
    69: "<u2",
    70: "<u4",
    71: "<u8",
    72: ">i1",
    73: ">i2",
    74: ">i4",
    75: ">i8",
    77: "<i2",
    78: "<i4",
    79: "<i8",
    80: ">f2",
    81: ">f4",
    82: ">f8",
    84: "<f2",
    85: "<f4",
    86: "<f8",
}


@dataclass(frozen=True, slots=True)
class Cbor(Documents):
    """Fields of a CBOR document; the options are those of `json`.

    Times may be of tag 0 or 1, numbers of tags 2 to 5 (bignums, decimal fractions, bigfloats), waveforms typed arrays
    (RFC 8746). Keys are texts: a document with other keys is refused, as are bytes after it. Refused as values are
    byte strings, undefined, other tags, NaN and infinity.
    """

    def _columns(self, payloads: Sequence[bytes], keys: Keys) -> Columns | None:
        parts: list[Columns] = []
        for first in range(0, len(payloads), _TOGETHER):
            part = self._part(payloads[first : first + _TOGETHER], keys)
            if part is None:
                return None
            parts.append(part)
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _part(self, payloads: Sequence[bytes], keys: Keys) -> Columns | None:
        if payloads[0].startswith(_SELF_DESCRIBED):
            payloads = [payload.removeprefix(_SELF_DESCRIBED) for payload in payloads]
        joined = b"".join(payloads)
        stream = BytesIO(joined)
        # What is read beyond a document is read again with the next.
        decode, where = _decoder(stream, len(joined) // len(payloads)).decode, stream.tell
        documents: list[Any] = []
        end = 0
        try:
            for payload in payloads:
                documents.append(decode())
                end += len(payload)
                # Each document ends with its payload, so none has read of another's.
                if where() != end:
                    return None
        except (cbor2.CBORDecodeError, RecursionError):
            return None
        names = keys._asdict()

        def column(rows: Sequence[dict[str, Any]], field: str) -> list[Any]:
            name, absent = names[field], msgspec.UNSET if field == "value" else None
            try:
                found = [row[name] for row in rows]
            except KeyError:
                found = [row.get(name, absent) for row in rows]
            if field != "rows" and not set(map(type, found)) <= _SCALARS:
                raise _UnusualError
            return found

        if not _is_usual(documents, keys):
            return None
        try:
            columns = columns_of(documents, keys, self.max_rows, column)
            if columns is None:
                return None
            values = [float(value) if type(value) is int else value for value in columns.value]
        except (_UnusualError, OverflowError):
            return None
        return replace(columns, value=values)

    def _parse(self, payload: bytes) -> Any:
        if not payload:
            raise QuarantineError(Reason.EMPTY, "no bytes")
        stream = BytesIO(payload.removeprefix(_SELF_DESCRIBED))
        try:
            document = _decoder(stream, len(payload)).decode()
        except RecursionError as error:
            raise QuarantineError(Reason.TOO_DEEP, "nested too deep") from error
        except cbor2.CBORDecodeError as error:
            reason = Reason.SYNTAX
            if isinstance(error.__cause__, UnicodeDecodeError):
                reason = Reason.ENCODING
            elif "nesting depth" in str(error):
                reason = Reason.TOO_DEEP
            raise QuarantineError(reason, str(error)) from error
        if stream.tell() != len(stream.getbuffer()):
            raise QuarantineError(Reason.SYNTAX, "bytes after the document")
        return document


_SCALARS = {float, int, bool, str, datetime, type(None), msgspec.UnsetType}


class _UnusualError(Exception):
    """A field of a type that needs a second look."""


def _is_usual(documents: list[Any], keys: Keys) -> bool:
    """Whether documents, and rows where there are any, are maps."""
    if keys.rows is None:
        return set(map(type, documents)) == {dict}
    if keys.rows:
        if set(map(type, documents)) != {dict}:
            return False
        documents = [document.get(keys.rows) for document in documents]
    return set(map(type, documents)) == {list} and {type(row) for rows in documents for row in rows} <= {dict}


def _joined(parts: Sequence[Columns]) -> Columns:
    """The columns of a burst from those of its parts, each of `_TOGETHER` documents but for the last."""
    whole = replace(parts[0], message=None if parts[0].message is None else [])
    for at, part in enumerate(parts):
        if whole.message is not None and part.message is not None:
            whole.message.extend(at * _TOGETHER + one for one in part.message)
        if at:
            whole.value.extend(part.value)
            whole.time.extend(part.time)
            whole.quality.extend(part.quality)
            for column, more in ((whole.unit, part.unit), (whole.name, part.name)):
                if column is not None and more is not None:
                    column.extend(more)
    return whole


def _decoder(stream: BytesIO, read_bytes: int) -> cbor2.CBORDecoder:
    return cbor2.CBORDecoder(
        stream,
        tag_hook=_unknown_tag,
        semantic_decoders=_TAGS,
        read_size=max(_MIN_READ_BYTES, read_bytes),
        max_depth=MAX_DEPTH,
        # No keys that an attacker can make collide.
        strict_hashable_types=True,
    )


# --- tags -------------------------------------------------------------------------------------------------------------
# What cannot be read becomes a CBORTag, which is no value: it refuses a field, and a document only if it is needed.


def _unknown_tag(tag: cbor2.CBORTag, _immutable: bool) -> Any:
    sort = _TYPED_ARRAYS.get(tag.tag)
    if sort is None or not isinstance(tag.value, bytes) or len(tag.value) % np.dtype(sort).itemsize:
        return tag
    return np.frombuffer(tag.value, sort).astype(np.float64)


def _refused(tag: int) -> Callable[[Any, bool], Any]:
    return lambda _content, _immutable: cbor2.CBORTag(tag, None)


def _date_time(content: Any, _immutable: bool) -> Any:
    """Tag 0: RFC 3339 as text."""
    try:
        return datetime.fromisoformat(content)
    except (TypeError, ValueError):
        return cbor2.CBORTag(0, None)


def _epoch(content: Any, _immutable: bool) -> Any:
    """Tag 1: seconds, exact to the µs."""
    if type(content) not in (int, float) or not -1e10 < content < 1e10:
        return cbor2.CBORTag(1, None)
    return _EPOCH + timedelta(microseconds=round(content * 1_000_000))


def _decimal_fraction(content: Any, _immutable: bool) -> Any:
    """Tag 4: [exponent, mantissa] of ten."""
    parts = _exponent_and_mantissa(content)
    return cbor2.CBORTag(4, None) if parts is None else float(f"{parts[1]}e{parts[0]}")


def _bigfloat(content: Any, _immutable: bool) -> Any:
    """Tag 5: [exponent, mantissa] of two."""
    parts = _exponent_and_mantissa(content)
    if parts is None:
        return cbor2.CBORTag(5, None)
    try:
        return ldexp(parts[1], parts[0])
    except OverflowError:
        return inf


def _exponent_and_mantissa(content: Any) -> tuple[int, int] | None:
    if not isinstance(content, list | tuple) or [type(part) for part in content] != [int, int]:
        return None
    exponent, mantissa = content
    usual = -_MAX_EXPONENT <= exponent <= _MAX_EXPONENT and -_MAX_MANTISSA <= mantissa <= _MAX_MANTISSA
    return (exponent, mantissa) if usual else None


# 25 and 256 refer to earlier texts, 28 and 29 share values, 35 is a regular expression, 36 a mail, 258 a set.
_TAGS = {
    **{tag: _refused(tag) for tag in (25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)},
    0: _date_time,
    1: _epoch,
    4: _decimal_fraction,
    5: _bigfloat,
}

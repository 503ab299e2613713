"""How large an Arrow stream becomes when it is read: kilobytes of compressed zeros are gigabytes.

Looked up in the messages' metadata, before anything is inflated. Format: Arrow columnar format, "Encapsulated message
format" and "Compression"; the metadata are FlatBuffers (Message.fbs). What Arrow's own checks let through is read here
as Arrow reads it; of anything else the answer does not matter, as long as there is one.
"""

from __future__ import annotations

import struct
from struct import Struct

_ZSTD = b"\xb5\x2f\xfd"
"""In the magic number of each of its frames, of any version. No other but LZ4 may be used (Message.fbs)."""
_LZ4_AT_MOST = 256
"""Times a byte of LZ4 can grow: lengths go on by 255 a byte."""
_MAX_BUFFERS = 64
_V5 = 4
_DICTIONARY, _RECORD_BATCH = 2, 3

_prefix = Struct("<iII").unpack_from
_vtable = Struct("<6H").unpack_from
_i16, _i32, _u32, _i64 = (Struct(f"<{code}").unpack_from for code in "hiIq")
_buffers = Struct("<qq").iter_unpack


def exceeds(data: bytes, limit: int) -> int | None:
    """What `inflated_bytes` finds, if it is over a limit; None for what is not, mostly without looking at it closely.

    Raises ValueError as that does.
    """
    # From the end, where `in` needs six times as long.
    if len(data) * _LZ4_AT_MOST <= limit and bytes(data).rfind(_ZSTD) < 0:
        return None
    size = inflated_bytes(data)
    return size if size > limit else None


def inflated_bytes(data: bytes) -> int:
    """Bytes of the buffers of all dictionaries and record batches of a stream; what follows its end does not count.

    Raises ValueError for what cannot be told: a message of an old version, or cut off; too many buffers.
    """
    at, end, total = 0, len(data), 0
    try:
        while at + 12 <= end:
            marker, size, root = _prefix(data, at)
            if not size:
                break
            if marker != -1:
                raise ValueError("a message of an old version of Arrow")
            version, kind, header, length = _fields(data, at + 8 + root)
            if not version or _i16(data, version)[0] != _V5:
                raise ValueError("a message of an old version of Arrow")
            at += 8 + size
            body_bytes = _i64(data, length)[0] if length else 0
            if not 0 <= body_bytes <= end - at:
                raise ValueError("a message that is cut off")
            if body_bytes:
                total += _inflated(data, data[kind], _to(data, header), at)
            at += body_bytes
    except (struct.error, IndexError) as error:
        raise ValueError("a message that is cut off") from error
    return total


def _inflated(data: bytes, kind: int, batch: int, body: int) -> int:
    """Of a dictionary or a record batch. batch: where its table is. body: where its buffers begin."""
    if kind == _DICTIONARY:
        batch = _to(data, _fields(data, batch)[1])
    elif kind != _RECORD_BATCH:
        raise ValueError("a message that no stream of readings has")
    _, _, buffers, compression = _fields(data, batch)
    first = _to(data, buffers)
    count = _u32(data, first)[0]
    if count > _MAX_BUFFERS:
        raise ValueError(f"over {_MAX_BUFFERS} buffers")
    total = 0
    for offset, size in _buffers(data[first + 4 : first + 4 + 16 * count]):
        if size:
            # Compressed ones begin with their length; -1: this one is as it is.
            inflated = _i64(data, body + offset)[0] if compression else -1
            if inflated < -1 or size < 0:
                raise ValueError("a buffer of less than nothing")
            total += size if inflated == -1 else inflated
    return total


def _fields(data: bytes, table: int) -> tuple[int, int, int, int]:
    """Where a table's first four fields are; 0 for one that it does not have."""
    vtable = table - _i32(data, table)[0]
    size, _, *fields = _vtable(data, vtable)
    one, two, three, four = fields if size >= 12 else [at if 4 + 2 * i < size else 0 for i, at in enumerate(fields)]
    return one and table + one, two and table + two, three and table + three, four and table + four


def _to(data: bytes, at: int) -> int:
    """Where a reference leads."""
    return at + int(_u32(data, at)[0])

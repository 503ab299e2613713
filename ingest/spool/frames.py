"""The bytes of the spool: frames around records, headers of segments, cursors.

Frame: marker, length, CRC of the record, CRC of these 12 bytes, record (msgpack: value, key, headers, timestamp).
The lengths are under a checksum of their own: then a frame that ends beyond the file is one that was cut, never one
whose length was damaged, and damage within a record leaves the next frame easy to find.
Segment header: magic, version, number, and up to where the segment before it is valid, which may hold remains of
writes that failed. It looks the same in every version, so that old programs recognise new files.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ingest.contract.errors import IncompatibleError
from ingest.contract.log_writer import Outgoing

VERSION = 1
_MARKER = b"\xf5MF\n"
_FRAME = struct.Struct("<4sII")
_CRC = struct.Struct("<I")
_FRAME_BYTES = _FRAME.size + _CRC.size
_SEGMENT = struct.Struct("<8sIQQQ")
_SEGMENT_MAGIC = b"MS-SPOOL"
_CURSOR = struct.Struct("<8sIQQ")
_CURSOR_MAGIC = b"MS-CURSR"
SEGMENT_HEADER_BYTES = _SEGMENT.size + _CRC.size
_READ_AHEAD_BYTES = 2**20

_Fields = tuple[bytes | None, bytes | None, list[tuple[str, bytes]], int | None]
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Fields)


class Position(NamedTuple):
    """A place in a lane: the segment's number, and the offset in it."""

    segment: int
    offset: int


class Damage(NamedTuple):
    """What cannot be read. what: `frames`, `missing` (a segment, or its end), or `cursor`."""

    what: str
    path: Path
    offset: int
    size: int


class Stretch(NamedTuple):
    """Bytes of a segment, [start, stop): a record, or none where there is damage.

    cut: nothing is wrong but that the last frame is not all there.
    """

    start: int
    stop: int
    record: Outgoing | None = None
    cut: bool = False


def add_frame(buffer: bytearray, record: Outgoing) -> None:
    """Append a record's frame."""
    start = len(buffer)
    buffer += bytes(_FRAME_BYTES)
    _encoder.encode_into(record, buffer, -1)
    with memoryview(buffer) as view, view[start + _FRAME_BYTES :] as payload:
        head = _FRAME.pack(_MARKER, len(payload), zlib.crc32(payload))
    buffer[start : start + _FRAME_BYTES] = head + _CRC.pack(zlib.crc32(head))


def pack_segment_header(number: int, previous: Position) -> bytes:
    """The first bytes of a segment; previous: the end of the one before it."""
    return _sealed(_SEGMENT.pack(_SEGMENT_MAGIC, VERSION, number, *previous))


def unpack_segment_header(head: bytes, path: Path) -> Position | None:
    """The end of the segment before; None if the header is damaged. Raises IncompatibleError for a newer version."""
    fields = _unsealed(_SEGMENT, head, _SEGMENT_MAGIC, path)
    return None if fields is None else Position(fields[1], fields[2])


def pack_cursor(position: Position) -> bytes:
    """A cursor file."""
    return _sealed(_CURSOR.pack(_CURSOR_MAGIC, VERSION, *position))


def unpack_cursor(content: bytes, path: Path) -> Position | None:
    """The position; None if the file is damaged. Raises IncompatibleError for a newer version."""
    fields = _unsealed(_CURSOR, content, _CURSOR_MAGIC, path)
    return None if fields is None else Position(fields[0], fields[1])


def _sealed(content: bytes) -> bytes:
    return content + _CRC.pack(zlib.crc32(content))


def _unsealed(layout: struct.Struct, content: bytes, magic: bytes, path: Path) -> tuple[int, ...] | None:
    if content != _sealed(content[: layout.size]):
        return None
    found, version, *fields = layout.unpack(content[: layout.size])
    if found != magic:
        return None
    if version > VERSION:
        raise IncompatibleError(
            f"{path} is of version {version}, this program knows {VERSION}: let the newer gateway drain it"
        )
    return tuple(fields)


class _Window:
    """Bytes of a file by their offsets, read ahead."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._start = 0
        self._data = memoryview(b"")

    def get(self, offset: int, size: int) -> memoryview:
        at = offset - self._start
        if at < 0 or at + size > len(self._data):
            self._data = memoryview(os.pread(self._fd, max(size, _READ_AHEAD_BYTES), offset))
            self._start, at = offset, 0
        return self._data[at : at + size]


def walk(fd: int, start: int, end: int) -> Iterator[Stretch]:
    """Everything of a segment in [start, end), without holes: records, and the stretches that cannot be read."""
    window, at = _Window(fd), start
    while at < end:
        head = window.get(at, min(_FRAME_BYTES, end - at))
        size = _payload_bytes(head)
        if size is None:
            stop = _next_frame(fd, at + 1, end)
            yield Stretch(at, stop, cut=stop == end and _starts_frame(head))
        elif at + _FRAME_BYTES + size > end:
            stop = end
            yield Stretch(at, stop, cut=True)
        else:
            stop = at + _FRAME_BYTES + size
            yield Stretch(at, stop, _record(window.get(at, stop - at)))
        at = stop


def _payload_bytes(head: memoryview) -> int | None:
    """The length of the record; None if this is no whole, sound head of a frame."""
    if len(head) < _FRAME_BYTES or _CRC.unpack_from(head, _FRAME.size)[0] != zlib.crc32(head[: _FRAME.size]):
        return None
    marker, size, _ = _FRAME.unpack_from(head)
    return int(size) if marker == _MARKER else None


def _starts_frame(head: memoryview) -> bool:
    """Whether this may be the beginning of a head that was cut."""
    return len(head) < _FRAME_BYTES and head[:4] == _MARKER[: len(head)]


def _record(frame: memoryview) -> Outgoing | None:
    payload = frame[_FRAME_BYTES:]
    if _FRAME.unpack_from(frame)[2] != zlib.crc32(payload):
        return None
    try:
        return Outgoing(*_decoder.decode(payload))
    except msgspec.MsgspecError:
        return None


def _next_frame(fd: int, start: int, end: int) -> int:
    """Where the next sound frame begins; `end` if none does."""
    at = start
    while end - at >= _FRAME_BYTES:
        piece = os.pread(fd, min(_READ_AHEAD_BYTES, end - at), at)
        if len(piece) < _FRAME_BYTES:
            break
        found = piece.find(_MARKER)
        while found >= 0:
            size = _payload_bytes(memoryview(os.pread(fd, _FRAME_BYTES, at + found)))
            stop = at + found + _FRAME_BYTES + (size or 0)
            if size is not None and stop <= end and _record(memoryview(os.pread(fd, stop - at - found, at + found))):
                return at + found
            found = piece.find(_MARKER, found + 1)
        at += len(piece) - len(_MARKER) + 1
    return end

"""A segment on disk: a file of frames that is only appended to, and the small file operations that a lane needs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingest.contract.failpoints import failpoint
from ingest.spool.frames import (
    SEGMENT_HEADER_BYTES,
    Position,
    Stretch,
    pack_segment_header,
    unpack_segment_header,
    walk,
)

_SUFFIX = ".seg"


@dataclass(slots=True, eq=False)
class Segment:
    """start, end: of the frames in it. size_bytes: what the file takes. previous: None if the header is damaged."""

    number: int
    path: Path
    previous: Position | None
    start: int
    end: int
    size_bytes: int

    @property
    def stop(self) -> Position:
        """Its end as a position."""
        return Position(self.number, self.end)

    @classmethod
    def found(cls, path: Path) -> Segment:
        """A file from an earlier life; its end is the file's. Raises IncompatibleError for a newer version's."""
        with path.open("rb") as file:
            previous = unpack_segment_header(file.read(SEGMENT_HEADER_BYTES), path)
        size = path.stat().st_size
        # Too short for a header: a crash at its creation, there is nothing in it. With a damaged one, sound frames are
        # looked for from the first byte on.
        start = min(size, SEGMENT_HEADER_BYTES) if previous is not None or size < SEGMENT_HEADER_BYTES else 0
        return cls(int(path.stem), path, previous, start, size, size)

    @classmethod
    def created(cls, directory: Path, number: int, previous: Position) -> tuple[Segment, int]:
        """A new file, durable by name, and its descriptor for appending."""
        path = directory / f"{number:020d}{_SUFFIX}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, pack_segment_header(number, previous))
            sync_directory(directory)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        size = SEGMENT_HEADER_BYTES
        return cls(number, path, previous, size, size, size), fd

    @classmethod
    def all_in(cls, directory: Path) -> list[Segment]:
        """Those of a directory, in order."""
        paths = (path for path in directory.glob(f"*{_SUFFIX}") if path.stem.isascii() and path.stem.isdigit())
        return sorted(map(cls.found, paths), key=lambda segment: segment.number)

    def stretches(self, offset: int) -> Iterator[Stretch]:
        """What is in it from an offset on. Raises OSError."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield from walk(fd, max(offset, self.start), self.end)
        finally:
            os.close(fd)

    def cut_torn_tail(self, offset: int) -> None:
        """Find where the last whole frame ends; what a crash left after it was never acknowledged.

        offset: where reading begins. A tail is cut off only if all before it is sound: a damaged file stays as it is.
        """
        sound = True
        for stretch in self.stretches(offset):
            if stretch.cut:
                self.end = stretch.start
                if sound:
                    with contextlib.suppress(OSError):
                        os.truncate(self.path, self.end)
                        self.size_bytes = self.end
            sound = sound and stretch.record is not None


def write_all(fd: int, content: bytes | memoryview) -> None:
    """Write to the end of the file, however many calls that takes."""
    view = memoryview(content)
    while len(view):
        view = view[os.write(fd, view) :]


def append_synced(fd: int, content: memoryview) -> None:
    """Append, and return when it is on disk."""
    failpoint("spool-append")
    write_all(fd, content)
    failpoint("spool-fsync")
    os.fsync(fd)


def sync_directory(path: Path) -> None:
    """Make new names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, content: bytes, *, durable: bool) -> None:
    """The new content or the old, never half of one."""
    draft = path.with_suffix(".new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, content)
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    draft.replace(path)

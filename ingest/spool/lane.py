"""The spool of one partition: appended at one end, drained at the other, possibly by two threads at once."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ingest.contract.failpoints import failpoint
from ingest.contract.log_writer import Outgoing
from ingest.spool.budget import Budget
from ingest.spool.frames import SEGMENT_HEADER_BYTES, Damage, Position, Stretch, add_frame, pack_cursor, unpack_cursor
from ingest.spool.segment import Segment, append_synced, replace_file, sync_directory

CHUNK_BYTES = 2**20
# What one fsync may cover, and one append hold in memory; a batch larger than this goes alone.
_GROUP_BYTES = 8 * 2**20
_NOWHERE = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole records in order, where they end, and what could not be read among them."""

    records: list[Outgoing]
    end: Position
    damage: list[Damage] = field(default_factory=list)


class Lane:
    """One partition's records on disk.

    directory: of this lane alone; made when something is stored. keep: told of a file that is damaged, before it is
    drained and deleted.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        directory: Path,
        budget: Budget,
        segment_bytes: int,
        keep: Callable[[Path], None],
    ) -> None:
        self.topic = topic
        self.partition = partition
        self._directory = directory
        self._cursor = directory / "cursor"
        self._budget = budget
        self._segment_bytes = segment_bytes
        self._keep = keep
        self._lock = threading.Lock()
        self._segments: list[Segment] = []
        self._fd: int | None = None
        """Of the last segment; None when the next append begins a new one."""
        self._position = _NOWHERE
        self._end = _NOWHERE
        self._told = _NOWHERE
        self._number = 0
        """Of the newest segment that was tried to make."""
        self.oldest_ms: int | None = None
        """The timestamp of the first record that is not drained; None when there is none."""

    # --- an earlier life ----------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Find what is there, and change nothing. Raises IncompatibleError for a newer version's files, OSError."""
        self._segments = Segment.all_in(self._directory)
        with contextlib.suppress(FileNotFoundError):
            self._position = unpack_cursor(self._cursor.read_bytes(), self._cursor) or _NOWHERE
        self._number = max([self._position.segment, *(segment.number for segment in self._segments)])

    def recover(self) -> list[Damage]:
        """Cut off what a crash left half written, delete what is drained already; returns what is missing."""
        if not self._segments:
            self._end = self._position
            if self._position == _NOWHERE:
                self._cursor.unlink(missing_ok=True)
            return []
        missing, unknown = list[Damage](), self._position == _NOWHERE
        if unknown and (self._cursor.exists() or (self._segments[0].previous or _NOWHERE) > _NOWHERE):
            missing.append(Damage("cursor", self._cursor, 0, 0))
        ends = {one.previous.segment: one.previous.offset for one in self._segments if one.previous is not None}
        there = {segment.number for segment in self._segments}
        for segment, following in zip(self._segments, [*self._segments[1:], None], strict=True):
            before = segment.previous
            if before and not unknown and before.segment not in there and before > self._position:
                missing.append(Damage("missing", self._directory, 0, before.offset))
            if segment.number in ends:
                segment.end = ends[segment.number]
            elif following is not None and following.previous is not None:
                segment.end = segment.start  # what was written in it had failed, and is in another
            else:
                segment.cut_torn_tail(self._from(segment))
            self._budget.add(segment.size_bytes)
        for segment in [one for one in self._segments if one.start >= one.end and one.number not in ends]:
            self._drop(segment)  # a crash, or a failure, at its creation
        self._end = max([self._position, *(segment.stop for segment in self._segments)])
        self._drop_drained()
        self.oldest_ms = self._peek()
        return missing

    # --- what there is ------------------------------------------------------------------------------------------------

    @property
    def empty(self) -> bool:
        """Whether all is drained."""
        return self._position >= self._end

    @property
    def backlog_bytes(self) -> int:
        """Bytes of frames that are not drained."""
        left = (segment.end - self._from(segment) for segment in tuple(self._segments))
        return sum(size for size in left if size > 0)

    def _from(self, segment: Segment) -> int:
        """Where in a segment reading begins."""
        if segment.number < self._position.segment:
            return segment.end
        return max(segment.start, self._position.offset if segment.number == self._position.segment else 0)

    # --- in -----------------------------------------------------------------------------------------------------------

    def append(self, batches: Sequence[Sequence[Outgoing]]) -> list[Position]:
        """Store as many of the batches, from the first, as go together, with one fsync; returns where each ends.

        Raises SpoolFullError if not even the first fits, OSError if the disk fails. In both cases nothing was
        stored, and the same may be tried again.
        """
        frames, stops = bytearray(), list[int]()
        for batch in batches:
            for record in batch:
                add_frame(frames, record)
            stops.append(len(frames))
            if len(frames) >= _GROUP_BYTES:
                break
        with self._lock:
            self._rotate()
            taken = 0 if self._fd is not None else SEGMENT_HEADER_BYTES
            count = self._budget.take(taken, stops)
            size = stops[count - 1]
            try:
                fd = self._open()
            except OSError:
                self._budget.give(taken + size)
                raise
            segment = self._segments[-1]
            try:
                with memoryview(frames) as view:
                    append_synced(fd, view[:size])
            except OSError:
                self._undo(segment, fd, size)
                raise
            begin = segment.end
            segment.end += size
            segment.size_bytes += size
            self._end = segment.stop
            if self.oldest_ms is None:
                self.oldest_ms = next((one.timestamp_ms for batch in batches[:count] for one in batch), None)
            return [Position(segment.number, begin + stop) for stop in stops[:count]]

    def _rotate(self) -> None:
        if self._fd is not None and self._segments[-1].end >= self._segment_bytes:
            self._close()

    def _open(self) -> int:
        if self._fd is None:
            if not self._directory.exists():
                self._directory.mkdir(mode=0o700)
                sync_directory(self._directory.parent)
            # Each try has a number of its own: a failed one may have left a file behind.
            self._number += 1
            segment, self._fd = Segment.created(self._directory, self._number, self._end)
            self._segments.append(segment)
        return self._fd

    def _undo(self, segment: Segment, fd: int, size: int) -> None:
        """Take half-written frames away. If the disk refuses: the next segment says where this one ended."""
        with contextlib.suppress(OSError):
            os.ftruncate(fd, segment.end)
        # After a failed fsync nobody knows what of this file is on disk: never append to it again.
        self._close()
        left = segment.end
        with contextlib.suppress(OSError):
            left = segment.path.stat().st_size
        self._budget.give(segment.size_bytes + size - left)
        segment.size_bytes = left
        if segment.end == segment.start:
            with contextlib.suppress(OSError):
                self._drop(segment)

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)

    # --- out ----------------------------------------------------------------------------------------------------------

    def read(self, max_bytes: int = CHUNK_BYTES) -> Chunk:
        """The next records that are not drained: about `max_bytes` of them, at least one if there is one.

        The same again until `advance`. Damage is said the first time it is met. Raises OSError.
        """
        with self._lock:
            failpoint("spool-read")
            records, damage, size, end = list[Outgoing](), list[Damage](), 0, self._position
            for segment in self._segments:
                if size >= max_bytes:
                    break
                for stretch in self._stretches(segment):
                    end = Position(segment.number, stretch.stop)
                    if stretch.record is not None:
                        records.append(stretch.record)
                    elif end > self._told:
                        self._told = end
                        damage.append(self._damage(segment, stretch))
                    size += stretch.stop - stretch.start
                    if size >= max_bytes:
                        break
                else:
                    end = max(end, segment.stop)
            return Chunk(records, end, damage)

    def _stretches(self, segment: Segment) -> Iterator[Stretch]:
        begin = self._from(segment)
        if begin < segment.end:
            try:
                yield from segment.stretches(begin)
            except FileNotFoundError:
                yield Stretch(begin, segment.end)

    def _damage(self, segment: Segment, stretch: Stretch) -> Damage:
        self._keep(segment.path)
        what = "frames" if stretch.start < segment.size_bytes else "missing"
        return Damage(what, segment.path, stretch.start, stretch.stop - stretch.start)

    def advance(self, position: Position) -> None:
        """All before `position` is in Kafka. It counts at once, even if OSError is raised: then not after a restart."""
        with self._lock:
            self._position = max(self._position, position)
            try:
                self._save()
            finally:
                self.oldest_ms = self._peek()

    def _save(self) -> None:
        drained = any(segment.stop <= self._position for segment in self._segments)
        try:
            failpoint("spool-advance")
            # Synced only before something is deleted: an old cursor alone has records drained twice, no more.
            replace_file(self._cursor, pack_cursor(self._position), durable=drained)
        except OSError:
            # Space has to come free on a full disk, too. No cursor at all begins at the first segment there is.
            self._cursor.unlink(missing_ok=True)
            self._drop_drained()
            raise
        self._drop_drained()

    def _drop_drained(self) -> None:
        for segment in [one for one in self._segments if one.stop <= self._position]:
            if segment is self._segments[-1]:
                self._close()
            self._drop(segment)

    def _drop(self, segment: Segment) -> None:
        segment.path.unlink(missing_ok=True)
        self._segments.remove(segment)
        self._budget.give(segment.size_bytes)

    def _peek(self) -> int | None:
        with contextlib.suppress(OSError):
            for segment in self._segments:
                for stretch in self._stretches(segment):
                    if stretch.record is not None:
                        return stretch.record.timestamp_ms
        return None

    def close(self) -> None:
        """Append no more; all that was appended is on disk."""
        with self._lock:
            self._close()

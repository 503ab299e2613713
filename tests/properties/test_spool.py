"""The spool beside a list: what `append` returned for is read, once and in order, whatever happens to the disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingest.contract.failpoints import armed
from ingest.contract.log_writer import Outgoing
from ingest.spool import Damage, Lane, Spool, SpoolFullError, lane, segment
from ingest.spool.frames import SEGMENT_HEADER_BYTES, add_frame
from tests.unit.ingest.deliveries import IN_MEMORY

TOPIC, PARTITION = "plant/1 readings", 3
MAX_BYTES, SEGMENT_BYTES = 6_000, 700


def opened(directory: Path, max_bytes: int = MAX_BYTES) -> Spool:
    return Spool(directory, max_bytes, SEGMENT_BYTES)


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("lanes/*/*.seg"))


def record(number: int, size: int) -> Outgoing:
    return Outgoing(b"%d:" % number + b"x" * size, None if number % 2 else b"key", [("h", b"\xff")], 1_000 + number)


def frame_bytes(one: Outgoing) -> int:
    buffer = bytearray()
    add_frame(buffer, one)
    return len(buffer)


def drain(one: Lane, max_bytes: int = 300) -> tuple[list[Outgoing], list[Damage]]:
    """All that is left, chunk by chunk."""
    records, damage = list[Outgoing](), list[Damage]()
    while not one.empty:
        before = one.backlog_bytes
        chunk = one.read(max_bytes)
        records += chunk.records
        damage += chunk.damage
        one.advance(chunk.end)
        assert one.backlog_bytes < before or not chunk.records
    return records, damage


@contextmanager
def failing(text: str) -> Iterator[None]:
    failpoint: Callable[[str], None] = armed(text)
    with patch.object(segment, "failpoint", failpoint), patch.object(lane, "failpoint", failpoint):
        yield


sizes = st.lists(st.lists(st.integers(0, 200), min_size=1, max_size=4), min_size=1, max_size=3)
disk_errors = st.sampled_from(
    [
        f"{place}={error}:{hit}"
        for place in ("spool-append", "spool-fsync")
        for error in ("enospc", "eio")
        for hit in (1,)
    ]
)


class SpoolMachine(RuleBasedStateMachine):
    """One lane of a spool that crashes, fills up and fails."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="spool", dir=IN_MEMORY))
        self.stored: list[Outgoing] = []  # what is to be read, from the beginning
        self.drained = 0
        self.again = False  # whether records may come twice: the cursor is behind
        self.numbers = 0
        self.open()

    def open(self) -> None:
        self.spool = opened(self.directory)
        self.lane = self.spool.lane(TOPIC, PARTITION)

    def teardown(self) -> None:
        self.read_all()
        self.spool.close()
        shutil.rmtree(self.directory)

    def batches(self, shape: list[list[int]]) -> list[list[Outgoing]]:
        made = []
        for one in shape:
            made.append([record(self.numbers + i, size) for i, size in enumerate(one)])
            self.numbers += len(one)
        return made

    @rule(shape=sizes)
    def append(self, shape: list[list[int]]) -> None:
        batches, used = self.batches(shape), self.spool.used_bytes
        total = sum(frame_bytes(one) for batch in batches for one in batch)
        first = sum(map(frame_bytes, batches[0]))
        try:
            ends = self.lane.append(batches)
        except SpoolFullError:
            assert used + first + SEGMENT_HEADER_BYTES > MAX_BYTES
            assert self.spool.used_bytes == used
            return
        assert ends == sorted(set(ends))
        assert len(ends) == len(batches) or used + total + SEGMENT_HEADER_BYTES > MAX_BYTES
        self.stored += [one for batch in batches[: len(ends)] for one in batch]

    @rule(shape=sizes, errors=disk_errors)
    def append_to_a_failing_disk(self, shape: list[list[int]], errors: str) -> None:
        try:
            with failing(errors):
                self.lane.append(self.batches(shape))
        except (OSError, SpoolFullError):
            return
        raise AssertionError("the disk did not fail")

    @rule(shape=sizes, data=st.data())
    def crash_while_appending(self, shape: list[list[int]], data: st.DataObject) -> None:
        before = {path: path.stat().st_size for path in segments(self.directory)}
        batches = self.batches(shape)
        try:
            ends = self.lane.append(batches)
        except SpoolFullError:
            return
        last = segments(self.directory)[-1]
        written = last.stat().st_size
        cut = data.draw(st.integers(before.get(last, 0), written))
        self.spool.close()
        with last.open("r+b") as file:
            file.truncate(cut)
        at = before.get(last, SEGMENT_HEADER_BYTES)
        for one in (one for batch in batches[: len(ends)] for one in batch):
            at += frame_bytes(one)
            if at <= cut:
                self.stored.append(one)
        self.reopen(lost=False)

    @precondition(lambda self: not self.lane.empty)
    @rule(max_bytes=st.integers(1, 1_500), errors=st.sampled_from(["", "spool-advance=enospc", "spool-read=eio"]))
    def read_and_advance(self, max_bytes: int, errors: str) -> None:
        with failing(errors):
            try:
                chunk = self.lane.read(max_bytes)
            except OSError:
                chunk = self.lane.read(max_bytes)
            assert chunk == self.lane.read(max_bytes)
            behind, self.again = self.again, True
            try:
                self.lane.advance(chunk.end)
                self.again = False
            except OSError:
                assert errors.startswith("spool-advance") or behind
        assert chunk.damage == []
        assert sum(map(frame_bytes, chunk.records[:-1])) < max_bytes
        self.came(chunk.records)

    def came(self, records: list[Outgoing]) -> None:
        if self.reopened_behind and records:
            at = self.stored.index(records[0])
            assert at <= self.drained
            self.drained, self.reopened_behind = at, False
        assert records == self.stored[self.drained : self.drained + len(records)]
        self.drained += len(records)

    reopened_behind = False

    @rule(clean=st.booleans(), lose_cursor=st.booleans())
    def restart(self, clean: bool, lose_cursor: bool) -> None:
        # Unclean: nothing is written at the end anyway; only the lock has to go, as it does with a process.
        self.spool.close()
        cursor = next(self.directory.glob("lanes/*/cursor"), None)
        lost = lose_cursor and cursor is not None
        if lost:
            assert cursor is not None
            cursor.write_bytes(b"" if clean else cursor.read_bytes()[:-1])
        self.reopen(lost=lost)

    def reopen(self, *, lost: bool) -> None:
        self.reopened_behind = self.reopened_behind or lost or self.again
        some = bool(segments(self.directory))
        self.open()
        # A cursor that could not be written was deleted: then, too, it is missed.
        assert {one.what for one in self.spool.damage} <= ({"cursor"} if self.reopened_behind else set())
        assert bool(self.spool.damage) >= (lost and some)

    @invariant()
    def what_is_left_is_known(self) -> None:
        if not self.reopened_behind:
            left = self.stored[self.drained :]
            assert self.lane.empty == (not left) or not self.lane.backlog_bytes
            assert self.lane.backlog_bytes == sum(map(frame_bytes, left))
            assert self.lane.oldest_ms == (left[0].timestamp_ms if left else None)

    @invariant()
    def the_limit_holds_and_is_what_is_on_disk(self) -> None:
        on_disk = sum(path.stat().st_size for path in segments(self.directory))
        assert self.spool.used_bytes == on_disk <= MAX_BYTES

    @rule()
    def read_all(self) -> None:
        self.again = self.again and self.lane.empty
        records, damage = drain(self.lane)
        assert damage == []
        self.came(records)
        assert self.drained == len(self.stored)
        assert segments(self.directory) == []


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@contextmanager
def filled(counts: list[int]) -> Iterator[tuple[Path, list[Outgoing]]]:
    """A spool that was closed, and what is in it: appends of so many records."""
    with tempfile.TemporaryDirectory(prefix="spool", dir=IN_MEMORY) as name:
        directory, stored = Path(name), list[Outgoing]()
        spool = opened(directory, 100_000)
        for count in counts:
            batch = [record(len(stored) + i, (37 * i + len(stored)) % 150) for i in range(count)]
            spool.lane(TOPIC, PARTITION).append([batch])
            stored += batch
        spool.close()
        yield directory, stored


counts = st.lists(st.integers(1, 6), min_size=1, max_size=8)


@given(counts=counts, data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_loses_one_record_at_most_and_never_silently(counts: list[int], data: st.DataObject) -> None:
    with filled(counts) as (directory, stored):
        path = data.draw(st.sampled_from(segments(directory)))
        content = bytearray(path.read_bytes())
        bit = data.draw(st.integers(0, len(content) * 8 - 1))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        spool = opened(directory, 100_000)
        found, damage = drain(spool.lane(TOPIC, PARTITION))
        spool.close()
        assert [one for one in stored if one in found] == found
        assert len(found) >= len(stored) - 1
        assert [(one.what, one.path) for one in damage] == [("frames", path)]
        assert damage[0].offset <= bit // 8 < damage[0].offset + damage[0].size
        kept = list((directory / "damaged").iterdir())
        assert [one.read_bytes() for one in kept] == [bytes(content)]
        assert segments(directory) == []


@given(counts=counts, data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_comes_after_a_spoilt_stretch_is_read(counts: list[int], data: st.DataObject) -> None:
    with filled(counts) as (directory, stored):
        path = data.draw(st.sampled_from(segments(directory)))
        content = bytearray(path.read_bytes())
        start = data.draw(st.integers(0, len(content) - 1))
        spoilt = data.draw(st.binary(min_size=1, max_size=len(content) - start))
        content[start : start + len(spoilt)] = spoilt
        unspoilt = path.read_bytes() == content
        path.write_bytes(content)
        spool = opened(directory, 100_000)
        found, damage = drain(spool.lane(TOPIC, PARTITION))
        spool.close()
        assert [one for one in stored if one in found] == found
        assert bool(damage) >= (found != stored)
        assert bool(damage) <= (not unspoilt)
        if found != stored:
            # What is missing is one stretch, and none of it is outside what was spoilt.
            missing = [i for i, one in enumerate(stored) if one not in found]
            assert missing == list(range(missing[0], missing[-1] + 1))
            assert sum(frame_bytes(stored[i]) for i in missing[1:-1]) < len(spoilt)


@given(counts=counts, data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_segment_cut_anywhere_loses_its_end_and_only_the_last_may_do_so_quietly(
    counts: list[int], data: st.DataObject
) -> None:
    with filled(counts) as (directory, stored):
        paths = segments(directory)
        path = data.draw(st.sampled_from(paths))
        size = path.stat().st_size
        cut = data.draw(st.integers(0, size - 1))
        with path.open("r+b") as file:
            file.truncate(cut)
        spool = opened(directory, 100_000)
        found, damage = drain(spool.lane(TOPIC, PARTITION))
        spool.close()
        assert [one for one in stored if one in found] == found
        if path == paths[-1]:
            assert found == stored[: len(found)]
            assert damage == []
        else:
            assert damage
            assert found[-1] == stored[-1]


@given(counts=counts, data=st.data())
@settings(max_examples=20, deadline=None)
def test_a_segment_that_is_gone_is_missed(counts: list[int], data: st.DataObject) -> None:
    with filled([1, *counts]) as (directory, stored):
        one = opened(directory, 100_000)
        chunk = one.lane(TOPIC, PARTITION).read(1)
        one.lane(TOPIC, PARTITION).advance(chunk.end)
        one.close()
        paths = segments(directory)
        if len(paths) < 2:
            return
        data.draw(st.sampled_from(paths[:-1])).unlink()
        spool = opened(directory, 100_000)
        found, _ = drain(spool.lane(TOPIC, PARTITION))
        assert [one for one in stored if one in found] == found
        assert [damage.what for damage in spool.damage] == ["missing"]
        spool.close()

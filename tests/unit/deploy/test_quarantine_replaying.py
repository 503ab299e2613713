"""A replay writes readings first, then its marks; wherever it is killed, nothing is counted twice."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from deploy.quarantine.chosen import Chosen
from deploy.quarantine.compose import replayer_of
from deploy.quarantine.replaying import Replaying, chosen_entries, try_entries
from deploy.registries import model_registry
from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.log_writer import Outgoing
from ingest.contract.quarantine import Entry, Mark, Replayed, quarantine_record, read_quarantine
from ingest.contract.readings import Flag
from ingest.contract.settings import Settings
from ingest.contract.wire import decode_readings
from ingest.replay import Fate, Tried
from stream.fold.definitions import Definitions
from stream.fold.gate import Verdict
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.plan import make_plan

NOW_US = 1_700_000_000_000_000
S_US = 1_000_000
SETTINGS = Settings.model_validate(
    {"route": [{"topic": "f/{machine}/{quantity}"}], "kafka": {"topics": {"readings": {"partitions": 1}}}}
)
READINGS, QUARANTINE = SETTINGS.kafka.topics.readings.name, SETTINGS.kafka.topics.quarantine.name


class Killed(Exception):  # noqa: N818
    """The process ended here."""


class Log:
    """Stands for the Kafka writer; is killed before its write number `dies_at`."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.written: list[tuple[str, int, Outgoing]] = []
        self._left = dies_at

    async def write(self, topic: str, partition: int, records: Sequence[Outgoing]) -> list[int]:
        if self._left is not None:
            if self._left == 0:
                raise Killed
            self._left -= 1
        self.written += [(topic, partition, record) for record in records]
        return list(range(len(records)))

    def of(self, topic: str) -> list[Outgoing]:
        return [record for name, _, record in self.written if name == topic]

    def marks(self) -> Replayed:
        found = Replayed()
        for name, partition, record in self.written:
            if name == QUARANTINE:
                mark = read_quarantine(partition, 9_999, record.headers, record.value)
                assert isinstance(mark, Mark)
                found.add(mark)
        return found


class Clock:
    def now_us(self) -> int:
        return NOW_US

    def monotonic_s(self) -> float:
        return 0.0


def entries(count: int = 30, *, stamped: bool = True) -> list[Entry]:
    """A minute apart, so that each is in a chunk of its own."""
    found = []
    for at in range(count):
        arrival_us = NOW_US + at * 60 * S_US
        ts = b',"ts":%d' % (arrival_us // 1000) if stamped else b""
        partition, record = quarantine_record(
            b"f/press/t", b'{"value":%d%s}' % (at, ts), QuarantineError(Reason.NO_ROUTE), route="none", source="g",
            arrival_us=arrival_us, partitions=3,
        )  # fmt: skip
        one = read_quarantine(partition, at, record.headers, record.value)
        assert isinstance(one, Entry)
        found.append(one)
    return found


async def stream(found: Sequence[Entry]) -> AsyncIterator[Entry]:
    for one in found:
        yield one


def replaying(log: Any) -> Replaying:
    return Replaying(SETTINGS.kafka, replayer_of(SETTINGS, {}), log, Clock(), 900_000)


def folded(records: Sequence[Outgoing]) -> dict[str, int]:
    """What a worker makes of the records."""
    plan = make_plan(Definitions.of(SETTINGS), model_registry())
    fold = PartitionFold(plan, 1)
    for offset, record in enumerate(records):
        fold.fold(LogRecord(offset, record.headers, record.value))
    return {Verdict(at).name: int(count) for at, count in enumerate(fold.state.counts) if count}


async def test_killed_anywhere_and_run_again_every_entry_is_written_marked_and_counted_once() -> None:
    found, count = entries(12), 12
    for dies_at in range(0, 2 * count, 5):
        first, second = Log(dies_at), Log()
        with pytest.raises(Killed):
            await replaying(first).run(stream(found))
        left = [one async for one in chosen_entries(stream(found), Chosen(), first.marks())]
        # What is marked is written: a mark never stands without its readings.
        assert count - len(left) <= len(first.of(READINGS)) <= count - len(left) + 1
        await replaying(second).run(stream(left))
        marks = first.marks(), second.marks()
        assert all(sum((one.partition, one.offset) in some for some in marks) == 1 for one in found)
        written = first.of(READINGS) + second.of(READINGS)
        twice = len(written) - count
        assert twice in (0, 1)
        counts = folded(written)
        assert counts.pop("DUPLICATE", 0) == twice
        assert sum(counts.values()) == count


@pytest.mark.parametrize("stamped", [True, False])
async def test_replaying_the_same_again_writes_the_same_and_a_worker_counts_it_once(stamped: bool) -> None:
    logs = Log(), Log()
    for log in logs:
        await replaying(log).run(stream(entries(10, stamped=stamped)))
    assert logs[0].written == logs[1].written
    assert folded(logs[0].of(READINGS) + logs[1].of(READINGS))["DUPLICATE"] == 10


async def test_entries_that_came_together_are_written_together() -> None:
    log = Log()
    near = [dataclasses.replace(one, arrival_us=NOW_US + one.offset) for one in entries(5)]
    work = replaying(log)
    await work.run(stream(near))
    (record,) = log.of(READINGS)
    assert (len(log.of(QUARANTINE)), work.tally.rows, work.tally.entries) == (1, 5, 5)
    readings = decode_readings(record.value or b"")
    assert readings.value.tolist() == [0, 1, 2, 3, 4]
    assert set(readings.flags.tolist()) == {int(Flag.REPLAYED)}


async def test_telling_writes_nothing_and_counts_the_same() -> None:
    log, heard = Log(), list[Tried]()
    tally = await try_entries(stream(entries(7)), replayer_of(SETTINGS, {}), READINGS, heard.append)
    work = replaying(log)
    await work.run(stream(entries(7)))
    assert tally == work.tally
    assert [one.fate for one in heard] == [Fate.READ] * 7

"""The notifier on a log that the test plays: places, commits, rebalances."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from ingest.contract.errors import IncompatibleError, ReconnectError
from stream.consumer import Bounds, LogConsumer, OutOfRangeError, Owner
from stream.fold.alerts import Phase
from stream.fold.partition import LogRecord
from stream.notify.alert import AlertRecord
from stream.notify.delivery import Answer, Outcome
from stream.notify.disk import Disk
from stream.notify.intake import Intake
from stream.notify.notifier import Notifier
from stream.notify.notifier_events import NotifierEvents
from stream.notify.outbox import Outbox
from stream.notify.schedule import Schedule
from stream.notify.sender import Sender
from tests.unit.notify.rig import NOW_US, FakeClock, Topic, notifier, webhook


class FakeLog:
    """Each poll waits for what the test puts."""

    def __init__(self) -> None:
        self.bounds_of: dict[int, Bounds] = {}
        self.resumed: dict[int, int] = {}
        self.commits: list[dict[int, int]] = []
        self.failures: list[Exception] = []
        self.polls = 0
        self._next: asyncio.Queue[list[AlertRecord] | Exception] = asyncio.Queue()
        self._changed = asyncio.Event()

    async def start(self, owner: Owner, unreachable: Callable[[str, float], None]) -> None:
        """Reached at once."""

    async def poll(self, timeout_s: float) -> dict[int, list[LogRecord]]:
        self.polls += 1
        self._changed.set()
        found = await self._next.get()
        if isinstance(found, Exception):
            raise found
        by_partition: dict[int, list[LogRecord]] = {}
        for one in found:
            record = LogRecord(one.offset, one.headers, one.value, one.at_us // 1000)
            by_partition.setdefault(one.partition, []).append(record)
        return by_partition

    async def bounds(self, partition: int) -> Bounds:
        return self.bounds_of.get(partition, Bounds(0, 0, 0))

    def resume_at(self, partition: int, offset: int) -> None:
        self.resumed[partition] = offset
        self._changed.set()

    def behind(self, partition: int, next_offset: int) -> int | None:
        return 0

    async def commit(self, offsets: Mapping[int, tuple[int, str]]) -> None:
        if self.failures:
            raise self.failures.pop()
        self.commits.append({partition: offset for partition, (offset, _) in offsets.items()})

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def deliver(self, found: list[AlertRecord] | Exception) -> None:
        """Let the notifier have this, and wait until it is done with it."""
        polls = self.polls
        self._next.put_nowait(found)
        await self.until(lambda: self.polls > polls)


class Silent:
    """Takes everything."""

    async def post(self, message_id: str, body: bytes) -> Answer:
        return Answer(Outcome.DELIVERED, "status 200")


class Rig:
    def __init__(self, directory: Path, start: str = "latest") -> None:
        self.log, self.clock, self.registry = FakeLog(), FakeClock(), CollectorRegistry()
        settings, one = notifier(start=start), webhook()
        self.events = NotifierEvents(self.registry, ["one"])
        self.disk = Disk(self.events)
        self.outbox = Outbox(directory / "x.sqlite3")
        self.sender = Sender(
            "one",
            settings,
            self.outbox,
            self.disk,
            Silent(),
            Schedule(settings, lambda: 0.5),
            self.events,
            self.clock.now_us,
        )
        self.notifier = Notifier(
            settings,
            cast(LogConsumer, self.log),
            self.outbox,
            self.disk,
            Intake(settings, [one], self.outbox),
            [self.sender],
            self.events,
            self.clock,
            self.clock.now_us,
        )
        self.reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.reading = asyncio.create_task(self.notifier.read())
        await self.log.until(lambda: self.log.polls > 0)

    async def assign(self, partition: int, bounds: Bounds) -> int:
        """Where it reads on."""
        self.log.bounds_of[partition] = bounds
        self.log.resumed.pop(partition, None)
        self.notifier.assigned({partition})
        await self.log.until(lambda: partition in self.log.resumed)
        return self.log.resumed[partition]

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"millstream_notifier_{name}", labels) or 0.0

    async def stop(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
            await asyncio.gather(self.reading, return_exceptions=True)
        await self.notifier.drain(0.0)
        self.disk.close()
        self.outbox.close()


@pytest.fixture(autouse=True)
def said() -> Iterator[list[MutableMapping[str, Any]]]:
    """Log lines."""
    with capture_logs() as lines:
        yield lines


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    one = Rig(tmp_path)
    await one.start()
    yield one
    await one.stop()


async def test_a_new_group_starts_at_the_end_and_says_so(rig: Rig, said: list[MutableMapping[str, Any]]) -> None:
    assert await rig.assign(1, Bounds(3, 10, None)) == 10
    (line,) = [one for one in said if "new group" in one["event"]]
    assert line["event"] == "new group: what was published before is not sent"
    assert line["skipped"] == 7
    # And has read up to there, from now on: it does not begin again at a later end.
    assert rig.log.commits == [{1: 10}]
    assert await rig.assign(1, Bounds(3, 20, None)) == 10


async def test_or_at_the_beginning(tmp_path: Path) -> None:
    rig = Rig(tmp_path, start="earliest")
    await rig.start()
    assert await rig.assign(1, Bounds(3, 10, None)) == 3
    await rig.stop()


async def test_it_reads_on_where_the_outbox_or_the_group_has_come_to(rig: Rig) -> None:
    assert await rig.assign(1, Bounds(0, 10, 7)) == 7
    topic = Topic(1)
    for number in range(9):
        topic.add(f"a{number}")
    rig.log.failures = [ReconnectError("away")]
    await rig.log.deliver(topic.records[7:9])
    assert rig.counted("commits_total", outcome="failed") == 1
    assert await rig.assign(1, Bounds(0, 10, 7)) == 9
    # Another notifier has gone on meanwhile.
    assert await rig.assign(1, Bounds(0, 30, 20)) == 20


@pytest.mark.parametrize(("bounds", "begin"), [(Bounds(100, 120, 50), 100), (Bounds(0, 5, 50), 0)])
async def test_what_is_gone_is_said(rig: Rig, bounds: Bounds, begin: int) -> None:
    assert await rig.assign(1, bounds) == begin
    assert rig.counted("gap_records_total") == max(0, begin - 50)


async def test_offsets_are_committed_after_the_outbox_has_it(rig: Rig) -> None:
    await rig.assign(0, Bounds(0, 0, 0))
    topic = Topic()
    topic.add("a")
    topic.add("a", Phase.RESOLVED)
    await rig.log.deliver(topic.records)
    assert rig.outbox.position(0) == 2
    assert rig.log.commits == [{0: 2}]
    assert rig.outbox.waiting()["one"].rows == 2
    assert rig.counted("queued_total", webhook="one") == 2
    # Read again, as after a rebalance that came too early: nothing happens.
    await rig.log.deliver(topic.records)
    assert rig.counted("records_total") == 2


async def test_what_is_fetched_of_a_partition_that_is_not_ours_is_left_alone(rig: Rig) -> None:
    await rig.assign(0, Bounds(0, 0, 0))
    await rig.notifier.revoked({0})
    await rig.log.deliver([Topic().add("a")])
    assert rig.outbox.waiting() == {}
    assert rig.notifier.unready() == ["no partition assigned yet"]


async def test_it_is_ready_when_its_partitions_are(rig: Rig) -> None:
    assert rig.notifier.unready() == ["no partition assigned yet"]
    await rig.assign(0, Bounds(0, 0, 0))
    await rig.log.deliver([])
    assert rig.notifier.unready() == []
    await rig.log.deliver(OutOfRangeError({0}))
    await rig.log.until(lambda: rig.notifier.unready() == [])
    rig.disk.trouble = "disk full"
    assert rig.notifier.unready() == ["the outbox cannot be used: disk full"]


async def test_a_record_of_a_newer_version_ends_it_and_is_not_skipped(rig: Rig) -> None:
    await rig.assign(0, Bounds(0, 0, 0))
    topic = Topic()
    topic.add("a")
    topic.add("b", headers={"schema": b"2.0"})
    assert rig.reading is not None
    rig.log._next.put_nowait(topic.records)
    with pytest.raises(IncompatibleError):
        await rig.reading
    assert rig.outbox.position(0) == 0
    assert rig.log.commits == []


async def test_it_sends_what_is_left_from_last_time_and_reports(rig: Rig) -> None:
    with rig.outbox.transaction():
        rig.outbox.put("one", "old", "firing", "s", b"{}", NOW_US - 25 * 3_600_000_000, NOW_US)
        rig.outbox.put("one", "a", "firing", "s", b"{}", NOW_US, NOW_US)
        rig.outbox.put("gone", "a", "firing", "s", b"{}", NOW_US, NOW_US)
    delivering = asyncio.create_task(rig.notifier.deliver())
    async with asyncio.timeout(20):
        while not rig.counted("deliveries_total", webhook="one", outcome="delivered"):
            await asyncio.sleep(0.001)
    delivering.cancel()
    await asyncio.gather(delivering, return_exceptions=True)
    assert rig.counted("deliveries_total", webhook="one", outcome="expired") == 1
    assert rig.counted("dropped_total", reason="unconfigured") == 1
    assert await rig.disk.run(rig.outbox.waiting) == {}

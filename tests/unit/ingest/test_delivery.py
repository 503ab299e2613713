"""Delivery, by examples: when a lane goes to the spool and comes back, and what is said meanwhile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ingest.contract.errors import StopError
from ingest.contract.failpoints import armed
from ingest.contract.kafka_settings import KafkaSettings
from ingest.contract.log_writer import LogWriter, Outgoing
from ingest.delivery import Delivery, Outcome
from ingest.spool import Spool, segment
from tests.unit.ingest.deliveries import AFTER_S, Events, HeldDisk, Kafka
from tests.unit.ingest.gateways import NOW_US, StillClock

T = "readings"


class Rig:
    """A delivery whose Kafka, disk and time are the test's."""

    def __init__(self, directory: Path, max_bytes: int = 100_000, *, with_spool: bool = True) -> None:
        self.kafka, self.disk, self.events, self.clock = Kafka(), HeldDisk(), Events(), StillClock()
        self.spool = Spool(directory, max_bytes, 1_000) if with_spool else None
        self.delivery = Delivery(self.kafka, self.spool, self.events, self.clock, AFTER_S, self.disk)

    def deliver(self, number: int, partition: int = 0, size: int = 0) -> asyncio.Future[Outcome]:
        return self.delivery.deliver(T, partition, [Outgoing(b"%d:" % number + b"x" * size, timestamp_ms=number)])

    async def settle(self, *, passed_s: float = 0.0, disk: bool = True) -> None:
        self.clock.s += passed_s
        self.delivery.look()
        for _ in range(60):
            if disk:
                self.disk.answer_all()
            await asyncio.sleep(0)

    async def close(self) -> None:
        end = asyncio.create_task(self.delivery.close())
        while not end.done():
            self.disk.answer_all()
            await asyncio.sleep(0)
        if self.spool is not None:
            self.spool.close()


MakeRig = Callable[..., Rig]


@pytest.fixture
async def make_rig(tmp_path: Path) -> AsyncIterator[MakeRig]:
    made = []

    def make(max_bytes: int = 100_000, *, with_spool: bool = True) -> Rig:
        made.append(Rig(tmp_path, max_bytes, with_spool=with_spool))
        return made[-1]

    yield make
    await made[-1].close()


@pytest.fixture
async def rig(make_rig: MakeRig) -> Rig:
    return make_rig()


async def test_what_kafka_confirms_in_time_never_touches_the_disk(rig: Rig) -> None:
    first = rig.deliver(1)
    await rig.settle(passed_s=AFTER_S - 0.1)
    rig.kafka.open()[0].confirm()
    assert await first is Outcome.PRODUCED
    await rig.settle(passed_s=AFTER_S)
    assert rig.spool is not None
    assert rig.spool.used_bytes == 0
    assert rig.events.said == []
    assert rig.delivery.batches == {Outcome.PRODUCED: 1, Outcome.SPOOLED: 0}


async def test_a_lane_without_confirmation_is_safe_on_disk_and_drained_without_writing_anything_twice(rig: Rig) -> None:
    early = [rig.deliver(1), rig.deliver(2)]
    await rig.settle(passed_s=AFTER_S)
    late = rig.deliver(3)
    await rig.settle()
    assert [one.result() for one in (*early, late)] == [Outcome.SPOOLED] * 3
    assert rig.delivery.spooling == 1
    assert rig.delivery.backlog_bytes > 0
    for _ in range(2):  # the write that was under way, with number 1; then what is on disk after it
        assert len(rig.kafka.open()) == 1
        rig.kafka.open()[0].confirm()
        await rig.settle()
    assert rig.kafka.log[0] == [1, 2, 3]
    assert rig.events.said == [("spooling", 0), ("drained", 0)]
    assert rig.events.drained == 2
    direct = rig.deliver(4)
    await rig.settle()
    rig.kafka.open()[0].confirm()
    assert await direct is Outcome.PRODUCED


async def test_a_partition_without_a_leader_does_not_stop_the_others(rig: Rig) -> None:
    stuck = rig.deliver(1, partition=0)
    for number in range(2, 20):
        other = rig.deliver(number, partition=1)
        await rig.settle(passed_s=1.0)
        rig.kafka.open()[-1].confirm()
        assert await other is Outcome.PRODUCED
    assert await stuck is Outcome.SPOOLED
    assert rig.events.said == [("spooling", 0)]


async def test_batches_that_come_during_an_fsync_share_the_next_one(rig: Rig) -> None:
    rig.deliver(0)
    await rig.settle(passed_s=AFTER_S, disk=False)
    waiting = [rig.deliver(number) for number in range(1, 10)]
    await rig.settle(disk=False)
    assert len(rig.disk.waiting) == 1
    rig.disk.answer()
    await rig.settle(disk=False)
    assert not any(one.done() for one in waiting)
    assert len(rig.disk.waiting) == 1
    rig.disk.answer()
    await rig.settle(disk=False)
    assert all(one.done() for one in waiting)
    assert rig.disk.waiting == []


async def test_a_lane_is_not_direct_again_while_something_is_on_its_way_to_the_disk(rig: Rig) -> None:
    rig.deliver(1)
    await rig.settle(passed_s=AFTER_S)
    rig.kafka.open()[0].confirm()
    await rig.settle(disk=False)
    second = rig.deliver(2)
    await rig.settle(disk=False)
    assert len(rig.disk.waiting) == 2
    rig.disk.answer()  # the cursor moves: nothing is left to drain, for the moment
    await rig.settle(disk=False)
    third = rig.deliver(3)
    await rig.settle(disk=False)
    assert rig.delivery.backlog_bytes == 0
    assert rig.kafka.open() == []
    rig.disk.answer()
    await rig.settle()
    assert await second is Outcome.SPOOLED
    while rig.kafka.open():
        rig.kafka.open()[0].confirm()
        await rig.settle()
    assert third.done()
    assert rig.kafka.log[0] == [1, 2, 3]


async def test_what_kafka_confirms_while_the_disk_refuses_it_is_done_with(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rig.deliver(1)
    await rig.settle(passed_s=AFTER_S, disk=False)
    rig.kafka.open()[0].confirm()
    await rig.settle(disk=False)
    assert await first is Outcome.PRODUCED
    monkeypatch.setattr(segment, "failpoint", armed("spool-fsync=eio"))
    await rig.settle()
    assert rig.events.failures == ["Input/output error"]
    await rig.settle(passed_s=60.0)
    assert rig.kafka.open() == []
    assert rig.kafka.log[0] == [1]
    assert rig.delivery.spooling == 0
    assert rig.delivery.unready() == []


async def test_a_full_spool_keeps_batches_waiting_says_so_and_takes_them_when_there_is_room(make_rig: MakeRig) -> None:
    rig = make_rig(max_bytes=1_000)
    first = rig.deliver(1, size=700)
    await rig.settle(passed_s=AFTER_S)
    second = rig.deliver(2, size=700)
    await rig.settle(passed_s=60.0)
    assert first.done()
    assert not second.done()
    assert "full" in rig.events.failures
    assert len(rig.delivery.unready()) == 1
    assert "the spool is full" in rig.delivery.unready()[0]
    while rig.kafka.open():
        rig.kafka.open()[0].confirm()
        await rig.settle()
    assert second.done()
    assert rig.kafka.log[0] == [1, 2]
    assert rig.delivery.unready() == []


async def test_room_that_one_lane_makes_is_taken_by_another_at_once(make_rig: MakeRig) -> None:
    rig = make_rig(max_bytes=1_000)
    rig.deliver(1, partition=0, size=700)
    await rig.settle(passed_s=AFTER_S)
    other = rig.deliver(2, partition=1, size=700)
    await rig.settle(passed_s=AFTER_S)
    assert not other.done()
    rig.kafka.open()[0].confirm()
    await rig.settle()
    assert await other is Outcome.SPOOLED


async def test_a_batch_larger_than_the_spool_waits_for_kafka(make_rig: MakeRig) -> None:
    rig = make_rig(max_bytes=500)
    large = rig.deliver(1, size=700)
    await rig.settle(passed_s=600.0)
    assert not large.done()
    rig.kafka.open()[0].confirm()
    await rig.settle()
    assert await large is Outcome.PRODUCED
    assert rig.delivery.spooling == 0


async def test_a_backlog_of_an_earlier_life_comes_before_everything_new(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.deliver(1)
    rig.deliver(2)
    await rig.settle(passed_s=AFTER_S)
    await rig.close()
    rig = make_rig()
    assert rig.events.said == [("spooling", 0)]
    assert rig.delivery.backlog_seconds(1_000 + 60_000_000) == pytest.approx(60.0)
    new = rig.deliver(3)
    await rig.settle()
    assert await new is Outcome.SPOOLED
    while rig.kafka.open():
        rig.kafka.open()[0].confirm()
        await rig.settle()
    assert rig.kafka.log[0] == [1, 2, 3]
    assert rig.delivery.backlog_seconds(NOW_US) == 0.0


async def test_records_without_a_time_carry_that_of_their_spooling(rig: Rig) -> None:
    rig.delivery.deliver(T, 0, [Outgoing(b"1:")])
    await rig.settle(passed_s=AFTER_S)
    rig.delivery.deliver(T, 0, [Outgoing(b"2:"), Outgoing(b"3:", timestamp_ms=7)])
    await rig.settle()
    rig.kafka.open()[0].confirm()
    await rig.settle()
    assert [one.timestamp_ms for one in rig.kafka.open()[0].records] == [NOW_US // 1000, 7]


async def test_what_was_spooled_says_when_it_was_sent_and_what_was_not_does_not(make_rig: MakeRig) -> None:
    rig = make_rig()
    for number in (1, 2, 3):
        record = Outgoing(b"%d:" % number, None, [("arrival", b"7")], number)
        rig.delivery.deliver(T, 0, [record])
        await rig.settle(passed_s=AFTER_S)
    rig.clock.us += 3_600_000_000
    for _ in range(2):
        rig.kafka.open()[0].confirm()
        await rig.settle()

    sent = [("sent", b"%d" % (NOW_US + 3_600_000_000))]
    headers = [list(one.headers) for write in rig.kafka.writes for one in write.records]
    assert headers == [[("arrival", b"7")], [("arrival", b"7"), *sent], [("arrival", b"7"), *sent]]


async def test_without_a_spool_batches_wait_for_kafka_in_order(make_rig: MakeRig) -> None:
    rig = make_rig(with_spool=False)
    waiting = [rig.deliver(number) for number in range(5)]
    await rig.settle(passed_s=3_600.0)
    assert not any(one.done() for one in waiting)
    while rig.kafka.open():
        rig.kafka.open()[0].confirm()
        await rig.settle()
    assert [one.result() for one in waiting] == [Outcome.PRODUCED] * 5
    assert rig.kafka.log[0] == [0, 1, 2, 3, 4]
    assert rig.delivery.backlog_bytes == 0


async def test_a_record_that_kafka_refuses_for_good_stops_whoever_delivered_it_and_all_after(rig: Rig) -> None:
    first, second = rig.deliver(1), rig.deliver(2)
    await rig.settle()
    rig.kafka.open()[0].done.set_exception(StopError("too large"))
    for one in (first, second):
        with pytest.raises(StopError, match="too large"):
            await one
    with pytest.raises(StopError, match="too large"):
        await rig.deliver(3)
    with pytest.raises(StopError, match="too large"):
        await rig.delivery.run()


async def test_a_spooled_record_that_kafka_refuses_for_good_ends_the_run(rig: Rig) -> None:
    rig.deliver(1)
    await rig.settle(passed_s=AFTER_S)
    spooled = rig.deliver(2)
    await rig.settle()
    assert await spooled is Outcome.SPOOLED
    rig.kafka.open()[0].confirm()
    await rig.settle()
    rig.kafka.open()[0].done.set_exception(StopError("too large"))
    with pytest.raises(StopError, match="too large"):
        await asyncio.wait_for(rig.delivery.run(), 5)
    assert rig.delivery.backlog_bytes > 0


async def test_who_gives_up_waiting_does_not_take_the_batch_back(rig: Rig) -> None:
    given_up, other = rig.deliver(1), rig.deliver(2)
    given_up.cancel()
    await rig.settle(passed_s=AFTER_S)
    assert await other is Outcome.SPOOLED
    rig.kafka.open()[0].confirm()
    await rig.settle()
    rig.kafka.open()[0].confirm()
    await rig.settle()
    assert rig.kafka.log[0] == [1, 2]


async def test_closing_tells_what_an_fsync_under_way_has_made_safe_and_nothing_else(make_rig: MakeRig) -> None:
    rig = make_rig()
    on_its_way = rig.deliver(1)
    await rig.settle(passed_s=AFTER_S, disk=False)
    unsafe = rig.deliver(2, partition=1)
    await rig.close()
    assert await on_its_way is Outcome.SPOOLED
    assert unsafe.cancelled()
    with pytest.raises(StopError, match="closed"):
        await rig.deliver(3)
    await rig.delivery.run()  # has nothing to do any more
    rig = make_rig()
    await rig.settle()
    rig.kafka.open()[0].confirm()
    await rig.settle()
    assert rig.kafka.log == {0: [1]}


def flip(path: Path, at: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(at)] ^= 1
    path.write_bytes(content)


async def test_damage_is_told_once_and_what_follows_is_drained(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig()
    for number in range(3):
        rig.deliver(number, size=100)
    await rig.settle(passed_s=AFTER_S)
    await rig.close()
    flip(tmp_path / "lanes" / f"{T}@0" / f"{1:020d}.seg", b"1:")
    rig = make_rig()
    await rig.settle()
    assert [one.what for one in rig.events.damage] == ["frames"]
    rig.kafka.open()[0].confirm()
    await rig.settle()
    assert rig.kafka.log[0] == [0, 2]
    assert rig.events.said[-1] == ("drained", 0)


async def test_a_disk_that_does_not_answer_is_reported(rig: Rig) -> None:
    rig.deliver(1)
    await rig.settle(passed_s=AFTER_S, disk=False)
    assert rig.delivery.unready() == []
    await rig.settle(passed_s=11.0, disk=False)
    assert rig.delivery.unready() == ["the spool's disk fails: no answer"]


async def test_it_watches_by_itself_on_threads_of_its_own(tmp_path: Path) -> None:
    kafka, clock, spool = Kafka(), StillClock(), Spool(tmp_path, 100_000)
    delivery = Delivery(kafka, spool, Events(), clock, after_s=0.01)
    watching = asyncio.create_task(delivery.run())
    safe = delivery.deliver(T, 0, [Outgoing(b"1:")])
    clock.s += 1.0
    assert await asyncio.wait_for(safe, 10) is Outcome.SPOOLED
    await delivery.close()
    spool.close()
    await asyncio.wait_for(watching, 10)


class WriterEvents:
    """Keeps what a real writer says."""

    def __init__(self) -> None:
        self.unreachable = 0

    def kafka_unreachable(self, reason: str, retry_in_s: float) -> None:
        self.unreachable += 1

    def write_failed(self, topic: str, partition: int, reason: str, retry_in_s: float) -> None:
        raise AssertionError(reason)

    def write_stalled(self, topic: str, partition: int, for_s: float) -> None:
        raise AssertionError(topic)


async def test_a_gateway_that_starts_while_kafka_is_away_has_its_batches_safe_on_disk(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    told = WriterEvents()
    writer = LogWriter(KafkaSettings(bootstrap=[nobody]), "test", told, 100_000)
    clock, spool = StillClock(), Spool(tmp_path, 100_000)
    delivery = Delivery(writer, spool, Events(), clock, after_s=0.01)
    watching = asyncio.create_task(delivery.run())
    waiting = [delivery.deliver(T, number % 2, [Outgoing(b"%d:" % number)]) for number in range(4)]
    clock.s += 1.0
    assert await asyncio.wait_for(asyncio.gather(*waiting), 10) == [Outcome.SPOOLED] * 4
    async with asyncio.timeout(10):
        while not told.unreachable:
            await asyncio.sleep(0.001)
    await delivery.close()
    await writer.close()
    await watching
    spool.close()

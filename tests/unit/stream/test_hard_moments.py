"""What a review of the worker found, moment by moment: ends, rebalances and failures that meet each other."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from ingest.contract.clock import SystemClock
from stream.alerts_told import Told, alerts_told
from stream.commits import LEASE_S
from stream.consumer import Bounds, OutOfRangeError
from stream.effects import Description, alert_record
from stream.fold.alerts import Phase, Transition
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.state import Frozen
from stream.notes import Note, read_note
from stream.owned import Failed, OwnedPartition
from stream.surviving import MOST_TRIES, Survival
from tests.unit.stream.fakes import HOT, Rig, lost, reading
from tests.unit.stream.logs import plan_of


def poison(monkeypatch: pytest.MonkeyPatch, offset: int, error: BaseException) -> None:
    """A record that the fold does not survive; it tears the state."""
    fold = PartitionFold.fold

    def torn(self: PartitionFold, record: LogRecord) -> Any:
        if record.offset == offset:
            self.state.sensors["last_value"] = 1e9
            raise error
        return fold(self, record)

    monkeypatch.setattr(PartitionFold, "fold", torn)


class Panic(BaseException):
    """As libraries in Rust raise them."""


@pytest.mark.parametrize("error", [ZeroDivisionError("a kernel"), Panic("a model")], ids=["an error", "a panic"])
async def test_a_torn_state_is_never_kept(rig: Rig, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0)]})
    poison(monkeypatch, 1, error)
    never = asyncio.Event()

    async def hang(*_: object) -> None:
        await never.wait()

    monkeypatch.setattr(rig.worker._survival, "failed", hang)
    rig.consumer.put({0: [reading(1, 2.0)]})
    while rig.worker._owned[0].sound:
        await asyncio.sleep(0.001)

    await rig.stop()
    await rig.worker.drain()

    assert await rig.store.list(0) == []
    assert rig.consumer.commits == [{0: 1}]


async def test_a_snapshot_that_is_ahead_of_the_commit_is_passed_over(rig: Rig) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0), reading(1, 99.0)]})
    await rig.stop()
    await rig.worker.drain()
    # Its commit did not come through: nobody has said what follows from record 1.
    (entry,) = await rig.store.list(0)
    rig.consumer.log[0] = Bounds(0, 2, 1, str(Note(entry.id)))
    other = Rig([HOT], store=rig.store)
    other.consumer.log, other.consumer.since = rig.consumer.log, {0: 0}
    await other.start()
    try:
        await other.assign(0)
        assert other.consumer.resumed == [(0, 0)]
        await other.consumer.deliver({0: [reading(0, 1.0), reading(1, 99.0)]})
        assert len(other.writer.to("millstream.alerts")) == 1
    finally:
        await other.stop()


async def test_killed_before_its_first_snapshot_a_new_partition_begins_where_it_began(rig: Rig) -> None:
    rig.consumer.log[0] = Bounds(0, 3, None)
    await rig.assign(0)
    rig.clock.at_s = 6.0
    await rig.consumer.deliver({0: [reading(0, 1.0), reading(1, 99.0)]})
    assert read_note(rig.consumer.metadata[0]).begin == 0
    rig.consumer.since[0] = 1  # a rebuild would begin here

    rig.worker._owned.clear()
    await rig.assign(0)

    assert rig.consumer.resumed[-1] == (0, 0)
    said = len(rig.writer.to("millstream.alerts"))
    await rig.consumer.deliver({0: [reading(0, 1.0), reading(1, 99.0)]})
    assert len(rig.writer.to("millstream.alerts")) == said
    expected = PartitionFold(plan_of(HOT), 4, partition=0)
    for record in (reading(0, 1.0), reading(1, 99.0)):
        expected.fold(record)
    assert rig.worker._owned[0].fold.state.digest_parts() == expected.state.digest_parts()


async def test_a_state_that_was_put_aside_survives_a_second_rebalance_while_it_is_taken_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0)]})
    await rig.worker.revoked({0})
    answer, bounds = asyncio.Event(), rig.consumer.bounds

    async def slow(partition: int) -> Bounds:
        await answer.wait()
        return await bounds(partition)

    monkeypatch.setattr(rig.consumer, "bounds", slow)
    rig.worker.assigned({0})
    await asyncio.sleep(0)
    await rig.worker.revoked({0})
    answer.set()

    await rig.assign(0)

    assert rig.counted("restores_total", how="suspended") == 1


async def test_an_offset_that_is_there_after_all_is_read_on_from(rig: Rig) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(at, 1.0) for at in range(5)]})
    rig.consumer.log[0] = Bounds(0, 9, 5)

    rig.consumer.put(OutOfRangeError({0}))
    while len(rig.consumer.resumed) < 2:
        await asyncio.sleep(0)

    assert rig.consumer.resumed[-1] == (0, 5)
    assert rig.counted("gap_records_total") == 0


async def test_the_store_holds_up_no_fold(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0)]})
    never = asyncio.Event()

    async def hang(*_: object) -> int:
        await never.wait()
        return 0

    monkeypatch.setattr(rig.store, "collect", hang)
    for at in range(1, 12):
        rig.clock.at_s += 10.0
        await rig.consumer.deliver({0: [reading(at, 1.0)]})
        await asyncio.sleep(0.005)

    assert rig.counted("snapshots_total", outcome="written") >= 1
    assert rig.consumer.commits[-1][0] >= 11


async def test_a_partition_that_goes_while_it_is_copied_gets_no_snapshot(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revoke once ended what was being written, and a snapshot was begun after it."""
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0)]})
    copying, go_on, freeze = threading.Event(), threading.Event(), OwnedPartition.freeze

    def slow(self: OwnedPartition) -> Frozen:
        copying.set()
        go_on.wait(10)
        return freeze(self)

    monkeypatch.setattr(OwnedPartition, "freeze", slow)
    rig.clock.at_s = 60.0
    rig.consumer.put({})
    while not copying.is_set():
        await asyncio.sleep(0.001)
    revoking = asyncio.create_task(rig.worker.revoked({0}))
    await asyncio.sleep(0)
    go_on.set()
    await revoking
    await rig.consumer.polled()

    assert await rig.store.list(0) == []
    assert rig.worker._checkpoints._writing == {}
    assert rig.counted("snapshot_timestamp_seconds", partition="0") == 0


async def test_drain_copes_with_partitions_that_go_meanwhile(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.assign(0, 1, 2)
    await rig.consumer.deliver({at: [reading(0, 1.0)] for at in range(3)})
    put = rig.store.put

    async def slow(snapshot: Any) -> str:
        rig.worker._owned.pop(2, None)
        return await put(snapshot)

    monkeypatch.setattr(rig.store, "put", slow)
    await rig.stop()

    await rig.worker.drain()

    assert len(await rig.store.list(0)) == 1
    # Nothing is begun any more.
    rig.worker.assigned({3})
    assert rig.worker._restoring.keys() <= {0, 1, 2}


async def test_beside_a_record_that_ends_the_process_healthy_ones_are_not_counted_out(rig: Rig) -> None:
    survival = Survival(rig.tries, rig.worker._events, SystemClock())
    records = [reading(at, 1.0) for at in range(3)]
    for _ in range(MOST_TRIES + 2):
        # Each life folds these before the other partition's record ends it.
        owned = OwnedPartition(PartitionFold(plan_of(HOT), 4, partition=0), live_from=0, fence=1, careful=True)
        outcome = (await survival.fold({0: records}, {0: owned}))[0]
        assert outcome.set_aside == []

    assert await rig.tries.skipped(0) == frozenset()


async def test_of_records_folded_at_once_none_is_set_aside_unheard(rig: Rig) -> None:
    survival = Survival(rig.tries, rig.worker._events, SystemClock())
    for _ in range(MOST_TRIES + 2):
        await survival.failed(0, Failed(reading(1, 1.0), ZeroDivisionError(), among=5))

    assert await rig.tries.skipped(0) == frozenset()
    # The next life looks at them one by one.
    assert await rig.tries.started(0) > MOST_TRIES


async def test_a_careful_partition_keeps_the_others_waiting_for_a_moment_only(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.assign(0)
    rig.worker._owned[0].careful = True
    begin = rig.tries.begin

    async def slow(partition: int, offset: int) -> int:
        rig.clock.at_s += 1.0
        return await begin(partition, offset)

    monkeypatch.setattr(rig.tries, "begin", slow)
    await rig.consumer.deliver({0: [reading(at, 1.0) for at in range(9)]})

    assert 0 < rig.worker._owned[0].said < 9
    assert rig.consumer.resumed[-1] == (0, rig.worker._owned[0].said)


async def test_between_two_memberships_nothing_is_restored(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.contract.kafka_client.Backoff.next_s", lambda _: 0.0)
    rig.consumer.generation = -1
    rig.worker.assigned({0})
    for _ in range(20):
        await asyncio.sleep(0)
    assert rig.worker._owned == {}

    rig.consumer.generation = 7
    while 0 not in rig.worker._owned:
        await asyncio.sleep(0)

    assert rig.worker._owned[0].fence == 7


async def test_a_worker_without_the_groups_word_writes_no_ticks(rig: Rig) -> None:
    await rig.assign(0)
    rig.consumer.end = {0: 0}
    rig.consumer.failures = [lost() for _ in range(50)]
    rig.clock.at_s = 30.0

    await rig.consumer.deliver({})
    await rig.consumer.deliver({})

    assert rig.writer.to("readings") == []
    assert rig.worker.unready() == ["the consumer group does not answer: nothing is published until it does"]


def _alert(alert_id: str, phase: Phase, generation: int, offset: int) -> LogRecord:
    what = Description({}, "", "", "hot", armed=True)
    at_us = 1_700_000_000_000_000
    one = Transition(alert_id, phase, f"{alert_id}/m/t", "hot", "r", "warning", at_us, at_us, 1.0, 0.0, None)
    record = alert_record(one, what, partition=0, generation=generation, group="g", offset=offset)
    return LogRecord(offset, record.headers, record.value, at_us // 1000)


async def test_alerts_of_an_earlier_owner_in_another_partition_of_the_topic_are_still_open() -> None:
    async def records() -> Any:
        yield 0, _alert("late", Phase.FIRING, 9, 50)
        yield 1, _alert("early", Phase.FIRING, 5, 10)
        yield 1, _alert("over", Phase.FIRING, 5, 11)
        yield 1, _alert("over", Phase.RESOLVED, 9, 60)
        yield 1, _alert("zombie", Phase.FIRING, 5, 61)

    told = (await alerts_told(records(), "g"))[0]

    assert (told.fence, told.next_offset) == (9, 61)
    assert {one.id for one in told.open_before(100)} == {"late", "early"}
    # What the live fold will say itself is not among them.
    assert {one.id for one in told.open_before(55)} == {"late", "early", "over"}
    assert {one.id for one in told.open_before(50)} == {"early", "over"}


@pytest.mark.parametrize("hole", [0, 1], ids=["", "with the end of a transaction before it"])
async def test_a_rebuild_longer_than_a_session_goes_on_though_the_group_knows_no_offsets(rig: Rig, hole: int) -> None:
    rig.told[0], rig.consumer.log[0], rig.consumer.since[0] = Told(next_offset=3), Bounds(0, 6, None), 0
    await rig.assign(0)
    log = [reading(offset, 20.0 * (offset > 3)) for offset in range(6) if offset != 3 - hole]

    rig.clock.at_s += 2 * LEASE_S
    await rig.consumer.deliver({0: log})

    assert rig.consumer.resumed[-1] == (0, 3 - hole)
    assert rig.writer.to("millstream.alerts") == []
    await rig.consumer.deliver({0: [one for one in log if one.offset >= 3]})
    assert rig.consumer.commits[0] == {0: 3}
    assert len(rig.writer.to("millstream.alerts")) == 1

"""Where a partition begins, and with what state: nothing that the log holds is lost or said twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from zlib import crc32

import pytest

from ingest.contract.errors import IncompatibleError
from stream.alerts_told import Told
from stream.consumer import Bounds
from stream.fold.alerts import Phase, alert_id
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.reconciling import OpenAlert
from stream.notes import Note
from stream.owned import OwnedPartition
from stream.restoring import fence_after
from stream.snapshot import SCHEMA_VERSION, decode_snapshot, encode_snapshot
from tests.unit.stream.fakes import HOT, Rig, reading
from tests.unit.stream.logs import S_US, START_US, plan_of

EVERY_S = 60.0


def told_phases(rig: Rig) -> list[tuple[str, int, int]]:
    """(phase, offset, fence) of what was published."""
    found = []
    for _, alert in rig.writer.to("millstream.alerts"):
        headers = dict(alert.headers)
        phase = (alert.value or b"").split(b'"phase":"')[1].split(b'"')[0].decode()
        found.append((phase, int(headers["offset"]), int(headers["generation"])))
    return found


async def snapshot_of(rig: Rig, partition: int) -> None:
    """Let the partition's turn for a snapshot come, and be committed."""
    before = rig.counted("snapshots_total", outcome="written")
    while rig.counted("snapshots_total", outcome="written") == before:
        rig.clock.at_s += EVERY_S
        await rig.consumer.deliver({})
        for _ in range(50):
            await asyncio.sleep(0.001)
    rig.clock.at_s += 6.0
    await rig.consumer.deliver({})
    assert Note((await rig.store.list(partition))[0].id).snapshot_id in rig.consumer.metadata[partition]


async def until_it_ends(rig: Rig) -> None:
    """Rounds until the worker ends with an error, which is raised."""
    while True:
        await rig.consumer.deliver({})
        await asyncio.sleep(0.001)


async def again(rig: Rig, *partitions: int) -> None:
    """Another life of the worker: nothing is left of the first but the store and the group's offsets."""
    rig.worker._owned.clear()
    rig.worker._suspended.clear()
    rig.consumer.generation += 1
    await rig.assign(*partitions)


def state_of(rig: Rig, partition: int) -> list[bytes]:
    return rig.worker._owned[partition].fold.state.digest_parts()


def reference(*values: float) -> list[bytes]:
    fold = PartitionFold(plan_of(HOT), 4, partition=0)
    for offset, value in enumerate(values):
        fold.fold(reading(offset, value))
    return fold.state.digest_parts()


async def test_a_snapshot_and_the_log_behind_it_are_the_state_and_nothing_is_said_again(rig: Rig) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0), reading(1, 99.0)]})
    await snapshot_of(rig, 0)
    rig.clock.at_s += 6.0
    await rig.consumer.deliver({0: [reading(2, 1.0), reading(3, 99.0)]})
    assert rig.consumer.commits[-1] == {0: 4}
    said = told_phases(rig)

    await again(rig, 0)
    assert rig.consumer.resumed[-1] == (0, 2)
    await rig.consumer.deliver({0: [reading(2, 1.0), reading(3, 99.0)]})

    assert told_phases(rig) == said
    assert state_of(rig, 0) == reference(1.0, 99.0, 1.0, 99.0)
    assert rig.counted("restores_total", how="snapshot") == 1
    await rig.consumer.deliver({0: [reading(4, 1.0)]})
    assert told_phases(rig)[len(said) :] == [("resolved", 4, 2)]


async def test_a_damaged_snapshot_is_passed_over_for_the_one_before_it(rig: Rig) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0)]})
    await snapshot_of(rig, 0)
    await rig.consumer.deliver({0: [reading(1, 99.0)]})
    await snapshot_of(rig, 0)
    newest = (await rig.store.list(0))[0].id
    name = f"{rig.store.folder(0)}/{newest}.snapshot"
    data = bytes(await rig.store.objects.get(name, 2**20) or b"")
    await rig.store.objects.put(name, data[:-10] + b"\x00" * 10)

    await again(rig, 0)

    assert rig.consumer.resumed[-1] == (0, 1)
    assert rig.counted("snapshots_unusable_total", reason="corrupt") == 1
    await rig.consumer.deliver({0: [reading(1, 99.0)]})
    assert len(told_phases(rig)) == 1
    assert state_of(rig, 0) == reference(1.0, 99.0)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: data[: len(data) // 2], "torn"),
        (lambda data: b"", "torn"),
        (lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], "corrupt"),
        (lambda data: encode_snapshot(replace(decode_snapshot(data), group="another")), "foreign"),
        (lambda data: encode_snapshot(replace(decode_snapshot(data), partitions=5)), "foreign"),
    ],
    ids=["half", "empty", "a flipped bit", "another group's", "of another partition count"],
)
async def test_without_any_snapshot_that_is_good_the_log_is_folded_again(
    rig: Rig, spoil: Callable[[bytes], bytes], reason: str
) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0), reading(1, 99.0)]})
    await snapshot_of(rig, 0)
    for entry in await rig.store.list(0):
        name = f"{rig.store.folder(0)}/{entry.id}.snapshot"
        await rig.store.objects.put(name, bytes(spoil(bytes(await rig.store.objects.get(name, 2**20) or b""))))
    rig.consumer.since[0] = 0

    await again(rig, 0)
    said = told_phases(rig)
    await rig.consumer.deliver({0: [reading(0, 1.0), reading(1, 99.0)]})

    assert rig.counted("snapshots_unusable_total", reason=reason) >= 1
    assert rig.counted("restores_total", how="rebuild") == 1
    assert state_of(rig, 0) == reference(1.0, 99.0)
    assert told_phases(rig) == said


async def test_a_newer_programs_snapshot_ends_the_worker_with_what_to_do(rig: Rig) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0)]})
    await snapshot_of(rig, 0)
    name = f"{rig.store.folder(0)}/{(await rig.store.list(0))[0].id}.snapshot"
    data = bytearray(await rig.store.objects.get(name, 2**20) or b"")
    data[8:10] = (SCHEMA_VERSION + 1).to_bytes(2, "little")
    data[22:26] = crc32(data[:22]).to_bytes(4, "little")
    await rig.store.objects.put(name, bytes(data))
    rig.worker._owned.clear()
    rig.worker.assigned({0})

    with pytest.raises(IncompatibleError, match="upgrade"):
        await until_it_ends(rig)


async def test_when_the_groups_offsets_are_gone_the_newest_snapshot_is_found(rig: Rig) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0), reading(1, 99.0)]})
    await snapshot_of(rig, 0)
    rig.consumer.log[0] = Bounds(0, 5, None)

    await again(rig, 0)

    assert rig.consumer.resumed[-1] == (0, 2)
    assert rig.counted("restores_total", how="found") == 1
    assert state_of(rig, 0) == reference(1.0, 99.0)


async def test_what_comes_back_before_anybody_else_has_committed_goes_on_where_it_was(rig: Rig) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0), reading(1, 99.0)]})
    await rig.worker.revoked({0})
    rig.consumer.generation += 1

    await rig.assign(0)

    assert rig.consumer.resumed[-1] == (0, 2)
    assert rig.counted("restores_total", how="suspended") == 1
    assert rig.counted("refolded_readings_total") == 0
    await rig.consumer.deliver({0: [reading(2, 1.0)]})
    assert told_phases(rig) == [("firing", 1, 1), ("resolved", 2, 2)]
    assert state_of(rig, 0) == reference(1.0, 99.0, 1.0)


async def test_what_somebody_else_has_committed_since_is_not_taken_up_again(rig: Rig) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0), reading(1, 99.0)]})
    await rig.worker.revoked({0})
    rig.consumer.log[0] = Bounds(0, 9, 3, rig.consumer.metadata[0])

    await rig.assign(0)

    assert rig.counted("restores_total", how="suspended") == 0


async def test_a_revoked_partition_that_did_not_come_back_is_forgotten(rig: Rig) -> None:
    await rig.assign(0, 1)
    await rig.consumer.deliver({0: [reading(0, 1.0)], 1: [reading(0, 1.0)]})
    await rig.worker.revoked({0, 1})

    await rig.assign(1)

    assert rig.worker._suspended == {}
    assert rig.worker._owned.keys() == {1}


async def test_a_lost_state_is_rebuilt_silently_and_what_is_open_is_brought_into_line(rig: Rig) -> None:
    # Two alerts are open: one goes on and began before what is left of the log, the other's sensor is back inside.
    (rule,) = rig.plan.rules[0]
    since_us = START_US - 900 * S_US
    on = OpenAlert(
        alert_id("hot", rule.revision, "site/machine/t", since_us), Phase.FIRING, "site/machine/t", "hot",
        rule.revision, "warning", since_us,
    )  # fmt: skip
    over = OpenAlert("over", Phase.FIRING, "site/machine/gone", "hot", rule.revision, "warning", since_us)
    rig.told[0] = Told(next_offset=3, fence=7, said={one.id: [(0, one)] for one in (on, over)})
    rig.consumer.log[0] = Bounds(0, 9, 3, "")
    rig.consumer.since[0] = 1

    await rig.assign(0)
    rig.worker._report()
    assert rig.counted("partitions", state="warming") == 1
    await rig.consumer.deliver({0: [reading(1, 99.0), reading(2, 99.0), reading(3, 99.0), reading(4, 1.0)]})

    assert rig.counted("restores_total", how="rebuild") == 1
    assert rig.counted("partitions", state="warming") == 0
    ((_, ended), (_, resolved)) = rig.writer.to("millstream.alerts")
    assert (ended.key, resolved.key) == (b"over", on.id.encode())
    assert [phase for phase, _, _ in told_phases(rig)] == ["resolved", "resolved"]
    # The group counts from 1 again; readers have heard 7.
    assert {fence for _, _, fence in told_phases(rig)} == {fence_after(7, 1)}


async def test_a_deleted_group_without_snapshots_says_nothing_old_again(rig: Rig) -> None:
    rig.told[0] = Told(next_offset=4, fence=7)
    rig.consumer.log[0] = Bounds(0, 9, None)
    rig.consumer.since[0] = 0

    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(at, 99.0 if at % 2 else 1.0) for at in range(6)]})

    assert rig.consumer.resumed == [(0, 0)]
    assert [offset for _, offset, _ in told_phases(rig)] == [4, 4, 5]


async def test_retention_that_overtook_a_snapshot_is_told_and_its_state_goes_on(rig: Rig) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0)]})
    await snapshot_of(rig, 0)
    rig.consumer.log[0] = Bounds(7, 9, 1, rig.consumer.metadata[0])

    await again(rig, 0)

    assert rig.consumer.resumed[-1] == (0, 7)
    assert rig.counted("gap_records_total") == 6
    assert rig.worker._owned[0].fold.state.names == ["site/machine/t"]


@pytest.mark.parametrize(("known", "generation"), [(0, 0), (0, 5), (5, 5), (5, 6), (9, 1), ((3 << 32) + 9, 2)])
def test_a_fence_never_goes_back(known: int, generation: int) -> None:
    fence = fence_after(known, generation)

    assert fence >= known
    assert fence & 0xFFFFFFFF == generation
    assert fence_after(fence, generation) == fence


async def test_a_record_that_the_fold_does_not_survive_is_set_aside_after_three_tries(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0)]})
    await snapshot_of(rig, 0)
    fold = PartitionFold.fold

    def poisoned(self: PartitionFold, record: object) -> object:
        if record.offset == 2:  # type: ignore[attr-defined]
            self.state.sensors["last_value"] = 1e9  # torn
            raise ZeroDivisionError("a kernel")
        return fold(self, record)  # type: ignore[arg-type]

    monkeypatch.setattr(PartitionFold, "fold", poisoned)
    records = [reading(1, 99.0), reading(2, 99.0), reading(3, 1.0)]
    for resumed in range(2, 5):
        await rig.consumer.deliver({0: records})
        while len(rig.consumer.resumed) < resumed:
            await asyncio.sleep(0)
        assert rig.consumer.resumed[-1] == (0, 1)
    await rig.consumer.deliver({0: records})

    monkeypatch.setattr(PartitionFold, "fold", fold)
    assert rig.counted("fold_failures_total") == 3
    ((_, aside),) = rig.writer.to("millstream.quarantine")
    assert dict(aside.headers)["topic"].endswith(b"readings/0/2")
    expected = PartitionFold(plan_of(HOT), 4, partition=0)
    for record in (reading(0, 1.0), *records[::2]):
        expected.fold(record)
    assert state_of(rig, 0) == expected.state.digest_parts()
    # The next life knows.
    rig.consumer.log[0] = Bounds(0, 9, 4, rig.consumer.metadata[0])
    await again(rig, 0)
    assert isinstance(rig.worker._owned[0], OwnedPartition)
    assert rig.worker._owned[0]._skip == {2}


async def test_changed_settings_come_into_force_at_a_record_and_keep_what_is_still_valid(rig: Rig) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0), reading(1, 99.0)]})
    await snapshot_of(rig, 0)
    hotter = HOT.model_copy(update={"rules": [HOT.rules[0].model_copy(update={"above": 500.0})]})
    later = Rig([hotter], store=rig.store, commit_every="5s")
    later.consumer.log = rig.consumer.log
    later.consumer.generation = 2
    later.consumer.end = {0: 2}
    await later.start()
    try:
        await later.assign(0)
        # The snapshot's settings are in force until the record is read.
        assert later.worker._owned[0].fold.plan.definitions.digest == rig.plan.definitions.digest
        ((partition, config),) = later.writer.to("readings")
        assert partition == 0
        await later.consumer.deliver({0: [LogRecord(2, config.headers, config.value), reading(3, 200.0)]})

        assert later.worker._owned[0].fold.plan.definitions.digest == later.plan.definitions.digest
        # The alert of a rule that is another one now is over; its sensor is not hot by the new one.
        assert [(phase, offset) for phase, offset, _ in told_phases(later)] == [("resolved", 2)]
        assert later.worker._owned[0].fold.state.names == ["site/machine/t"]
        assert later.counted("definitions_total") == 1
        assert later.counted("definition_resets_total", what="alerts") == 1
        # Once is enough.
        await later.consumer.deliver({})
        assert len(later.writer.to("readings")) == 1
    finally:
        await later.stop()

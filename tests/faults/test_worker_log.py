"""Row 13: the log, the group's offsets, or the snapshots are not what a worker left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete
from confluent_kafka.admin import AdminClient

from stream.notes import Note
from tests.deployment.logs import read_topic
from tests.faults.worker_plant import ALARM, PARTITIONS, by_partition, machines_of
from tests.faults.worker_truth import (
    assert_same_state,
    assert_same_words,
    fold_log,
    heard,
    newest_state,
    told_before,
)
from tests.faults.workers import Workers, admin_of
from tests.unit.stream.logs import Batch, Row

OVERTAKEN, CUT, LOST, EXPIRED = range(4)


async def level(workers: Workers, sensor: str, value: float) -> int:
    """A reading; its record's offset."""
    now_us = time.time_ns() // 1000
    (offset,) = await workers.send(LOST, Batch(now_us, (Row(sensor, now_us, value),)))
    return offset


def forget_offsets(workers: Workers) -> None:
    """As Kafka does of a group that was empty for long."""
    admin = AdminClient({"bootstrap.servers": workers.kafka})
    for future in admin.delete_consumer_groups([workers.group]).values():
        future.result(30)


async def set_offsets(workers: Workers, offsets: Mapping[int, tuple[int, Note]], but: int) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=workers.kafka, group_id=workers.group, enable_auto_commit=False)
    await consumer.start()
    try:
        wanted = {TopicPartition(workers.readings, at): one for at, one in offsets.items() if at != but}
        consumer.assign(list(wanted))
        await consumer.commit({at: OffsetAndMetadata(offset, str(note)) for at, (offset, note) in wanted.items()})
    finally:
        await consumer.stop()


async def delete_records(workers: Workers, before: Mapping[int, int]) -> None:
    """As retention does."""
    wanted = {TopicPartition(workers.readings, at): RecordsToDelete(offset) for at, offset in before.items()}
    async with admin_of(workers.kafka) as admin:
        await admin.delete_records(wanted)


def restored(workers: Workers, how: str) -> float:
    return sum(one.metric("restores_total", how=how) for one in workers)


@pytest.mark.fault(13)
@pytest.mark.timeout(180)
async def test_records_offsets_and_snapshots_are_gone(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    with Workers(tmp_path, kafka, topic_prefix, 2) as workers:
        gone, kept = (f"{machine}/level" for machine in machines_of(LOST))
        workers.start()
        with workers.feed(pace=80, partitions=(OVERTAKEN, CUT, EXPIRED)) as feed:
            feed.wait(120)
        raised = await level(workers, gone, ALARM)
        await level(workers, kept, ALARM)
        await workers.wait_committed()
        await workers.finish()
        before = await workers.committed()
        ends = {at: offset for at, (offset, _) in before.items()}
        told = await told_before(workers, ends)

        # While nobody is there:
        with workers.feed(seed=2, pace=200, partitions=(OVERTAKEN, CUT, EXPIRED)) as feed:
            feed.wait(100)
        await level(workers, gone, 0.0)
        log = {(one.partition, one.offset): one for one in await read_topic(kafka, workers.readings)}
        forget_offsets(workers)
        workers.forget_committed()
        beyond = ends[CUT] + 100_000
        await set_offsets(workers, {**before, CUT: (beyond, before[CUT][1])}, but=EXPIRED)
        overtaken = range(ends[OVERTAKEN], ends[OVERTAKEN] + 10)
        await delete_records(workers, {OVERTAKEN: overtaken.stop, LOST: raised + 1})
        for path in workers.snapshots.rglob(f"{LOST}/*.snapshot"):
            path.unlink()

        workers.start()
        assert restored(workers, "found") >= 1
        assert restored(workers, "rebuild") >= 1
        while (await workers.committed())[CUT][0] == beyond:
            workers.forget_committed()  # it goes back
            await asyncio.sleep(0.1)
        await workers.wait_committed()
        assert sum(one.metric("gap_records_total") for one in workers) >= len(overtaken)
        assert "".join(one.log() for one in workers).count("gap in the log") >= 2
        await level(workers, kept, 0.0)
        await workers.wait_committed()
        await workers.finish()

        log |= {(one.partition, one.offset): one for one in await read_topic(kafka, workers.readings)}
        of = by_partition((at, log[at, offset]) for at, offset in sorted(log))
        words = heard(await read_topic(kafka, workers.alerts), workers.group)
        states = {at: await newest_state(workers, at) for at in range(PARTITIONS)}
        # What was overtaken is as if it had never been; what lies beyond a cut is folded, and known by its times.
        folded = {
            OVERTAKEN: [one for one in of[OVERTAKEN] if one.offset not in overtaken],
            CUT: of[CUT][: ends[CUT]] + of[CUT],
            LOST: of[LOST][raised + 1 :],
            EXPIRED: of[EXPIRED],
        }
        for partition, records in folded.items():
            truth = fold_log(workers.plan, partition, records, states[partition].next_offset)
            assert_same_state(partition, states[partition], truth)
            if partition != LOST:
                assert_same_words(partition, words[partition].words, truth)
        # Nothing is said again, whose reason is gone is resolved, and the other went on under its id.
        assert [(one.sensor, one.phase) for one in words[LOST].words] == [
            (gone, "firing"), (kept, "firing"), (gone, "resolved"), (kept, "resolved"),
        ]  # fmt: skip
        assert len({one.id for one in words[LOST].words}) == 2
        assert await told_before(workers, ends) == told

"""Several workers of one group on Apache Kafka."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from deploy.registries import model_registry, read_settings
from stream.control import command_record
from stream.fold.commands import Command
from stream.fold.definitions import Definitions
from stream.fold.partition import LogRecord
from stream.fold.plan import make_plan
from stream.notes import Note, read_note
from stream.snapshot_store import SnapshotStore, open_objects
from tests.faults.feeding import Feed, producer_to, send, send_records
from tests.faults.wire import Wire
from tests.faults.worker_plant import ALARM, PARTITIONS, level_of, settings_of
from tests.faults.worker_process import WorkerProcess
from tests.servers.waiting import wait_until
from tests.unit.stream.logs import Batch, Row

SESSION_S = 2.0
"""After so long without a heartbeat a member is out: the worker's own are 10 s, for which tests would wait."""


class Workers:
    """`count` workers, none of which runs yet; they share a folder of snapshots.

    more: settings by section, see `settings_of`. session_s: None for the worker's own.
    """

    def __init__(
        self,
        directory: Path,
        kafka: str,
        prefix: str,
        count: int = 2,
        *,
        more: Mapping[str, str] | None = None,
        session_s: float | None = SESSION_S,
    ) -> None:
        self.kafka, self.prefix, self.group = kafka, prefix, f"{prefix}-worker"
        self.readings, self.alerts = f"{prefix}.readings", f"{prefix}.alerts"
        self.snapshots = directory / "snapshots"
        self.config = directory / "plant.toml"
        self.config.write_text(settings_of(kafka, prefix, self.snapshots, more or {}))
        self.settings = read_settings(self.config, with_models=True, environ={})
        self.plan = make_plan(Definitions.of(self.settings, {}), model_registry())
        environment = dict(os.environ)
        if session_s is not None:
            environment["MILLSTREAM_TEST_SESSION_S"] = f"{session_s:g}"
        self._all = [WorkerProcess(directory, number, self.config, environment) for number in range(count)]
        self._committed: dict[int, int] = {}

    def __getitem__(self, number: int) -> WorkerProcess:
        return self._all[number]

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(self._all)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for one in self._all:
            one.kill()
        if kind is not None:
            for one in self._all:
                print(f"--- {one.name}\n{one.tail()}")

    def start(self) -> None:
        """Start those that do not run, together, and wait until all are ready."""
        begun = [one for one in self._all if not one.alive]
        for one in begun:
            one.begin()
        for one in begun:
            one.wait_ready()

    def wait_live(self) -> None:
        """Until each partition has an owner that has caught up with what was committed."""
        wait_until(
            lambda: sum(one.metric("partitions", state="live") for one in self._all if one.alive) == PARTITIONS,
            timeout_s=60,
            what="all partitions live",
        )

    async def finish(self) -> None:
        """SIGTERM to all when they are live, and wait for their ends; leaves snapshots of the very end, committed.

        Where two leave at the same time, one may be asked for its partitions before it has made its last snapshot: then
        one alone comes and goes again.
        """
        for beginners in ((), self._all[:1], self._all[:1]):
            for one in beginners:
                one.start()
            self.wait_live()
            for one in self._all:
                one.signal(signal.SIGTERM)
                one.signal(signal.SIGCONT)
            for one in self._all:
                one.wait_gone()
            if await self._complete():
                return
        raise AssertionError("the last snapshots are not those that are committed")

    async def _complete(self) -> bool:
        committed = await self.committed()
        for partition in range(PARTITIONS):
            newest = (await self.store.list(partition))[0]
            offset, note = committed[partition]
            if (offset, note.snapshot_id) != (newest.next_offset, newest.id):
                return False
        return True

    @property
    def store(self) -> SnapshotStore:
        """Of their snapshots."""
        worker = self.settings.worker
        return SnapshotStore(open_objects(worker.snapshots, worker.state_dir), self.group, self.readings, PARTITIONS)

    def feed(self, seed: int = 1, pace: float = 20.0, partitions: Collection[int] = range(PARTITIONS)) -> Feed:
        """Feed them from now on."""
        return Feed(self.kafka, self.readings, seed, pace, partitions)

    async def send(self, partition: int, *batches: Batch) -> list[int]:
        """Write batches now; their offsets."""
        async with producer_to(self.kafka) as producer:
            return await send(producer, self.readings, partition, batches)

    async def command(self, partition: int, command: Command) -> None:
        """Write a command now."""
        record = command_record(command, "test", 0, time.time_ns() // 1000, PARTITIONS)
        async with producer_to(self.kafka) as producer:
            await send_records(producer, self.readings, partition, [LogRecord(0, record.headers, record.value)])

    def define(self, before: str, after: str) -> None:
        """Other definitions, for those that begin from now on: a change of the settings' text."""
        text = self.config.read_text()
        assert before in text
        self.config.write_text(text.replace(before, after))

    async def committed(self) -> dict[int, tuple[int, Note]]:
        """(offset, note) of each partition that has one; checks that none ever goes back."""
        async with admin_of(self.kafka) as admin:
            found = await admin.list_consumer_group_offsets(self.group)
        offsets = {at.partition: (one.offset, read_note(one.metadata)) for at, one in found.items() if one.offset >= 0}
        for partition, (offset, _) in offsets.items():
            assert offset >= self._committed.get(partition, 0), f"the commit of partition {partition} went back"
            self._committed[partition] = offset
        return offsets

    def forget_committed(self) -> None:
        """The group's offsets are about to be changed."""
        self._committed.clear()

    async def wait_committed(self, timeout_s: float = 60.0) -> None:
        """Until all that is in the log by now is folded, told and committed."""
        ends, deadline_s = await log_ends(self.kafka, self.readings), time.monotonic() + timeout_s
        while True:
            committed = {at: offset for at, (offset, _) in (await self.committed()).items()}
            if all(committed.get(at, 0) >= end for at, end in ends.items()):
                return
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"committed are {committed}, and the log's ends were {ends}")
            await asyncio.sleep(0.1)


async def raise_alarms(workers: Workers, level: float = ALARM) -> None:
    """On each partition: whoever folds it has something to tell at once."""
    for partition in range(PARTITIONS):
        now_us = time.time_ns() // 1000
        await workers.send(partition, Batch(now_us, (Row(level_of(partition), now_us, level),)))


async def hold_up(workers: Workers, one: WorkerProcess, wire: Wire) -> None:
    """Cut a worker's wire to Kafka while it has something to tell: that stays on its way. Without ticks and feed."""
    for level in (ALARM, 0.0) * 5:
        # It hears what it has asked for already, and nobody hears what it says of that.
        wire.up.clear()
        records = one.metric("records_total")
        await raise_alarms(workers, level)
        with suppress(TimeoutError):
            wait_until(lambda: one.metric("records_total") > records, timeout_s=1.0, what="folded")  # noqa: B023
            return
        wire.up.set()  # it had not asked, or waits for something else
    raise AssertionError(f"{one.name} never had anything to tell")


@asynccontextmanager
async def admin_of(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for what administrators do."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def log_ends(kafka: str, topic: str) -> dict[int, int]:
    """The end of each partition's log."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka)
    await consumer.start()
    try:
        found = await consumer.end_offsets([TopicPartition(topic, number) for number in range(PARTITIONS)])
        return {at.partition: end for at, end in found.items()}
    finally:
        await consumer.stop()

"""Several workers of one group on Apache Kafka, what they are fed, and what they must have come to."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Self

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from prometheus_client.parser import text_string_to_metric_families

from deploy.registries import model_registry, read_settings
from ingest.contract.wire import envelope_of
from stream.fold.definitions import Definitions
from stream.fold.partition import LogRecord
from stream.fold.plan import make_plan
from stream.notes import Note, read_note
from stream.snapshot_store import SnapshotStore, open_objects
from tests.deployment.plant import PlantUnderTest
from tests.faults.worker_plant import PARTITIONS, plant_log, settings_of
from tests.servers import tether
from tests.servers.ports import free_port
from tests.servers.waiting import wait_until
from tests.unit.stream.logs import Batch, record_of

ROOT = Path(__file__).parents[2]
SESSION_S = 2.0
"""After so long without a heartbeat a member is out: the worker's own are 10 s, for which tests would wait."""
_MOST_BATCHES = 1_000
"""Of each partition."""
# One process forks all others, and it must outlive the thread that first asks for it: see tether.py.
_SPAWNER = ThreadPoolExecutor(1, "fork-server")


class ForkServer:
    """Where processes come from that have everything loaded: see altered_worker.py."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", str(Path(tether.__file__).resolve()), str(os.getpid()), "--"]
        command += [sys.executable, "-m", "tests.faults.altered_worker"]
        # As many threads as there are: a fork has only the one that forked.
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = _SPAWNER.submit(
            subprocess.Popen, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ).result()
        self._lock = threading.Lock()
        assert self._answer() == "ready"

    def fork(self, order: Mapping[str, object]) -> int:
        """Begin a process; its id."""
        with self._lock:
            assert self._process.stdin
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return int(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@cache
def fork_server() -> ForkServer:
    """The one of this process."""
    return ForkServer()


class WorkerProcess:
    """A worker that can be ended and begun again. `environment`: of its next lives; `alter`: TEST_…, FAILPOINTS."""

    def __init__(self, directory: Path, number: int, config: Path, environment: Mapping[str, str]) -> None:
        self.name = f"worker-{number}"
        self.port = free_port()
        self.log_path = directory / f"{self.name}.log"
        self.environment = {**environment, "MILLSTREAM__WORKER__HTTP": f"127.0.0.1:{self.port}"}
        self._directory = directory
        self._arguments = ["worker", "--config", str(config)]
        self._began = 0
        self._pidfd: int | None = None
        self.pid = 0

    # --- life ---------------------------------------------------------------------------------------------------

    def begin(self, failpoints: str = "", **alter: str) -> None:
        """Start; does not wait. failpoints: of this life. alter: of this life, SESSION_S="4" and the like."""
        assert not self.alive
        self._began = self.log_path.stat().st_size if self.log_path.exists() else 0
        environment = self.environment | {"MILLSTREAM_FAILPOINTS": failpoints}
        environment |= {f"MILLSTREAM_TEST_{name}": value for name, value in alter.items()}
        order = {
            "arguments": self._arguments,
            "environment": environment,
            "log": str(self.log_path),
            "directory": str(self._directory),
        }
        self._close()
        self.pid = fork_server().fork(order)
        with suppress(ProcessLookupError):  # so quickly over
            self._pidfd = os.pidfd_open(self.pid)

    def start(self, failpoints: str = "", **alter: str) -> None:
        """Start, and wait until it is ready."""
        self.begin(failpoints, **alter)
        self.wait_ready()

    @property
    def alive(self) -> bool:
        """Whether there is the process, paused or not."""
        return self._pidfd is not None and not select.select([self._pidfd], [], [], 0)[0]

    @property
    def ready(self) -> bool:
        """Whether it says so itself."""
        return PlantUnderTest.is_ready(self.port)

    @property
    def stopped(self) -> bool:
        """Whether it was stopped with SIGSTOP, by whomever."""
        return self.alive and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; none if it is gone."""
        if self._pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        self.wait_gone()

    def terminate(self) -> None:
        """SIGTERM, and wait for the end."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        self.wait_gone()

    def wait_gone(self, timeout_s: float = 60.0) -> None:
        """Until it has ended."""
        if self._pidfd is not None and not select.select([self._pidfd], [], [], timeout_s)[0]:
            raise TimeoutError(f"{self.name} runs still; the end of its log:\n{self.tail()}")

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Until it is ready; AssertionError if it ends."""
        wait_until(lambda: not self.alive or self.ready, timeout_s=timeout_s, what=f"{self.name} ready\n{self.tail()}")
        assert self.alive, f"{self.name} has ended:\n{self.tail()}"

    def _close(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    # --- what it says ---------------------------------------------------------------------------------------------

    def log(self) -> str:
        """What it has said in this life."""
        with self.log_path.open("rb") as file:
            file.seek(self._began)
            return file.read().decode(errors="replace")

    def tail(self) -> str:
        """The end of its log, without what it says of alerts."""
        if not self.log_path.exists():
            return ""
        return "\n".join([line[:500] for line in self.log().splitlines() if '"event": "alert ' not in line][-30:])

    def metric(self, name: str, **labels: str) -> float:
        """A metric's sum over all its series that have these labels; without its prefix."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(PlantUnderTest.page(self.port))
            for sample in family.samples
            if sample.name == f"millstream_worker_{name}" and labels.items() <= sample.labels.items()
        )

    def wait_metric(self, name: str, at_least: float, timeout_s: float = 60.0, **labels: str) -> None:
        """Until a metric is there."""
        wait_until(
            lambda: self.metric(name, **labels) >= at_least,
            timeout_s=timeout_s,
            what=f"{self.name}: {name} {labels or ''} at {at_least:g}",
        )


class Feed:
    """Writes the plant's log to its partitions, in a thread of its own, at about real time.

    seed: another log for each. pace: batches a second, of all partitions. Its arrival times begin now.
    """

    def __init__(self, kafka: str, topic: str, seed: int, pace: float, partitions: Collection[int]) -> None:
        # A partition's batches are 1.55 s apart on average, and there are several partitions.
        squeeze = round(1.55 * pace / len(partitions))
        self._log = plant_log(seed, _MOST_BATCHES, partitions, time.time_ns() // 1000, squeeze)
        self._pace = pace
        self._kafka, self._topic = kafka, topic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="feed", daemon=True)
        self._error: BaseException | None = None
        self.batches = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Write no more; all that was written is confirmed."""
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def wait(self, more: int) -> None:
        """Until so many batches more are written."""
        wanted = self.batches + more
        wait_until(lambda: self.batches >= wanted or not self._thread.is_alive(), timeout_s=60, what="fed")
        assert self._thread.is_alive(), self._error

    async def _run(self) -> None:
        try:
            await self._write_all()
        except BaseException as error:
            self._error = error
            raise

    async def _write_all(self) -> None:
        async with producer_to(self._kafka) as producer:
            begun = time.monotonic()
            for partition, batch in self._log:
                if self._stop.is_set():
                    return
                await send(producer, self._topic, partition, [batch])
                self.batches += 1
                await asyncio.sleep(max(0.0, begun + self.batches / self._pace - time.monotonic()))


async def send(producer: AIOKafkaProducer, topic: str, partition: int, batches: Iterable[Batch]) -> list[int]:
    """Write batches as records (those without rows as ticks); their offsets, when Kafka has them."""
    records = [record_of(0, batch, tick=not batch.rows, partitions=PARTITIONS) for batch in batches]
    return await send_records(producer, topic, partition, records)


async def send_records(
    producer: AIOKafkaProducer, topic: str, partition: int, records: Iterable[LogRecord]
) -> list[int]:
    """Write records; their offsets, when Kafka has them."""
    futures = []
    for record in records:
        headers = list(record.headers)
        at_ms = envelope_of(headers).arrival_us // 1000
        futures.append(
            await producer.send(topic, record.value, partition=partition, timestamp_ms=at_ms, headers=headers)
        )
    return [one.offset for one in await asyncio.gather(*futures)]


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
        config = directory / "plant.toml"
        config.write_text(settings_of(kafka, prefix, self.snapshots, more or {}))
        self.settings = read_settings(config, with_models=True, environ={})
        self.plan = make_plan(Definitions.of(self.settings, {}), model_registry())
        environment = dict(os.environ)
        if session_s is not None:
            environment["MILLSTREAM_TEST_SESSION_S"] = f"{session_s:g}"
        self._all = [WorkerProcess(directory, number, config, environment) for number in range(count)]
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

    def terminate(self) -> None:
        """SIGTERM to all when they are live, and wait for their ends: each leaves a snapshot of the very end."""
        self.wait_live()
        for one in self._all:
            one.signal(signal.SIGTERM)
            one.signal(signal.SIGCONT)
        for one in self._all:
            one.wait_gone()

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


@asynccontextmanager
async def producer_to(kafka: str) -> AsyncIterator[AIOKafkaProducer]:
    """Writes each record once, in order."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


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

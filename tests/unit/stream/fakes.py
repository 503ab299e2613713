"""A group and a log that do what the test says: for a worker without Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from prometheus_client import CollectorRegistry

from ingest.contract.class_settings import ClassSettings, RuleSettings
from ingest.contract.errors import ReconnectError
from ingest.contract.log_writer import LogWriter, Outgoing
from ingest.contract.settings import Settings
from models.cost import Costs
from stream.alerts_told import Told
from stream.checkpoints import Checkpoints
from stream.consumer import Bounds, LogConsumer, Owner
from stream.fold.partition import LogRecord
from stream.model_costs import ModelCosts
from stream.publishing import PartitionCounts, Publisher
from stream.restoring import Restorer
from stream.snapshot_store import SnapshotStore, open_objects
from stream.surviving import Survival
from stream.tries import Tries
from stream.worker import Worker
from stream.worker_events import WorkerEvents
from tests.unit.stream.logs import S_US, START_US, Batch, Row, plan_of, record_of

HOT = ClassSettings(
    name="hot",
    match=["**"],
    models=[],
    rules=[RuleSettings(name="hot", signal="value", above=10.0, resolve_after="0s")],
)


def reading(offset: int, value: float) -> LogRecord:
    """A record with one reading, sent in the second of its offset."""
    at_us = START_US + offset * S_US
    return record_of(offset, Batch(at_us, (Row("site/machine/t", at_us, value),)))


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now_us(self) -> int:
        return START_US + int(self.at_s * 1e6)

    def monotonic_s(self) -> float:
        return self.at_s


class FakeConsumer:
    """Each poll waits for `deliver`."""

    def __init__(self) -> None:
        self.generation = 1
        self.owner: Owner | None = None
        self.log: dict[int, Bounds] = {}
        self.since: dict[int, int] = {}
        self.end: dict[int, int | None] = {}
        self.resumed: list[tuple[int, int]] = []
        self.paused: list[int] = []
        self.commits: list[dict[int, int]] = []
        self.metadata: dict[int, str] = {}
        """What the newest commit of each partition says."""
        self.failures: list[Exception] = []
        """Raised by the next calls, one each."""
        self._next: asyncio.Queue[dict[int, list[LogRecord]] | Exception] = asyncio.Queue()
        self._polled = asyncio.Event()
        self.running: asyncio.Task[None] | None = None
        """The worker's task."""

    async def start(self, owner: Owner, unreachable: Callable[[str, float], None]) -> None:
        self.owner = owner

    async def poll(self, timeout_s: float) -> dict[int, list[LogRecord]]:
        self._polled.set()
        found = await self._next.get()
        if isinstance(found, Exception):
            raise found
        return found

    async def polled(self) -> None:
        """Until the worker asks for more. Raises what ended it."""
        assert self.running is not None
        asked = asyncio.create_task(self._polled.wait())
        await asyncio.wait({self.running, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            asked.cancel()
            await self.running

    def put(self, found: dict[int, list[LogRecord]] | Exception) -> None:
        """What the next poll brings."""
        self._polled.clear()
        self._next.put_nowait(found)

    async def deliver(self, found: dict[int, list[LogRecord]] | Exception) -> None:
        """Let the worker have this, and wait until it is done with it."""
        self.put(found)
        await self.polled()

    async def bounds(self, partition: int) -> Bounds:
        if self.failures:
            raise self.failures.pop()
        return self.log.get(partition, Bounds(0, 0, None))

    async def offset_since(self, partition: int, since_us: int) -> int | None:
        return self.since.get(partition)

    def pause(self, partition: int) -> None:
        self.paused.append(partition)

    def resume_at(self, partition: int, offset: int) -> None:
        self.resumed.append((partition, offset))

    def behind(self, partition: int, next_offset: int) -> int | None:
        end = self.end.get(partition)
        return None if end is None else max(0, end - next_offset)

    async def commit(self, offsets: Mapping[int, tuple[int, str]]) -> None:
        if self.failures:
            raise self.failures.pop()
        self.commits.append({partition: offset for partition, (offset, _) in offsets.items()})
        for partition, (offset, metadata) in offsets.items():
            self.metadata[partition] = metadata
            known = self.log.get(partition, Bounds(0, 0, None))
            self.log[partition] = Bounds(known.begin, max(known.end, offset), offset, metadata)


class FakeWriter:
    """Confirms what is written while `confirms` is set."""

    def __init__(self) -> None:
        self.written: list[tuple[str, int, Outgoing]] = []
        self.confirms = asyncio.Event()
        self.confirms.set()
        self.asked = asyncio.Event()
        self.failing: set[tuple[str, int]] = set()

    async def write(self, topic: str, partition: int, records: Sequence[Outgoing]) -> list[int]:
        self.asked.set()
        await self.confirms.wait()
        self.written += [(topic, partition, record) for record in records]
        return list(range(len(records)))

    def to(self, topic: str) -> list[tuple[int, Outgoing]]:
        return [(partition, record) for name, partition, record in self.written if name == topic]


class Rig:
    """A worker with everything around it faked, but a store in memory."""

    def __init__(self, classes: Sequence[ClassSettings], store: SnapshotStore | None = None, **worker: Any) -> None:
        self.settings = Settings.model_validate(
            {
                "route": [{"topic": "{site}/{machine}/{quantity}"}],
                "class": list(classes),
                "kafka": {"topics": {"readings": {"name": "readings", "partitions": 4}}},
                "worker": {"snapshots": {"url": "memory://"}, **worker},
            }
        )
        self.clock, self.consumer, self.writer = FakeClock(), FakeConsumer(), FakeWriter()
        self.registry, self.told = CollectorRegistry(), dict[int, Told]()
        self.costs = Costs()
        worker_settings = self.settings.worker
        self.store = store or SnapshotStore(
            open_objects(worker_settings.snapshots, worker_settings.state_dir), worker_settings.group, "readings", 4
        )
        self.plan = plan_of(*self.settings.classes)
        events = WorkerEvents(self.registry)
        consumer, writer = cast(LogConsumer, self.consumer), cast(LogWriter, self.writer)
        self.tries = Tries(self.store.objects, self.store.folder, events.tries_lost)

        async def told() -> dict[int, Told]:
            return self.told

        self.worker = Worker(
            self.settings,
            self.plan,
            consumer,
            Publisher(self.settings, writer, PartitionCounts(3, 2, 2), events, self.clock),
            writer,
            Restorer(self.settings.worker, self.plan, 4, consumer, self.store, self.tries, told, events, self.clock),
            Checkpoints(
                self.settings.worker.snapshots,
                (self.settings.worker.group, "readings", 4),
                self.store,
                self.tries,
                events,
                self.clock,
            ),
            Survival(self.tries, events, self.clock),
            events,
            self.clock,
            ModelCosts(self.registry, self.costs, self.clock.monotonic_s),
        )

    @property
    def running(self) -> asyncio.Task[None]:
        """The worker's task."""
        assert self.consumer.running is not None
        return self.consumer.running

    async def start(self) -> None:
        """Run it until it polls."""
        self.consumer.running = asyncio.create_task(self.worker.run())
        await self.consumer.polled()

    async def assign(self, *partitions: int) -> None:
        """Give it partitions and wait until they are restored."""
        before = len(self.consumer.resumed)
        self.worker.assigned(set(partitions))
        while len(self.consumer.resumed) < before + len(partitions):
            await asyncio.sleep(0)
        await self.consumer.deliver({})

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    def counted(self, name: str, **labels: str) -> float:
        """A metric of the worker."""
        return self.registry.get_sample_value(f"millstream_worker_{name}", labels) or 0.0


def lost() -> ReconnectError:
    return ReconnectError("gone")

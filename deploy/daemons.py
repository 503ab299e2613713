"""`millstream worker`, composed; and how a daemon ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from deploy.registries import model_registry
from deploy.topics import ensure_topics
from ingest.contract.clock import SystemClock
from ingest.contract.errors import StopError
from ingest.contract.http import Complaints, serve
from ingest.contract.log_writer import LogWriter
from ingest.contract.observe import expose, log, new_registry
from ingest.contract.settings import Settings
from ingest.contract.tags import Tag
from ingest.even_clock import EvenClock
from models.cost import Costs

if TYPE_CHECKING:
    from stream.fold.definitions import Definitions

_DRAIN_S = 10.0
# A client library that waits for brokers cannot be waited for: everything unconfirmed is replayed anyway.
_HARD_EXIT_S = 25.0


async def run_worker(settings: Settings, tags: Mapping[str, Tag] | None = None) -> None:
    """Kafka → state, metrics and alerts, until SIGINT or SIGTERM. Raises StopError.

    tags: those of `plant.tags`, read.
    """
    # Imported here: the gateway's process never loads the compiler.
    from stream.alerts_told import Told, alerts_told
    from stream.checkpoints import Checkpoints
    from stream.consumer import LogConsumer, read_topic
    from stream.fold.definitions import Definitions
    from stream.fold.plan import make_plan
    from stream.model_costs import ModelCosts
    from stream.publishing import PartitionCounts, Publisher
    from stream.restoring import Restorer
    from stream.snapshot_store import SnapshotStore, open_objects
    from stream.surviving import Survival
    from stream.tries import Tries
    from stream.worker import Worker
    from stream.worker_events import WorkerEvents

    registry = new_registry("worker")
    events, clock = WorkerEvents(registry), EvenClock(SystemClock())
    definitions = Definitions.of(settings, tags)
    _check_size(definitions, settings.gateway.max_record_bytes)
    costs = Costs(time.perf_counter)
    plan = make_plan(definitions, model_registry(costs=costs))
    name = settings.worker.group
    writer = LogWriter(settings.kafka, name, events, settings.gateway.max_record_bytes)
    names = settings.kafka.topics
    consumer = LogConsumer(settings.kafka, names.readings.name, name)
    store = SnapshotStore(
        open_objects(settings.worker.snapshots, settings.worker.state_dir), name, names.readings.name,
        names.readings.partitions,
    )  # fmt: skip
    worker: Worker | None = None

    async def told() -> dict[int, Told]:
        return await alerts_told(read_topic(settings.kafka, names.alerts.name, name), name)

    def unready() -> list[str]:
        return ["connecting to Kafka"] if worker is None else worker.unready()

    async def sensors() -> bytes:
        return b"" if worker is None else await worker.sensors_page()

    events.starting(",".join(settings.kafka.bootstrap), settings.kafka.topics.readings.name, name)
    pages: dict[str, Callable[[], bytes | Awaitable[bytes]]] = {
        "/metrics": lambda: expose(registry),
        "/metrics/sensors": sensors,
    }
    unhealthy: Complaints = lambda: [] if worker is None else worker.unhealthy()  # noqa: E731
    async with serve(settings.worker.http, pages, unhealthy, unready) as url:
        events.listening(url)

        async def work() -> None:
            nonlocal worker
            topics = await ensure_topics(settings.kafka, events.kafka_unreachable)
            remark("worker", topics.remarks)
            await writer.start()
            counts = PartitionCounts(*(topics.counts[one.name] for one in (names.alerts, names.quarantine, names.late)))
            partitions, tries = names.readings.partitions, Tries(store.objects, store.folder, events.tries_lost)
            worker = Worker(
                settings,
                plan,
                consumer,
                Publisher(settings, writer, counts, events, clock),
                writer,
                Restorer(settings.worker, plan, partitions, consumer, store, tries, told, events, clock),
                Checkpoints(
                    settings.worker.snapshots, (name, names.readings.name, partitions), store, tries, events, clock
                ),
                Survival(tries, events, clock),
                events,
                clock,
                ModelCosts(registry, costs, clock.monotonic_s),
            )
            await worker.run()

        try:
            await until_signal(work())
        finally:
            # Also where no signal was the reason.
            watchdog = end_by_force()
            if worker is not None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(worker.drain(), _DRAIN_S)
            await consumer.close()
            await writer.close()
            store.close()
            events.stopped()
            watchdog.cancel()


def remark(part: str, remarks: tuple[str, ...]) -> None:
    """Say what is odd and allowed."""
    for one in remarks:
        log(part).warning(one)


def end_by_force() -> threading.Timer:
    """End the process in a while, whatever still hangs."""
    watchdog = threading.Timer(_HARD_EXIT_S, os._exit, (1,))
    watchdog.daemon = True
    watchdog.start()
    return watchdog


def _check_size(definitions: Definitions, most_bytes: int) -> None:
    """Definitions go into the log as one record. Raises StopError where they do not fit."""
    if (size := len(definitions.to_bytes())) > most_bytes:
        raise StopError(
            f"classes and tags take {size:,} bytes in the log, more than gateway.max_record_bytes ({most_bytes:,}): "
            "give units and ranges by class instead of by tag, or raise it and the topic's message.max.bytes"
        )


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run until it ends, fails, or SIGINT or SIGTERM asks for the end; a second signal does not wait.

    Raises StopError for an exception that nobody waits for: a daemon that goes on after one does half its work.
    """
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    unexpected: list[str] = []

    def stop() -> None:
        if task.cancelling():
            os._exit(130)
        end_by_force()
        task.cancel()

    def fail(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        log("daemon").error("unexpected", message=context["message"], exc_info=error)
        unexpected.append(f"{context['message']}: {error!r}")
        if not task.done() and not task.cancelling():
            stop()

    loop.set_exception_handler(fail)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    if unexpected:
        raise StopError(f"a defect, please report it: {unexpected[0]}")

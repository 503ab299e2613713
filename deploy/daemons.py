"""The daemons, composed: the only place where settings meet adapters."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from deploy.registries import model_registry
from deploy.topics import ensure_topics
from ingest.batcher import Route
from ingest.contract.clock import SystemClock
from ingest.contract.errors import StopError
from ingest.contract.http import Complaints, serve
from ingest.contract.log_writer import LogWriter
from ingest.contract.observe import expose, log, new_registry
from ingest.contract.readings import MIN_TS_US
from ingest.contract.sensors import TopicPattern
from ingest.contract.settings import Settings
from ingest.contract.tags import Tag
from ingest.decoders import DECODERS
from ingest.gateway import Gateway
from ingest.gateway_events import GatewayEvents
from ingest.mqtt import MqttLink, Subscription

_DRAIN_S = 10.0
# A client library that waits for brokers cannot be waited for: everything unconfirmed is replayed anyway.
_HARD_EXIT_S = 25.0


async def run_gateway(settings: Settings) -> None:
    """MQTT → Kafka, until SIGINT or SIGTERM. Raises StopError."""
    registry = new_registry("gateway")
    events, clock = GatewayEvents(registry), SystemClock()
    routes = [
        Route(one.topic, TopicPattern.parse(one.topic, one.path), DECODERS.create(one.decoder, one.options))
        for one in settings.route
    ]
    writer = LogWriter(settings.kafka, settings.mqtt.client_id, events, settings.gateway.max_record_bytes)
    gateway: Gateway | None = None

    def unready() -> list[str]:
        return ["connecting to Kafka"] if gateway is None else gateway.unready()

    filters = [route.pattern.filter for route in routes]
    events.starting(f"{settings.mqtt.host}:{settings.mqtt.port}", filters, ",".join(settings.kafka.bootstrap))
    async with serve(settings.gateway.http, {"/metrics": lambda: expose(registry)}, list, unready) as url:
        events.listening(url)

        async def work() -> None:
            nonlocal gateway
            if clock.now_us() < MIN_TS_US:
                raise StopError("this machine's clock is before 1990: set it, every record carries it")
            topics = await ensure_topics(settings.kafka, events.kafka_unreachable)
            _remark("gateway", topics.remarks)
            await writer.start()
            gateway = Gateway(settings, routes, topics.readings, topics.quarantine, writer, events, clock)
            subscriptions = [
                Subscription(filter_, one.qos) for filter_, one in zip(filters, settings.route, strict=True)
            ]
            gateway.link = MqttLink(
                settings.mqtt, gateway, subscriptions, max_payload_bytes=settings.gateway.max_payload_bytes
            )
            connection, flushing = asyncio.create_task(gateway.link.run()), asyncio.create_task(gateway.run())
            try:
                await asyncio.wait([connection, flushing], return_when=asyncio.FIRST_COMPLETED)
            finally:
                # The connection lives on until what it brought is confirmed and acknowledged.
                gateway.link.pause()
                left = await gateway.drain(_DRAIN_S)
                await gateway.link.close()
                await writer.close()
                events.stopped(left)
                await _end(connection, flushing)

        await until_signal(work())


async def run_worker(settings: Settings, tags: Mapping[str, Tag] | None = None) -> None:
    """Kafka → state, metrics and alerts, until SIGINT or SIGTERM. Raises StopError.

    tags: those of `plant.tags`, read.
    """
    # Imported here: the gateway's process never loads the compiler.
    from stream.consumer import LogConsumer
    from stream.fold.plan import make_plan
    from stream.worker import Worker
    from stream.worker_events import WorkerEvents

    registry = new_registry("worker")
    events, clock = WorkerEvents(registry), SystemClock()
    plan = make_plan(
        settings.classes,
        model_registry(),
        max_sensors=settings.plant.max_sensors,
        future_us=settings.worker.future,
        tags=tags,
    )
    name = settings.worker.group
    writer = LogWriter(settings.kafka, name, events, settings.gateway.max_record_bytes)
    consumer = LogConsumer(settings.kafka, settings.worker.group, name)
    worker: Worker | None = None

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
            _remark("worker", topics.remarks)
            await writer.start()
            worker = Worker(settings, plan, consumer, writer, events, clock, topics.alerts, topics.quarantine)
            await worker.run()

        try:
            await until_signal(work())
        finally:
            if worker is not None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(worker.drain(), _DRAIN_S)
            await consumer.close()
            await writer.close()
            events.stopped()


def _remark(part: str, remarks: tuple[str, ...]) -> None:
    for remark in remarks:
        log(part).warning(remark)


async def _end(*tasks: asyncio.Task[None]) -> None:
    """Cancel what still runs; raise what one failed with."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run until it ends, fails, or SIGINT or SIGTERM asks for the end; a second signal does not wait.

    Raises StopError for an exception that nobody waits for: a daemon that goes on after one does half its work.
    """
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    unexpected: list[str] = []

    def stop() -> None:
        if task.cancelling():
            os._exit(130)
        watchdog = threading.Timer(_HARD_EXIT_S, os._exit, (1,))
        watchdog.daemon = True
        watchdog.start()
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

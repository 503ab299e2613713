"""`millstream notifier`, composed: the alerts topic, the outbox, the webhooks."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

from deploy.daemons import until_signal
from deploy.topics import ensure_topics
from ingest.contract.clock import SystemClock
from ingest.contract.http import serve
from ingest.contract.observe import expose, log, new_registry
from ingest.contract.settings import Settings
from stream.consumer import LogConsumer
from stream.notify.delivery import Poster
from stream.notify.disk import Disk
from stream.notify.intake import Intake
from stream.notify.notifier import Notifier
from stream.notify.notifier_events import NotifierEvents
from stream.notify.outbox import Outbox
from stream.notify.schedule import Schedule
from stream.notify.sender import Sender, SteadyClock

_DRAIN_S = 10.0


async def run_notifier(settings: Settings) -> None:
    """Alerts topic → webhooks, until SIGINT or SIGTERM. Raises StopError."""
    notifier, webhooks = settings.notifier, settings.webhook
    registry = new_registry("notifier")
    clock = SystemClock()
    steady = SteadyClock(clock)
    events = NotifierEvents(registry, [one.name for one in webhooks])
    kafka = settings.kafka
    events.starting(",".join(kafka.bootstrap), kafka.topics.alerts.name, notifier.group)
    # Names are looked up in threads; one that hangs must leave some for the others.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=len(webhooks) + 4))
    async with AsyncExitStack() as stack:
        outbox = Outbox(notifier.state_dir / f"{notifier.group}.sqlite3")
        stack.callback(outbox.close)
        disk = Disk(events)
        stack.callback(disk.close)
        schedule = Schedule(notifier, random.random)
        senders = [
            Sender(
                one.name,
                notifier,
                outbox,
                disk,
                await stack.enter_async_context(Poster(one, clock, notifier.concurrency)),
                schedule,
                events,
                steady.now_us,
            )
            for one in webhooks
        ]
        alerts = LogConsumer(kafka, kafka.topics.alerts.name, notifier.group)
        intake = Intake(notifier, webhooks, outbox)
        daemon = Notifier(notifier, alerts, outbox, disk, intake, senders, events, clock, steady.now_us)
        url = await stack.enter_async_context(
            serve(notifier.http, {"/metrics": lambda: expose(registry)}, daemon.unhealthy, daemon.unready)
        )
        events.listening(url)

        async def read() -> None:
            for remark in (await ensure_topics(kafka, events.kafka_unreachable)).remarks:
                log("notifier").warning(remark)
            await daemon.read()

        async def work() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(daemon.deliver())
                group.create_task(read())

        try:
            await until_signal(work())
        finally:
            await daemon.drain(_DRAIN_S)
            await alerts.close()
            events.stopped()

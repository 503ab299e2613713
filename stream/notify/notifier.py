"""The notifier: alerts topic → outbox → webhooks.

Guarantee: an offset is committed only after the outbox has durably what follows from the records before it. So every
transition that is not dropped (for a counted reason) reaches every webhook that wants it at least once, under one id
and in order within an alert, or is given up after `notifier.give_up`, counted and logged. `outbox.py` says what
kill -9 repeats. Deliveries go on while Kafka is away, and reading goes on while receivers are.

One notifier per group: with several, an alert's transitions may pass each other when a partition moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ingest.contract.clock import Clock
from ingest.contract.errors import ReconnectError
from ingest.contract.kafka_client import Backoff
from ingest.contract.notifier_settings import NotifierSettings
from stream.consumer import Bounds, LogConsumer, OutOfRangeError
from stream.notify.alert import AlertRecord
from stream.notify.disk import Disk
from stream.notify.intake import SEEN_MEMORY_US, Intake
from stream.notify.notifier_events import NotifierEvents
from stream.notify.outbox import Outbox
from stream.notify.sender import Sender

_POLL_S = 0.2
_REPORT_S = 1.0
_SWEEP_S = 60.0
# A loop that has not come round for so long is stuck, not slow.
_STUCK_S = 120.0


class Notifier:
    """Composition (log, outbox, senders) is the caller's. now_us: steady, see `sender.SteadyClock`."""

    def __init__(
        self,
        settings: NotifierSettings,
        log: LogConsumer,
        outbox: Outbox,
        disk: Disk,
        intake: Intake,
        senders: Sequence[Sender],
        events: NotifierEvents,
        clock: Clock,
        now_us: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._log = log
        self._outbox = outbox
        self._disk = disk
        self._intake = intake
        self._senders = senders
        self._events = events
        self._clock = clock
        self._now_us = now_us
        self._next: dict[int, int] = {}
        """What is read next of the partitions that are ours and restored."""
        self._restoring: dict[int, asyncio.Task[None]] = {}
        # Held from a poll to its commit: a rebalance waits for it.
        self._turn = asyncio.Lock()
        self._reachable = False
        self._round_s: float | None = None

    # --- the log's reader -----------------------------------------------------------------------------------------

    def assigned(self, partitions: set[int]) -> None:
        """New partitions, paused: find their places outside of the rebalance."""
        self._events.assigned(partitions)
        self._begin_anew(partitions)

    def _begin_anew(self, partitions: set[int]) -> None:
        for partition in partitions:
            self._next.pop(partition, None)
            self._restoring[partition] = asyncio.create_task(self._restore(partition))

    async def revoked(self, partitions: set[int]) -> None:
        """Partitions go: finish the turn and forget them. What is in the outbox is still sent from here."""
        if not partitions:
            return
        for partition in partitions:
            if task := self._restoring.pop(partition, None):
                task.cancel()
        async with self._turn:
            for partition in partitions:
                self._next.pop(partition, None)
        self._events.revoked(partitions)

    async def _restore(self, partition: int) -> None:
        backoff = Backoff()
        while True:
            try:
                bounds = await self._log.bounds(partition)
                position = await self._disk.run(lambda: self._outbox.position(partition))
                begin = self._place(partition, bounds, position)
                # Noted before anything is read: a new group that ends here does not begin at a later end next time.
                await self._disk.run(lambda: self._outbox.move(partition, begin))  # noqa: B023  # awaited here
                if begin != bounds.committed:
                    await self._log.commit({partition: (begin, "")})
                self._log.resume_at(partition, begin)
            except ReconnectError as error:
                retry_in_s = backoff.next_s()
                self._events.restore_failed(partition, str(error), retry_in_s)
                await asyncio.sleep(retry_in_s)
            else:
                self._next[partition] = begin
                self._events.restored(partition, begin)
                self._restoring.pop(partition, None)
                return

    def _place(self, partition: int, bounds: Bounds, position: int | None) -> int:
        """Where to read on: the outbox may know more than was committed, and another notifier more than the outbox."""
        known = [one for one in (bounds.committed, position) if one is not None]
        if not known:
            begin = bounds.begin if self._settings.start == "earliest" else bounds.end
            self._events.begun(partition, begin, begin - bounds.begin, self._settings.start)
            return begin
        there = [one for one in known if bounds.begin <= one <= bounds.end]
        if there:
            return max(there)
        # Retention overtook us, or the topic was made anew: say so, and take all there is that is not too old.
        self._events.gap(partition, max(known), bounds.begin)
        return bounds.begin

    # --- reading --------------------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Until cancelled. Raises IncompatibleError at a record of a newer version."""
        await self._log.start(self, self._events.kafka_unreachable)
        self._reachable = True
        while True:
            await self._round()

    async def _round(self) -> None:
        self._round_s = self._clock.monotonic_s()
        try:
            found = await self._log.poll(_POLL_S)
            self._reachable = True
        except OutOfRangeError as error:
            # What is being restored has not sought its new place yet.
            self._begin_anew(error.partitions - self._restoring.keys())
            return
        except ReconnectError as error:
            self._reachable = False
            self._events.poll_failed(str(error))
            await asyncio.sleep(1.0)
            return
        async with self._turn:
            records = [
                AlertRecord(partition, one.offset, one.timestamp_ms * 1000, one.headers, one.value)
                for partition, of_partition in found.items()
                for one in of_partition
                if one.offset >= self._next.get(partition, one.offset + 1)
            ]
            if records:
                await self._take(records)
        for partition, next_offset in self._next.items():
            if (behind := self._log.behind(partition, next_offset)) is not None:
                self._events.behind(partition, behind)

    async def _take(self, records: Sequence[AlertRecord]) -> None:
        taken = await self._disk.run(lambda: self._intake.take(records, self._now_us()))
        self._events.taken(taken)
        moved = {one.partition: one.offset + 1 for one in records}
        self._next.update(moved)
        for sender in self._senders:
            if sender.name in taken.queued:
                sender.wake()
        try:
            await self._log.commit({partition: (offset, "") for partition, offset in moved.items()})
        except ReconnectError as error:
            self._events.commit_failed(str(error))
        else:
            self._events.committed()

    # --- sending --------------------------------------------------------------------------------------------------

    async def deliver(self) -> None:
        """Until cancelled."""
        names = [sender.name for sender in self._senders]
        for webhook, count in (await self._disk.run(lambda: self._outbox.keep_only(names))).items():
            self._events.unconfigured(webhook, count)
        await self._sweep()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_house())
            for sender in self._senders:
                group.create_task(sender.run())

    async def _keep_house(self) -> None:
        swept_s = self._clock.monotonic_s()
        while True:
            if self._clock.monotonic_s() - swept_s >= _SWEEP_S:
                swept_s = self._clock.monotonic_s()
                await self._sweep()
            waiting = await self._disk.run(self._outbox.waiting)
            self._events.waiting(waiting, self._now_us())
            await asyncio.sleep(_REPORT_S)

    async def _sweep(self) -> None:
        now_us = self._now_us()
        expired = await self._disk.run(lambda: self._outbox.expire(now_us - self._settings.give_up, now_us))
        await self._disk.run(lambda: self._outbox.forget(now_us - max(SEEN_MEMORY_US, self._settings.give_up)))
        for webhook, count in expired.items():
            self._events.expired(webhook, count)
        for sender in self._senders:
            if sender.name in expired:
                sender.wake()

    # --- life -----------------------------------------------------------------------------------------------------

    async def drain(self, grace_s: float) -> None:
        """Finish the requests under way."""
        self._events.stopping()
        for task in self._restoring.values():
            task.cancel()
        await asyncio.gather(*(sender.drain(grace_s) for sender in self._senders))

    def unhealthy(self) -> list[str]:
        """For /healthz: only what a restart would mend."""
        # A disk that fails is not mended by a restart.
        if self._round_s is None or self._disk.trouble:
            return []
        idle_s = self._clock.monotonic_s() - self._round_s
        return [f"no progress for {idle_s:.0f} s"] if idle_s > _STUCK_S else []

    def unready(self) -> list[str]:
        """What keeps the notifier from its work, for /readyz."""
        if self._disk.trouble:
            return [f"the outbox cannot be used: {self._disk.trouble}"]
        if not self._reachable:
            return ["Kafka cannot be reached"]
        if self._restoring:
            return [f"{len(self._restoring)} partitions are being restored"]
        return [] if self._next else ["no partition assigned yet"]

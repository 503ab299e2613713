"""One webhook's deliveries: a lane for each alert, so many at once, on schedule.

A webhook has its own sender, its own connections and its own place in the outbox: however slow it is, no other waits
for it. A lane that fails waits for its next try by itself, unless the receiver asked for a pause: then all of them do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from ingest.contract.clock import Clock
from ingest.contract.notifier_settings import NotifierSettings
from stream.notify.delivery import Answer, Outcome
from stream.notify.disk import Disk
from stream.notify.outbox import Outbox, Row
from stream.notify.schedule import Schedule

# The longest sleep, so that a clock that was set cannot make it sleep through.
_LONGEST_WAIT_S = 60.0


class Post(Protocol):
    """An attempt."""

    async def post(self, message_id: str, body: bytes) -> Answer:
        """Never raises."""
        ...


class SenderEvents(Protocol):
    """What a sender has to say."""

    def attempted(self, webhook: str, row: Row, answer: Answer, retry_in_s: float | None) -> None:
        """A delivery was tried; it is tried again after retry_in_s, if that is not None."""
        ...

    def expired(self, webhook: str, count: int) -> None:
        """Transitions were given up."""
        ...

    def disabled(self, webhook: str) -> None:
        """The receiver wants no more."""
        ...


class SteadyClock:
    """The wall clock of the start, moved on by the monotonic one: who sets the clock moves no pause."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._origin_us = clock.now_us() - round(clock.monotonic_s() * 1e6)

    def now_us(self) -> int:
        """Microseconds since 1970, as it was believed at the start."""
        return self._origin_us + round(self._clock.monotonic_s() * 1e6)


class Sender:
    """Sends what the outbox has for one webhook."""

    def __init__(
        self,
        name: str,
        settings: NotifierSettings,
        outbox: Outbox,
        disk: Disk,
        post: Post,
        schedule: Schedule,
        events: SenderEvents,
        now_us: Callable[[], int],
    ) -> None:
        self.name = name
        self._settings = settings
        self._outbox = outbox
        self._disk = disk
        self._post = post
        self._schedule = schedule
        self._events = events
        self._now_us = now_us
        self._flying: dict[int, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._held_until_us = 0
        self._stopping = False
        self.gone = False
        """410 was answered: nothing more is sent until the next start."""

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Until `drain`, or cancelled; either leaves alone what is under way."""
        while not self._stopping:
            self._wake.clear()
            wait_s = await self._start_due()
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    async def drain(self, grace_s: float) -> None:
        """Start nothing more, and wait so long for what is under way; what is cut off then is sent again one day."""
        self._stopping = True
        self._wake.set()
        if flying := set(self._flying.values()):
            _, late = await asyncio.wait(flying, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _start_due(self) -> float:
        """Start what is due and has room; how long there is nothing to do."""
        now_us = self._now_us()
        if self.gone or len(self._flying) >= self._settings.concurrency:
            return _LONGEST_WAIT_S
        if self._held_until_us > now_us:
            return min(_LONGEST_WAIT_S, (self._held_until_us - now_us) / 1e6)
        latest_us = now_us + 2 * self._settings.retry_longest
        room, under_way = self._settings.concurrency - len(self._flying), tuple(self._flying)
        rows, next_us = await self._disk.run(lambda: self._outbox.due(self.name, now_us, latest_us, room, under_way))
        for row in rows:
            if self._stopping or self.gone:
                break
            self._flying[row.seq] = asyncio.create_task(self._deliver(row))
        return _LONGEST_WAIT_S if next_us is None else min(_LONGEST_WAIT_S, max(0.0, (next_us - now_us) / 1e6))

    async def _deliver(self, row: Row) -> None:
        try:
            answer = await self._post.post(row.message_id, row.body)
            await self._conclude(row, answer)
        finally:
            self._flying.pop(row.seq, None)
            self._wake.set()

    async def _conclude(self, row: Row, answer: Answer) -> None:
        now_us = self._now_us()
        if answer.outcome is Outcome.DELIVERED:
            await self._disk.run(lambda: self._outbox.done([row.seq], now_us))
            self._events.attempted(self.name, row, answer, None)
            return
        failures = row.failures + 1
        due_us = now_us + self._schedule.pause_us(failures, answer.asked_us)
        if answer.outcome is Outcome.GONE and not self.gone:
            self.gone = True
            self._events.disabled(self.name)
        if answer.asked_us is not None:
            self._held_until_us = max(self._held_until_us, due_us)
        if self._schedule.is_over(row.at_us, due_us):
            await self._disk.run(lambda: self._outbox.done([row.seq], now_us))
            self._events.attempted(self.name, row, answer, None)
            self._events.expired(self.name, 1)
            return
        await self._disk.run(lambda: self._outbox.retry(row.seq, failures, due_us))
        self._events.attempted(self.name, row, answer, None if self.gone else (due_us - now_us) / 1e6)

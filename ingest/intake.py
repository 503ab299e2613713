"""One MQTT connection of a gateway: take, flush by size and age, acknowledge what is safe, stop reading when too much
is not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import numpy as np

from ingest.batch import Batch
from ingest.batcher import Batcher
from ingest.contract.clock import Clock
from ingest.contract.failpoints import failpoint
from ingest.contract.gateway_settings import GatewaySettings
from ingest.flushing import FlushPolicy
from ingest.gateway_events import GatewayEvents
from ingest.ledger import AckLedger, Ticket
from ingest.packets import Burst

# QoS 0, and MQTT 3.1.1 brokers with a large window, know no Receive Maximum: beyond this multiple of it, stop reading.
_PAUSE_AT = 2
_RESUME_AT = 0.5


class Link(Protocol):
    """The MQTT connection, as an intake uses it."""

    is_up: bool

    def ack(self, epoch: int, mids: Sequence[bytes]) -> bool:
        """Send PUBACKs, if the connection of that epoch is still there."""
        ...

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> object:
        """Queue a message."""
        ...

    def pause(self) -> None:
        """Stop reading."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...


class Intake:
    """The receiver of one broker's messages; `forward` returns when a batch is safe."""

    def __init__(
        self,
        broker: str,
        receive_maximum: int,
        settings: GatewaySettings,
        batcher: Batcher,
        forward: Callable[[Batch], Awaitable[None]],
        events: GatewayEvents,
        clock: Clock,
    ) -> None:
        self.broker = broker
        self.batcher = batcher
        self._forward = forward
        self._events = events
        self._clock = clock
        self._policy = FlushPolicy(settings.linger / 1e6, settings.max_batch, receive_maximum)
        self._ledger = AckLedger()
        self._pending = Burst()
        self._arrivals: list[tuple[int, int]] = []
        self._deliveries: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._failure: BaseException | None = None
        self._epoch = 0
        self._paused = False
        self._ending = False
        self._most_messages = _PAUSE_AT * max(receive_maximum, settings.max_batch)
        self._most_bytes = settings.max_in_flight_bytes
        self.link: Link | None = None

    @property
    def in_flight(self) -> int:
        """Messages received and not yet safe."""
        return self._ledger.messages + len(self._pending)

    @property
    def waiting(self) -> int:
        """Of these, those that wait for company."""
        return len(self._pending)

    # --- the link's receiver --------------------------------------------------------------------------------------

    def received(self, burst: Burst) -> None:
        """Messages from the broker."""
        if self._ending:
            return  # a connection that came back at the last moment: what is not acknowledged comes again
        failpoint("received")
        pending = self._pending
        if len(pending):
            pending.extend(burst)
        else:
            self._pending = pending = burst
        self._arrivals.append((len(burst), self._clock.now_us()))
        waiting = self._ledger.unacknowledged + len(pending.mids)
        flush_now = self._policy.received(len(pending), waiting, self._clock.monotonic_s())
        if flush_now:
            try:
                self.flush()
            except Exception as error:  # noqa: BLE001  # the link's callback has no caller that could hear of it
                self._fail(error)
        elif pending is burst:
            self._wake.set()  # the first to wait for company starts the clock
        if not self._paused and self._fill() > 1 and self.link is not None:
            self._paused = True
            self.link.pause()
            self._events.paused(self.broker, paused=True, in_flight=self.in_flight)

    def _fill(self) -> float:
        """How full memory is; 1 is full."""
        size_bytes = self._ledger.size_bytes + self._pending.size_bytes
        return max(self.in_flight / self._most_messages, size_bytes / self._most_bytes)

    def connected(self, epoch: int, protocol: str, session_present: bool) -> None:
        """A connection is up."""
        self._events.mqtt_connected(self.broker, epoch, protocol, session_present)

    def connecting(self, epoch: int) -> None:
        """Message ids now belong to another connection."""
        self.flush()  # what waits came on the old connection
        self._epoch = epoch
        self._ledger.new_epoch(epoch)
        self._policy.new_connection()
        if self._paused:
            # The new connection reads; if too much is in flight, its first messages show it.
            self._paused = False
            self._events.paused(self.broker, paused=False, in_flight=self.in_flight)

    def disconnected(self, reason: str, retry_in_s: float) -> None:
        """The connection is gone."""
        self._events.mqtt_disconnected(self.broker, reason, retry_in_s)

    # --- batches ----------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send on what waits for company."""
        burst, arrivals = self._pending, self._arrivals
        self._policy.flushed()
        if not len(burst):
            return
        self._pending, self._arrivals = Burst(), []
        counts, times = zip(*arrivals, strict=True)
        # The wall clock may step back; within a batch time does not.
        arrival_us = np.maximum.accumulate(np.repeat(np.array(times, np.int64), counts))
        ticket = self._ledger.open(self._epoch, len(burst), burst.mids, burst.size_bytes)
        batch = self.batcher.batch(burst, arrival_us)
        failpoint("decoded")
        self._events.batch_received(batch)
        for request in batch.requests:
            if self.link is not None:
                self._events.requested(self.broker, request.topic, sent=bool(self.link.publish(*request)))
        task = asyncio.create_task(self._deliver(batch, ticket))
        self._deliveries.add(task)
        task.add_done_callback(self._delivered)

    async def _deliver(self, batch: Batch, ticket: Ticket) -> None:
        await self._forward(batch)
        due = self._ledger.settle(ticket)
        if self.link is not None and self.link.ack(self._epoch, due):
            self._events.acknowledged(len(due))
            failpoint("puback-queued")
        if self._paused and self._fill() < _RESUME_AT and self.link is not None:
            self._paused = False
            self.link.resume()
            self._events.paused(self.broker, paused=False, in_flight=self.in_flight)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        # A batch that cannot be written is never acknowledged; going on would only hide it.
        self._failure = error
        self._wake.set()

    # --- life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Flush by age, until cancelled. Raises what a delivery failed with."""
        while True:
            wait_s = self._policy.wait_s(self._clock.monotonic_s())
            if wait_s == 0.0:
                self.flush()
                continue
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)
            if self._failure is not None:
                raise self._failure

    async def drain(self, timeout_s: float) -> int:
        """Send on what is pending, acknowledge what is safe in time; returns how many messages were not."""
        self._ending = True
        self.flush()
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=timeout_s)
        left = self.in_flight
        for task in list(self._deliveries):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._deliveries, return_exceptions=True)
        return left

    def unready(self) -> list[str]:
        """What keeps it from its work, for /readyz."""
        wrong = [] if self.link is not None and self.link.is_up else [f"not connected to the MQTT broker{self._named}"]
        if self._paused:
            wrong.append(f"reading is paused{self._named}: too much in flight")
        return wrong

    @property
    def _named(self) -> str:
        return f" {self.broker}" if self.broker != DEFAULT_BROKER else ""


DEFAULT_BROKER = "mqtt"

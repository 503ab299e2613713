"""The gateway: take → decode → batch → produce → acknowledge.

Guarantee: every QoS 1 message that the broker keeps for our session is in Kafka (as readings or in quarantine, on all
in-sync replicas) before its PUBACK leaves. After a crash the broker sends what was not acknowledged once more, so a
message may be produced twice; readings that carry their own time are counted once downstream.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import numpy as np

from ingest.batcher import Batch, Batcher, Route
from ingest.contract.clock import Clock
from ingest.contract.errors import QuarantineError
from ingest.contract.log_writer import LogWriter, Outgoing
from ingest.contract.quarantine import quarantine_record
from ingest.contract.readings import Readings
from ingest.contract.settings import Settings
from ingest.contract.wire import ARROW, Envelope, HeaderList, Kind, encode_readings, headers_of
from ingest.flushing import FlushPolicy
from ingest.gateway_events import GatewayEvents
from ingest.ledger import AckLedger, Ticket
from ingest.mqtt import MqttLink
from ingest.packets import Burst

# QoS 0, and MQTT 3.1.1 brokers with a large window, know no Receive Maximum: beyond this multiple of it, stop reading.
_PAUSE_AT = 2


class Gateway:
    """One MQTT session into one Kafka topic. Composition (link, writer) is the caller's."""

    def __init__(
        self,
        settings: Settings,
        routes: Sequence[Route],
        partitions: int,
        quarantine_partitions: int,
        writer: LogWriter,
        events: GatewayEvents,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._batcher = Batcher(routes, partitions, settings.plant.max_sensors, settings.gateway.max_payload_bytes)
        self._partitions = partitions
        self._quarantine_partitions = quarantine_partitions
        self._writer = writer
        self._events = events
        self._clock = clock
        self._policy = FlushPolicy(
            settings.gateway.linger / 1e6, settings.gateway.max_batch, settings.mqtt.receive_maximum
        )
        self._ledger = AckLedger()
        self._pending = Burst()
        self._arrivals: list[tuple[int, int]] = []
        self._deliveries: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._failure: BaseException | None = None
        self._seq = 0
        self._epoch = 0
        self._paused = False
        self._high_water = _PAUSE_AT * max(settings.mqtt.receive_maximum, settings.gateway.max_batch)
        self.link: MqttLink | None = None
        events.watch(lambda: len(self._pending), lambda: self._batcher.sensors)

    @property
    def in_flight(self) -> int:
        """Messages received and not yet in Kafka."""
        return self._ledger.messages + len(self._pending)

    # --- the link's receiver --------------------------------------------------------------------------------------

    def received(self, burst: Burst) -> None:
        """Messages from the broker."""
        pending = self._pending
        if len(pending):
            pending.topics += burst.topics
            pending.payloads += burst.payloads
            pending.first += burst.first
            pending.mids += burst.mids
        else:
            self._pending = pending = burst
        self._arrivals.append((len(burst), self._clock.now_us()))
        waiting = self._ledger.unacknowledged + len(pending.mids)
        flush_now = self._policy.received(len(pending), waiting, self._clock.monotonic_s())
        if flush_now:
            try:
                self._flush()
            except Exception as error:  # noqa: BLE001  # the link's callback has no caller that could hear of it
                self._fail(error)
        elif pending is burst:
            self._wake.set()  # the first to wait for company starts the clock
        if not self._paused and self.in_flight > self._high_water and self.link is not None:
            self._paused = True
            self.link.pause()
            self._events.paused(paused=True, in_flight=self.in_flight)

    def connected(self, epoch: int, protocol: str, session_present: bool) -> None:
        """A connection is up."""
        self._events.mqtt_connected(epoch, protocol, session_present)

    def connecting(self, epoch: int) -> None:
        """Message ids now belong to another connection."""
        self._flush()  # what waits came on the old connection
        self._epoch = epoch
        self._ledger.new_epoch(epoch)
        self._policy.new_connection()
        if self._paused:
            # The new connection reads; if too much is in flight, its first messages show it.
            self._paused = False
            self._events.paused(paused=False, in_flight=self.in_flight)

    def disconnected(self, reason: str, retry_in_s: float) -> None:
        """The connection is gone."""
        self._events.mqtt_disconnected(reason, retry_in_s)

    # --- batches ----------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        burst, arrivals = self._pending, self._arrivals
        self._policy.flushed()
        if not len(burst):
            return
        self._pending, self._arrivals = Burst(), []
        counts, times = zip(*arrivals, strict=True)
        # The wall clock may step back; within a batch time does not.
        arrival_us = np.maximum.accumulate(np.repeat(np.array(times, np.int64), counts))
        ticket = self._ledger.open(self._epoch, len(burst), burst.mids)
        batch = self._batcher.batch(burst, arrival_us)
        self._events.batch_received(batch)
        task = asyncio.create_task(self._deliver(batch, ticket))
        self._deliveries.add(task)
        task.add_done_callback(self._delivered)

    async def _deliver(self, batch: Batch, ticket: Ticket) -> None:
        topics, writes, sizes = self._settings.kafka.topics, [], 0
        for partition, readings in batch.blocks:
            values = self._encode(readings)
            sizes += sum(map(len, values))
            records = [
                Outgoing(value, None, self._headers(batch.arrival_us), batch.arrival_us // 1000) for value in values
            ]
            writes.append(self._writer.write(topics.readings.name, partition, records))
        for partition, records in self._set_aside(batch).items():
            writes.append(self._writer.write(topics.quarantine.name, partition, records))
        await asyncio.gather(*writes)
        self._events.batch_confirmed(batch, sizes)
        due = self._ledger.settle(ticket)
        if self.link is not None and self.link.ack(self._epoch, due):
            self._events.acknowledged(len(due))
        if self._paused and self.in_flight < self._high_water // 2 and self.link is not None:
            self._paused = False
            self.link.resume()
            self._events.paused(paused=False, in_flight=self.in_flight)

    def _set_aside(self, batch: Batch) -> dict[int, list[Outgoing]]:
        """Quarantine records by partition."""
        found: dict[int, list[Outgoing]] = {}
        for refused in batch.refused:
            partition, record = quarantine_record(
                refused.topic,
                refused.payload,
                QuarantineError(refused.reason, refused.detail),
                route=refused.route,
                source=self._settings.mqtt.client_id,
                arrival_us=batch.arrival_us,
                partitions=self._quarantine_partitions,
            )
            found.setdefault(partition, []).append(record)
        if batch.refused:
            first = batch.refused[0]
            shown = first.topic.decode(errors="replace")
            self._events.refused(shown, first.reason, first.detail, len(batch.refused) - 1)
        return found

    def _encode(self, readings: Readings) -> list[bytes]:
        value = encode_readings(readings)
        if len(value) <= self._settings.gateway.max_record_bytes or len(readings) == 1:
            return [value]
        half = np.arange(len(readings)) < len(readings) // 2
        return [*self._encode(readings.take(np.flatnonzero(half))), *self._encode(readings.take(np.flatnonzero(~half)))]

    def _headers(self, arrival_us: int) -> HeaderList:
        source, seq = self._settings.mqtt.client_id, self._seq
        self._seq += 1
        return headers_of(Envelope(Kind.READINGS, ARROW, source, seq, arrival_us, self._partitions))

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
                self._flush()
                continue
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)
            if self._failure is not None:
                raise self._failure

    async def drain(self, timeout_s: float) -> int:
        """Write what is pending, acknowledge what Kafka confirms in time; returns how many messages were not."""
        self._flush()
        self._events.stopping(self.in_flight)
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=timeout_s)
        left = self.in_flight
        for task in list(self._deliveries):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._deliveries, return_exceptions=True)
        return left

    def unready(self) -> list[str]:
        """What keeps the gateway from its work, for /readyz."""
        wrong = [] if self.link is not None and self.link.is_up else ["not connected to the MQTT broker"]
        if failing := self._writer.failing:
            wrong.append(f"Kafka does not confirm writes to {len(failing)} partitions")
        if self._paused:
            wrong.append("reading is paused: too much in flight")
        return wrong

"""The gateway: take → decode → batch → produce or spool → acknowledge.

Guarantee: every QoS 1 message that a broker keeps for our session is in Kafka (as readings or in quarantine, on all
in-sync replicas) or in the spool (on this machine's disk) before its PUBACK leaves. After a crash the broker sends what
was not acknowledged once more, so a message may be produced twice; readings that carry their own time are counted once
downstream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ingest.batch import Batch, Block
from ingest.batcher import Batcher
from ingest.contract.clock import Clock
from ingest.contract.errors import QuarantineError
from ingest.contract.log_writer import Outgoing
from ingest.contract.mqtt_settings import MqttSettings
from ingest.contract.quarantine import quarantine_record
from ingest.contract.settings import Settings
from ingest.contract.wire import ARROW, Envelope, Kind
from ingest.delivery import Delivery, Outcome
from ingest.device_clock import DeviceClocks
from ingest.gateway_events import GatewayEvents
from ingest.intake import Intake
from ingest.profiles import Profiles
from ingest.records import readings_records, waveform_record
from ingest.sensor_table import SensorTable
from ingest.sensor_values import SensorValues
from ingest.topic_table import Route

_SHOWN_CLOCKS = 50  # series on /metrics


class Gateway:
    """MQTT sessions into one Kafka topic. Composition (links, delivery) is the caller's.

    partitions: of the topics of readings, of quarantine, and of waveforms.
    """

    def __init__(
        self,
        settings: Settings,
        profiles: Profiles,
        partitions: tuple[int, int, int],
        delivery: Delivery,
        events: GatewayEvents,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._partitions, self._quarantine_partitions, self._waveform_partitions = partitions
        self._delivery = delivery
        self._events = events
        self._clock = clock
        self._source = settings.gateway_id
        self._seq = 0
        self._sensors = SensorTable(self._partitions, settings.plant.max_sensors)
        self._values = SensorValues(self._sensors, profiles, settings.gateway.max_devices)
        self.intakes: list[Intake] = []
        events.watch(
            waiting=lambda: sum(one.waiting for one in self.intakes),
            sensors=lambda: len(self._sensors),
            backlog_seconds=lambda: delivery.backlog_seconds(clock.now_us()),
            backlog_bytes=lambda: delivery.backlog_bytes,
            clock_offsets=lambda: [
                (one.device, one.offset_us / 1e6) for one in self._values.clocks.offsets(_SHOWN_CLOCKS)
            ],
        )

    def add_broker(self, broker: MqttSettings, routes: Sequence[Route]) -> Intake:
        """The receiver of one broker's messages."""
        batcher = self._batcher(routes)
        self._events.broker_added(broker.name)
        intake = Intake(
            broker.name,
            broker.receive_maximum,
            self._settings.gateway,
            batcher,
            self.forward,
            self._events,
            self._clock,
        )
        self.intakes.append(intake)
        return intake

    def _batcher(self, routes: Sequence[Route]) -> Batcher:
        for route in routes:
            self._events.route_added(route.name)
        settings = self._settings.gateway
        return Batcher(routes, self._sensors, self._values, settings.max_payload_bytes, settings.max_record_bytes)

    def reconfigure(self, profiles: Profiles, routes_of: Callable[[str], Sequence[Route]]) -> None:
        """Other routes, units and clocks from the next batch on. What is known of sensors and their times stays."""
        for intake in self.intakes:
            intake.flush()
            intake.batcher = self._batcher(routes_of(intake.broker))
        self._values.reconfigure(profiles)

    @property
    def clocks(self) -> DeviceClocks:
        """What the devices' clocks are taken to be."""
        return self._values.clocks

    @property
    def in_flight(self) -> int:
        """Messages received and not yet safe."""
        return sum(intake.in_flight for intake in self.intakes)

    # --- batches ----------------------------------------------------------------------------------------------------

    async def forward(self, batch: Batch) -> None:
        """Return when all of a batch is safe. What is called first is first in the log."""
        topics, deliver = self._settings.kafka.topics, self._delivery.deliver
        blocks = [(block, self._records(batch, block)) for block in batch.blocks]
        safe = [deliver(topics.readings.name, block.partition, records) for block, records in blocks]
        for name, aside in (
            (topics.quarantine.name, self._set_aside(batch)),
            (topics.waveforms.name, self._raw(batch)),
        ):
            safe += [deliver(name, partition, records) for partition, records in aside.items()]
        outcomes = await asyncio.gather(*safe)
        for (block, records), outcome in zip(blocks, outcomes, strict=False):
            size_bytes = sum(len(record.value or b"") for record in records)
            self._events.block_safe(block, len(records), size_bytes, spooled=outcome is Outcome.SPOOLED)
        self._events.batch_settled(batch)

    def _records(self, batch: Batch, block: Block) -> list[Outgoing]:
        envelope = Envelope(Kind.READINGS, ARROW, self._source, self._seq, batch.arrival_us, self._partitions)
        records = readings_records(block.readings, envelope, self._settings.gateway.max_record_bytes)
        self._seq += len(records)
        return records

    def _set_aside(self, batch: Batch) -> dict[int, list[Outgoing]]:
        """Quarantine records by partition."""
        found: dict[int, list[Outgoing]] = {}
        for refused in batch.refused:
            partition, record = quarantine_record(
                refused.topic,
                refused.payload,
                QuarantineError(refused.reason, refused.detail),
                route=refused.route,
                source=self._source,
                arrival_us=refused.arrival_us,
                partitions=self._quarantine_partitions,
                position=refused.position,
                flags=refused.flags,
            )
            found.setdefault(partition, []).append(record)
        if batch.refused:
            first = batch.refused[0]
            shown = first.topic.decode(errors="replace")
            self._events.refused(shown, first.reason, first.detail, len(batch.refused) - 1)
        return found

    def _raw(self, batch: Batch) -> dict[int, list[Outgoing]]:
        """Records of the waveforms topic by partition."""
        found: dict[int, list[Outgoing]] = {}
        for waveform in batch.waveforms:
            partition, record = waveform_record(waveform, self._source, batch.arrival_us, self._waveform_partitions)
            found.setdefault(partition, []).append(record)
        return found

    # --- life ---------------------------------------------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> int:
        """Send on what is pending, acknowledge what is safe in time; returns how many messages were not."""
        self._events.stopping(self.in_flight)
        return sum(await asyncio.gather(*(intake.drain(timeout_s) for intake in self.intakes)))

    def unready(self) -> list[str]:
        """What keeps the gateway from its work, for /readyz."""
        return [*(one for intake in self.intakes for one in intake.unready()), *self._delivery.unready()]

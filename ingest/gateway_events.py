"""What happens to a gateway: one function per happening, which counts it and says it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily

from ingest.batch import Batch, Block
from ingest.contract.observe import log
from ingest.decoders.base import Drop
from ingest.spool import Damage


class _ClockOffsets:
    """The devices whose clocks are furthest off: series come and go, so they are made at each scrape."""

    def __init__(self, offsets: Callable[[], Iterable[tuple[str, float]]]) -> None:
        self._offsets = offsets

    def collect(self) -> Iterator[Any]:
        """Called by the registry."""
        family = GaugeMetricFamily(
            "millstream_gateway_device_clock_offset_seconds",
            "How far a device's clock is ahead, by its quickest messages; the clocks that are furthest off.",
            labels=["device"],
        )
        for device, offset_s in self._offsets():
            family.add_metric([device], offset_s)
        yield family


class GatewayEvents:
    """Log lines and metrics of the gateway.

    The ledger, in messages by route: received = produced + spooled + quarantined + dropped + in flight.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._log = log("gateway")

        self._registry = registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"millstream_gateway_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"millstream_gateway_{name}", text, labels, registry=registry)

        self._received = counter("messages_received", "MQTT messages taken over from the broker.", "route")
        self._produced = counter("messages_produced", "Messages whose readings Kafka has confirmed.", "route")
        self._spooled = counter("messages_spooled", "Messages whose readings are safe in the spool.", "route")
        self._quarantined = counter(
            "messages_quarantined", "Messages set aside in the quarantine topic, or safe on the way.", "route", "reason"
        )
        self._dropped = counter("messages_dropped", "Messages understood that carry no reading.", "route", "reason")
        self._in_flight = gauge("messages_in_flight", "Messages received and not safe yet.", "route")
        self._waiting = gauge("messages_waiting", "Messages that wait for company, not counted as received yet.")
        self._acknowledged = counter("messages_acknowledged", "PUBACKs sent.")
        self._readings = counter("readings_produced", "Readings that Kafka has confirmed.")
        self._readings_spooled = counter("readings_spooled", "Readings that are safe in the spool.")
        self._records = counter("records_produced", "Kafka records of readings confirmed.")
        self._bytes = counter("produced_bytes", "Bytes of the Kafka records of readings confirmed.")
        self._sensors = gauge("sensors", "Sensors met since the start.")
        self._backlog_s = gauge("backlog_seconds", "Age of the oldest record in the spool; 0 while it is empty.")
        self._backlog_bytes = gauge("backlog_bytes", "Bytes in the spool that Kafka has not confirmed.")
        self._spooling = gauge("spooling_partitions", "Partitions whose records go through the spool.")
        self._drained = counter("records_drained", "Records of the spool that Kafka has confirmed.")
        self._spool_failures = counter(
            "spool_failures", "Writes to the spool that failed, by what was wrong.", "reason"
        )
        for reason in ("disk", "full"):
            self._spool_failures.labels(reason)
        self._damaged = counter("spool_damaged_bytes", "Bytes of the spool that could not be read again, kept aside.")
        self._requests = counter("requests", "Messages to devices: requests for a new birth.", "sent")
        self._reloads = counter("reloads", "Settings read anew.", "result")
        self._connected = gauge("mqtt_connected", "1 while connected and subscribed.", "broker")
        self._connections = counter("mqtt_connections", "Connections made.", "broker")
        self._retries = counter("kafka_write_failures", "Records that Kafka did not confirm and that were sent again.")
        self._paused = gauge("mqtt_paused", "1 while reading stands still because too much is in flight.", "broker")

    def watch(
        self,
        *,
        waiting: Callable[[], float],
        sensors: Callable[[], float],
        backlog_seconds: Callable[[], float],
        backlog_bytes: Callable[[], float],
        clock_offsets: Callable[[], Iterable[tuple[str, float]]],
    ) -> None:
        """Read these when metrics are read."""
        self._waiting.set_function(waiting)
        self._sensors.set_function(sensors)
        self._backlog_s.set_function(backlog_seconds)
        self._backlog_bytes.set_function(backlog_bytes)
        self._registry.register(_ClockOffsets(clock_offsets))

    def starting(self, brokers: list[str], filters: list[str], kafka: str) -> None:
        """The daemon begins."""
        shown = filters if len(filters) <= 10 else [*filters[:10], f"and {len(filters) - 10:,} more"]
        self._log.info("starting", mqtt=", ".join(brokers), filters=shown, kafka=kafka)

    def kafka_absent(self, after_s: float) -> None:
        """Kafka was not reached at the start."""
        self._log.warning("kafka not reachable; messages go to the spool until it is", after_s=after_s)

    def listening(self, url: str) -> None:
        """Metrics can be read."""
        self._log.info("listening", url=url)

    def mqtt_connected(self, broker: str, epoch: int, protocol: str, session_present: bool) -> None:
        """Connected and subscribed."""
        self._connected.labels(broker).set(1)
        self._connections.labels(broker).inc()
        self._log.info(
            "mqtt connected", broker=broker, connection=epoch, protocol=protocol, session_present=session_present
        )

    def mqtt_disconnected(self, broker: str, reason: str, retry_in_s: float) -> None:
        """Lost or refused."""
        self._connected.labels(broker).set(0)
        self._log.warning("mqtt not connected", broker=broker, reason=reason, retry_in_s=round(retry_in_s, 1))

    def kafka_unreachable(self, reason: str, retry_in_s: float) -> None:
        """No broker answered."""
        self._log.warning("kafka not reachable", reason=reason, retry_in_s=round(retry_in_s, 1))

    def write_stalled(self, topic: str, partition: int, for_s: float) -> None:
        """A record has had no answer for so long; it is still waited for."""
        self._log.warning("kafka does not answer", topic=topic, partition=partition, for_s=round(for_s, 1))

    def write_failed(self, topic: str, partition: int, reason: str, retry_in_s: float) -> None:
        """A record was not confirmed; it will be sent again."""
        self._retries.inc()
        self._log.warning(
            "kafka did not confirm", topic=topic, partition=partition, reason=reason, retry_in_s=round(retry_in_s, 1)
        )

    def lane_spooling(self, topic: str, partition: int, batches: int) -> None:
        """Kafka does not confirm a partition: so many batches, and all that follow, go to disk."""
        self._spooling.inc()
        self._log.warning("kafka does not confirm; spooling", topic=topic, partition=partition, batches=batches)

    def lane_drained(self, topic: str, partition: int) -> None:
        """All of a partition's spool is in Kafka; batches go there directly again."""
        self._spooling.dec()
        self._log.info("spool drained", topic=topic, partition=partition)

    def records_drained(self, topic: str, partition: int, records: int) -> None:
        """So many records from the spool are in Kafka."""
        self._drained.inc(records)

    def spool_failed(self, topic: str, partition: int, reason: str, retry_in_s: float) -> None:
        """The disk refused to write or to read; it is tried again."""
        self._spool_failures.labels("disk").inc()
        self._log.error(
            "the spool's disk fails; nothing is acknowledged",
            topic=topic,
            partition=partition,
            reason=reason,
            retry_in_s=round(retry_in_s, 1),
        )

    def spool_full(self, topic: str, partition: int, used_bytes: int, retry_in_s: float) -> None:
        """No room: batches wait in memory, and messages at the MQTT broker."""
        self._spool_failures.labels("full").inc()
        self._log.error(
            "the spool is full; nothing is acknowledged until Kafka is back (gateway.spool.max_bytes)",
            topic=topic,
            partition=partition,
            used_bytes=used_bytes,
            retry_in_s=round(retry_in_s, 1),
        )

    def spool_damaged(self, damage: Damage) -> None:
        """Something in the spool cannot be read; what is readable after it goes on."""
        self._damaged.inc(damage.size)
        self._log.error(
            "the spool is damaged",
            what=damage.what,
            file=str(damage.path),
            offset=damage.offset,
            size_bytes=damage.size,
        )

    def broker_added(self, broker: str) -> None:
        """There is a connection to be kept."""
        self._connected.labels(broker).set(0)
        self._paused.labels(broker).set(0)

    def route_added(self, route: str) -> None:
        """Its messages are counted from now on: a ledger without some of its columns does not add up."""
        for counter in (self._received, self._produced, self._spooled):
            counter.labels(route)
        self._dropped.labels(route, Drop.NO_READINGS.value)

    def batch_received(self, batch: Batch) -> None:
        """Messages were decoded."""
        for route, count in batch.received.items():
            self._received.labels(route).inc(count)
            self._in_flight.labels(route).inc(count)

    def block_safe(self, block: Block, records: int, size_bytes: int, *, spooled: bool) -> None:
        """A block is in Kafka, or in the spool."""
        outcome = self._spooled if spooled else self._produced
        for route, count in block.messages.items():
            outcome.labels(route).inc(count)
            self._in_flight.labels(route).dec(count)
        if spooled:
            self._readings_spooled.inc(len(block.readings))
        else:
            self._readings.inc(len(block.readings))
            self._records.inc(records)
            self._bytes.inc(size_bytes)

    def batch_settled(self, batch: Batch) -> None:
        """All of a batch is safe."""
        for counts, outcome in ((batch.quarantined, self._quarantined), (batch.dropped, self._dropped)):
            for (route, reason), count in counts.items():
                outcome.labels(route, reason.value).inc(count)
                self._in_flight.labels(route).dec(count)

    def memory_failed(self, name: str, reason: str) -> None:
        """What a decoder remembers could not be written or read; it will ask for new births."""
        self._log.warning("a memory is not kept", file=name, reason=reason)

    def requested(self, broker: str, topic: str, *, sent: bool) -> None:
        """A device was asked for something, or could not be."""
        self._requests.labels(str(sent).lower()).inc()
        self._log.info("asked a device" if sent else "could not ask a device", broker=broker, topic=topic[:200])

    def reloaded(self, added: list[str], removed: list[str], needs_restart: list[str]) -> None:
        """Other settings hold."""
        self._reloads.labels("done").inc()
        self._log.info("settings reloaded", filters_added=added, filters_removed=removed)
        for name in needs_restart:
            self._log.warning("changed, but takes effect only after a restart", setting=name)

    def reload_refused(self, problems: list[str]) -> None:
        """The new settings are wrong; the old ones hold."""
        self._reloads.labels("refused").inc()
        self._log.error("settings not reloaded; the old ones hold", problems=problems)

    def refused(self, topic: str, reason: str, detail: str, more: int) -> None:
        """Messages went to quarantine; one example of a batch is shown."""
        self._log.warning("quarantined", topic=topic[:200], reason=reason, detail=detail[:200], and_more=more)

    def acknowledged(self, count: int) -> None:
        """PUBACKs were sent."""
        self._acknowledged.inc(count)

    def paused(self, broker: str, *, paused: bool, in_flight: int) -> None:
        """Reading stopped, or goes on."""
        self._paused.labels(broker).set(paused)
        self._log.warning("reading paused" if paused else "reading resumed", broker=broker, in_flight=in_flight)

    def stopping(self, in_flight: int) -> None:
        """The daemon was asked to end."""
        self._log.info("stopping", in_flight=in_flight)

    def stopped(self, unconfirmed: int) -> None:
        """The daemon ends; what Kafka has not confirmed was not acknowledged, so the broker sends it again."""
        self._log.info("stopped", unconfirmed=unconfirmed)

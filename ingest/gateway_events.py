"""What happens to a gateway: one function per happening, which counts it and says it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from ingest.batcher import Batch
from ingest.contract.observe import log


class GatewayEvents:
    """Log lines and metrics of the gateway. The ledger, in messages: received = produced + quarantined + in flight."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._log = log("gateway")

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"millstream_gateway_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"millstream_gateway_{name}", text, registry=registry)

        self._received = counter("messages_received", "MQTT messages taken over from the broker.", "route")
        self._produced = counter("messages_produced", "Messages whose readings Kafka has confirmed.", "route")
        self._quarantined = counter(
            "messages_quarantined", "Messages set aside in the quarantine topic, confirmed by Kafka.", "route", "reason"
        )
        self._in_flight = gauge("messages_in_flight", "Messages received and neither produced nor quarantined yet.")
        self._waiting = gauge("messages_waiting", "Messages that wait for company, not counted as received yet.")
        self._acknowledged = counter("messages_acknowledged", "PUBACKs sent.")
        self._readings = counter("readings_produced", "Readings that Kafka has confirmed.")
        self._records = counter("records_produced", "Kafka records of readings confirmed.")
        self._bytes = counter("produced_bytes", "Bytes of the Kafka records of readings confirmed.")
        self._sensors = gauge("sensors", "Sensors met since the start.")
        self._connected = gauge("mqtt_connected", "1 while connected and subscribed.")
        self._connections = counter("mqtt_connections", "Connections made.")
        self._retries = counter("kafka_write_failures", "Records that Kafka did not confirm and that were sent again.")
        self._paused = gauge("mqtt_paused", "1 while reading from MQTT is stopped because too much is in flight.")

    def watch(self, waiting: Callable[[], float], sensors: Callable[[], float]) -> None:
        """Read these when metrics are read."""
        self._waiting.set_function(waiting)
        self._sensors.set_function(sensors)

    def starting(self, broker: str, filters: list[str], kafka: str) -> None:
        """The daemon begins."""
        self._log.info("starting", mqtt=broker, filters=filters, kafka=kafka)

    def listening(self, url: str) -> None:
        """Metrics can be read."""
        self._log.info("listening", url=url)

    def mqtt_connected(self, epoch: int, protocol: str, session_present: bool) -> None:
        """Connected and subscribed."""
        self._connected.set(1)
        self._connections.inc()
        self._log.info("mqtt connected", connection=epoch, protocol=protocol, session_present=session_present)

    def mqtt_disconnected(self, reason: str, retry_in_s: float) -> None:
        """Lost or refused."""
        self._connected.set(0)
        self._log.warning("mqtt not connected", reason=reason, retry_in_s=round(retry_in_s, 1))

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

    def batch_received(self, batch: Batch) -> None:
        """Messages were decoded."""
        for route, count in batch.received.items():
            self._received.labels(route).inc(count)
            self._in_flight.inc(count)

    def batch_confirmed(self, batch: Batch, payload_bytes: int) -> None:
        """All of a batch is in Kafka."""
        aside: dict[str, int] = {}
        for (route, reason), count in batch.quarantined.items():
            self._quarantined.labels(route, reason.value).inc(count)
            aside[route] = aside.get(route, 0) + count
        for route, count in batch.received.items():
            self._produced.labels(route).inc(count - aside.get(route, 0))
            self._in_flight.dec(count)
        self._readings.inc(sum(len(readings) for _, readings in batch.blocks))
        self._records.inc(len(batch.blocks))
        self._bytes.inc(payload_bytes)

    def refused(self, topic: str, reason: str, detail: str, more: int) -> None:
        """Messages went to quarantine; one example of a batch is shown."""
        self._log.warning("quarantined", topic=topic[:200], reason=reason, detail=detail[:200], and_more=more)

    def acknowledged(self, count: int) -> None:
        """PUBACKs were sent."""
        self._acknowledged.inc(count)

    def paused(self, *, paused: bool, in_flight: int) -> None:
        """Reading stopped, or goes on."""
        self._paused.set(paused)
        self._log.warning("reading paused" if paused else "reading resumed", in_flight=in_flight)

    def stopping(self, in_flight: int) -> None:
        """The daemon was asked to end."""
        self._log.info("stopping", in_flight=in_flight)

    def stopped(self, unconfirmed: int) -> None:
        """The daemon ends; what Kafka has not confirmed was not acknowledged, so the broker sends it again."""
        self._log.info("stopped", unconfirmed=unconfirmed)

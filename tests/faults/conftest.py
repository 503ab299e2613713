"""A plant whose MQTT passes a tap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest.contract.errors import Reason
from tests.deployment.plant import PlantUnderTest
from tests.faults.stream import Sender
from tests.faults.tap import Tap
from tests.servers.mosquitto import Mosquitto
from tests.servers.ports import free_port
from tests.servers.waiting import wait_until

# The program itself takes some 120 MiB, and 256 MiB may be in flight (gateway.max_in_flight_bytes).
_MOST_MEMORY_BYTES = 420 * 2**20


@dataclass
class Site:
    """A plant under test, the wire to its broker, and a device."""

    plant: PlantUnderTest
    tap: Tap
    sender: Sender
    mosquitto: Mosquitto
    kafka: str

    def set(self, **variables: str) -> None:
        """Settings by environment: GATEWAY__MAX_BATCH="100"."""
        self.plant.environment |= {f"MILLSTREAM__{name}": value for name, value in variables.items()}

    def fail_at(self, failpoints: str) -> None:
        """Failpoints of the next lives; "" for none."""
        self.plant.environment["MILLSTREAM_FAILPOINTS"] = failpoints

    def configure(self, routes: str, classes: str = "") -> None:
        """The next lives have these routes instead of the demo's, and these classes before its own; TOML."""
        before, _, rest = self.plant.config.read_text().partition("[[route]]")
        _, found, after = rest.partition("[[class]]")
        self.plant.config.write_text(before + routes + classes + found + after)

    @property
    def resident_bytes(self) -> int:
        """Memory of the gateway's process."""
        size: int = psutil.Process(self.plant.gateway.pid).memory_info().rss
        return size

    @property
    def cpu_s(self) -> float:
        """What the gateway's process has worked so far, in all its threads."""
        times = psutil.Process(self.plant.gateway.pid).cpu_times()
        return float(times.user + times.system)

    def quarantined(self) -> dict[str, int]:
        """How many messages the gateway says that it set aside, by reason; none for a reason nobody knows."""
        found = {
            reason.value: self.plant.gateway_metric("messages_quarantined_total", reason=reason) for reason in Reason
        }
        assert sum(found.values()) == self.plant.gateway_metric("messages_quarantined_total")
        return {reason: int(count) for reason, count in found.items() if count}

    def without_kafka(self, *, spool_after: str = "200ms") -> None:
        """The next lives find nobody at Kafka's address."""
        self.set(KAFKA__BOOTSTRAP=f"127.0.0.1:{free_port()}", GATEWAY__SPOOL__AFTER=spool_after)

    def with_kafka(self) -> None:
        """The next lives find it again."""
        self.set(KAFKA__BOOTSTRAP=self.kafka)

    def make_session(self) -> None:
        """Let the gateway subscribe once, so that the broker keeps messages for it, and the topics be made."""
        with self.plant.gateway:
            self.sender.send(1)
            self.wait_metric("messages_acknowledged_total", 1)

    def wait_metric(self, name: str, at_least: float, timeout_s: float = 60.0, **labels: str) -> None:
        """Until a metric of the gateway is there."""
        wait_until(
            lambda: self.plant.gateway_metric(name, **labels) >= at_least,
            timeout_s=timeout_s,
            what=f"{name} {labels or ''} at {at_least:g}",
        )

    def wait_acknowledged(self, messages: int, timeout_s: float = 60.0) -> None:
        """Until the tap has seen that many PUBACKs."""
        wait_until(lambda: self.tap.acknowledged >= messages, timeout_s=timeout_s, what=f"{messages} acknowledged")

    def wait_settled(self, messages: int | None = None, timeout_s: float = 60.0) -> None:
        """Until all that was sent is acknowledged, nothing is in flight and the spool is empty; then check invariants.

        messages: how many; default: all of the sender's.
        """
        sent = self.sender.sent if messages is None else messages
        self.wait_acknowledged(sent, timeout_s)
        busy = ("messages_in_flight", "backlog_bytes", "backlog_seconds", "spooling_partitions")
        wait_until(
            lambda: not any(self.plant.gateway_metric(name) for name in busy),
            timeout_s=timeout_s,
            what="nothing in flight, nothing in the spool",
        )
        self.plant.check_ledger()
        self.tap.assert_in_order()
        assert self.resident_bytes < _MOST_MEMORY_BYTES

    def assert_pages_parse(self, *, worker: bool = True) -> None:
        """Every page of metrics is readable for a machine."""
        pages = [(self.plant.gateway_port, "/metrics")]
        if worker:
            pages += [(self.plant.worker_port, "/metrics"), (self.plant.worker_port, "/metrics/sensors")]
        for port, path in pages:
            assert list(text_string_to_metric_families(self.plant.page(port, path)))


@pytest.fixture
def site(mosquitto: Mosquitto, kafka: str, tmp_path: Path, topic_prefix: str) -> Iterator[Site]:
    """Mosquitto, Kafka, and a gateway that is not started yet."""
    with Tap(mosquitto.port) as tap, Sender(mosquitto.port) as sender:
        plant = PlantUnderTest(tmp_path / "plant", tap.port, kafka, topic_prefix)
        yield Site(plant, tap, sender, mosquitto, kafka)
        plant.gateway.kill()
        plant.worker.kill()

"""A plant whose MQTT passes a tap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deployment.plant import PlantUnderTest
from tests.faults.stream import Sender
from tests.faults.tap import Tap
from tests.servers.mosquitto import Mosquitto
from tests.servers.ports import free_port
from tests.servers.waiting import wait_until


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

    def wait_settled(self, messages: int | None = None, timeout_s: float = 60.0) -> None:
        """Until all that was sent is acknowledged, nothing is in flight and the spool is empty; then check invariants.

        messages: how many; default: all of the sender's.
        """
        sent = self.sender.sent if messages is None else messages
        wait_until(lambda: self.tap.acknowledged >= sent, timeout_s=timeout_s, what=f"{sent} acknowledged")
        busy = ("messages_in_flight", "backlog_bytes", "backlog_seconds", "spooling_partitions")
        wait_until(
            lambda: not any(self.plant.gateway_metric(name) for name in busy),
            timeout_s=timeout_s,
            what="nothing in flight, nothing in the spool",
        )
        self.plant.check_ledger()
        self.tap.assert_in_order()


@pytest.fixture
def site(mosquitto: Mosquitto, kafka: str, tmp_path: Path, topic_prefix: str) -> Iterator[Site]:
    """Mosquitto, Kafka, and a gateway that is not started yet."""
    with Tap(mosquitto.port) as tap, Sender(mosquitto.port) as sender:
        plant = PlantUnderTest(tmp_path / "plant", tap.port, kafka, topic_prefix)
        yield Site(plant, tap, sender, mosquitto, kafka)
        plant.gateway.kill()
        plant.worker.kill()

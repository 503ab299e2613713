"""What once went wrong on real brokers, and must not again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from paho.mqtt.enums import CallbackAPIVersion

from tests.deployment.plant import PlantUnderTest
from tests.servers.kafka import KafkaCluster
from tests.servers.mosquitto import Mosquitto
from tests.servers.require import require
from tests.servers.waiting import wait_until

MESSAGES = 500


@pytest.fixture(scope="module")
def stock_kafka() -> Iterator[str]:
    """A Kafka that makes a topic of whatever name it is asked for, as it comes out of the box."""
    require("java", "mvn")
    with KafkaCluster(1, settings={"auto.create.topics.enable": "true"}) as cluster:
        yield cluster.bootstrap


async def _partitions(kafka: str, prefix: str) -> dict[str, int]:
    """Topics of a plant, by the last part of their names. Asks for no topic by a name that may not be there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        names = [name for name in await admin.list_topics() if name.startswith(prefix)]
        found = await admin.describe_topics(names) if names else []
        return {one["topic"].rpartition(".")[2]: len(one["partitions"]) for one in found}
    finally:
        await admin.close()


@pytest.mark.real
async def test_check_makes_no_topic_and_the_gateway_makes_them_as_configured(
    mosquitto: Mosquitto, stock_kafka: str, tmp_path: Path, topic_prefix: str
) -> None:
    plant = PlantUnderTest(tmp_path / "plant", mosquitto.port, stock_kafka, topic_prefix, partitions=12)
    checked = plant.command("check")
    assert "Traceback" not in checked.stderr
    assert await _partitions(stock_kafka, topic_prefix) == {}
    with plant.gateway:
        assert (await _partitions(stock_kafka, topic_prefix))["readings"] == 12


@pytest.mark.real
async def test_more_replicas_than_brokers_end_the_gateway_with_kafkas_own_words(
    mosquitto: Mosquitto, stock_kafka: str, tmp_path: Path, topic_prefix: str
) -> None:
    plant = PlantUnderTest(tmp_path / "plant", mosquitto.port, stock_kafka, topic_prefix)
    plant.environment["MILLSTREAM__KAFKA__TOPICS__READINGS__REPLICATION"] = "3"
    # It once tried again for ever: then this times out.
    refused = plant.command("gateway", timeout_s=20)
    assert refused.returncode == 1
    assert f"Kafka does not create topic {topic_prefix}.readings: " in refused.stderr
    assert "replication factor" in refused.stderr.lower()
    assert "Traceback" not in refused.stderr


def test_a_gateway_stopped_by_sigterm_has_acknowledged_what_it_wrote(
    mosquitto: Mosquitto, kafka: str, tmp_path: Path, topic_prefix: str
) -> None:
    plant = PlantUnderTest(tmp_path / "plant", mosquitto.port, kafka, topic_prefix)
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()

    def publish(count: int) -> None:
        # Without timestamps: redelivered, they would be new readings.
        topics = [f"factory/demo/assembly/line-01/press-{number % 20:02}/temperature" for number in range(count)]
        for sent in [client.publish(topic, b'{"value": 61.3}', qos=1) for topic in topics]:
            sent.wait_for_publish(10)

    def produced(count: int) -> None:
        wait_until(
            lambda: plant.gateway_metric("messages_produced_total") >= count, timeout_s=20, what=f"{count} produced"
        )

    try:
        with plant.gateway:
            publish(MESSAGES)
            produced(MESSAGES)
            plant.gateway.terminate()
            plant.gateway.start()
            # A broker sends again what was not acknowledged before it sends anything new.
            publish(1)
            produced(1)
            assert plant.gateway_metric("messages_received_total") == 1
    finally:
        client.disconnect()
        client.loop_stop()

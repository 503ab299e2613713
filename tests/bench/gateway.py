"""CPU of a gateway per MQTT message: from READY until Kafka has acknowledged the last one."""

import subprocess
import sys

from tests.bench.cluster import create_topic, mock_cluster
from tests.bench.daemon import REPOSITORY, Daemon
from tests.bench.mosquitto import mosquitto
from tests.bench.product import product

KAFKA_TOPIC = "readings"
TOPIC_FILTER = "f/#"
MESSAGES = 20_000
# CPU time is counted in steps of 10 ms: the faster, the more messages.
PRODUCT_MESSAGES = 200_000
SENSORS = 1_000


def publish_apart(mqtt: str, messages: int, sensors: int, qos: int) -> None:
    """Publish from a process of its own: in this one it would hold up the reader of progress lines."""
    load = ("--mqtt", mqtt, "--count", str(messages), "--sensors", str(sensors), "--qos", str(qos))
    command = [sys.executable, "-m", "tests.bench.raw_publisher", *load]
    subprocess.run(command, cwd=REPOSITORY, check=True)


def measure_baseline(messages: int = MESSAGES, sensors: int = SENSORS, qos: int = 1) -> float:
    """One run of the usual way on a fresh broker and cluster; µs of CPU per message."""
    with mosquitto() as mqtt, mock_cluster() as kafka:
        create_topic(kafka, KAFKA_TOPIC)
        arguments = ("--mqtt", mqtt, "--kafka", kafka, "--topic", KAFKA_TOPIC, "--filter", TOPIC_FILTER)
        with Daemon("tests.bench.baselines.gateway_stock", *arguments, "--qos", str(qos)) as gateway:
            gateway.wait_ready()
            before_s = gateway.cpu_seconds()
            publish_apart(mqtt, messages, sensors, qos)
            gateway.wait_count("produced", messages)
            return (gateway.cpu_seconds() - before_s) / messages * 1e6


def measure_product(messages: int = PRODUCT_MESSAGES, sensors: int = SENSORS, qos: int = 1) -> float:
    """One run of Millstream's gateway, likewise; µs of CPU per message, acknowledged after Kafka."""
    with mosquitto() as mqtt, mock_cluster() as kafka:
        create_topic(kafka, KAFKA_TOPIC)
        with product("gateway", kafka, mqtt) as gateway:
            before_s = gateway.cpu_seconds()
            publish_apart(mqtt, messages, sensors, qos)
            gateway.wait_total("millstream_gateway_messages_produced_total", messages)
            return (gateway.cpu_seconds() - before_s) / messages * 1e6

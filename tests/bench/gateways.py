"""Gateways under load, ours and the usual ones: CPU of the process per MQTT message, and messages a second."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.bench.cluster import create_topic, mock_cluster, wait_records
from tests.bench.daemon import REPOSITORY, Daemon
from tests.bench.mosquitto import mosquitto
from tests.bench.product import Product, product
from tests.bench.raw_publisher import PRESSES_PER_LINE

KAFKA_TOPIC = "readings"
TOPIC_FILTER = "f/#"
SENSORS = 1_000
PRODUCED = "millstream_gateway_messages_produced_total"


@dataclass(frozen=True, slots=True)
class Load:
    """So many messages, at `rate_per_s` or as fast as the broker takes them."""

    messages: int
    qos: int = 1
    rate_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """cpu_us: of the gateway's process, per message, from READY until Kafka has all. per_s: messages, all in all."""

    cpu_us: float
    per_s: float


def publish_apart(mqtt: str, load: Load) -> None:
    """Publish from a process of its own: in this one it would hold up the reader of progress lines."""
    subprocess.run(publisher_command(mqtt, load), cwd=REPOSITORY, check=True)


def publisher_command(mqtt: str, load: Load) -> list[str]:
    """What publishes a load."""
    said = ["--mqtt", mqtt, "--count", str(load.messages), "--sensors", str(SENSORS), "--qos", str(load.qos)]
    if load.rate_per_s is not None:
        said += ["--rate", str(load.rate_per_s)]
    return [sys.executable, "-m", "tests.bench.raw_publisher", *said]


@contextmanager
def brokers() -> Iterator[tuple[str, str]]:
    """MQTT and Kafka, fresh and with the topic made."""
    with mosquitto() as mqtt, mock_cluster() as kafka:
        create_topic(kafka, KAFKA_TOPIC)
        yield mqtt, kafka


def stock(load: Load) -> Cost:
    """paho's loop and one `send` per message."""
    with brokers() as (mqtt, kafka), _baseline("gateway_stock", mqtt, kafka, load) as gateway:
        before_s, began_s = gateway.cpu_seconds(), time.monotonic()
        publish_apart(mqtt, load)
        gateway.wait_count("produced", load.messages)
        return _cost(gateway.cpu_seconds() - before_s, began_s, load)


def mq_bridge(load: Load) -> Cost:
    """The bridge with a Rust core. It says nothing of what it does, so Kafka is asked."""
    with brokers() as (mqtt, kafka), _baseline("gateway_mq_bridge", mqtt, kafka, load) as gateway:
        before_s, began_s = gateway.cpu_seconds(), time.monotonic()
        publish_apart(mqtt, load)
        wait_records(kafka, KAFKA_TOPIC, load.messages)
        return _cost(gateway.cpu_seconds() - before_s, began_s, load)


def millstream(load: Load) -> Cost:
    """Our gateway: one process, all topics."""
    with brokers() as (mqtt, kafka), product("gateway", kafka, mqtt) as gateway:
        return _under(load, mqtt, [gateway])


def millstream_shared(load: Load, processes: int) -> Cost:
    """So many processes on disjoint filters, one filter a line, dealt by hash."""
    lines = [f"line{number}" for number in range(SENSORS // PRESSES_PER_LINE)]
    with brokers() as (mqtt, kafka), ExitStack() as all_of_them:
        gateways = []
        for number in range(1, processes + 1):
            settings = {"GATEWAY__INSTANCES": str(processes), "GATEWAY__INSTANCE": str(number)}
            one = product("gateway", kafka, mqtt, lines=lines, settings=settings)
            gateways.append(all_of_them.enter_context(one))
        return _under(load, mqtt, gateways)


@contextmanager
def _baseline(name: str, mqtt: str, kafka: str, load: Load) -> Iterator[Daemon]:
    arguments = ("--mqtt", mqtt, "--kafka", kafka, "--topic", KAFKA_TOPIC, "--filter", TOPIC_FILTER)
    with Daemon(f"tests.bench.baselines.{name}", *arguments, "--qos", str(load.qos)) as daemon:
        daemon.wait_ready()
        yield daemon


def _under(load: Load, mqtt: str, gateways: Sequence[Product]) -> Cost:
    before_s, began_s = sum(one.cpu_seconds() for one in gateways), time.monotonic()
    publish_apart(mqtt, load)
    gateways[0].wait_until(lambda: sum(one.total(PRODUCED) for one in gateways) >= load.messages)
    return _cost(sum(one.cpu_seconds() for one in gateways) - before_s, began_s, load)


def _cost(cpu_s: float, began_s: float, load: Load) -> Cost:
    return Cost(cpu_s / load.messages * 1e6, load.messages / (time.monotonic() - began_s))

"""Gateways under load, ours and the usual ones: µs of CPU of the process per MQTT message, and messages a second."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from tests.bench.cluster import create_topic, mock_cluster, wait_records
from tests.bench.daemon import REPOSITORY, Daemon
from tests.bench.mosquitto import mosquitto
from tests.bench.product import Product, product, wait_for
from tests.bench.raw_publisher import PRESSES_PER_LINE

KAFKA_TOPIC = "readings"
TOPIC_FILTER = "f/#"
SENSORS = 1_000
PRODUCED = "millstream_gateway_messages_produced_total"


@dataclass(frozen=True, slots=True)
class Load:
    """So many messages, at `rate_per_s` or as fast as the broker takes them; the first `warm_up` are not counted."""

    messages: int
    qos: int = 1
    rate_per_s: float | None = None
    warm_up: int = 0


def publishing(mqtt: str, load: Load) -> subprocess.Popen[bytes]:
    """Publish from a process of its own: in this one it would hold up the reader of progress lines."""
    said = ["--mqtt", mqtt, "--count", str(load.messages), "--sensors", str(SENSORS), "--qos", str(load.qos)]
    if load.rate_per_s is not None:
        said += ["--rate", str(load.rate_per_s)]
    return subprocess.Popen([sys.executable, "-m", "tests.bench.raw_publisher", *said], cwd=REPOSITORY)


@contextmanager
def brokers() -> Iterator[tuple[str, str]]:
    """MQTT and Kafka, fresh and with the topic made."""
    with mosquitto() as mqtt, mock_cluster() as kafka:
        create_topic(kafka, KAFKA_TOPIC)
        yield mqtt, kafka


def stock(load: Load) -> float:
    """CPU of paho's loop and one `send` per message."""
    with brokers() as (mqtt, kafka), _baseline("gateway_stock", mqtt, kafka, load) as gateway:
        return _under(load, mqtt, lambda count: gateway.wait_count("produced", count), gateway.cpu_seconds)


def mq_bridge(load: Load) -> float:
    """CPU of the bridge with a Rust core. It says nothing of what it does, so Kafka is asked."""
    with brokers() as (mqtt, kafka), _baseline("gateway_mq_bridge", mqtt, kafka, load) as gateway:
        return _under(load, mqtt, lambda count: wait_records(kafka, KAFKA_TOPIC, count), gateway.cpu_seconds)


def millstream(load: Load) -> float:
    """CPU of our gateway: one process, all topics."""
    with brokers() as (mqtt, kafka), product("gateway", kafka, mqtt) as gateway:
        return _under(load, mqtt, partial(_produced, [gateway]), gateway.cpu_seconds)


def stock_backlog(load: Load) -> float:
    """Messages a second of paho's loop and one `send` per message, when all is in the broker already."""
    with brokers() as (mqtt, kafka), _baseline("gateway_stock", mqtt, kafka, load) as gateway:
        return _backlog(load, mqtt, [gateway], lambda count: gateway.wait_count("produced", count))


def millstream_backlog(load: Load, processes: int) -> float:
    """Likewise, of so many processes of ours on disjoint filters, one filter a line, dealt by hash."""
    lines = [f"line{number}" for number in range(SENSORS // PRESSES_PER_LINE)]
    with brokers() as (mqtt, kafka), ExitStack() as all_of_them:
        gateways = []
        for number in range(1, processes + 1):
            settings = {"GATEWAY__INSTANCES": str(processes), "GATEWAY__INSTANCE": str(number)}
            one = product("gateway", kafka, mqtt, lines=lines, settings=settings)
            gateways.append(all_of_them.enter_context(one))
        return _backlog(load, mqtt, gateways, partial(_produced, gateways))


@contextmanager
def _baseline(name: str, mqtt: str, kafka: str, load: Load) -> Iterator[Daemon]:
    arguments = ("--mqtt", mqtt, "--kafka", kafka, "--topic", KAFKA_TOPIC, "--filter", TOPIC_FILTER)
    with Daemon(f"tests.bench.baselines.{name}", *arguments, "--qos", str(load.qos)) as daemon:
        daemon.wait_ready()
        yield daemon


def _produced(gateways: Sequence[Product], at_least: int) -> int:
    return wait_for(lambda: sum(one.total(PRODUCED) for one in gateways), at_least)


def _backlog(load: Load, mqtt: str, gateways: Sequence[Product | Daemon], produced: Callable[[int], int]) -> float:
    """Publish while the gateways stand still, then let them go: the publisher takes nothing of their processors."""
    try:
        for one in gateways:
            one.stand_still()
        with publishing(mqtt, load) as publisher:
            if publisher.wait():
                raise RuntimeError("the publisher failed")
    finally:
        for one in gateways:
            one.go_on()
    began_s = time.monotonic()
    produced(load.messages)
    return load.messages / (time.monotonic() - began_s)


def _under(load: Load, mqtt: str, produced: Callable[[int], int], cpu_seconds: Callable[[], float]) -> float:
    """µs of CPU per message, until Kafka has all. produced: waits until it has so many; returns how many it has."""
    before_s = cpu_seconds()
    with publishing(mqtt, load) as publisher:
        try:
            uncounted = produced(load.warm_up) if load.warm_up else 0
            if load.warm_up:
                before_s = cpu_seconds()
            # To ask how far it is costs a gateway CPU, too.
            if publisher.wait():
                raise RuntimeError("the publisher failed")
        finally:
            publisher.kill()
    produced(load.messages)
    return (cpu_seconds() - before_s) / (load.messages - uncounted) * 1e6

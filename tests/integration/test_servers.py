"""The real servers do what the other tests rely on."""

import asyncio
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import paho.mqtt.client as mqtt
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.servers.fixtures import PrometheusFactory
from tests.servers.kafka import KafkaCluster
from tests.servers.mosquitto import Mosquitto
from tests.servers.prometheus import MetricsRefusedError, promtool_check_metrics
from tests.servers.require import require

TIMEOUT_S = 30.0


async def create_topic(bootstrap: str, topic: NewTopic) -> int:
    """Create the topic; number of partitions that the cluster then describes."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([topic])
        (described,) = await admin.describe_topics([topic.name])
        return len(described["partitions"])
    finally:
        await admin.close()


async def consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    """The first `count` values of a topic, as a member of a group of its own."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=f"{topic}-group", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_kafka_takes_idempotent_producers_and_serves_groups(kafka: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}.readings"
    assert await create_topic(kafka, NewTopic(topic, num_partitions=12, replication_factor=1)) == 12

    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True)
    await producer.start()
    try:
        for i in range(120):
            await producer.send_and_wait(topic, b"%d" % i, key=b"%d" % i)
    finally:
        await producer.stop()

    assert sorted(map(int, await consume(kafka, topic, 120))) == list(range(120))


async def test_kafka_cluster_outlives_a_node(kafka_cluster3: KafkaCluster, topic_prefix: str) -> None:
    cluster, topic = kafka_cluster3, f"{topic_prefix}.readings"
    settings = {"min.insync.replicas": "2"}
    await create_topic(cluster.bootstrap, NewTopic(topic, 3, 3, topic_configs=settings))

    producer = AIOKafkaProducer(bootstrap_servers=cluster.bootstrap, enable_idempotence=True)
    await producer.start()
    try:
        async with asyncio.timeout(4 * TIMEOUT_S):
            for i in range(30):
                await producer.send_and_wait(topic, b"before %d" % i)
            await asyncio.to_thread(cluster.kill_node, 0)
            for i in range(30):
                await producer.send_and_wait(topic, b"without %d" % i)
            assert cluster.alive == [False, True, True]

            await asyncio.to_thread(cluster.start_node, 0)
            await asyncio.to_thread(cluster.stop_node, 1)
            for i in range(30):
                await producer.send_and_wait(topic, b"back %d" % i)
            await asyncio.to_thread(cluster.start_node, 1)
            assert cluster.alive == [True, True, True]
    finally:
        await producer.stop()

    expected = [b"%s %d" % (phase, i) for phase in (b"before", b"without", b"back") for i in range(30)]
    assert sorted(await consume(cluster.bootstrap, topic, 90)) == sorted(expected)


def test_kafka_cluster_heals(kafka_cluster3: KafkaCluster) -> None:
    kafka_cluster3.pause_node(2)
    kafka_cluster3.kill_node(1)
    assert kafka_cluster3.alive == [True, False, True]
    kafka_cluster3.heal()
    kafka_cluster3.kill()
    assert kafka_cluster3.alive == [False, False, False]
    kafka_cluster3.heal()
    assert kafka_cluster3.alive == [True, True, True]


@contextmanager
def mqtt_client(
    broker: Mosquitto, name: str, subscribe_to: str = "", session_s: int = 0
) -> Iterator[tuple[mqtt.Client, "queue.Queue[bytes]"]]:
    """A connected MQTT 5 client with a session of `session_s` seconds, and what it receives."""
    received: queue.Queue[bytes] = queue.Queue()
    ready: queue.Queue[str] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
    client.on_message = lambda _client, _data, message: received.put(bytes(message.payload))
    client.on_connect = lambda *_: ready.put("connected")
    client.on_subscribe = lambda *_: ready.put("subscribed")
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = session_s
    client.connect(broker.host, broker.port, clean_start=session_s == 0, properties=properties)
    client.loop_start()
    try:
        assert ready.get(timeout=TIMEOUT_S) == "connected"
        if subscribe_to:
            client.subscribe(subscribe_to, qos=1)
            assert ready.get(timeout=TIMEOUT_S) == "subscribed"
        yield client, received
    finally:
        client.disconnect()
        client.loop_stop()


def test_mosquitto_keeps_a_queue_over_a_restart(mosquitto: Mosquitto) -> None:
    with mqtt_client(mosquitto, "worker", "plant/#", session_s=3_600):
        pass
    with mqtt_client(mosquitto, "machine") as (machine, _):
        # More than Mosquitto's own limit of 1,000 queued messages.
        sent = [machine.publish("plant/press", b"%d" % i, qos=1) for i in range(1_500)]
        for message in sent:
            message.wait_for_publish(TIMEOUT_S)

    port = mosquitto.port
    mosquitto.restart()

    assert mosquitto.port == port
    with mqtt_client(mosquitto, "worker", session_s=3_600) as (_, received):
        assert [int(received.get(timeout=TIMEOUT_S)) for _ in range(1_500)] == list(range(1_500))


def test_mosquitto_round_trip(mosquitto: Mosquitto) -> None:
    with (
        mqtt_client(mosquitto, "worker", "plant/#") as (_, received),
        mqtt_client(mosquitto, "machine") as (machine, _),
    ):
        machine.publish("plant/press", b"1.5", qos=1)
        assert received.get(timeout=TIMEOUT_S) == b"1.5"


class MetricsPage(BaseHTTPRequestHandler):
    """Serves one gauge."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b'# HELP oil_celsius Oil.\n# TYPE oil_celsius gauge\noil_celsius{press="7"} 61.5\n')

    def log_message(self, *_: object) -> None:
        """Keep the test's output quiet."""


def test_prometheus_scrapes_and_answers(prometheus_factory: PrometheusFactory) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), MetricsPage) as page:
        Thread(target=page.serve_forever, daemon=True).start()
        prometheus = prometheus_factory([("millstream", f"127.0.0.1:{page.server_port}", "/metrics")])

        (sample,) = prometheus.wait_for('oil_celsius{press="7"} > 60', TIMEOUT_S)
        page.shutdown()

    assert sample.value == 61.5
    assert sample.labels["job"] == "millstream"
    assert prometheus.query("vector(2) * 21")[0].value == 42
    assert prometheus.query("scalar(vector(1))")[0] == ({}, 1.0)
    assert prometheus.query("no_such_metric") == []


def test_prometheus_says_why_nothing_comes(prometheus_factory: PrometheusFactory) -> None:
    prometheus = prometheus_factory([("millstream", "127.0.0.1:1", "/metrics")])
    prometheus.wait_for("up == 0", TIMEOUT_S)
    with pytest.raises(TimeoutError, match=r"127.0.0.1:1/metrics is down .*connection refused"):
        prometheus.wait_for("oil_celsius", 0.2)


@pytest.mark.real
def test_promtool_accepts_and_refuses() -> None:
    require("promtool")
    promtool_check_metrics("# HELP oil_celsius Oil.\n# TYPE oil_celsius gauge\noil_celsius 61.5\n")
    with pytest.raises(MetricsRefusedError, match="no help text"):
        promtool_check_metrics("# TYPE oil_celsius gauge\noil_celsius 61.5\n")
    with pytest.raises(MetricsRefusedError, match="error while linting"):
        promtool_check_metrics("oil_celsius{ 61.5\n")

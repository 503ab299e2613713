"""Numbered messages to a broker, and which of them are in the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from struct import pack

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.bench.raw_publisher import MAXIMUM_UNACKNOWLEDGED, Acknowledged, connect, packet
from tests.deployment.logs import read_readings, read_topic
from tests.servers.waiting import wait_until

FIRST_US = 1_700_000_000_000_000


class Sender:
    """A device that sends QoS 1 messages and hears that the broker has them. Values are 0, 1, 2, …; so are the ms."""

    def __init__(self, port: int, machines: int = 20) -> None:
        self._machines = machines
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.max_inflight_messages_set(1_000)
        self._client.reconnect_delay_set(0.1, 0.5)  # type: ignore[arg-type]  # fractions work
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self.sent = 0

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, count: int) -> None:
        """Send the next `count`; returns when the broker has them."""
        wait_until(self._client.is_connected, timeout_s=30, what="the sender connected")
        pending = []
        for number in range(self.sent, self.sent + count):
            topic = f"factory/demo/assembly/line-01/press-{number % self._machines:02d}/temperature"
            payload = b'{"ts":%d,"value":%d}' % (FIRST_US // 1_000 + number, number)
            pending.append(self._client.publish(topic, payload, qos=1))
        for one in pending:
            one.wait_for_publish(60)
            assert one.is_published()
        self.sent += count

    def send_raw(self, messages: Iterable[tuple[str, bytes]], *, retain: bool = False) -> None:
        """Send these; returns when the broker has them."""
        for one in [self._client.publish(topic, payload, qos=1, retain=retain) for topic, payload in messages]:
            one.wait_for_publish(60)
            assert one.is_published()


def send_quickly(port: int, messages: Iterable[tuple[bytes, bytes]]) -> int:
    """Send messages of QoS 1 on a bare socket, for floods; returns how many when the broker has them."""
    sent = 0
    with connect("127.0.0.1", port) as connection:
        acknowledged = Acknowledged(connection)
        for topic, payload in messages:
            acknowledged.wait(sent - MAXIMUM_UNACKNOWLEDGED + 1)
            body = pack(">H", len(topic)) + topic + pack(">H", sent % MAXIMUM_UNACKNOWLEDGED + 1) + payload
            connection.sendall(packet(0x32, body))
            sent += 1
        acknowledged.wait(sent)
        connection.sendall(b"\xe0\x00")
    return sent


async def reasons_in_quarantine(kafka: str, topic: str) -> list[tuple[bytes, str]]:
    """(MQTT topic, reason) of all that was set aside."""
    return [(one.headers["topic"], one.headers["reason"].decode()) for one in await read_topic(kafka, topic)]


async def numbers_in_log(kafka: str, topic: str) -> Counter[int]:
    """How often each of the sender's messages is there; also checks that each sensor's are in order, once each."""
    found: Counter[int] = Counter()
    for readings in await read_readings(kafka, topic):
        found.update(int(value) for value in readings.value.tolist())
    return found


async def assert_in_order(kafka: str, topic: str) -> None:
    """The first appearances of each sensor's readings are in the order sent."""
    seen: dict[str, list[int]] = {}
    known: set[int] = set()
    for readings in await read_readings(kafka, topic):
        for sensor, value in zip(readings.sensor.decode(), readings.value.tolist(), strict=True):
            if value not in known:
                known.add(value)
                seen.setdefault(sensor or "", []).append(value)
    for values in seen.values():
        assert values == sorted(values)

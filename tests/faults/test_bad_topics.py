"""Rows 19 and 20: topics that are no names, and more names than anybody has."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from struct import pack

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.bench.raw_publisher import connect, packet
from tests.conformance.payloads.sparkplug_b import bd_seq, metric, payload
from tests.deployment.logs import read_readings, read_topic
from tests.faults.conftest import Site
from tests.faults.stream import send_quickly

ANY = '[[route]]\ntopic = "any/{rest...}"\n\n'
DEMO = '[[route]]\ntopic = "factory/{site}/{area}/{line}/{machine}/{quantity}"\n\n'

# Topic → the sensor, or None if it is set aside for its name.
TOPICS: dict[bytes, str | None] = {
    b"factory/../../../../passwd": None,
    b"factory/a/./b/c/d": None,
    b"any//x": None,
    b"any/x/": None,
    b"any/ blank": None,
    b"any/{rest}": None,
    b"any/{field}": None,
    b'any/"} 1': None,
    rb"any/back\slash": None,
    "any/\u202eright to left".encode(): None,
    "any/\ue000private".encode(): None,
    b"any/" + b"/".join([b"deep"] * 150): None,
    b"any/" + b"x" * 65_531: None,
    b"any/" + "é".encode() * 32_765: None,
    b"any/a b": "a b",
    b"any/$share/group/topic": "$share/group/topic",
    b"any/millstream.readings": "millstream.readings",
    b"any/__consumer_offsets": "__consumer_offsets",
    b"any/__name__": "__name__",
    b"any/le": "le",
    "any/Öl/Temperatur °C".encode(): "Öl/Temperatur °C",
}
# What no broker may pass on, and some do; written as bytes that are exchanged on the way to the gateway.
SMUGGLED: dict[bytes, bytes] = {
    b"any/new~line": b"any/new\nline",
    b"any/n|ul": b"any/n\0ul",
    b"any/ut^f": b"any/ut\xfff",
}
EXCHANGE = bytes.maketrans(b"~|^", b"\n\0\xff")
# The broker hangs up on these, or keeps them to itself.
REFUSED = [b"any/+", b"any/#", b"any/a\nb", b"any/a\0b", b"any/\xff", b"any/\xed\xa0\x80", b"$share/group/any/x"]


@contextmanager
def exchanging(target: int) -> Iterator[int]:
    """The port of a wire to `target` on which single bytes of what comes back are others."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as opened:

        def pass_on(source: socket.socket, sink: socket.socket, table: bytes | None) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65_536):
                    sink.sendall(data if table is None else data.translate(table))
                sink.shutdown(socket.SHUT_WR)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, _ = listener.accept()
                    far = socket.create_connection(("127.0.0.1", target))
                    opened.callback(near.close)
                    opened.callback(far.close)
                    threading.Thread(target=pass_on, args=(near, far, None), daemon=True).start()
                    threading.Thread(target=pass_on, args=(far, near, EXCHANGE), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def is_taken(port: int, topic: bytes) -> bool:
    """Whether the broker takes a message of that topic, rather than to hang up."""
    with connect("127.0.0.1", port) as connection:
        connection.sendall(packet(0x32, pack(">H", len(topic)) + topic + b"\0\1" + b'{"value":1}'))
        with contextlib.suppress(ConnectionError):
            return connection.recv(4, socket.MSG_WAITALL) == b"\x40\2\0\1"
        return False


async def topics_of(kafka: str) -> set[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        return set(await admin.list_topics())
    finally:
        await admin.close()


@pytest.mark.fault(19)
@pytest.mark.timeout(120)
async def test_no_topic_of_mqtt_becomes_one_of_kafka_and_odd_ones_are_set_aside(site: Site) -> None:
    site.configure(DEMO + ANY)
    # As small as it may be: a record of quarantine holds the longest topic all the same.
    site.set(GATEWAY__MAX_RECORD_BYTES="131072")
    reading, large = b'{"value":1}', b"x" * 200_000
    with exchanging(site.tap.port) as port:
        site.set(MQTT__PORT=str(port))
        with site.plant.gateway:
            site.sender.send(1)
            site.wait_settled()
            before = await topics_of(site.kafka)
            for topic in REFUSED:
                assert is_taken(site.mosquitto.port, topic) == topic.startswith(b"$share"), topic
            sent = send_quickly(site.mosquitto.port, [(topic, reading) for topic in [*TOPICS, *SMUGGLED]])
            longest = [topic for topic, sensor in TOPICS.items() if sensor is None and len(topic) > 65_000]
            sent += send_quickly(site.mosquitto.port, [(topic, large) for topic in longest])
            site.wait_settled(1 + sent)
            assert site.plant.gateway_metric("messages_received_total") == 1 + sent
            site.sender.send(9)
            site.wait_settled(10 + sent)
            site.assert_pages_parse(worker=False)
            assert await topics_of(site.kafka) == before
    aside = await read_topic(site.kafka, f"{site.plant.prefix}.quarantine")
    names = [topic for topic, sensor in TOPICS.items() if sensor is None] + list(SMUGGLED.values())
    expected = [(topic, "name") for topic in names] + [(topic, "syntax") for topic in longest]
    found = [(one.headers["topic"], one.headers["reason"].decode()) for one in aside]
    assert sorted(found) == sorted(expected)
    sensors = {
        sensor
        for one in await read_readings(site.kafka, f"{site.plant.prefix}.readings")
        for sensor in one.sensor.decode()
    }
    assert {one for one in sensors if one is not None and not one.startswith("demo/")} == set(TOPICS.values()) - {None}


FLOOD = 50_000
MAX_SENSORS = 1_000
NODES = 5_000
MAX_NODES = 50
MACHINES = 20  # of the sender
SPARKPLUG = f"""[[route]]
topic = "spBv1.0/{{rest...}}"
path = "{{field}}"
decoder = "sparkplug_b"
options = {{ max_nodes = {MAX_NODES}, max_devices = {MAX_NODES}, max_known = 500 }}

"""
MS = 1_700_000_000_000


def node_data(number: int) -> tuple[str, bytes]:
    """The good node's message of that number; 0 is its birth."""
    kind = "NDATA" if number else "NBIRTH"
    born = [] if number else [bd_seq(0)]
    at_ms = MS + number
    body = payload(*born, metric("t", float(number), timestamp=at_ms), seq=number % 256, ms=at_ms)
    return f"spBv1.0/G/{kind}/good", body


def many_nodes(part: int) -> Iterator[tuple[bytes, bytes]]:
    """Nodes that were never born, nodes that are, and devices of one node."""
    for number in range(part * NODES // 5, (part + 1) * NODES // 5):
        yield b"spBv1.0/G/NDATA/stranger-%d" % number, payload(metric("t", 1.0), seq=1, ms=MS)
        yield b"spBv1.0/G/NBIRTH/node-%d" % number, payload(bd_seq(0), metric("t", 1.0), seq=0, ms=MS)
        yield b"spBv1.0/G/DBIRTH/node-0/device-%d" % number, payload(metric("t", 1.0), seq=(1 + number) % 256, ms=MS)


@pytest.mark.fault(20)
@pytest.mark.timeout(180)
async def test_floods_of_names_nodes_and_devices_are_counted_and_harm_nobody(site: Site) -> None:
    site.configure(DEMO + SPARKPLUG)
    site.set(PLANT__MAX_SENSORS=str(MAX_SENSORS))
    good, flood = 0, 0
    resident: list[int] = []
    with site.plant.gateway:
        for part in range(5):
            for _ in range(2):
                site.sender.send(50)
                site.sender.send_raw([node_data(number) for number in range(good, good + 20)])
                good += 20
            # In one batch with a flood, new sensors would not know who came first: the topics' are numbered before the
            # payloads'.
            site.wait_acknowledged(site.sender.sent + good + flood)
            flood += send_quickly(site.mosquitto.port, many_nodes(part))
            site.wait_acknowledged(site.sender.sent + good + flood)
            names = (
                (b"factory/demo/flood/line-01/machine-%05d/temperature" % number, b'{"value":1,"ts":%d}' % MS)
                for number in range(part * FLOOD // 5, (part + 1) * FLOOD // 5)
            )
            flood += send_quickly(site.mosquitto.port, names)
            site.wait_acknowledged(site.sender.sent + good + flood)
            resident.append(site.resident_bytes)
        asked = int(site.plant.gateway_metric("requests_total"))
        site.wait_settled(site.sender.sent + good + flood + asked)  # requests come back: the route takes all commands
        assert site.plant.gateway_metric("sensors") == MAX_SENSORS
        nodes = MAX_NODES - 1  # the good one is there
        names_known = MAX_SENSORS - MACHINES - 1 - nodes - MAX_NODES
        over = FLOOD - names_known + 3 * NODES - 2 * nodes - MAX_NODES
        assert site.quarantined() == {"over_budget": over, "no_birth": nodes}
        assert asked <= 2 * MAX_NODES
        assert max(resident[1:]) - resident[0] < 16 * 2**20
        site.assert_pages_parse(worker=False)
    values: dict[str, list[float]] = {}
    for one in await read_readings(site.kafka, f"{site.plant.prefix}.readings"):
        for sensor, value in zip(one.sensor.decode(), one.value.tolist(), strict=True):
            values.setdefault(sensor or "", []).append(value)
    assert len(values) == MAX_SENSORS
    assert values["G/good/t"] == list(range(good))
    for machine in range(MACHINES):
        path = f"demo/assembly/line-01/press-{machine:02d}/temperature"
        assert values[path] == list(range(machine, site.sender.sent, MACHINES))

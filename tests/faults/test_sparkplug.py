"""Row 17: Sparkplug through a broker: edge nodes that do what they should not, and some that do as they are asked."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from ingest.contract.readings import Quality
from ingest.decoders.sparkplug.births import REBIRTH
from ingest.decoders.sparkplug.schema import Payload
from tests.conformance.payloads.sparkplug_b import bd_seq, metric, payload
from tests.deployment.logs import read_readings
from tests.faults.conftest import Site
from tests.servers.waiting import wait_until

MS = 1_700_000_000_000
BORN = -1.0
"""What a birth says; data say 0, 1, 2, …"""
ROUTE = """[[route]]
topic = "spBv1.0/{rest...}"
path = "{field}"
decoder = "sparkplug_b"
options = { rebirth_every = 3600 }

"""


class Edge:
    """Edge nodes of one client. Those in `answering` are born anew when they are asked to, as they should."""

    def __init__(self, port: int) -> None:
        self.answering: set[str] = set()
        self.commands: list[tuple[str, bytes]] = []
        self.births: Counter[str] = Counter()
        self._seq: Counter[str] = Counter()
        self._value: Counter[str] = Counter()
        self._ms = count(MS)
        self.published: list[paho.MQTTMessageInfo] = []
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._asked
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("spBv1.0/G/NCMD/+", qos=1)
        self._client.loop_start()
        assert self._subscribed.wait(30)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _asked(self, _client: object, _userdata: object, message: paho.MQTTMessage) -> None:
        node = message.topic.rpartition("/")[2]
        if node in self.answering:
            self.born(node)
        self.commands.append((node, bytes(message.payload)))

    def asked(self, node: str) -> int:
        return sum(one == node for one, _ in self.commands)

    def publish(self, kind: str, node: str, body: bytes) -> None:
        self.published.append(self._client.publish(f"spBv1.0/G/{kind}/{node}", body, qos=1))

    def born(self, node: str, session: int = 0) -> None:
        """A birth of the node, with the metric `t` of alias 1."""
        self._seq[node] = 0
        body = payload(bd_seq(session), metric("t", BORN, alias=1), seq=0, ms=next(self._ms))
        self.publish("NBIRTH", node, body)
        self.births[node] += 1

    def data(self, node: str, messages: int = 1, *, skipped: int = 0, alias: int = 1) -> None:
        """Data by alias; `skipped` numbers of the sequence are missing before them."""
        self._seq[node] += skipped
        for _ in range(messages):
            self._seq[node] += 1
            body: Any = metric(None, float(self._value[node]), alias=alias, born=False)
            self.publish("NDATA", node, payload(body, seq=self._seq[node] % 256, ms=next(self._ms)))
            self._value[node] += 1

    def died(self, node: str, session: int) -> None:
        self.publish("NDEATH", node, payload(bd_seq(session), ms=None))


@pytest.fixture
def edge(site: Site) -> Iterator[Edge]:
    site.configure(ROUTE)
    nodes = Edge(site.mosquitto.port)
    yield nodes
    nodes.close()


def settle(site: Site, edge: Edge, *, commands: int | None = None) -> None:
    """Until all that was sent, and what was asked for, is dealt with; commands: how many in all, if that is known."""
    if commands is not None:
        wait_until(lambda: len(edge.commands) >= commands, timeout_s=30, what=f"{commands} commands")
    for one in edge.published:
        one.wait_for_publish(30)
    # The gateway hears its own commands: its route takes all of the namespace.
    site.wait_settled(len(edge.published) + len(edge.commands))
    if commands is not None:
        assert len(edge.commands) == commands


def cpu_of(site: Site, work: Callable[[], None]) -> float:
    before = site.cpu_s
    work()
    return site.cpu_s - before


async def values_in_log(site: Site) -> dict[str, list[tuple[float, int]]]:
    """(value, quality) by node."""
    found: dict[str, list[tuple[float, int]]] = {}
    for one in await read_readings(site.kafka, f"{site.plant.prefix}.readings"):
        rows = zip(one.sensor.decode(), one.value.tolist(), one.quality.tolist(), strict=True)
        for sensor, value, quality in rows:
            assert sensor is not None
            found.setdefault(sensor.split("/")[1], []).append((value, quality))
    return found


def read(*values: float) -> list[tuple[float, int]]:
    return [(value, Quality.GOOD) for value in values]


@pytest.mark.fault(17)
@pytest.mark.timeout(120)
async def test_a_node_that_missed_something_is_asked_once_and_its_answer_mends_it(site: Site, edge: Edge) -> None:
    with site.plant.gateway:
        # Data before a birth: one request, however many data; the answer makes the next readable.
        for _ in range(4):
            edge.data("unborn", 25)
            settle(site, edge, commands=1)
        assert site.quarantined() == {"no_birth": 100}
        (command,) = edge.commands
        told = Payload.FromString(command[1])
        assert command[0] == "unborn"
        assert [(one.name, one.boolean_value) for one in told.metrics] == [(REBIRTH, True)]
        edge.born("unborn")
        edge.data("unborn", 5)

        # A gap in the sequence: what comes is read, and the node is asked, and answers.
        edge.answering.add("gap")
        edge.born("gap")
        edge.data("gap", 2)
        edge.data("gap", 1, skipped=2)
        settle(site, edge, commands=2)
        assert edge.births["gap"] == 2
        edge.data("gap", 3)

        # A death with another bdSeq is old news; one with this bdSeq ends the node, until the birth that is asked for.
        edge.answering.add("death")
        edge.born("death", 1)
        edge.died("death", 0)
        edge.data("death")
        edge.died("death", 1)
        edge.data("death")
        settle(site, edge, commands=3)
        edge.data("death")

        # An alias that no birth told.
        edge.born("alias")
        edge.data("alias", alias=99)
        edge.data("alias")
        settle(site, edge, commands=4)

        # Broken protobuf asks for nothing, and takes nothing away.
        edge.born("broken")
        for body in (
            b"\x18\xff",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x08" + b"\xff" * 20,
            b"\x12\x05\x0a",
        ):
            edge.publish("NDATA", "broken", body)
        edge.data("broken", 2)
        settle(site, edge, commands=4)

        assert [edge.asked(node) for node in ("unborn", "gap", "death", "alias")] == [1, 1, 1, 1]
        assert site.quarantined() == {"no_birth": 102, "syntax": 4}
        assert site.plant.gateway_metric("messages_dropped_total", reason="outdated") == 1
        assert site.plant.gateway_metric("requests_total", sent="true") == 4
    found = await values_in_log(site)
    assert found["unborn"] == read(BORN, 100, 101, 102, 103, 104)
    assert found["gap"] == read(BORN, 0, 1, 2, BORN, 3, 4, 5)
    alive = [one for one in found["death"] if one[1] == Quality.GOOD]
    assert (alive, len(found["death"])) == (read(BORN, 0, BORN, 2), 5)
    assert found["death"][2][1] == Quality.BAD
    assert found["alias"] == read(BORN, 1)
    assert found["broken"] == read(BORN, 0, 1)


METRICS = 1_000_000
BOMBS = 10


@pytest.mark.fault(17)
@pytest.mark.timeout(120)
async def test_births_of_a_million_metrics_cost_no_more_than_their_bytes(site: Site, edge: Edge) -> None:
    site.set(GATEWAY__MAX_PAYLOAD_BYTES=str(2**22))
    bomb = b"\x12\x00" * METRICS
    plain = payload(bd_seq(0), {"name": "b", "datatype": 17, "bytes_value": bytes(len(bomb))}, seq=0, ms=MS)

    def births(name: str, body: bytes) -> Callable[[], None]:
        def send() -> None:
            for number in range(BOMBS):
                edge.publish("NBIRTH", f"{name}-{number}", body)
            settle(site, edge)

        return send

    with site.plant.gateway:
        edge.born("good")
        births("warm", plain)()
        plain_s = cpu_of(site, births("plain", plain))
        before = site.resident_bytes
        bombs_s = cpu_of(site, births("bomb", bomb))
        assert site.plant.gateway_metric("messages_quarantined_total", reason="too_large") == BOMBS
        # Made, each metric would take 100 bytes and a microsecond or two: more than a second for each of the births.
        assert bombs_s < 20 * plain_s
        assert site.resident_bytes - before < 64 * 2**20
        edge.data("good", 3)
        settle(site, edge, commands=0)
    assert (await values_in_log(site))["good"] == read(BORN, 0, 1, 2)


NODES = 40


@pytest.mark.fault(17)
@pytest.mark.timeout(120)
async def test_a_gateway_that_was_killed_knows_the_aliases_and_one_that_forgot_asks_each_node_once(
    site: Site, edge: Edge
) -> None:
    names = [f"node-{number:02d}" for number in range(NODES)]

    def memories() -> list[Path]:
        found = (site.plant.directory / "state").rglob("decoder-*")
        return [path for path in found if path.suffix != ".new"]  # which is being written

    with site.plant.gateway:
        for name in names:
            edge.born(name)
            edge.data(name, 3)
        settle(site, edge, commands=0)
        wait_until(
            lambda: any(all(name.encode() in path.read_bytes() for name in names) for path in memories()),
            timeout_s=30,
            what="births written down",
        )
        site.plant.gateway.kill()
        for name in names:
            edge.data(name, 3)  # the broker keeps these
        site.plant.gateway.start()
        settle(site, edge, commands=0)
        assert site.quarantined() == {}
        assert site.plant.gateway_metric("requests_total") == 0
        site.plant.gateway.terminate()
        for path in memories():
            path.unlink()
        site.plant.gateway.start()
        edge.answering.update(names)
        for _ in range(5):
            for name in names:
                edge.data(name, 2)
            settle(site, edge, commands=NODES)
        assert Counter(node for node, _ in edge.commands) == Counter(names)
        lost = site.quarantined()["no_birth"]
        for name in names:
            edge.data(name)
        settle(site, edge, commands=NODES)
        assert site.quarantined() == {"no_birth": lost}
    found = await values_in_log(site)
    for name in names:
        values = [value for value, _ in found[name]]
        assert values[:7] == [BORN, 0, 1, 2, 3, 4, 5]
        assert values[7] == BORN
        assert values[-1] == 16
        assert values[8:] == sorted(values[8:])
    assert sum(map(len, found.values())) == NODES * (2 + 17) - lost

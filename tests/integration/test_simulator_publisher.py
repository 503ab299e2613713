"""The simulator on a broker: what it says arrives, hosts are answered, its truth and its end are in order."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.embedded import MOCK_PARTITIONS, Brokers, embedded_brokers
from deploy.up.balance import read_truth
from ingest.decoders.sparkplug.rebirths import rebirth_payload
from ingest.decoders.sparkplug.schema import Payload
from ingest.simulator.faults.catalogue import KINDS
from tests.deployment.plant import PlantUnderTest
from tests.servers.waiting import wait_until

COMMAND = [sys.executable, "-m", "deploy", "simulate"]


@pytest.fixture(scope="module")
def brokers() -> Iterator[Brokers]:
    with embedded_brokers() as found:
        yield found


@pytest.fixture
def config(tmp_path: Path, brokers: Brokers) -> Path:
    """Settings whose broker is the embedded one."""
    path = tmp_path / "plant.toml"
    path.write_text(
        f'[mqtt]\nport = {brokers.mqtt_port}\nprotocol = "3.1.1"\nclient_id = "{tmp_path.name}"\n'
        '[[route]]\ntopic = "factory/{rest...}"\n'
    )
    return path


class Listener:
    """Everything on some topics."""

    def __init__(self, port: int, topics: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._subscribed = Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe(topics, qos=1)
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = lambda _c, _u, message: self.heard.append((message.topic, bytes(message.payload)))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._subscribed.wait(30)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def simulate(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--config", str(config), *arguments], capture_output=True, text=True, timeout=90, check=False
    )


def test_what_it_says_arrives_and_the_truth_is_written(config: Path, brokers: Brokers) -> None:
    truth = config.parent / "truth.csv"
    with Listener(brokers.mqtt_port, "bottling/#") as listener:
        done = simulate(
            config,
            *("--plant", "bottling", "--history", "20m", "--messages", "6000", "--fault-every", "2s"),
            *("--truth", str(truth)),
        )
        assert (done.returncode, done.stdout) == (0, "6000 messages sent, 0 not confirmed by the broker\n"), done.stderr
        wait_until(lambda: len(listener.heard) >= 6_000, timeout_s=30, what="6000 messages")
    assert len(listener.heard) == 6_000
    kinds = {fault.kind for fault in read_truth(truth)}
    assert kinds <= set(KINDS)
    assert len(kinds) >= 3


def test_with_qos_0_it_says_as_much(config: Path, brokers: Brokers) -> None:
    with Listener(brokers.mqtt_port, "quick/#") as listener:
        done = simulate(config, *("--prefix", "quick", "--history", "1m", "--messages", "1500", "--qos", "0"))
        assert (done.returncode, done.stdout) == (0, "1500 messages sent, 0 not confirmed by the broker\n"), done.stderr
        wait_until(lambda: len(listener.heard) >= 1_500, timeout_s=30, what="1500 messages")


def test_a_host_that_asks_for_a_birth_gets_one(config: Path, brokers: Brokers) -> None:
    with Listener(brokers.mqtt_port, "spBv1.0/#") as listener:
        playing = subprocess.Popen([*COMMAND, "--config", str(config), "--plant", "sparkplug", "--fault-every", "0s"])
        try:

            def births() -> list[bytes]:
                return [payload for topic, payload in listener.heard if topic == "spBv1.0/Paints/NBIRTH/edge-03"]

            wait_until(lambda: len(births()) == 1, timeout_s=60, what="a birth")
            listener.client.publish("spBv1.0/Paints/NCMD/edge-03", rebirth_payload(1_700_000_000_000), qos=1)
            wait_until(lambda: len(births()) == 2, timeout_s=30, what="another birth")
            first, second = (Payload.FromString(payload) for payload in births())
            assert (second.seq, second.metrics[0].long_value) == (0, first.metrics[0].long_value)
        finally:
            playing.terminate()
            assert playing.wait(30) == 0


def test_an_interrupt_ends_it_and_everything_is_confirmed(config: Path, brokers: Brokers) -> None:
    truth = config.parent / "truth.csv"
    with Listener(brokers.mqtt_port, "hall/#") as listener:
        playing = subprocess.Popen(
            [*COMMAND, "--config", str(config), "--prefix", "hall", "--history", "1h", "--truth", str(truth)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: len(listener.heard) > 1_000, timeout_s=60, what="messages")
        playing.send_signal(signal.SIGINT)
        said, complaints = playing.communicate(timeout=30)
        assert playing.returncode == 0, complaints
        sent, unconfirmed = (int(word) for word in said.split() if word.isdigit())
        assert unconfirmed == 0
        assert "Traceback" not in complaints
        wait_until(lambda: len(listener.heard) >= sent, timeout_s=30, what="all that was sent")
    assert len(listener.heard) == sent
    assert truth.read_text().startswith("sensor,kind,start,end\n")


@pytest.mark.timeout(180)
def test_a_gateway_reads_every_format_by_the_settings_that_the_simulator_prints(
    tmp_path: Path, brokers: Brokers, topic_prefix: str
) -> None:
    plant = PlantUnderTest(
        tmp_path / "plant", brokers.mqtt_port, brokers.kafka, topic_prefix, partitions=MOCK_PARTITIONS
    )
    printed = subprocess.run(
        [*COMMAND, "--plant", "mixed", "--settings"], capture_output=True, text=True, timeout=60, check=True
    )
    plant.config.write_text(printed.stdout)
    with plant.gateway:
        sent = plant.simulate(
            "--plant",
            "mixed",
            "--history",
            "5m",
            "--messages",
            "10000",
            "--fault-every",
            "2s",
            "--faults",
            "spike,stuck",
        )
        assert sent == 10_000
        wait_until(
            lambda: plant.gateway_metric("messages_received_total") >= sent, timeout_s=60, what="all messages received"
        )
        assert plant.gateway_metric("messages_quarantined_total") == 0
        wait_until(
            lambda: plant.gateway_metric("readings_produced_total") > sent,
            timeout_s=60,
            what="more readings than messages",
        )

"""What a plant really sends, and what people really write into settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client.parser import text_string_to_metric_families

from deploy.embedded import MOCK_PARTITIONS, embedded_brokers
from tests.deployment.logs import read_topic
from tests.deployment.plant import PlantUnderTest
from tests.servers.mosquitto import Mosquitto
from tests.servers.ports import free_port
from tests.servers.processes import Server
from tests.servers.waiting import wait_until

TOPIC = "factory/demo/assembly/line-01/press-01/temperature"

# Payload → the reason it is set aside for; None: it is a reading.
PAYLOADS: list[tuple[bytes, str | None]] = [
    (b"", "empty"),
    (b"hello", "syntax"),
    (b'{"value": NaN}', "syntax"),
    (b'{"value": 1e400}', "number"),
    (b'{"value": ' + b"9" * 5_000 + b"}", "number"),
    (b'{"value": "\\ud800"}', "syntax"),
    (b"[" * 100_000, "too_deep"),
    (b'{"value": ' + b"[" * 100_000, "too_deep"),
    (b'{"value": "' + b"x" * 1_048_576 + b'"}', "too_large"),
    (b'{"value": {"nested": 1}}', "type"),
    (b'{"temperature": 20}', "no_value"),
    (b'{"value": 20, "ts": -1}', "timestamp"),
    (b'{"value": 20, "ts": 253402300800000}', "timestamp"),
    (b'{"value": 20, "quality": "purple"}', "quality"),
    (b'{"value": 20}', None),
    (b'{"value": true}', None),
    (b'{"value": null}', None),
    (b'{"value": "twenty"}', None),
]


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real)])
def plant(
    request: pytest.FixtureRequest, tmp_path: Path, topic_prefix: str
) -> Iterator[tuple[PlantUnderTest, str, int]]:
    """A plant, its Kafka, its MQTT port."""
    if request.param == "real":
        mosquitto: Mosquitto = request.getfixturevalue("mosquitto")
        kafka: str = request.getfixturevalue("kafka")
        yield PlantUnderTest(tmp_path / "plant", mosquitto.port, kafka, topic_prefix), kafka, mosquitto.port
    else:
        with embedded_brokers() as brokers:
            under_test = PlantUnderTest(
                tmp_path / "plant", brokers.mqtt_port, brokers.kafka, topic_prefix, partitions=MOCK_PARTITIONS
            )
            yield under_test, brokers.kafka, brokers.mqtt_port


def _publish(port: int, messages: list[tuple[str, bytes]]) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for topic, payload in messages:
        client.publish(topic, payload, qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


async def test_rubbish_goes_to_quarantine_and_the_rest_flows(plant: tuple[PlantUnderTest, str, int]) -> None:
    under_test, kafka, mqtt_port = plant
    bad_topic = "factory/demo/assembly/line-01/press-01/bad \\ name"
    messages = [(TOPIC, payload) for payload, _ in PAYLOADS] + [(bad_topic, b'{"value": 1}')]
    expected = [reason for _, reason in PAYLOADS if reason] + ["name"]
    good = sum(reason is None for _, reason in PAYLOADS)
    with under_test.gateway, under_test.worker:
        _publish(mqtt_port, messages)
        wait_until(
            lambda: (
                under_test.gateway_metric("messages_quarantined_total") == len(expected)
                and under_test.gateway_metric("messages_in_flight") == 0
            ),
            timeout_s=30,
            what="every bad message in quarantine",
        )
        under_test.wait_folded(good)
        under_test.check_ledger()
        assert under_test.gateway_metric("messages_acknowledged_total") == len(messages)
        for reason in set(expected):
            count = under_test.gateway_metric("messages_quarantined_total", reason=reason)
            assert count == expected.count(reason), reason
        # Alive, and still readable for a machine.
        _publish(mqtt_port, [(TOPIC, b'{"value": 21.5}')])
        under_test.wait_folded(good + 1)
        for port, path in (
            (under_test.gateway_port, "/metrics"),
            (under_test.worker_port, "/metrics"),
            (under_test.worker_port, "/metrics/sensors"),
        ):
            assert list(text_string_to_metric_families(under_test.page(port, path)))
        assert under_test.gateway.alive
        assert under_test.worker.alive
    records = await read_topic(kafka, f"{under_test.prefix}.quarantine")
    assert sorted(record.headers["reason"].decode() for record in records) == sorted(expected)
    assert {record.headers["topic"].decode() for record in records} == {TOPIC, bad_topic}
    assert all(len(record.headers["digest"]) == 32 for record in records)


def _millstream(*arguments: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.mark.parametrize("daemon", ["gateway", "worker", "check"])
def test_all_mistakes_in_the_settings_are_listed_at_once_and_nothing_starts(daemon: str, tmp_path: Path) -> None:
    config = tmp_path / "plant.toml"
    config.write_text(
        '[mqtt]\nprot = 1883\n\n[[route]]\ntopic = "factory/+/x"\n\n'
        '[[route]]\ntopic = "f/{a}/{b}"\ndecoder = "jsn"\n\n[gateway]\nlinger = 5\n'
    )
    done = _millstream(daemon, "--config", str(config))
    assert done.returncode == 2
    assert f'{config}:2: mqtt.prot: no such key (did you mean "port"?)' in done.stderr
    assert f"{config}:5: route.1.topic: write {{name}}" in done.stderr
    assert f"{config}:9: route.2.decoder: no decoder is called 'jsn' (did you mean \"json\"?)" in done.stderr
    assert f"{config}:12: gateway.linger: a duration is a number with a unit" in done.stderr
    assert "4 mistakes in the settings; nothing was started" in done.stderr
    assert "Traceback" not in done.stderr
    assert "starting" not in done.stderr


@pytest.mark.parametrize("daemon", ["gateway", "worker"])
def test_unreachable_brokers_are_tried_again_with_a_clear_line(daemon: str, tmp_path: Path) -> None:
    under_test = PlantUnderTest(tmp_path / "plant", free_port(), f"127.0.0.1:{free_port()}", "nowhere")
    server: Server = getattr(under_test, daemon)
    server._ready = lambda: server.log().count("kafka not reachable") >= 2
    with server:
        server.terminate()
    log = server.log()
    assert "retry_in_s" in log
    assert "Traceback" not in log


def test_check_tells_broken_connections_from_broken_settings(tmp_path: Path) -> None:
    under_test = PlantUnderTest(tmp_path / "plant", free_port(), f"127.0.0.1:{free_port()}", "nowhere")
    done = under_test.command("check")
    assert done.returncode == 1
    assert done.stdout.count("FAILED") == 2
    assert "200 sensors: at most 1,200 series" in done.stdout
    done = under_test.command("check", "--offline", "--sensors", "20000")
    assert done.returncode == 0
    assert "20,000 sensors: at most 120,000 series" in done.stdout


def test_check_is_content_with_a_plant_that_works(plant: tuple[PlantUnderTest, str, int]) -> None:
    done = plant[0].command("check")
    assert done.returncode == 0, done.stdout
    assert "FAILED" not in done.stdout
    assert "connected, MQTT" in done.stdout

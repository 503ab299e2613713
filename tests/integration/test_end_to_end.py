"""Sensors → MQTT → gateway → Kafka → worker → metrics and alerts, on embedded and on real brokers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded import MOCK_PARTITIONS, embedded_brokers
from tests.deployment.logs import read_alerts
from tests.deployment.plant import Fault, PlantUnderTest
from tests.servers.fixtures import PrometheusFactory
from tests.servers.mosquitto import Mosquitto
from tests.servers.prometheus import promtool_check_metrics

MESSAGES = 20_000
# 100 sensors send 20,000 messages in some 310 s of event time, all of them at once.
SIMULATION = (
    *("--sensors", "100", "--history", "1h", "--messages", str(MESSAGES)),
    *("--fault-every", "5s", "--seed", "13"),
)


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real)])
def plant(request: pytest.FixtureRequest, tmp_path: Path, topic_prefix: str) -> Iterator[tuple[PlantUnderTest, str]]:
    """A plant and its Kafka's address."""
    if request.param == "real":
        mosquitto: Mosquitto = request.getfixturevalue("mosquitto")
        kafka: str = request.getfixturevalue("kafka")
        yield PlantUnderTest(tmp_path / "plant", mosquitto.port, kafka, topic_prefix, partitions=6), kafka
    else:
        with embedded_brokers() as brokers:
            yield (
                PlantUnderTest(
                    tmp_path / "plant", brokers.mqtt_port, brokers.kafka, topic_prefix, partitions=MOCK_PARTITIONS
                ),
                brokers.kafka,
            )


def _is_due(fault: Fault, until_us: int) -> bool:
    """Whether it can be known by then: a drift when it has fully grown, all others at once."""
    return fault.start_us < until_us - (130_000_000 if fault.kind == "drift" else 0)


@pytest.mark.timeout(180)
async def test_20_000_messages_are_folded_once_and_injected_faults_become_alerts(
    plant: tuple[PlantUnderTest, str], request: pytest.FixtureRequest
) -> None:
    under_test, kafka = plant
    with under_test.gateway, under_test.worker:
        assert under_test.simulate(*SIMULATION) == MESSAGES
        under_test.wait_folded(MESSAGES)

        # Exactly once, and every message accounted for.
        assert under_test.worker_metric("readings_total") == MESSAGES
        assert under_test.worker_metric("readings_total", verdict="duplicate") == 0
        folded = sum(under_test.worker_metric("readings_total", verdict=verdict) for verdict in ("folded", "state"))
        assert folded == MESSAGES
        under_test.check_ledger()
        assert under_test.gateway_metric("messages_received_total") == MESSAGES
        assert under_test.gateway_metric("messages_acknowledged_total") == MESSAGES
        assert under_test.gateway_metric("readings_produced_total") == MESSAGES

        sensors_page = under_test.page(under_test.worker_port, "/metrics/sensors")
        if "real" in request.node.name:
            promtool_check_metrics(sensors_page)
            promtool_check_metrics(under_test.page(under_test.worker_port))
            promtool_check_metrics(under_test.page(under_test.gateway_port))
            _scraped_by_prometheus(under_test, request.getfixturevalue("prometheus_factory"))

    alerts = await read_alerts(kafka, f"{under_test.prefix}.alerts")
    fired = [alert for alert in alerts if alert.phase == "firing"]
    until_us = max(alert.at_us for alert in alerts)
    due = [fault for fault in under_test.faults() if _is_due(fault, until_us)]
    assert {fault.kind for fault in due} == {"spike", "drift", "noise_burst", "level_shift"}
    missed = [
        fault
        for fault in due
        if not any(a.sensor == fault.sensor and fault.start_us <= a.since_us < fault.end_us for a in fired)
    ]
    assert missed == []
    assert len({alert.id for alert in fired}) == len(fired)
    assert {alert.phase for alert in alerts} == {"firing", "resolved"}
    assert min(alert.generation for alert in alerts) >= 0


def _scraped_by_prometheus(under_test: PlantUnderTest, prometheus: PrometheusFactory) -> None:
    server = prometheus(
        [
            ("gateway", f"127.0.0.1:{under_test.gateway_port}", "/metrics"),
            ("worker", f"127.0.0.1:{under_test.worker_port}", "/metrics"),
            ("sensors", f"127.0.0.1:{under_test.worker_port}", "/metrics/sensors"),
        ]
    )
    found = server.wait_for("sum(millstream_worker_readings_total) > 0", 30)
    assert found[0].value == MESSAGES
    assert server.wait_for('sum(up{job=~"gateway|worker|sensors"}) == 3', 30)
    assert server.wait_for("millstream_build_info", 30)
    # 100 sensors are twelve and a half machines of eight quantities; the series carry the levels as labels.
    means = server.wait_for('millstream_sensor_mean{quantity="temperature",window="1m"}', 30)
    assert len(means) == 13
    assert means[0].labels["site"] == "demo"
    assert server.wait_for('count(millstream_sensor_state{state!=""}) == 12', 30)

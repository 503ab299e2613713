"""Promises that only a real Kafka can hold us to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from tests.deployment.logs import read_alerts
from tests.deployment.plant import PlantUnderTest
from tests.servers.kafka import KafkaCluster
from tests.servers.mosquitto import Mosquitto
from tests.servers.waiting import wait_until

MESSAGES = 12_000
SIMULATION = ("--sensors", "60", "--history", "1h", "--fault-every", "5s", "--messages", str(MESSAGES))


@pytest.fixture
def plant(mosquitto: Mosquitto, kafka: str, tmp_path: Path, topic_prefix: str) -> PlantUnderTest:
    return PlantUnderTest(tmp_path / "plant", mosquitto.port, kafka, topic_prefix, partitions=4)


async def test_both_daemons_refuse_a_changed_partition_count(plant: PlantUnderTest, kafka: str) -> None:
    with plant.gateway, plant.worker:
        plant.simulate("--sensors", "40", "--messages", "200", "--history", "1h")
        plant.wait_folded(200)
        for daemon in (plant.gateway, plant.worker):
            daemon.terminate()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_partitions({f"{plant.prefix}.readings": NewPartitions(6)})
    await admin.close()

    def described() -> bool:
        return "has 6 partitions" in plant.command("gateway").stderr

    wait_until(described, timeout_s=30, what="the new count is known")
    for daemon_name in ("gateway", "worker"):
        refused = plant.command(daemon_name)
        assert refused.returncode == 1
        assert "has 6 partitions, the settings say 4" in refused.stderr
        assert "Traceback" not in refused.stderr
    # Settings that follow the topic do not help: the data was placed by the old count.
    plant.environment["MILLSTREAM__KAFKA__TOPICS__READINGS__PARTITIONS"] = "6"
    for daemon_name in ("gateway", "worker"):
        refused = plant.command(daemon_name)
        assert refused.returncode == 1
        assert "written when it had 4 partitions, now it has 6" in refused.stderr


@pytest.mark.timeout(180)
async def test_a_worker_killed_and_started_again_publishes_every_alert_and_none_twice_after_a_commit(
    plant: PlantUnderTest, kafka: str
) -> None:
    with plant.gateway, plant.worker:
        plant.simulate(*SIMULATION)
        plant.wait_folded(MESSAGES)
        wait_until(
            lambda: plant.worker_metric("commits_total", outcome="ok") >= 1, timeout_s=30, what="offsets committed"
        )
        # Twice: the first commit after the last record covers everything.
        commits = plant.worker_metric("commits_total", outcome="ok")
        wait_until(
            lambda: plant.worker_metric("commits_total", outcome="ok") >= commits + 1, timeout_s=30, what="a commit"
        )
        before = await read_alerts(kafka, f"{plant.prefix}.alerts")
        assert before
        means = _means(plant)
        plant.worker.kill()
        plant.worker.start()
        # No snapshot yet, or one with the log behind it: silently up to the commit, so that nothing is said again.
        wait_until(
            lambda: plant.worker_metric("partitions", state="live") == 4, timeout_s=60, what="all partitions live"
        )
        assert plant.worker_metric("readings_total") == 0
        assert _means(plant) == means
    after = await read_alerts(kafka, f"{plant.prefix}.alerts")
    assert Counter((alert.id, alert.phase) for alert in after) == Counter((alert.id, alert.phase) for alert in before)


def _means(plant: PlantUnderTest) -> dict[str, str]:
    """Score and newest value of every sensor: what does not depend on the time of asking."""
    lines = plant.page(plant.worker_port, "/metrics/sensors").splitlines()
    return dict(
        line.rsplit(" ", 1) for line in lines if line.startswith(("millstream_sensor_value", "millstream_sensor_score"))
    )


@pytest.mark.timeout(180)
def test_kafka_away_and_back_loses_nothing(
    mosquitto: Mosquitto, kafka_node: KafkaCluster, tmp_path: Path, topic_prefix: str
) -> None:
    plant = PlantUnderTest(tmp_path / "plant", mosquitto.port, kafka_node.bootstrap, topic_prefix, partitions=4)
    with plant.gateway, plant.worker:
        simulator = plant.simulating(*SIMULATION)
        wait_until(lambda: plant.worker_metric("readings_total") >= MESSAGES / 6, timeout_s=60, what="a sixth folded")
        kafka_node.kill_node(0)
        wait_until(lambda: plant.gateway_metric("messages_in_flight") > 0, timeout_s=60, what="messages wait for Kafka")
        assert plant.gateway.alive
        assert plant.worker.alive
        kafka_node.start_node(0)
        output, _ = simulator.communicate(timeout=60)
        assert output.startswith(f"{MESSAGES} messages sent, 0 not confirmed")

        def folded() -> float:
            return sum(
                plant.worker_metric("readings_total", verdict=verdict)
                for verdict in ("folded", "state", "out_of_order")
            )

        wait_until(lambda: folded() >= MESSAGES, timeout_s=90, what="every message folded")
        assert folded() == MESSAGES
        plant.check_ledger()


@pytest.mark.timeout(180)
def test_sigterm_while_kafka_is_away_ends_in_time_and_loses_nothing(
    mosquitto: Mosquitto, kafka_node: KafkaCluster, tmp_path: Path, topic_prefix: str
) -> None:
    plant = PlantUnderTest(tmp_path / "plant", mosquitto.port, kafka_node.bootstrap, topic_prefix, partitions=4)
    with plant.worker:
        with plant.gateway:
            plant.simulate("--sensors", "40", "--messages", "500", "--history", "1h")
            plant.wait_folded(500)
            kafka_node.kill_node(0)
            plant.simulate("--sensors", "40", "--messages", "500", "--history", "1h", "--seed", "2")
            wait_until(lambda: plant.gateway_metric("messages_in_flight") > 0, timeout_s=60, what="messages wait")
            plant.gateway.terminate(timeout_s=30)
        kafka_node.start_node(0)
        plant.gateway.start()
        plant.wait_folded(1_000, timeout_s=90)
        plant.gateway.terminate()

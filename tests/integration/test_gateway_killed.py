"""kill -9 of the gateway in mid-stream loses nothing on Mosquitto + Apache Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deployment.logs import read_readings
from tests.deployment.plant import PlantUnderTest
from tests.servers.mosquitto import Mosquitto
from tests.servers.waiting import wait_until

MESSAGES = 20_000


async def _distinct_readings(kafka: str, topic: str) -> tuple[int, int]:
    """(distinct, all) readings in the log; a reading is known by its sensor and its time."""
    batches = await read_readings(kafka, topic)
    seen = {
        (sensor, ts_us)
        for readings in batches
        for sensor, ts_us in zip(readings.sensor.decode(), readings.ts_us.tolist(), strict=True)
    }
    return len(seen), sum(map(len, batches))


@pytest.mark.timeout(180)
async def test_kill_9_of_the_gateway_loses_nothing(
    mosquitto: Mosquitto, kafka: str, tmp_path: Path, topic_prefix: str
) -> None:
    plant = PlantUnderTest(tmp_path / "plant", mosquitto.port, kafka, topic_prefix, partitions=6)
    topic = f"{topic_prefix}.readings"
    with plant.gateway, plant.worker:
        simulator = plant.simulating("--sensors", "100", "--history", "1h", "--messages", str(MESSAGES))
        killed_at = []
        for share in (0.15, 0.4, 0.7):
            wait_until(
                lambda share=share: plant.worker_metric("readings_total") >= share * MESSAGES,  # type: ignore[misc]
                timeout_s=60,
                what=f"{share:.0%} of the stream",
            )
            plant.gateway.kill()
            killed_at.append(plant.worker_metric("readings_total"))
            plant.gateway.start()
        assert killed_at[0] < MESSAGES
        output, _ = simulator.communicate(timeout=60)
        assert output.startswith(f"{MESSAGES} messages sent, 0 not confirmed")

        def all_folded() -> bool:
            good = sum(plant.worker_metric("readings_total", verdict=verdict) for verdict in ("folded", "state"))
            return good >= MESSAGES

        wait_until(all_folded, timeout_s=60, what="every message folded")
        wait_until(lambda: plant.gateway_metric("messages_in_flight") == 0, timeout_s=30, what="nothing in flight")
        plant.check_ledger()
        distinct, written = await _distinct_readings(kafka, topic)
        assert distinct == MESSAGES
        # What was sent again is in the log twice, and is told from news by its timestamp.
        wait_until(
            lambda: plant.worker_metric("readings_total") == written, timeout_s=30, what="every row in the log judged"
        )
        again = sum(plant.worker_metric("readings_total", verdict=verdict) for verdict in ("duplicate", "late"))
        assert written == MESSAGES + again
        assert plant.worker_metric("readings_total", verdict="out_of_order") == 0


@pytest.mark.timeout(180)
async def test_a_broker_restart_in_mid_stream_loses_nothing(
    mosquitto: Mosquitto, kafka: str, tmp_path: Path, topic_prefix: str
) -> None:
    plant = PlantUnderTest(tmp_path / "plant", mosquitto.port, kafka, topic_prefix, partitions=6)
    with plant.gateway, plant.worker:
        simulator = plant.simulating("--sensors", "100", "--history", "1h", "--messages", str(MESSAGES))
        wait_until(
            lambda: plant.worker_metric("readings_total") >= 0.2 * MESSAGES, timeout_s=60, what="a fifth of the stream"
        )
        mosquitto.restart()
        output, _ = simulator.communicate(timeout=90)
        assert output.startswith(f"{MESSAGES} messages sent, 0 not confirmed")

        async def distinct() -> int:
            return (await _distinct_readings(kafka, f"{topic_prefix}.readings"))[0]

        wait_until(
            lambda: (
                plant.worker_metric("readings_total", verdict="folded") > 0
                and sum(plant.worker_metric("readings_total", verdict=v) for v in ("folded", "state", "out_of_order"))
                >= MESSAGES
            ),
            timeout_s=90,
            what="every message folded",
        )
        assert await distinct() == MESSAGES
        plant.check_ledger()

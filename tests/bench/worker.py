"""CPU of a worker per reading: in the steady state, windows filled and scorers past their grace period."""

import subprocess
import sys

from tests.bench.cluster import create_topic, mock_cluster
from tests.bench.daemon import REPOSITORY, Daemon
from tests.bench.feed import feed_json
from tests.bench.measure import Figure
from tests.bench.product import product
from tests.bench.turns import Say, medians

KAFKA_TOPIC = "readings"
READINGS = 50_000
# CPU time is counted in steps of 10 ms: the faster, the more readings.
PRODUCT_READINGS = 800_000
SENSORS = 1_000
FEED_READINGS = 50_000
# river's scorer returns 0 at once for a sensor's first 100 readings: they would flatter the baseline.
WARM_UP_ROUNDS = 110


def measure_baseline(readings: int = READINGS, sensors: int = SENSORS, warm_up_rounds: int = WARM_UP_ROUNDS) -> float:
    """One run of the usual way on a fresh cluster; µs of CPU per reading."""
    warm_up = warm_up_rounds * sensors
    with mock_cluster() as kafka:
        create_topic(kafka, KAFKA_TOPIC)
        with Daemon("tests.bench.baselines.worker_stock", "--kafka", kafka, "--topic", KAFKA_TOPIC) as worker:
            worker.wait_ready()
            # In parts: the cluster keeps only so much for a worker that has not caught up.
            for first in range(0, warm_up, FEED_READINGS):
                upto = min(first + FEED_READINGS, warm_up)
                feed_json(kafka, KAFKA_TOPIC, upto - first, sensors, first)
                worker.wait_count("folded", upto)
            before_s = worker.cpu_seconds()
            feed_json(kafka, KAFKA_TOPIC, readings, sensors, first=warm_up)
            worker.wait_count("folded", warm_up + readings)
            return (worker.cpu_seconds() - before_s) / readings * 1e6


def _feed_apart(kafka: str, readings: int, sensors: int, first: int) -> None:
    load = ("--count", str(readings), "--sensors", str(sensors), "--first", str(first))
    command = [sys.executable, "-m", "tests.bench.feed_arrow", "--kafka", kafka, "--topic", KAFKA_TOPIC, *load]
    subprocess.run(command, cwd=REPOSITORY, check=True)


def measure_product(
    readings: int = PRODUCT_READINGS, sensors: int = SENSORS, warm_up_rounds: int = WARM_UP_ROUNDS
) -> float:
    """One run of Millstream's worker, likewise: gate, windows, four models and rules; µs of CPU per reading."""
    warm_up = warm_up_rounds * sensors
    with mock_cluster() as kafka:
        create_topic(kafka, KAFKA_TOPIC)
        with product("worker", kafka) as worker:
            _feed_apart(kafka, warm_up, sensors, 0)
            worker.wait_total("millstream_worker_readings_total", warm_up)
            before_s = worker.cpu_seconds()
            _feed_apart(kafka, readings, sensors, warm_up)
            worker.wait_total("millstream_worker_readings_total", warm_up + readings)
            return (worker.cpu_seconds() - before_s) / readings * 1e6


def per_reading(runs: int, say: Say) -> list[Figure]:
    """µs of CPU per reading."""
    name = "worker_cpu_us_per_reading"
    ours, usual = medians(name, "µs", {"ours": measure_product, "stock": measure_baseline}, runs, say)
    return [Figure.cost(name, ours, "µs", usual)]

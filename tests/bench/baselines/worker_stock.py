"""A worker the usual way: one JSON record per reading, one river object per sensor and statistic.

python -m tests.bench.baselines.worker_stock --kafka host:port --topic T
"""

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer
from river import anomaly, stats, utils

from tests.bench.baselines.protocol import (
    announce,
    announce_ready,
    cancel,
    report_progress,
    stop_event_on_sigterm,
)

STATISTICS_WINDOW_READINGS = 60
SCORER_WINDOW_READINGS = 500
ALERT_SCORE = 0.9999
STOP_DEADLINE_S = 10.0

# river does not annotate this constructor.
make_scorer: Callable[..., Any] = anomaly.GaussianScorer


@dataclass
class Counts:
    folded: int = 0
    alerts: int = 0
    sensors: int = 0


class Sensor:
    def __init__(self) -> None:
        self.mean = utils.Rolling(stats.Mean, window_size=STATISTICS_WINDOW_READINGS)
        self.variance = utils.Rolling(stats.Var, window_size=STATISTICS_WINDOW_READINGS)
        self.minimum = stats.RollingMin(STATISTICS_WINDOW_READINGS)
        self.maximum = stats.RollingMax(STATISTICS_WINDOW_READINGS)
        self.scorer = make_scorer(window_size=SCORER_WINDOW_READINGS)

    def fold(self, value: float) -> float:
        """Update every statistic; the anomaly score of `value` against what came before it."""
        self.mean.update(value)
        self.variance.update(value)
        self.minimum.update(value)
        self.maximum.update(value)
        score: float = self.scorer.score_one(None, value)
        self.scorer.learn_one(None, value)
        return score


class StockWorker:
    def __init__(self, consumer: Any) -> None:
        self.counts = Counts()
        self._consumer = consumer
        self._sensors: dict[str, Sensor] = {}

    async def consume(self) -> None:
        async for record in self._consumer:
            self._fold(record.value)

    def _fold(self, payload: bytes) -> None:
        reading = orjson.loads(payload)
        name: str = reading["sensor"]
        sensor = self._sensors.get(name)
        if sensor is None:
            sensor = self._sensors[name] = Sensor()
            self.counts.sensors += 1
        if sensor.fold(reading["value"]) > ALERT_SCORE:
            self.counts.alerts += 1
        self.counts.folded += 1


async def run(options: argparse.Namespace) -> None:
    stop = stop_event_on_sigterm()
    consumer = AIOKafkaConsumer(
        options.topic,
        bootstrap_servers=options.kafka,
        group_id=options.group,
        auto_offset_reset="earliest",
    )
    await consumer.start()  # returns once partitions are assigned
    worker = StockWorker(consumer)
    announce_ready()

    consuming = asyncio.create_task(worker.consume())
    reporting = asyncio.create_task(report_progress("folded", lambda: worker.counts.folded))
    stopping = asyncio.create_task(stop.wait())
    # A dead consumer must end the process: a worker that only looks alive would hang the harness.
    await asyncio.wait({consuming, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if consuming.done():
        consuming.result()
    await cancel(consuming, reporting)
    async with asyncio.timeout(STOP_DEADLINE_S):
        await consumer.stop()
    announce(asdict(worker.counts))


def main() -> None:
    parser = argparse.ArgumentParser(description="Fold JSON readings from Kafka into river objects.")
    parser.add_argument("--kafka", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--group", default="worker-stock")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()

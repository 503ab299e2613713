"""Readings into a Kafka topic as a gateway writes them: one Arrow record per partition and burst.

Run as `python -m tests.bench.feed_arrow --kafka HOST:PORT --topic T --count N --sensors S [--first N]`.
"""

import argparse
import time

import numpy as np
from confluent_kafka import Producer

from ingest.contract.partition import partition_of
from ingest.contract.readings import Readings, Words
from ingest.contract.wire import ARROW, Envelope, Kind, encode_readings, headers_of
from tests.bench.cluster import PARTITIONS
from tests.bench.raw_publisher import READING_INTERVAL_MS, sensor_topics

BURST = 5_000  # what a busy gateway flushes at once
HISTORY_US = 3_600_000_000
FLUSH_DEADLINE_S = 60.0


def feed_arrow(bootstrap: str, topic: str, n: int, sensors: int, first: int = 0) -> None:
    """Readings `first` to `first + n`, in rounds over the sensors."""
    names = [name.removeprefix("f/") for name in sensor_topics(sensors)]
    partition = np.array([partition_of(name, PARTITIONS) for name in names])
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "acks": "all"})
    noise = np.random.default_rng(first)
    start_us = time.time_ns() // 1_000 - HISTORY_US
    for seq, begin in enumerate(range(first, first + n, BURST)):
        index = np.arange(begin, min(begin + BURST, first + n))
        rounds, sensor = np.divmod(index, sensors)
        ts_us = start_us + rounds * (READING_INTERVAL_MS * 1_000)
        nothing = np.zeros(index.size, np.uint8)
        readings = Readings(
            Words(sensor.astype(np.int32), names), ts_us, noise.normal(20.0, 1.0, index.size).round(3), nothing, nothing
        )
        for number in range(PARTITIONS):
            rows = np.flatnonzero(partition[sensor] == number)
            envelope = Envelope(Kind.READINGS, ARROW, "bench", seq, int(ts_us[-1]), PARTITIONS)
            producer.produce(
                topic, encode_readings(readings.take(rows)), partition=number, headers=dict(headers_of(envelope))
            )
        producer.poll(0)
    if producer.flush(FLUSH_DEADLINE_S):
        raise SystemExit("feeding failed")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--sensors", type=int, required=True)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    feed_arrow(options.kafka, options.topic, options.count, options.sensors, options.first)

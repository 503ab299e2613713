"""JSON readings into a Kafka topic, one record each: what the usual gateway would have written."""

import json
import random
import time

from confluent_kafka import KafkaError, Message, Producer

from tests.bench.cluster import KEPT_BYTES_PER_PARTITION, PARTITIONS
from tests.bench.raw_publisher import READING_INTERVAL_MS, sensor_topics

FLUSH_DEADLINE_S = 60.0
HISTORY_MS = 3_600_000  # readings start an hour ago: none lies in the future
RECORD_BYTES = 120  # with key and framing
# Partitions are not filled evenly, hence the half.
MAXIMUM_READINGS = PARTITIONS * KEPT_BYTES_PER_PARTITION // RECORD_BYTES // 2


def feed_json(bootstrap: str, topic: str, n: int, sensors: int, first: int = 0) -> None:
    """Readings `first` to `first + n`, in rounds over the sensors; returns once Kafka has them all."""
    if n > MAXIMUM_READINGS:
        raise ValueError(f"the mock cluster would drop some of {n} readings; {MAXIMUM_READINGS} fit")
    errors: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            errors.append(error)

    # Java's and aiokafka's partitioner; librdkafka's own would put sensors elsewhere.
    producer = Producer(
        {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 5, "acks": "all"}
    )
    names = sensor_topics(sensors)
    noise = random.Random(first)
    start_ms = time.time_ns() // 1_000_000 - HISTORY_MS
    for i in range(first, first + n):
        reading_round, k = divmod(i, sensors)
        reading = {
            "sensor": names[k],
            "ts": start_ms + reading_round * READING_INTERVAL_MS,
            "value": round(noise.gauss(20.0, 1.0), 3),
        }
        producer.produce(topic, json.dumps(reading).encode(), key=names[k], on_delivery=delivered)
        producer.poll(0)
    if producer.flush(FLUSH_DEADLINE_S) or errors:
        raise RuntimeError(f"feeding {topic} failed: {errors[:1]}")

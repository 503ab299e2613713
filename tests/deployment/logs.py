"""Reading what the daemons wrote to Kafka, as any other consumer would."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from ingest.contract.readings import Readings
from ingest.contract.wire import Kind, decode_readings, envelope_of


@dataclass(frozen=True)
class Record:
    """A record as it stands in the log."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]
    timestamp_ms: int = 0


async def read_topic(kafka: str, topic: str) -> list[Record]:
    """All records there are now, partition by partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        # The first request for a topic may only find out that it exists.
        partitions = sorted(consumer.partitions_for_topic(topic) or await _partitions(kafka, topic))
        tps = [TopicPartition(topic, number) for number in partitions]
        ends = await consumer.end_offsets(tps)
        begins = await consumer.beginning_offsets(tps)
        consumer.assign(tps)
        for tp in tps:
            consumer.seek(tp, begins[tp])
        found: list[Record] = []
        while [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
            for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                found += [
                    Record(tp.partition, one.offset, one.key, one.value, dict(one.headers), one.timestamp)
                    for one in records
                    if one.offset < ends[tp]
                ]
        return sorted(found, key=lambda one: (one.partition, one.offset))
    finally:
        await consumer.stop()


async def _partitions(kafka: str, topic: str) -> set[int]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka)
    await consumer.start()
    try:
        found: set[int] = {tp.partition for tp in consumer.assignment()}
        return found
    finally:
        await consumer.stop()


async def read_readings(kafka: str, topic: str) -> list[Readings]:
    """All batches of readings."""
    records = await read_topic(kafka, topic)
    return [
        decode_readings(one.value)
        for one in records
        if one.value is not None and envelope_of(one.headers.items()).kind is Kind.READINGS
    ]


@dataclass(frozen=True)
class Alert:
    """A transition on the alerts topic."""

    id: str
    phase: str
    sensor: str
    since_us: int
    at_us: int
    generation: int
    offset: int


async def read_alerts(kafka: str, topic: str) -> list[Alert]:
    """All transitions, in order per site."""
    alerts = []
    for record in await read_topic(kafka, topic):
        assert record.value is not None
        body = msgspec.json.decode(record.value)
        assert record.key == body["id"].encode()
        if record.headers["kind"] != b"alert":
            continue
        alerts.append(
            Alert(
                body["id"],
                body["phase"],
                body["sensor"],
                body["since_us"],
                body["at_us"],
                int(record.headers["generation"]),
                int(record.headers["offset"]),
            )
        )
    return alerts

"""Topics: create what is missing, refuse what does not fit.

Machines are placed by `hash % partitions`, so a changed partition count tears their state apart. The count is written
three times (settings, topic, every record) and both daemons refuse to run unless all three agree.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from ingest.contract.errors import IncompatibleError, QuarantineError, ReconnectError, StopError
from ingest.contract.kafka_client import Backoff, client_options
from ingest.contract.kafka_settings import KafkaSettings, TopicSettings
from ingest.contract.wire import envelope_of

_TIMEOUT_S = 20.0
_LAST_RECORDS_S = 5.0


class MissingTopicsError(StopError):
    """Topics are not there, and the settings do not allow to create them (or nobody asked to)."""


@dataclass(frozen=True, slots=True)
class Topics:
    """What is there: partition counts by topic name, and settings that the topics do not have."""

    counts: Mapping[str, int]
    remarks: tuple[str, ...]


async def ensure_topics(
    kafka: KafkaSettings, unreachable: Callable[[str, float], None], *, waveforms: bool = False
) -> Topics:
    """Find or create the topics, with back-off for as long as Kafka cannot be reached. Raises StopError.

    waveforms: whether the topic of waveforms is needed.
    """
    backoff = Backoff()
    while True:
        try:
            return await try_topics(kafka, waveforms=waveforms)
        except ReconnectError as error:
            retry_in_s = backoff.next_s()
            unreachable(str(error), retry_in_s)
            await asyncio.sleep(retry_in_s)


async def try_topics(kafka: KafkaSettings, *, create: bool | None = None, waveforms: bool = False) -> Topics:
    """Once. Raises ReconnectError, or StopError where waiting would not help."""
    admin = AIOKafkaAdminClient(**client_options(kafka, "millstream-topics"))
    try:
        await asyncio.wait_for(admin.start(), _TIMEOUT_S)
        create = kafka.topics.create if create is None else create
        return await asyncio.wait_for(_check(admin, kafka, create=create, waveforms=waveforms), _TIMEOUT_S)
    except (KafkaError, OSError, TimeoutError) as error:
        raise ReconnectError(str(error) or type(error).__name__) from error
    finally:
        with contextlib.suppress(KafkaError, OSError):
            await admin.close()


async def _check(admin: Any, kafka: KafkaSettings, *, create: bool, waveforms: bool) -> Topics:
    wanted: list[TopicSettings] = [
        kafka.topics.readings,
        kafka.topics.alerts,
        kafka.topics.quarantine,
        kafka.topics.late,
    ]
    wanted += [kafka.topics.waveforms] if waveforms else []
    # Asked for by name, a missing topic is created by most brokers, with one partition; so ask for all of them.
    there = set(await admin.list_topics())
    missing = [one for one in wanted if one.name not in there]
    if missing and not create:
        names = ", ".join(one.name for one in missing)
        raise MissingTopicsError(f"topics are missing: {names}; create them, or set kafka.topics.create = true")
    if missing:
        await _create(admin, [_new(one, compacted=one is kafka.topics.alerts) for one in missing])
    counts = await _counts(admin, wanted)
    readings = kafka.topics.readings
    if counts[readings.name] != readings.partitions:
        raise IncompatibleError(
            f"topic {readings.name} has {counts[readings.name]} partitions, the settings say {readings.partitions}. "
            "Machines are placed by this number, so it cannot be changed under running data: set "
            f"kafka.topics.readings.partitions = {counts[readings.name]}, or start a new topic"
        )
    await _check_last_records(kafka, readings)
    remarks = await _remarks(admin, wanted)
    return Topics(counts, tuple(remarks))


async def _create(admin: Any, topics: list[NewTopic]) -> None:
    try:
        answer = await admin.create_topics(topics)
    except AttributeError:
        return  # an embedded cluster has no controller; asking for the topics by name creates them
    for name, code, *message in answer.topic_errors:
        error = for_code(code)
        if code == 0 or error is TopicAlreadyExistsError:
            continue
        said = next((one for one in message if one), None) or error.description
        if error.retriable:
            raise ReconnectError(f"topic {name}: {said}")
        raise StopError(f"Kafka does not create topic {name}: {said}")


async def _counts(admin: Any, wanted: list[TopicSettings]) -> dict[str, int]:
    """Partitions of topics that exist; one that was just made may take a moment to be known everywhere."""
    while True:
        described = await admin.describe_topics([one.name for one in wanted])
        found = {one["topic"]: len(one["partitions"]) for one in described if not one["error_code"]}
        if len(found) == len(wanted):
            return found
        await asyncio.sleep(0.05)


def _new(one: TopicSettings, *, compacted: bool) -> NewTopic:
    configs = {
        "min.insync.replicas": str(one.min_insync_replicas),
        "retention.ms": str(one.retention // 1000),
        # A compacted topic keeps the newest record of each alert, and drops alerts older than the retention.
        "cleanup.policy": "compact,delete" if compacted else "delete",
    }
    return NewTopic(one.name, one.partitions, one.replication, topic_configs=configs)


async def _check_last_records(kafka: KafkaSettings, readings: TopicSettings) -> None:
    """Hold the settings against the count in the newest record of each partition."""
    consumer = AIOKafkaConsumer(
        auto_offset_reset="none", enable_auto_commit=False, **client_options(kafka, "millstream-check")
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(readings.name, number) for number in range(readings.partitions)]
        ends = await consumer.end_offsets(partitions)
        begins = await consumer.beginning_offsets(partitions)
        filled = [at for at in partitions if ends[at] > begins[at]]
        if not filled:
            return
        consumer.assign(filled)
        for at in filled:
            consumer.seek(at, ends[at] - 1)
        waiting = set(filled)
        until_s = asyncio.get_running_loop().time() + _LAST_RECORDS_S
        # The last offset of a partition may hold no record (a marker, a record that was compacted away).
        while waiting and asyncio.get_running_loop().time() < until_s:
            for at, records in (await consumer.getmany(timeout_ms=500)).items():
                waiting.discard(at)
                _check_record(records[-1], readings)
    finally:
        await consumer.stop()


def _check_record(record: Any, readings: TopicSettings) -> None:
    try:
        envelope = envelope_of(record.headers)
    except QuarantineError:
        return  # not ours; the worker will say what it thinks of it
    if envelope.partitions != readings.partitions:
        raise IncompatibleError(
            f"topic {readings.name} holds records written when it had {envelope.partitions} partitions, now it has "
            f"{readings.partitions}: machines would move between partitions and their state be torn. Start a new "
            "topic (kafka.topics.readings.name) and a new group (worker.group)"
        )


async def _remarks(admin: Any, wanted: list[TopicSettings]) -> list[str]:
    """Differences that are allowed but should be known."""
    try:
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, one.name) for one in wanted])
    except (KafkaError, AttributeError):
        return []  # embedded clusters do not know this request
    found: dict[str, dict[str, str]] = {}
    for answer in answers:
        for _code, _message, _kind, name, entries in answer.resources:
            found[name] = {entry[0]: entry[1] for entry in entries}
    remarks = []
    for one in wanted:
        expected = {"min.insync.replicas": str(one.min_insync_replicas), "retention.ms": str(one.retention // 1000)}
        for key, value in expected.items():
            actual = found.get(one.name, {}).get(key, value)
            if actual != value:
                remarks.append(f"topic {one.name}: {key} is {actual}, the settings say {value}")
    return remarks

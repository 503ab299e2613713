"""The writer over a producer that fails as it is told: lanes wait for each other, order is kept, silence is told."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from aiokafka.errors import KafkaError, NotLeaderForPartitionError, OutOfOrderSequenceNumber

from ingest.contract import kafka_client, log_writer
from ingest.contract.errors import StopError
from ingest.contract.kafka_settings import KafkaSettings
from ingest.contract.log_writer import LogWriter, Outgoing


class Confirmed(NamedTuple):
    """What the client says of a record that is in the log."""

    offset: int


@dataclass
class Cluster:
    """Brokers that fail values as often as told, and confirm, or let producers start, only when they may."""

    log: defaultdict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    failures: defaultdict[bytes, list[KafkaError]] = field(default_factory=lambda: defaultdict(list))
    producers: list[Producer] = field(default_factory=list)
    may_start: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)


class Producer:
    """Stands for AIOKafkaProducer."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.stopped = False
        cluster.producers.append(self)

    async def start(self) -> None:
        await self.cluster.may_start.wait()

    async def stop(self) -> None:
        self.stopped = True

    async def send(self, _topic: str, value: bytes, *, partition: int, **_: Any) -> asyncio.Task[Confirmed]:
        assert not self.stopped
        return asyncio.create_task(self._answer(value, partition))

    async def _answer(self, value: bytes, partition: int) -> Confirmed:
        await self.cluster.may_answer.wait()
        if self.cluster.failures[value]:
            raise self.cluster.failures[value].pop(0)
        self.cluster.log[partition].append(value)
        return Confirmed(len(self.cluster.log[partition]) - 1)


@dataclass
class Events:
    """Keeps what a writer says."""

    failed: list[tuple[str, int]] = field(default_factory=list)
    stalled: list[tuple[str, int]] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def kafka_unreachable(self, reason: str, retry_in_s: float) -> None:
        raise AssertionError(reason)

    def write_failed(self, topic: str, partition: int, reason: str, retry_in_s: float) -> None:
        self.failed.append((topic, partition))
        self.told.set()

    def write_stalled(self, topic: str, partition: int, for_s: float) -> None:
        self.stalled.append((topic, partition))
        self.told.set()


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster()
    found.may_start.set()
    found.may_answer.set()
    monkeypatch.setattr(log_writer, "AIOKafkaProducer", lambda **_: Producer(found))
    monkeypatch.setattr(kafka_client, "_FIRST_BACKOFF_S", 0.0)
    return found


@pytest.fixture
async def events() -> Events:
    return Events()


@pytest.fixture
async def writer(cluster: Cluster, events: Events) -> LogWriter:
    made = LogWriter(KafkaSettings(), "test", events, 1_000)
    await made.start()
    return made


def records(*values: bytes) -> list[Outgoing]:
    return [Outgoing(value) for value in values]


async def test_a_lane_waits_while_another_rebuilds_the_producer(
    cluster: Cluster, events: Events, writer: LogWriter
) -> None:
    cluster.failures[b"a"] = [OutOfOrderSequenceNumber()]
    cluster.may_start.clear()
    first = asyncio.create_task(writer.write("t", 0, records(b"a")))
    async with asyncio.timeout(2):
        await events.told.wait()
        while not cluster.producers[0].stopped:
            await asyncio.sleep(0)
    second = asyncio.create_task(writer.write("t", 1, records(b"b")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not first.done()
    assert not second.done()
    cluster.may_start.set()
    assert tuple(await asyncio.wait_for(asyncio.gather(first, second), 2)) == ([0], [0])
    assert events.failed == [("t", 0)]
    assert len(cluster.producers) == 2
    assert writer.failing == set()


async def test_two_lanes_whose_producer_broke_rebuild_it_once(cluster: Cluster, writer: LogWriter) -> None:
    for value in (b"a", b"b"):
        cluster.failures[value] = [OutOfOrderSequenceNumber()]
    both = asyncio.gather(writer.write("t", 0, records(b"a")), writer.write("t", 1, records(b"b")))
    assert tuple(await asyncio.wait_for(both, 2)) == ([0], [0])
    assert len(cluster.producers) == 2


@pytest.mark.parametrize("error", [NotLeaderForPartitionError, OutOfOrderSequenceNumber])
async def test_records_of_a_partition_keep_their_order_over_retries(
    cluster: Cluster, writer: LogWriter, error: type[KafkaError]
) -> None:
    # A client that fails a record fails all that it holds after it.
    cluster.failures[b"b"] = [error(), error()]
    cluster.failures[b"c"] = [error(), error()]
    calls = (writer.write("t", 0, records(b"a", b"b", b"c")), writer.write("t", 0, records(b"d")))
    assert tuple(await asyncio.wait_for(asyncio.gather(*calls), 2)) == ([0, 1, 2], [3])
    assert cluster.log[0] == [b"a", b"b", b"c", b"d"]
    assert writer.failing == set()


async def test_a_write_without_an_answer_is_told_once_and_is_well_again_when_the_answer_comes(
    cluster: Cluster, events: Events, writer: LogWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "_SILENCE_S", 0.05)
    cluster.may_answer.clear()
    write = asyncio.create_task(writer.write("t", 3, records(b"a", b"b")))
    await asyncio.wait_for(events.told.wait(), 2)
    assert writer.failing == {("t", 3)}
    assert not write.done()
    cluster.may_answer.set()
    assert await asyncio.wait_for(write, 2) == [0, 1]
    assert events.stalled == [("t", 3)]
    assert events.failed == []
    assert writer.failing == set()


async def test_a_closed_writer_stops_its_producer_and_writes_no_more(cluster: Cluster, writer: LogWriter) -> None:
    await writer.close()
    assert cluster.producers[0].stopped
    with pytest.raises(StopError, match="the writer is closed"):
        await asyncio.wait_for(writer.write("t", 0, records(b"a")), 2)
    assert not cluster.log

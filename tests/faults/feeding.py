"""What the plant sends, written straight to the partitions of the readings topic."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from typing import Self

from aiokafka import AIOKafkaProducer

from ingest.contract.wire import envelope_of
from stream.fold.partition import LogRecord
from tests.faults.worker_plant import PARTITIONS, plant_log
from tests.servers.waiting import wait_until
from tests.unit.stream.logs import Batch, record_of

_MOST_BATCHES = 1_000
"""Of each partition."""


class Feed:
    """Writes the plant's log to its partitions, in a thread of its own, at about real time.

    seed: another log for each. pace: batches a second, of all partitions. Its arrival times begin now.
    """

    def __init__(self, kafka: str, topic: str, seed: int, pace: float, partitions: Collection[int]) -> None:
        # A partition's batches are 1.55 s apart on average, and there are several partitions.
        squeeze = round(1.55 * pace / len(partitions))
        self._log = plant_log(seed, _MOST_BATCHES, partitions, time.time_ns() // 1000, squeeze)
        self._pace = pace
        self._kafka, self._topic = kafka, topic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="feed", daemon=True)
        self._error: BaseException | None = None
        self.batches = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Write no more; all that was written is confirmed."""
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def wait(self, more: int) -> None:
        """Until so many batches more are written."""
        wanted = self.batches + more
        wait_until(lambda: self.batches >= wanted or not self._thread.is_alive(), timeout_s=60, what="fed")
        assert self._thread.is_alive(), self._error

    async def _run(self) -> None:
        try:
            await self._write_all()
        except BaseException as error:
            self._error = error
            raise

    async def _write_all(self) -> None:
        async with producer_to(self._kafka) as producer:
            begun = time.monotonic()
            for partition, batch in self._log:
                if self._stop.is_set():
                    return
                await send(producer, self._topic, partition, [batch])
                self.batches += 1
                await asyncio.sleep(max(0.0, begun + self.batches / self._pace - time.monotonic()))


async def send(producer: AIOKafkaProducer, topic: str, partition: int, batches: Iterable[Batch]) -> list[int]:
    """Write batches as records (those without rows as ticks); their offsets, when Kafka has them."""
    records = [record_of(0, batch, tick=not batch.rows, partitions=PARTITIONS) for batch in batches]
    return await send_records(producer, topic, partition, records)


async def send_records(
    producer: AIOKafkaProducer, topic: str, partition: int, records: Iterable[LogRecord]
) -> list[int]:
    """Write records; their offsets, when Kafka has them."""
    futures = []
    for record in records:
        headers = list(record.headers)
        at_ms = envelope_of(headers).arrival_us // 1000
        futures.append(
            await producer.send(topic, record.value, partition=partition, timestamp_ms=at_ms, headers=headers)
        )
    return [one.offset for one in await asyncio.gather(*futures)]


@asynccontextmanager
async def producer_to(kafka: str) -> AsyncIterator[AIOKafkaProducer]:
    """Writes each record once, in order."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()

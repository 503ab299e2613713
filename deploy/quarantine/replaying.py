"""Entries of the quarantine → readings topic, and a mark on each that is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from deploy.quarantine.chosen import Chosen
from ingest.contract.clock import Clock
from ingest.contract.errors import ReconnectError
from ingest.contract.kafka_settings import KafkaSettings
from ingest.contract.log_writer import LogWriter
from ingest.contract.quarantine import Entry, Replayed
from ingest.replay import Chunk, Replayer, Tally, Tried

_CONFIRM_S = 60.0


async def chosen_entries(entries: AsyncIterator[Entry], chosen: Chosen, replayed: Replayed) -> AsyncIterator[Entry]:
    """Those that are meant."""
    async for entry in entries:
        if chosen.fits(entry, replayed=(entry.partition, entry.offset) in replayed):
            yield entry


async def try_entries(
    entries: AsyncIterator[Entry], replayer: Replayer, readings_topic: str, tell: Callable[[Tried], None]
) -> Tally:
    """Read all once more and write nothing; `tell` hears what becomes of each."""
    tally = Tally()
    async for entry in entries:
        tried = replayer.take(entry)
        tally.add(tried, of_kafka=entry.of_kafka(readings_topic))
        tell(tried)
    return tally


class Replaying:
    """Writes in chunks: readings first, their marks when Kafka has them. Killed in between, the next replay writes that
    chunk again; readings with a time of their own are then counted once downstream.

    tally: what was done so far, whole chunks only; what is not done is in it as soon as it is met.
    """

    def __init__(
        self, kafka: KafkaSettings, replayer: Replayer, writer: LogWriter, clock: Clock, max_record_bytes: int
    ) -> None:
        self.tally = Tally()
        self._topics = kafka.topics
        self._partitions = kafka.topics.readings.partitions
        self._replayer = replayer
        self._writer = writer
        self._clock = clock
        self._max_record_bytes = max_record_bytes
        self._seq = 0
        self._waiting: list[Tried] = []
        self._chunk = Chunk()

    async def run(self, entries: AsyncIterator[Entry]) -> None:
        """Replay all. Raises ReconnectError when Kafka does not confirm in time, StopError from the writer."""
        async for entry in entries:
            tried = self._replayer.take(entry)
            if not tried.done:
                self._count(tried)
                continue
            if not self._chunk.takes(tried):
                await self._write()
            self._chunk.add(tried)
            self._waiting.append(tried)
        await self._write()

    def _count(self, tried: Tried) -> None:
        self.tally.add(tried, of_kafka=tried.entry.of_kafka(self._topics.readings.name))

    async def _write(self) -> None:
        if not self._waiting:
            return
        records = self._chunk.records(self._seq, partitions=self._partitions, max_record_bytes=self._max_record_bytes)
        self._seq += sum(map(len, records.values()))
        try:
            async with asyncio.timeout(_CONFIRM_S):
                await asyncio.gather(
                    *(self._writer.write(self._topics.readings.name, at, some) for at, some in records.items())
                )
                await asyncio.gather(
                    *(
                        self._writer.write(self._topics.quarantine.name, at, [mark])
                        for at, mark in self._chunk.marks(self._clock.now_us()).items()
                    )
                )
        except TimeoutError as error:
            raise ReconnectError(f"Kafka confirmed nothing for {_CONFIRM_S:.0f} s") from error
        for tried in self._waiting:
            self._count(tried)
        self._chunk, self._waiting = Chunk(), []

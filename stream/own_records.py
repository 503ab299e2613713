"""What a worker itself writes to the log: that time passes, and which definitions are in force from here on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ingest.contract.clock import Clock
from ingest.contract.log_writer import LogWriter, Outgoing
from ingest.contract.settings import Settings
from ingest.contract.wire import ARROW, Envelope, Kind, headers_of
from stream.control import config_record
from stream.fold.definitions import Definitions


class OwnRecords:
    """At most one of them is under way for a partition: what Kafka does not take must not pile up."""

    def __init__(
        self, settings: Settings, writer: LogWriter, clock: Clock, ended: Callable[[asyncio.Task[None]], None]
    ) -> None:
        self._topic = settings.kafka.topics.readings
        self._source = settings.worker.group
        self._writer = writer
        self._clock = clock
        self._ended = ended
        self._seq = 0
        self._under_way: dict[int, asyncio.Task[None]] = {}

    def tick(self, partition: int, written: Callable[[], None]) -> bool:
        """Say that time passes; False if the partition has a record under way."""
        now_us = self._clock.now_us()
        envelope = Envelope(Kind.TICK, ARROW, self._source, self._next_seq(), now_us, self._topic.partitions)
        return self._write(partition, Outgoing(b"", None, headers_of(envelope), now_us // 1000), written)

    def define(self, partition: int, definitions: Definitions, written: Callable[[], None]) -> bool:
        """Say what is in force from here on; False likewise."""
        now_us = self._clock.now_us()
        record = config_record(definitions, self._source, self._next_seq(), now_us, self._topic.partitions)
        return self._write(partition, record, written)

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _write(self, partition: int, record: Outgoing, written: Callable[[], None]) -> bool:
        if partition in self._under_way:
            return False
        task = self._under_way[partition] = asyncio.create_task(self._send(partition, record, written))
        task.add_done_callback(self._ended)
        return True

    async def _send(self, partition: int, record: Outgoing, written: Callable[[], None]) -> None:
        try:
            await self._writer.write(self._topic.name, partition, [record])
            written()
        finally:
            self._under_way.pop(partition, None)

    def cancel(self) -> None:
        """The worker ends."""
        for task in self._under_way.values():
            task.cancel()

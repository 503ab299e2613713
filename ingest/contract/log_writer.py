"""Writing to Kafka: idempotent, `acks=all`, in order per partition, and until it is done.

Guarantee: `write` returns when the record is on all in-sync replicas; records of one partition keep the order in
which `write` was called. A record whose answer was lost may be written twice across a rebuilt producer; readers
remove such duplicates. `write` is cancelled, never abandoned: what was not confirmed is not acknowledged upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from ingest.contract.errors import StopError
from ingest.contract.failpoints import failpoint
from ingest.contract.kafka_client import Backoff, client_options
from ingest.contract.kafka_settings import KafkaSettings
from ingest.contract.wire import HeaderList

_STOP_TIMEOUT_S = 5.0
_SILENCE_S = 5.0
# The Kafka client's own accounting of a record's keys, headers and lengths.
_OVERHEAD_BYTES = 65_536


class Outgoing(NamedTuple):
    """A record to write. timestamp_ms: None for the time of writing."""

    value: bytes | None
    key: bytes | None = None
    headers: HeaderList | tuple[()] = ()
    timestamp_ms: int | None = None


class WriterEvents(Protocol):
    """What a writer has to say."""

    def kafka_unreachable(self, reason: str, retry_in_s: float) -> None:
        """No broker answered."""
        ...

    def write_failed(self, topic: str, partition: int, reason: str, retry_in_s: float) -> None:
        """A record was not confirmed; it will be sent again."""
        ...

    def write_stalled(self, topic: str, partition: int, for_s: float) -> None:
        """A record has had no answer for so long; it is still waited for."""
        ...


class LogWriter:
    """A producer that does not give up."""

    def __init__(self, kafka: KafkaSettings, client_id: str, events: WriterEvents, max_record_bytes: int) -> None:
        self._options = client_options(kafka, client_id)
        self._events = events
        self._max_record_bytes = max_record_bytes
        self._producer: AIOKafkaProducer | None = None
        self._lanes: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._rebuilding = asyncio.Lock()
        self._closed = False
        self.failing: set[tuple[str, int]] = set()
        """Partitions that do not confirm: the last try failed, or has had no answer for some seconds."""

    async def start(self) -> None:
        """Connect, with back-off, for as long as it takes."""
        backoff = Backoff()
        while self._producer is None and not self._closed:
            producer = AIOKafkaProducer(
                enable_idempotence=True,
                acks="all",
                max_request_size=self._max_record_bytes + _OVERHEAD_BYTES,
                **self._options,
            )
            try:
                await producer.start()
            except asyncio.CancelledError:
                await _stop(producer)
                raise
            except (KafkaError, OSError) as error:
                await _stop(producer)
                retry_in_s = backoff.next_s()
                self._events.kafka_unreachable(str(error) or type(error).__name__, retry_in_s)
                await asyncio.sleep(retry_in_s)
            else:
                self._producer = producer
                if self._closed:
                    await self.close()

    async def write(self, topic: str, partition: int, records: Sequence[Outgoing]) -> list[int]:
        """Write records of one partition and return their offsets.

        Tries until all are confirmed. Raises StopError when the broker refuses the size of one for good.
        """
        backoff = Backoff()
        offsets: list[int] = []
        # A lock is first come, first served: the order of the calls is the order in the log.
        async with self._lanes[topic, partition]:
            while len(offsets) < len(records):
                producer = await self._available()
                try:
                    await self._send(producer, topic, partition, records, offsets)
                except MessageSizeTooLargeError as error:
                    raise StopError(
                        f"Kafka refuses the size of a record for {topic}: raise message.max.bytes there, or lower "
                        f"gateway.max_record_bytes ({self._max_record_bytes})"
                    ) from error
                except KafkaError as error:
                    self.failing.add((topic, partition))
                    retry_in_s = backoff.next_s()
                    reason = str(error) or type(error).__name__
                    self._events.write_failed(topic, partition, reason, retry_in_s)
                    if not error.retriable:
                        await self._rebuild(producer)
                    await asyncio.sleep(retry_in_s)
                else:
                    self.failing.discard((topic, partition))
        return offsets

    async def _send(
        self, producer: AIOKafkaProducer, topic: str, partition: int, records: Sequence[Outgoing], offsets: list[int]
    ) -> None:
        """Send what is not confirmed yet; `offsets` grows by what is. Raises the first failure."""
        sent = [
            await producer.send(
                topic,
                one.value,
                key=one.key,
                partition=partition,
                timestamp_ms=one.timestamp_ms,
                headers=list(one.headers),
            )
            for one in records[len(offsets) :]
        ]
        failpoint("produced")
        confirmed = asyncio.gather(*sent, return_exceptions=True)
        # An idempotent producer tries for ever by itself and says nothing; so somebody else has to.
        done, _ = await asyncio.wait([confirmed], timeout=_SILENCE_S)
        if not done:
            self.failing.add((topic, partition))
            self._events.write_stalled(topic, partition, _SILENCE_S)
        # Shielded: the client's own bookkeeping must not see our cancellation.
        for result in await asyncio.shield(confirmed):
            if isinstance(result, BaseException):
                raise result
            offsets.append(result.offset)

    async def _available(self) -> AIOKafkaProducer:
        """The producer, once there is one; another lane may be rebuilding it."""
        while not self._closed:
            if self._producer is not None:
                return self._producer
            async with self._rebuilding:
                # Free, and still none: whoever was rebuilding it was cancelled.
                if self._producer is None:
                    await self.start()
        raise StopError("the writer is closed")

    async def _rebuild(self, broken: AIOKafkaProducer) -> None:
        """Fatal errors (a lost sequence, a fenced id) end a producer, not the stream."""
        async with self._rebuilding:
            if self._producer is broken:
                self._producer = None
                await _stop(broken)
                await self.start()

    async def close(self) -> None:
        """Stop; what is not confirmed by now stays unconfirmed."""
        self._closed = True
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)


async def _stop(producer: Any) -> None:
    # An idempotent producer's stop() waits for brokers that may never come back.
    with contextlib.suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(producer.stop(), _STOP_TIMEOUT_S)

"""Reading the alerts topic as a member of a group: the only file of the notifier that knows aiokafka.

The same care as in `stream/consumer.py`: new partitions are paused at once and sought outside of the rebalance, no
reset policy moves an offset silently, and `stop()` is not waited for when brokers are away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from ingest.contract.errors import ReconnectError
from ingest.contract.kafka_client import Backoff, client_options
from ingest.contract.kafka_settings import KafkaSettings
from stream.notify.alert import AlertRecord

SESSION_TIMEOUT_MS = 10_000
_STOP_TIMEOUT_S = 5.0
_CALL_TIMEOUT_S = 15.0


class Reader(Protocol):
    """Who gets partitions."""

    def assigned(self, partitions: set[int]) -> None:
        """These are ours now, and paused. Must return at once."""
        ...

    async def revoked(self, partitions: set[int]) -> None:
        """These are about to be somebody else's."""
        ...


@dataclass(frozen=True, slots=True)
class AlertsBounds:
    """What the log of a partition holds: offsets [begin, end), and the group's committed one."""

    begin: int
    end: int
    committed: int | None


class OutOfRangeError(ReconnectError):
    """What was to be read next is not in the log (any more)."""

    def __init__(self, partitions: set[int]) -> None:
        self.partitions = partitions
        super().__init__(f"partitions {sorted(partitions)}: the next offset is not in the log")


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, pause: Callable[[set[int]], None], reader: Reader) -> None:
        self._pause = pause
        self._reader = reader

    async def on_partitions_revoked(self, revoked: list[Any]) -> None:
        await self._reader.revoked({one.partition for one in revoked})

    async def on_partitions_assigned(self, assigned: list[Any]) -> None:
        partitions = {one.partition for one in assigned}
        self._pause(partitions)
        self._reader.assigned(partitions)


class AlertsLog:
    """The alerts topic, one group."""

    def __init__(self, kafka: KafkaSettings, group: str) -> None:
        self._options = client_options(kafka, group)
        self._topic = kafka.topics.alerts.name
        self._group = group
        self._consumer: Any = None

    async def start(self, reader: Reader, unreachable: Callable[[str, float], None]) -> None:
        """Join the group, with back-off, for as long as it takes."""
        backoff = Backoff()
        while self._consumer is None:
            consumer = AIOKafkaConsumer(
                group_id=self._group,
                enable_auto_commit=False,
                auto_offset_reset="none",
                partition_assignment_strategy=(StickyPartitionAssignor,),
                session_timeout_ms=SESSION_TIMEOUT_MS,
                heartbeat_interval_ms=SESSION_TIMEOUT_MS // 10,
                **self._options,
            )
            try:
                await consumer.start()
                self._consumer = consumer
                consumer.subscribe([self._topic], listener=_Listener(self._pause, reader))
            except (KafkaError, OSError) as error:
                await _stop(consumer)
                retry_in_s = backoff.next_s()
                unreachable(str(error) or type(error).__name__, retry_in_s)
                await asyncio.sleep(retry_in_s)

    async def close(self) -> None:
        """Leave the group."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _stop(consumer)

    def _pause(self, partitions: set[int]) -> None:
        self._consumer.pause(*(self._at(one) for one in partitions))

    def _at(self, partition: int) -> Any:
        return TopicPartition(self._topic, partition)

    async def poll(self, timeout_s: float) -> list[AlertRecord]:
        """Records, in order within a partition; offsets may skip what was compacted away.

        Raises OutOfRangeError, or ReconnectError when Kafka cannot be reached.
        """
        try:
            found = await self._consumer.getmany(timeout_ms=int(timeout_s * 1000))
        except NoOffsetForPartitionError:
            # Of a partition that is paused until its reader has sought: nothing is wrong.
            await asyncio.sleep(min(timeout_s, 0.05))
            return []
        except OffsetOutOfRangeError as error:
            raise OutOfRangeError({at.partition for at in error.args[0]}) from error
        except KafkaError as error:
            raise ReconnectError(str(error) or type(error).__name__) from error
        return [
            AlertRecord(at.partition, one.offset, one.timestamp * 1000, one.headers, one.value)
            for at, records in found.items()
            for one in records
        ]

    async def bounds(self, partition: int) -> AlertsBounds:
        """What there is to read. Raises ReconnectError."""
        at = self._at(partition)
        begin = (await self._guarded(self._consumer.beginning_offsets([at])))[at]
        end = (await self._guarded(self._consumer.end_offsets([at])))[at]
        return AlertsBounds(begin, end, await self._guarded(self._consumer.committed(at)))

    def resume_at(self, partition: int, offset: int) -> None:
        """Read on from an offset. Raises ReconnectError if the partition is no longer ours."""
        try:
            self._consumer.seek(self._at(partition), offset)
            self._consumer.resume(self._at(partition))
        except IllegalStateError as error:
            raise ReconnectError("the partition was taken away") from error

    def behind(self, partition: int, next_offset: int) -> int | None:
        """Records between an offset and the end of the log; None if it is not known yet."""
        at = self._at(partition)
        highwater = self._consumer.highwater(at) if at in self._consumer.assignment() else None
        return None if highwater is None else max(0, highwater - next_offset)

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit next offsets. Raises ReconnectError when the group refuses or cannot be reached."""
        try:
            await self._guarded(self._consumer.commit({self._at(one): offset for one, offset in offsets.items()}))
        except (CommitFailedError, IllegalStateError) as error:
            raise ReconnectError(f"the group has moved on: {error}") from error

    @staticmethod
    async def _guarded(call: Coroutine[Any, Any, Any]) -> Any:
        # The client itself would try for ever, and whoever waits for it with it.
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                return await call
        except CommitFailedError:
            raise
        except (KafkaError, TimeoutError) as error:
            raise ReconnectError(str(error) or "Kafka does not answer") from error


async def _stop(consumer: Any) -> None:
    # In a task of its own: while brokers are away, stop() raises a CancelledError that is not meant for us.
    task = asyncio.ensure_future(consumer.stop())
    done, _ = await asyncio.wait([task], timeout=_STOP_TIMEOUT_S)
    if not done:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError, KafkaError):
        await task

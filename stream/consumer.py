"""Reading a topic, as a member of a group or all of it: the only file of stream that knows aiokafka's consumer.

What its users are spared: `on_partitions_assigned` sends no heartbeats and swallows exceptions, so a new partition is
paused at once and its owner restores it outside; a seek past the end must not jump silently, so no reset policy is in
force and bounds are checked by whoever seeks; `stop()` may raise CancelledError while brokers are away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from ingest.contract.errors import ReconnectError
from ingest.contract.kafka_client import Backoff, client_options
from ingest.contract.kafka_settings import KafkaSettings
from stream.fold.partition import LogRecord

# A crashed worker's partitions wait this long; heartbeats go on while folding, which happens in a thread.
SESSION_TIMEOUT_MS = 10_000
_STOP_TIMEOUT_S = 5.0
_CALL_TIMEOUT_S = 15.0
# One request; whoever waits for it holds up the fold.
_COMMIT_TIMEOUT_S = 5.0
_MOVED_ON = (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)


class Owner(Protocol):
    """Who gets partitions."""

    def assigned(self, partitions: set[int]) -> None:
        """These are ours now, and paused. Must return at once."""
        ...

    async def revoked(self, partitions: set[int]) -> None:
        """These are about to be somebody else's; what is to be committed for them is committed before it returns."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the log of a partition holds: offsets [begin, end), and the group's committed one with what it says."""

    begin: int
    end: int
    committed: int | None
    metadata: str = ""


class OutOfRangeError(ReconnectError):
    """What was to be read next is not in the log (any more)."""

    def __init__(self, partitions: set[int]) -> None:
        self.partitions = partitions
        super().__init__(f"partitions {sorted(partitions)}: the next offset is not in the log")


class RefusedError(ReconnectError):
    """The group does not take this member's word: its partitions are, or may be, somebody else's."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, pause: Callable[[set[int]], None], owner: Owner) -> None:
        self._pause = pause
        self._owner = owner

    async def on_partitions_revoked(self, revoked: list[Any]) -> None:
        await self._owner.revoked({one.partition for one in revoked})

    async def on_partitions_assigned(self, assigned: list[Any]) -> None:
        partitions = {one.partition for one in assigned}
        self._pause(partitions)
        self._owner.assigned(partitions)


class LogConsumer:
    """One topic, one group."""

    def __init__(self, kafka: KafkaSettings, topic: str, group: str) -> None:
        self._options = client_options(kafka, group)
        self._topic = topic
        self._group = group
        self._consumer: Any = None

    async def start(self, owner: Owner, unreachable: Callable[[str, float], None]) -> None:
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
                consumer.subscribe([self._topic], listener=_Listener(self._pause, owner))
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

    def pause(self, partition: int) -> None:
        """Read no more of it until `resume_at`."""
        with contextlib.suppress(IllegalStateError):
            self._pause({partition})

    def _pause(self, partitions: set[int]) -> None:
        self._consumer.pause(*(self._at(one) for one in partitions))

    def _at(self, partition: int) -> Any:
        return TopicPartition(self._topic, partition)

    @property
    def generation(self) -> int:
        """The group's generation: who has a lower one has lost its partitions."""
        generation: int = self._consumer._coordinator.generation
        return generation

    async def poll(self, timeout_s: float) -> dict[int, list[LogRecord]]:
        """Records by partition, in order.

        Raises OutOfRangeError for a partition whose next record is not in the log, ReconnectError when Kafka cannot
        be reached.
        """
        try:
            found = await self._consumer.getmany(timeout_ms=int(timeout_s * 1000))
        except NoOffsetForPartitionError:
            # Of a partition that is paused until its owner has sought: nothing is wrong.
            await asyncio.sleep(min(timeout_s, 0.05))
            return {}
        except OffsetOutOfRangeError as error:
            raise OutOfRangeError({at.partition for at in error.args[0]}) from error
        except KafkaError as error:
            raise ReconnectError(str(error) or type(error).__name__) from error
        return {
            at.partition: [
                LogRecord(record.offset, record.headers, record.value, record.timestamp) for record in records
            ]
            for at, records in found.items()
        }

    async def bounds(self, partition: int) -> Bounds:
        """What there is to read. Raises ReconnectError."""
        at = self._at(partition)
        begin = (await self._guarded(self._consumer.beginning_offsets([at])))[at]
        end = (await self._guarded(self._consumer.end_offsets([at])))[at]
        # `committed()` gives the offset only; the metadata beside it is as much part of the commit.
        found = (await self._guarded(self._consumer._coordinator.fetch_committed_offsets([at]))).get(at)
        if found is None or found.offset < 0:
            return Bounds(begin, end, None)
        return Bounds(begin, end, found.offset, found.metadata or "")

    async def offset_since(self, partition: int, since_us: int) -> int | None:
        """The first offset that arrived at or after a time; None if none did. Raises ReconnectError."""
        at = self._at(partition)
        found = (await self._guarded(self._consumer.offsets_for_times({at: max(0, since_us // 1000)})))[at]
        return None if found is None else int(found.offset)

    def resume_at(self, partition: int, offset: int) -> None:
        """Read on from an offset. Raises ReconnectError if the partition is no longer ours."""
        try:
            self._consumer.seek(self._at(partition), offset)
            self._consumer.resume(self._at(partition))
        except IllegalStateError as error:
            raise ReconnectError("the partition was taken away") from error

    def behind(self, partition: int, next_offset: int) -> int | None:
        """Records between an offset and the end of the log; None if it is not known yet."""
        at, subscription = self._at(partition), self._consumer._subscription.subscription
        try:
            highwater = self._consumer.highwater(at)
            # Behind the last record may be the end of somebody's transaction, which is no record.
            read_to = subscription.assignment.state_value(at)._position if subscription else None
        except (IllegalStateError, AttributeError):
            return None
        return None if highwater is None else max(0, highwater - max(next_offset, read_to or 0))

    async def commit(self, offsets: Mapping[int, tuple[int, str]]) -> None:
        """Commit (next offset, metadata), once. Raises RefusedError when the group has moved on, else ReconnectError.

        Cancelled before it is sent, nothing is sent.
        """
        wanted = {self._at(at): OffsetAndMetadata(offset, metadata) for at, (offset, metadata) in offsets.items()}
        try:
            await self._guarded(self._commit_once(wanted), _COMMIT_TIMEOUT_S)
        except _MOVED_ON as error:
            raise RefusedError(f"the group has moved on: {type(error).__name__}") from error

    async def _commit_once(self, wanted: Mapping[Any, Any]) -> None:
        # The consumer's own `commit` tries for ever, in a task that nobody can cancel: begun in one generation, it
        # would be sent, and taken, in a later one. This one is sent once, and not when the assignment has changed.
        coordinator, assignment = self._consumer._coordinator, self._assignment()
        await coordinator.ensure_coordinator_known()
        if assignment is None or assignment is not self._assignment() or not wanted.keys() <= set(assignment.tps):
            raise IllegalStateError("not assigned")
        await coordinator._do_commit_offsets(assignment, wanted)

    def _assignment(self) -> Any:
        """Another object after each rebalance."""
        subscription = self._consumer._subscription.subscription
        return None if subscription is None else subscription.assignment

    @staticmethod
    async def _guarded(call: Coroutine[Any, Any, Any], timeout_s: float = _CALL_TIMEOUT_S) -> Any:
        # The client itself would try for ever, and whoever waits for it with it.
        try:
            async with asyncio.timeout(timeout_s):
                return await call
        except _MOVED_ON:
            raise
        except (KafkaError, TimeoutError) as error:
            raise ReconnectError(str(error) or "Kafka does not answer") from error


async def read_topic(kafka: KafkaSettings, topic: str, client_id: str) -> AsyncIterator[tuple[int, LogRecord]]:
    """All that is in a topic now, (partition, record), in order within a partition. Raises ReconnectError."""
    consumer = AIOKafkaConsumer(auto_offset_reset="none", **client_options(kafka, client_id))
    guarded = LogConsumer._guarded
    try:
        await guarded(consumer.start())
        numbers = await guarded(_partitions_of(consumer, topic))
        places = [TopicPartition(topic, number) for number in sorted(numbers)]
        consumer.assign(places)
        begins, ends = await guarded(consumer.beginning_offsets(places)), await guarded(consumer.end_offsets(places))
        left = {at for at in places if begins[at] < ends[at]}
        consumer.pause(*(at for at in places if at not in left))
        for at in places:
            consumer.seek(at, begins[at])
        while left:
            for at, records in (await guarded(consumer.getmany(timeout_ms=200))).items():
                for one in records:
                    if one.offset < ends[at]:
                        yield at.partition, LogRecord(one.offset, one.headers, one.value, one.timestamp)
            for at in list(left):
                # By position: the last records may have been compacted away.
                if await guarded(consumer.position(at)) >= ends[at]:
                    left.discard(at)
                    consumer.pause(at)
    except OSError as error:
        raise ReconnectError(str(error)) from error
    finally:
        await _stop(consumer)


async def _partitions_of(consumer: Any, topic: str) -> set[int]:
    await consumer._client.add_topic(topic)
    while not (found := consumer.partitions_for_topic(topic)):
        await asyncio.sleep(0.1)
        await consumer._client.force_metadata_update()
    return set(found)


async def _stop(consumer: Any) -> None:
    # In a task of its own: while brokers are away, stop() raises a CancelledError that is not meant for us.
    task = asyncio.ensure_future(consumer.stop())
    done, _ = await asyncio.wait([task], timeout=_STOP_TIMEOUT_S)
    if not done:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError, KafkaError):
        await task

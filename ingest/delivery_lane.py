"""One partition on its way: direct to Kafka, or through the spool, in order.

`delivery.py` says what a lane guarantees; all of this runs on the event loop but the spool's files.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Protocol, TypeVar

from ingest.contract.clock import Clock
from ingest.contract.failpoints import failpoint
from ingest.contract.kafka_client import Backoff
from ingest.contract.log_writer import Outgoing
from ingest.contract.wire import sent_header
from ingest.spool import Damage, Lane, Position, SpoolFullError

T = TypeVar("T")

FULL = "full"
# Batches that wait for each other in one write or one append.
_TOGETHER = 64
_HANGS_S = 10.0
_CLOSE_TIMEOUT_S = 5.0


class Outcome(StrEnum):
    """Where a batch is safe."""

    PRODUCED = "produced"
    SPOOLED = "spooled"


class Writer(Protocol):
    """What is needed of a LogWriter."""

    @property
    def failing(self) -> set[tuple[str, int]]:
        """Partitions that do not confirm."""
        ...

    async def write(self, topic: str, partition: int, records: Sequence[Outgoing]) -> list[int]:
        """Return when all are confirmed, however long that takes."""
        ...


class DeliveryEvents(Protocol):
    """What a delivery has to say."""

    def lane_spooling(self, topic: str, partition: int, batches: int) -> None:
        """Kafka does not confirm this partition: so many batches, and all that follow, go to disk.

        0 batches: it has a backlog from an earlier life.
        """
        ...

    def lane_drained(self, topic: str, partition: int) -> None:
        """All of this partition's spool is in Kafka; batches go there directly again."""
        ...

    def records_drained(self, topic: str, partition: int, records: int) -> None:
        """So many records from the spool are in Kafka."""
        ...

    def spool_failed(self, topic: str, partition: int, reason: str, retry_in_s: float) -> None:
        """The disk refused to write or to read; it is tried again."""
        ...

    def spool_full(self, topic: str, partition: int, used_bytes: int, retry_in_s: float) -> None:
        """No room: batches wait in memory; it is tried again, and at once when there is room."""
        ...

    def spool_damaged(self, damage: Damage) -> None:
        """Something in the spool cannot be read; what is readable after it goes on."""
        ...


@dataclass(slots=True, eq=False)
class Batch:
    """Records that are safe together. since_s: when their waiting began."""

    records: Sequence[Outgoing]
    since_s: float
    safe: asyncio.Future[Outcome]
    outcome: Outcome | None = None
    end: Position | None = None
    """Where its copy in the spool ends."""


@dataclass(slots=True)
class Trouble:
    """Something that failed and is tried again later. reason: empty while all is well."""

    reason: str = ""
    retry_at_s: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)

    def failed(self, reason: str, now_s: float) -> float:
        """It failed now; returns how long to wait."""
        retry_in_s = self.backoff.next_s()
        self.reason, self.retry_at_s = reason, now_s + retry_in_s
        return retry_in_s

    def over(self) -> None:
        """It worked."""
        if self.reason:
            self.reason = ""
            self.backoff.reset()


class Around(Protocol):
    """What a lane needs of the delivery that it belongs to."""

    writer: Writer
    events: DeliveryEvents
    clock: Clock
    after_s: float
    batches: dict[Outcome, int]

    @property
    def stopped(self) -> bool:
        """Nothing new is to begin."""
        ...

    @property
    def used_bytes(self) -> int:
        """Of the spool, on disk."""
        ...

    async def on_disk(self, work: Callable[..., T], *args: object) -> T:
        """Do something with the spool's files, beside the loop."""
        ...

    async def advance(self, store: Lane, end: Position) -> None:
        """Kafka has all before `end`. Raises OSError."""
        ...

    def fail(self, error: BaseException) -> None:
        """A person has to act."""
        ...


class DeliveryLane:
    """One partition's batches that are not safe yet, in order, and what is under way for them."""

    def __init__(self, delivery: Around, topic: str, partition: int, store: Lane | None) -> None:
        self._delivery = delivery
        self._topic = topic
        self._partition = partition
        self._store = store
        self._queue: deque[Batch] = deque()
        self._group: list[Batch] = []
        """Those of the direct write under way; the first of the queue, while they are not in the spool."""
        self._writing: asyncio.Task[list[int]] | None = None
        self._appending: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._append_since_s = 0.0
        self._appends = Trouble()
        self._drains = Trouble()
        self._confirmed: list[Batch] = []
        """Confirmed by Kafka when they were in the spool already, or on their way there."""
        self.spooling = store is not None and not store.empty

    def put(self, batch: Batch) -> None:
        """Take over a batch, after all before it."""
        self._queue.append(batch)
        if self.spooling:
            self._append()
        elif self._writing is None:
            self._write()

    def look(self, now_s: float) -> None:
        """Do what is due."""
        if self.spooling:
            if now_s >= self._appends.retry_at_s:
                self._append(again=True)
            if self._draining is None and now_s >= self._drains.retry_at_s:
                self._draining = self._begin(self._drain(), self._drained)
        elif self._store is not None and self._queue and now_s - self._queue[0].since_s >= self._delivery.after_s:
            self.spooling = True
            self._delivery.events.lane_spooling(self._topic, self._partition, len(self._queue))
            self.look(now_s)

    def _begin(
        self, work: Coroutine[object, object, None], done: Callable[[asyncio.Task[None]], None]
    ) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(done)
        return task

    # --- direct -------------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        group = self._group = list(islice(self._queue, _TOGETHER))
        records = group[0].records if len(group) == 1 else [one for batch in group for one in batch.records]
        write = self._delivery.writer.write(self._topic, self._partition, records)
        self._writing = asyncio.get_running_loop().create_task(write)
        self._writing.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[list[int]]) -> None:
        self._writing = None
        group, self._group = self._group, []
        if task.cancelled():
            return
        if error := task.exception():
            self._delivery.fail(error)
            return
        failpoint("confirmed")
        for batch in group:
            self._settle(batch, Outcome.PRODUCED)
        if self.spooling:
            self._confirmed = group
            if self._appending is None:
                self._forget_safe()
        else:
            for _ in group:
                self._queue.popleft()
            if self._queue and not self._delivery.stopped:
                self._write()

    def _settle(self, batch: Batch, outcome: Outcome) -> None:
        if batch.outcome is None:
            batch.outcome = outcome
            self._delivery.batches[outcome] += 1
            if not batch.safe.done():
                batch.safe.set_result(outcome)

    def _forget_safe(self) -> None:
        while self._queue and self._queue[0].outcome is not None:
            self._queue.popleft()

    # --- to the spool -------------------------------------------------------------------------------------------------

    def _append(self, *, again: bool = False) -> None:
        """Append what waits, unless that is under way, or failed and is not to be tried again yet."""
        due = again or not self._appends.reason
        if due and self._queue and self._appending is None and not self._delivery.stopped:
            self._append_since_s = self._delivery.clock.monotonic_s()
            self._appending = self._begin(self._append_some(), self._appended)

    async def _append_some(self) -> None:
        assert self._store is not None
        batches = [self._stamped(batch) for batch in islice(self._queue, _TOGETHER)]
        try:
            ends = await self._delivery.on_disk(self._store.append, batches)
        except SpoolFullError:
            delivery = self._delivery
            retry_in_s = self._appends.failed(FULL, delivery.clock.monotonic_s())
            delivery.events.spool_full(self._topic, self._partition, delivery.used_bytes, retry_in_s)
            return
        except OSError as error:
            self._disk_failed(self._appends, error)
            return
        self._appends.over()
        failpoint("spooled")
        for end in ends:
            batch = self._queue.popleft()
            batch.end = end
            self._settle(batch, Outcome.SPOOLED)

    def _stamped(self, batch: Batch) -> Sequence[Outgoing]:
        if all(one.timestamp_ms is not None for one in batch.records):
            return batch.records
        # "The time of writing" is now, not when the spool is drained.
        now_ms = self._delivery.clock.now_us() // 1000
        return [one if one.timestamp_ms is not None else one._replace(timestamp_ms=now_ms) for one in batch.records]

    def _appended(self, task: asyncio.Task[None]) -> None:
        self._appending = None
        if task.cancelled():
            return
        if error := task.exception():
            self._delivery.fail(error)
            return
        self._forget_safe()
        if self.spooling:
            self._append()

    def _disk_failed(self, trouble: Trouble, error: OSError) -> None:
        reason = error.strerror or type(error).__name__
        retry_in_s = trouble.failed(reason, self._delivery.clock.monotonic_s())
        self._delivery.events.spool_failed(self._topic, self._partition, reason, retry_in_s)

    def room(self) -> None:
        """Space came free."""
        if self.spooling and self._appends.reason == FULL:
            self._append(again=True)

    # --- from the spool -----------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """To Kafka, from the front; the lane is direct again when nothing is left. Ends early if the disk fails."""
        store = self._store
        assert store is not None
        await self._pass_over_confirmed(store)
        while True:
            if store.empty:
                if self._appending is None:
                    # No await from here on: whatever comes next comes after what was drained.
                    self._go_direct()
                    return
                await asyncio.wait({self._appending})
                continue
            try:
                chunk = await self._delivery.on_disk(store.read)
            except OSError as error:
                self._disk_failed(self._drains, error)
                return
            self._drains.over()
            for damage in chunk.damage:
                self._delivery.events.spool_damaged(damage)
            if chunk.records:
                await self._delivery.writer.write(self._topic, self._partition, self._late(chunk.records))
                self._delivery.events.records_drained(self._topic, self._partition, len(chunk.records))
            await self._advance(store, chunk.end)

    def _late(self, records: Sequence[Outgoing]) -> list[Outgoing]:
        """With the time of their sending: readers cannot tell from the arrival that hours have passed since."""
        sent = sent_header(self._delivery.clock.now_us())
        return [one._replace(headers=[*one.headers, sent]) for one in records]

    async def _pass_over_confirmed(self, store: Lane) -> None:
        """What was on its way to Kafka when the lane went to the spool is not written again."""
        while self._writing is not None:
            await asyncio.wait({self._writing})
        if self._confirmed and self._appending is not None:
            await asyncio.wait({self._appending})  # perhaps with copies of them
        ends = [batch.end for batch in self._confirmed if batch.end is not None]
        self._confirmed = []
        if ends:
            await self._advance(store, max(ends))

    async def _advance(self, store: Lane, end: Position) -> None:
        try:
            await self._delivery.advance(store, end)
        except OSError as error:
            # It counts for this life; after a crash the same is drained again.
            self._disk_failed(self._drains, error)

    def _go_direct(self) -> None:
        self.spooling = False
        self._appends.over()
        self._drains.over()
        self._delivery.events.lane_drained(self._topic, self._partition)
        now_s = self._delivery.clock.monotonic_s()
        for batch in self._queue:
            batch.since_s = now_s
        if self._queue:
            self._write()

    def _drained(self, task: asyncio.Task[None]) -> None:
        self._draining = None
        if not task.cancelled() and (error := task.exception()):
            self._delivery.fail(error)

    # --- the rest -----------------------------------------------------------------------------------------------------

    def oldest_ms(self) -> int | None:
        """The first timestamp of what waits in or for the spool."""
        if not self.spooling or self._store is None:
            return None
        if self._store.oldest_ms is not None:
            return self._store.oldest_ms
        return next((one.timestamp_ms for batch in self._queue for one in batch.records), None)

    def troubles(self, now_s: float) -> list[str]:
        """What is wrong with the spool: FULL, or what the disk says."""
        found = [trouble.reason for trouble in (self._appends, self._drains) if trouble.reason]
        if self._appending is not None and now_s - self._append_since_s > _HANGS_S:
            found.append("no answer")
        return found

    def refuse(self, error: BaseException) -> None:
        """Whoever waits is told that it is over."""
        for batch in self._queue:
            if not batch.safe.done():
                batch.safe.set_exception(error)

    async def close(self) -> None:
        """Stop; a write or read under way is given up, an append is waited for, but not for ever."""
        for task in (self._writing, self._draining):
            if task is not None:
                task.cancel()
        # What is about to be on disk may still be told to be safe.
        under_way = {task for task in (self._writing, self._draining, self._appending) if task is not None}
        if under_way:
            await asyncio.wait(under_way, timeout=_CLOSE_TIMEOUT_S)
        if self._appending is not None:
            self._appending.cancel()
            await asyncio.wait({self._appending})
        for batch in self._queue:
            batch.safe.cancel()

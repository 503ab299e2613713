"""Between the gateway and Kafka: a batch is safe when Kafka has confirmed it, or when it is on disk.

A lane is one partition. It is *direct* until Kafka leaves a batch unconfirmed for some seconds; then that batch and
all after it go to the spool, until the spool of that lane is drained, from the front, and the lane is direct again.
Guarantees: order per lane, from the first record to the last; a write that is under way is never begun again, its copy
in the spool is passed over when Kafka confirms it; other lanes go on undisturbed. When the spool is full or its disk
fails, batches wait in memory, for room or for Kafka: never dropped, never said to be safe. After a crash records that
Kafka has already may be drained once more; readers of the log remove such duplicates.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from ingest.contract.clock import US_PER_S, Clock
from ingest.contract.errors import StopError
from ingest.contract.log_writer import Outgoing
from ingest.delivery_lane import FULL, Batch, DeliveryEvents, DeliveryLane, Outcome, Writer
from ingest.spool import Lane, Position, Spool

__all__ = ["Delivery", "DeliveryEvents", "Outcome", "Writer"]

T = TypeVar("T")

# Disks take a few fsyncs at once better than one after the other; a lane never has more than two under way.
_THREADS = 4


class Delivery:
    """All lanes. Composition (writer, spool) is the caller's, who closes them after this.

    spool: None to wait for Kafka in memory, as long as it takes. after_s: how long a batch may be unconfirmed.
    executor: where the spool's files are touched; its own threads by default.
    """

    def __init__(
        self,
        writer: Writer,
        spool: Spool | None,
        events: DeliveryEvents,
        clock: Clock,
        after_s: float = 5.0,
        executor: Executor | None = None,
    ) -> None:
        self.writer = writer
        self.events = events
        self.clock = clock
        self.after_s = after_s
        self.batches = dict.fromkeys(Outcome, 0)
        """Batches made safe, by outcome."""
        self._spool = spool
        self._own_executor = ThreadPoolExecutor(_THREADS, "spool") if executor is None else None
        self._executor = executor or self._own_executor
        self._lanes: dict[tuple[str, int], DeliveryLane] = {}
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None
        self._closed = False
        if spool is not None:
            for damage in spool.damage:
                events.spool_damaged(damage)
            for topic, partition in spool.lanes:
                if self._lane(topic, partition).spooling:
                    events.lane_spooling(topic, partition, 0)

    def deliver(self, topic: str, partition: int, records: Sequence[Outgoing]) -> asyncio.Future[Outcome]:
        """Take a batch of one partition over, after all that were taken over before; await it to know where it is safe.

        No batch is taken back: cancelling the wait only means not to be told. Raises StopError, when awaited, if a
        person has to act (Kafka refuses a record for good), or after `close`.
        """
        safe: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if self.stopped:
            safe.set_exception(self._failure or StopError("the delivery is closed"))
            return safe
        lane = self._lanes.get((topic, partition)) or self._lane(topic, partition)
        lane.put(Batch(records, self.clock.monotonic_s(), safe))
        return safe

    def _lane(self, topic: str, partition: int) -> DeliveryLane:
        store = None if self._spool is None else self._spool.lane(topic, partition)
        lane = self._lanes[topic, partition] = DeliveryLane(self, topic, partition, store)
        return lane

    async def run(self) -> None:
        """Watch over the lanes, and drain those with a backlog, until cancelled. Raises what a lane failed with."""
        while not self.stopped:
            self.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), min(0.5, self.after_s / 5))
        if self._failure is not None:
            raise self._failure

    def look(self) -> None:
        """Do what is due by now: lanes that go to the spool, disks that are tried again, backlogs to drain."""
        if not self.stopped:
            now_s = self.clock.monotonic_s()
            for lane in tuple(self._lanes.values()):
                lane.look(now_s)

    # --- what lanes need ----------------------------------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """Nothing new is to begin: something failed, or this is closed."""
        return self._closed or self._failure is not None

    async def on_disk(self, work: Callable[..., T], *args: object) -> T:
        """Do something with the spool's files, beside the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *args)

    def fail(self, error: BaseException) -> None:
        """Nothing goes on from here: who waits, and who comes, is told."""
        if self._failure is None:
            self._failure = error
            self._ended.set()
            for lane in self._lanes.values():
                lane.refuse(error)

    async def advance(self, store: Lane, end: Position) -> None:
        """Kafka has all before `end`. If that frees space, who waits for it is served at once."""
        assert self._spool is not None
        before = self._spool.freed_bytes
        try:
            await self.on_disk(store.advance, end)
        finally:
            if self._spool.freed_bytes > before:
                for lane in self._lanes.values():
                    lane.room()

    @property
    def used_bytes(self) -> int:
        """Of the spool, on disk."""
        return 0 if self._spool is None else self._spool.used_bytes

    # --- what there is ------------------------------------------------------------------------------------------------

    @property
    def spooling(self) -> int:
        """How many lanes go through the spool."""
        return sum(lane.spooling for lane in self._lanes.values())

    @property
    def backlog_bytes(self) -> int:
        """Bytes in the spool that Kafka has not confirmed."""
        return 0 if self._spool is None else sum(lane.backlog_bytes for lane in self._spool.lanes.values())

    def backlog_seconds(self, now_us: int) -> float:
        """Age of the oldest record in the spool, or waiting for room in it; 0 when there is none."""
        found = [at for lane in self._lanes.values() if (at := lane.oldest_ms()) is not None]
        return max(0.0, now_us / US_PER_S - min(found) / 1000) if found else 0.0

    def unready(self) -> list[str]:
        """What keeps batches from being safe, for /readyz."""
        wrong = []
        if failing := self.writer.failing:
            wrong.append(f"Kafka does not confirm writes to {len(failing)} partitions")
        now_s = self.clock.monotonic_s()
        reasons = [reason for lane in self._lanes.values() for reason in lane.troubles(now_s)]
        if full := reasons.count(FULL):
            assert self._spool is not None
            wrong.append(
                f"the spool is full ({self._spool.used_bytes} of {self._spool.max_bytes} bytes): "
                f"{full} partitions wait for room or for Kafka"
            )
        if broken := sorted({reason for reason in reasons if reason != FULL}):
            wrong.append(f"the spool's disk fails: {', '.join(broken)}")
        return wrong

    async def close(self) -> None:
        """Stop. What is in the spool stays there; what is not safe was never said to be."""
        self._closed = True
        self._ended.set()
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))
        # Not waited for: a disk that hangs would hang us, too.
        if self._own_executor is not None:
            self._own_executor.shutdown(wait=False, cancel_futures=True)

"""Snapshots of the partitions that are owned, one at a time, staggered; and what a commit may name.

A snapshot stops its partition's fold for as long as copying its arrays takes; encoding and writing go on beside the
fold. It counts once it is durable and named in a commit, and only then older ones are collected.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from ingest.contract.clock import Clock
from ingest.contract.worker_settings import SnapshotSettings
from stream.fold.state import Frozen
from stream.objects import StoreError
from stream.owned import OwnedPartition
from stream.snapshot import Snapshot
from stream.snapshot_store import SnapshotStore
from stream.tries import Tries

_RETRY_S = 5.0
# A state that was rebuilt is worth keeping.
_FIRST_S = 10.0


class CheckpointEvents(Protocol):
    """What a checkpoint has to say."""

    def snapshot_written(
        self, partition: int, stopped_s: float, wrote_s: float, state_bytes: int, made_us: int
    ) -> None:
        """A snapshot is durable."""
        ...

    def snapshot_failed(self, partition: int, reason: str) -> None:
        """The store does not take it; it will be tried again."""
        ...


class Checkpoints:
    """identity: (group, topic, partition count), which every snapshot says of itself."""

    def __init__(
        self,
        settings: SnapshotSettings,
        identity: tuple[str, str, int],
        store: SnapshotStore,
        tries: Tries,
        events: CheckpointEvents,
        clock: Clock,
    ) -> None:
        self._ended: Callable[[asyncio.Task[None]], None] = lambda _: None
        self._settings = settings
        self._identity = identity
        self._store = store
        self._tries = tries
        self._events = events
        self._clock = clock
        self._due_s: dict[int, float] = {}
        self._writing: dict[int, asyncio.Task[None]] = {}
        self._collectable: dict[int, tuple[str, int]] = {}
        """(snapshot, its offset) that a commit names since the partition's older ones were collected."""
        self._collecting: asyncio.Task[None] | None = None
        self.trouble = ""
        """What the store says; "" while it works."""

    def watch(self, ended: Callable[[asyncio.Task[None]], None]) -> None:
        """Tell this of tasks that end: what they did not expect is a defect."""
        self._ended = ended

    def begin(self, partition: int, owned: OwnedPartition) -> None:
        """A partition was restored: its first snapshot is due at its place in turn, or soon if it has none."""
        # Spread by number, so that partitions assigned together do not write together.
        share = (partition + 1) * 0.618_033_988_75 % 1.0
        every_s = self._settings.every / 1e6
        wait_s = every_s if owned.snapshot_id else min(every_s, _FIRST_S)
        self._due_s[partition] = self._clock.monotonic_s() + wait_s * share

    async def end(self, partitions: Iterable[int]) -> None:
        """Partitions go: what is under way for them is cancelled and waited for."""
        tasks = []
        for partition in partitions:
            self._due_s.pop(partition, None)
            self._collectable.pop(partition, None)
            if task := self._writing.pop(partition, None):
                task.cancel()
                tasks.append(task)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def take_due(self, owned: Mapping[int, OwnedPartition]) -> None:
        """Freeze the partition that has waited longest, if one is due and none is being written. Between folds."""
        if self._writing:
            return
        now_s = self._clock.monotonic_s()
        due = [(due_s, at) for at, due_s in self._due_s.items() if due_s <= now_s and at in owned and owned[at].settled]
        if due:
            await self._take(min(due)[1], owned)

    async def _take(self, partition: int, owned: Mapping[int, OwnedPartition]) -> None:
        one = owned[partition]
        self._due_s[partition] = self._clock.monotonic_s() + self._settings.every / 1e6
        if one.said == one.snapshot_offset:
            return
        started_s = time.perf_counter()
        frozen = await asyncio.to_thread(one.freeze)
        stopped_s = time.perf_counter() - started_s
        # It may have been taken away meanwhile; or a fold that nobody waits for any more has come to its end.
        if partition in self._due_s and one.settled and frozen.next_offset == one.said:
            task = asyncio.create_task(self._write(partition, one, frozen, stopped_s))
            self._writing[partition] = task
            task.add_done_callback(self._ended)

    async def _write(self, partition: int, one: OwnedPartition, frozen: Frozen, stopped_s: float) -> None:
        group, topic, partitions = self._identity
        definitions = one.fold.plan.definitions.to_bytes()
        snapshot = Snapshot(
            group, topic, partition, partitions, one.fence, self._clock.now_us(), definitions, frozen
        )  # fmt: skip
        started_s = time.perf_counter()
        try:
            name = await self._store.put(snapshot)
        except StoreError as error:
            self.trouble = str(error)
            self._events.snapshot_failed(partition, str(error))
            self._due_s[partition] = self._clock.monotonic_s() + _RETRY_S
        else:
            self.trouble = ""
            one.snapshot_id, one.snapshot_offset = name, frozen.next_offset
            size = sum(array.nbytes for array in frozen.arrays.values())
            self._events.snapshot_written(partition, stopped_s, time.perf_counter() - started_s, size, snapshot.made_us)
        finally:
            if self._writing.get(partition) is asyncio.current_task():
                self._writing.pop(partition)

    async def take_all(self, owned: Mapping[int, OwnedPartition], timeout_s: float) -> None:
        """Before the end: a snapshot of each, so that the next owner has nothing to fold again; for so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*self._writing.values(), return_exceptions=True)
                for partition in list(owned):
                    if (one := owned.get(partition)) is not None and one.settled and partition in self._due_s:
                        await self._take(partition, owned)
                        await asyncio.gather(*self._writing.values(), return_exceptions=True)
        except TimeoutError:
            await self.end(list(self._due_s))

    def committed(self, owned: Mapping[int, OwnedPartition]) -> None:
        """These are committed with the snapshots that they name: older ones, and what crashed before, can go."""
        self._collectable.update({at: (one.snapshot_id, one.snapshot_offset) for at, one in owned.items()})
        if self._collecting is None or self._collecting.done():
            self._collecting = asyncio.create_task(self._collect())
            self._collecting.add_done_callback(self._ended)

    async def _collect(self) -> None:
        while self._collectable:
            partition, (snapshot_id, offset) = self._collectable.popitem()
            try:
                await self._store.collect(partition, self._settings.keep, [snapshot_id])
                await self._tries.clear(partition, offset)
            except StoreError as error:
                self.trouble = str(error)
                self._events.snapshot_failed(partition, str(error))

    async def close(self) -> None:
        """Begin nothing new."""
        await self.end(list(self._due_s))
        if self._collecting is not None:
            self._collecting.cancel()
            await asyncio.gather(self._collecting, return_exceptions=True)

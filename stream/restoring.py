"""Where a partition begins, and with what state.

Guarantee: nothing that the log still holds is lost or said twice. In order of preference:

- *suspended*: this process had the partition, and nobody has committed since: its state goes on where it is;
- *snapshot*: the one that the group's commit names, or an earlier one that is whole; folds on silently to the commit;
- *found*: the group's offsets have expired or were deleted: the newest whole snapshot that there is;
- *rebuild*: no snapshot: the log of `worker.rebuild` before the commit is folded silently, then the alerts that are
  open on the topic are held against the fold's;
- *fresh*: nothing is known of this partition: from the log's beginning; or its state began there with nothing, and has
  had no snapshot since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ingest.contract.clock import Clock
from ingest.contract.errors import IncompatibleError, QuarantineError, ReconnectError
from ingest.contract.failpoints import failpoint
from ingest.contract.worker_settings import WorkerSettings
from stream.alerts_told import Told
from stream.consumer import Bounds
from stream.fold.migrate import plan_from
from stream.fold.partition import PartitionFold
from stream.fold.plan import Plan
from stream.fold.reconciling import OpenAlert
from stream.fold.state import LayoutError, PartitionState
from stream.notes import Note, read_note
from stream.objects import UnreadableError
from stream.owned import EPOCH_BITS, OwnedPartition
from stream.snapshot import Fault, Snapshot, SnapshotError
from stream.snapshot_store import SnapshotStore
from stream.surviving import CARELESS_STARTS
from stream.tries import Tries

# Whoever cannot use so many has to rebuild from the log anyway, and soon.
_MOST_TRIED = 16
_GENERATION_MASK = (1 << EPOCH_BITS) - 1
# Each needs its state twice for a moment.
_AT_ONCE = 2


class How(StrEnum):
    """Where a state came from."""

    SUSPENDED = "suspended"
    SNAPSHOT = "snapshot"
    FOUND = "found"
    REBUILD = "rebuild"
    FRESH = "fresh"


class Log(Protocol):
    """What is needed of a LogConsumer."""

    @property
    def generation(self) -> int:
        """The group's generation."""
        ...

    async def bounds(self, partition: int) -> Bounds:
        """What there is to read. Raises ReconnectError."""
        ...

    async def offset_since(self, partition: int, since_us: int) -> int | None:
        """The first offset that arrived at or after a time. Raises ReconnectError."""
        ...


class RestoreEvents(Protocol):
    """What a restore has to say."""

    def gap(self, partition: int, expected: int, found: int) -> None:
        """The log no longer holds, or never held, what was to be read next."""
        ...

    def snapshot_unusable(self, partition: int, snapshot_id: str, reason: Fault, detail: str) -> None:
        """A snapshot was passed over."""
        ...


@dataclass(frozen=True, slots=True)
class Restored:
    """A partition to go on with, at `owned.fold.state.next_offset`."""

    owned: OwnedPartition
    how: How


def fence_after(known: int, generation: int) -> int:
    """A fence that is not below any known one: a group that was deleted counts its generations from 1 again.

    >>> fence_after(fence_after(0, 7), 8), fence_after(7, 1) == (1 << 32) + 1
    (8, True)
    """
    epoch, before = known >> EPOCH_BITS, known & _GENERATION_MASK
    return (epoch + (generation < before) << EPOCH_BITS) + generation


class Restorer:
    """Finds states. told: reads the alerts topic; it is asked only where nothing else is known."""

    def __init__(
        self,
        settings: WorkerSettings,
        plan: Plan,
        partitions: int,
        log: Log,
        store: SnapshotStore,
        tries: Tries,
        told: Callable[[], Awaitable[dict[int, Told]]],
        events: RestoreEvents,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._partitions = partitions
        self._log = log
        self._store = store
        self._tries = tries
        self._read_told = told
        self._events = events
        self._clock = clock
        self._told: dict[int, Told] | None = None
        self._telling = asyncio.Lock()
        self._few = asyncio.Semaphore(_AT_ONCE)
        self._starts: dict[int, int] = {}
        """Counted in the life that is being tried for."""

    def begin_life(self, partitions: Iterable[int]) -> None:
        """These are to be restored; and the alerts topic may have moved on."""
        self._told = None
        for partition in partitions:
            self._starts.pop(partition, None)

    async def restore(self, partition: int, suspended: OwnedPartition | None) -> Restored:
        """May be tried again. Raises ReconnectError (StoreError among them), IncompatibleError."""
        async with self._few:
            return await self._restore(partition, suspended)

    async def _restore(self, partition: int, suspended: OwnedPartition | None) -> Restored:
        bounds = await self._log.bounds(partition)
        note = read_note(bounds.metadata)
        if suspended is not None and _still_ours(suspended, bounds, note):
            suspended.fence = fence_after(suspended.fence, self._generation)
            # Others may have written theirs meanwhile.
            suspended.defined = False
            return Restored(suspended, How.SUSPENDED)
        found = await self._snapshot(partition, bounds, note)
        if found is not None:
            restored = await self._from_snapshot(partition, bounds, *found)
        else:
            restored = await self._from_log(partition, bounds, note)
        owned = restored.owned
        if owned.live_from == bounds.committed:
            owned.committed, owned.committed_snapshot_id = bounds.committed, note.snapshot_id
        return restored

    @property
    def _generation(self) -> int:
        """Raises ReconnectError between two memberships."""
        if (generation := self._log.generation) < 0:
            raise ReconnectError("not a member of the group at the moment")
        return generation

    async def _snapshot(self, partition: int, bounds: Bounds, note: Note) -> tuple[str, PartitionFold, int] | None:
        """(id, fold, fence) of the one that the commit names, else of the newest that is whole and not ahead of it."""
        names = [note.snapshot_id] if note.snapshot_id and bounds.committed is not None else []
        names += [
            entry.id
            for entry in await self._store.list(partition)
            if bounds.committed is None or entry.next_offset <= bounds.committed
        ]
        unreadable: UnreadableError | None = None
        for name in list(dict.fromkeys(names))[:_MOST_TRIED]:
            try:
                snapshot = await self._store.get(partition, name)
                if bounds.committed is not None and snapshot.frozen.next_offset > bounds.committed:
                    # What follows from the records between is said by nobody.
                    raise SnapshotError(Fault.LAYOUT, f"is ahead of the commit at {bounds.committed}")
                return name, await asyncio.to_thread(self._thaw, partition, snapshot), snapshot.fence
            except UnreadableError as error:
                unreadable = error
                self._pass_over(partition, name, error)
            except SnapshotError as error:
                self._pass_over(partition, name, error)
            except (LayoutError, QuarantineError) as error:
                self._events.snapshot_unusable(partition, name, Fault.LAYOUT, str(error))
        if unreadable is not None:
            # What is there must not be taken for lost.
            raise unreadable
        return None

    def _pass_over(self, partition: int, name: str, error: SnapshotError | UnreadableError) -> None:
        if not isinstance(error, SnapshotError):
            self._events.snapshot_unusable(partition, name, Fault.TORN, str(error))
        elif error.reason is Fault.NEWER:
            raise IncompatibleError(f"partition {partition}: {error.detail}") from error
        else:
            self._events.snapshot_unusable(partition, name, error.reason, error.detail)

    def _thaw(self, partition: int, snapshot: Snapshot) -> PartitionFold:
        failpoint("restoring")
        plan = plan_from(snapshot.definitions, self._plan.registry)
        if plan.definitions.digest == self._plan.definitions.digest:
            plan = self._plan
        state = PartitionState.thaw(plan, snapshot.frozen)
        return PartitionFold(plan, self._partitions, state, partition=partition)

    async def _from_snapshot(
        self, partition: int, bounds: Bounds, name: str, fold: PartitionFold, fence: int
    ) -> Restored:
        state = fold.state
        at, how = state.next_offset, How.FOUND if bounds.committed is None else How.SNAPSHOT
        live_from = max(at, bounds.committed or 0)
        owned = await self._owned(partition, fold, live_from, fence)
        owned.snapshot_id, owned.snapshot_offset = name, at
        if at < bounds.begin or live_from > bounds.end:
            # Retention overtook us; or the log was cut, or the topic made anew: take all there is. The statistics
            # stay true, and what was folded before is not folded again: each sensor knows its newest timestamps.
            self._events.gap(partition, at if at < bounds.begin else live_from, bounds.begin)
            owned.move_to(bounds.begin, live_from if bounds.begin <= live_from <= bounds.end else bounds.begin)
        return Restored(owned, how)

    async def _from_log(self, partition: int, bounds: Bounds, note: Note) -> Restored:
        fold = PartitionFold(self._plan, self._partitions, partition=partition)
        begun, committed = note.begin, bounds.committed
        if begun is not None and committed is not None and bounds.begin <= begun <= committed <= bounds.end:
            # All that the state has ever followed from is there.
            return await self._from(partition, fold, begun, committed, 0)
        told = await self._told_of(partition)
        live_from = told.next_offset if bounds.committed is None else bounds.committed
        # Nothing was there to be known.
        if not live_from:
            return await self._from(partition, fold, bounds.begin, bounds.begin, told.fence)
        if not bounds.begin <= live_from <= bounds.end:
            self._events.gap(partition, live_from, bounds.begin)
            live_from = begin = bounds.begin
        else:
            # From the commit back, not from now: after a long stop, the past that counts is the one before it.
            before_us = note.now_us or self._clock.now_us()
            since = await self._log.offset_since(partition, before_us - self._settings.rebuild)
            begin = max(live_from if since is None else min(since, live_from), bounds.begin)
        fold.state.next_offset = begin
        owned = await self._owned(partition, fold, live_from, told.fence, told.open_before(live_from))
        return Restored(owned, How.REBUILD)

    async def _from(self, partition: int, fold: PartitionFold, begin: int, live_from: int, fence: int) -> Restored:
        """With nothing, from the place where nothing had been before."""
        fold.state.next_offset = begin
        owned = await self._owned(partition, fold, live_from, fence)
        owned.begin = begin
        return Restored(owned, How.FRESH)

    async def _owned(
        self,
        partition: int,
        fold: PartitionFold,
        live_from: int,
        known_fence: int,
        open_alerts: Sequence[OpenAlert] | None = None,
    ) -> OwnedPartition:
        fence, skip = fence_after(known_fence, self._generation), await self._tries.skipped(partition)
        if partition not in self._starts:
            self._starts[partition] = await self._tries.started(partition)
        return OwnedPartition(
            fold,
            live_from=live_from,
            fence=fence,
            skip=skip,
            careful=self._starts[partition] > CARELESS_STARTS,
            open_alerts=open_alerts,
        )

    async def _told_of(self, partition: int) -> Told:
        async with self._telling:
            if self._told is None:
                self._told = await self._read_told()
        return self._told.get(partition) or Told()


def _still_ours(suspended: OwnedPartition, bounds: Bounds, note: Note) -> bool:
    """Nobody has committed since, and all that this state's words follow from is committed."""
    at = suspended.fold.state.next_offset
    return bounds.committed == suspended.committed == at and note.snapshot_id == suspended.committed_snapshot_id

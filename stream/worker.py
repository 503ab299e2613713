"""The worker: consume → fold → publish → commit, one fold per partition.

Guarantee: every record is folded into the state exactly once, whatever happens to the process: a state is a snapshot
and the log behind it, and the fold is a function of the log. Offsets are committed only after all effects up to them
are on all in-sync replicas, so every alert transition is published at least once, under an id that is the same each
time, and carries a fence by which readers drop the late words of an owner that was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable, Mapping

from ingest.contract.clock import Clock
from ingest.contract.errors import ReconnectError
from ingest.contract.failpoints import failpoint
from ingest.contract.kafka_client import Backoff
from ingest.contract.log_writer import LogWriter
from ingest.contract.settings import Settings
from stream.checkpoints import Checkpoints
from stream.consumer import SESSION_TIMEOUT_MS, LogConsumer, OutOfRangeError, RefusedError
from stream.exposition import SensorPage
from stream.fold.partition import LogRecord
from stream.fold.plan import Plan
from stream.notes import Note
from stream.own_records import OwnRecords
from stream.owned import Outcome, OwnedPartition
from stream.publishing import Publisher
from stream.restoring import How, Restored, Restorer
from stream.surviving import Survival
from stream.warm_up import warm_up
from stream.worker_events import WorkerEvents

_POLL_S = 0.2
# A loop that has not come round for so long is stuck, not slow.
_STUCK_S = 120.0
# Of the time that a supervisor gives a daemon to end.
_FINISH_S = 3.0
# Of the time that the group gives its members for a rebalance.
_REVOKE_S = 5.0
# Without the group's word for so long, its partitions may be somebody else's.
_LEASE_S = SESSION_TIMEOUT_MS / 1000
# Between asking for it.
_FENCED_S = 1.0


class Worker:
    """A member of the group. Composition is the caller's."""

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        consumer: LogConsumer,
        publisher: Publisher,
        writer: LogWriter,
        restorer: Restorer,
        checkpoints: Checkpoints,
        survival: Survival,
        events: WorkerEvents,
        clock: Clock,
    ) -> None:
        self._settings = settings.worker
        self._plan = plan
        self._partitions = settings.kafka.topics.readings.partitions
        self._consumer = consumer
        self._publisher = publisher
        self._writer = writer
        self._restorer = restorer
        self._checkpoints = checkpoints
        self._survival = survival
        self._events = events
        self._clock = clock
        self._own = OwnRecords(settings, writer, clock, self._ended)
        self._owned: dict[int, OwnedPartition] = {}
        self._suspended: dict[int, OwnedPartition] = {}
        """Taken away with everything said and committed: they go on if they come back before anybody else commits."""
        self._restoring: dict[int, asyncio.Task[None]] = {}
        # Held from a poll's fold to its effects' confirmation, and by commits: a rebalance waits for it.
        self._turn = asyncio.Lock()
        self._page = SensorPage(settings.plant.levels)
        self._compiled = False
        self._reachable = False
        self._committed_s = self._round_s = self._lease_s = clock.monotonic_s()
        self._failure: BaseException | None = None
        events.watch(
            lambda: sum(len(one.fold.state.slots) for one in self._owned.values()),
            lambda: sum(one.fold.state.nbytes() for one in self._owned.values()),
        )

    # --- the consumer's owner ---------------------------------------------------------------------------------

    def assigned(self, partitions: set[int]) -> None:
        """New partitions, paused: restore them outside of the rebalance."""
        self._events.assigned(partitions, self._consumer.generation)
        self._lease_s = self._clock.monotonic_s()
        self._restorer.forget_told()
        # What did not come back is somebody else's now.
        self._suspended = {at: one for at, one in self._suspended.items() if at in partitions}
        self._begin_anew(partitions)

    def _begin_anew(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self._owned.pop(partition, None)
            self._start(partition, self._restore(partition))

    def _start(self, partition: int, finding: Coroutine[None, None, Restored]) -> None:
        task = self._restoring[partition] = asyncio.create_task(self._resume(partition, finding))
        task.add_done_callback(self._ended)

    async def revoked(self, partitions: set[int]) -> None:
        """Partitions go: finish the turn, commit them, put them aside. Takes seconds at most."""
        if not partitions:
            return
        for partition in partitions:
            if task := self._restoring.pop(partition, None):
                task.cancel()
        failpoint("revoking")
        await self._checkpoints.end(partitions)
        in_turn = False
        try:
            async with asyncio.timeout(_REVOKE_S), self._turn:
                in_turn = True
                await self._commit(partitions)
        except TimeoutError:
            self._events.commit_failed("the rebalance does not wait for it")
        for partition in partitions:
            one = self._owned.pop(partition, None)
            if one is not None and in_turn and one.live and one.committed == one.fold.state.next_offset:
                self._suspended[partition] = one
        self._events.revoked(partitions)

    async def _resume(self, partition: int, finding: Coroutine[None, None, Restored]) -> None:
        """Go on with what was found."""
        started_s = self._clock.monotonic_s()
        restored = await finding
        owned = restored.owned
        owned.heard_s = self._clock.monotonic_s()
        self._owned[partition] = owned
        self._checkpoints.begin(partition)
        self._events.restored(
            partition, restored.how, owned.fold.state.next_offset, owned.live_from, owned.heard_s - started_s
        )
        self._restoring.pop(partition, None)

    async def _restore(self, partition: int) -> Restored:
        """Find a state, and seek."""
        backoff = Backoff()
        suspended = self._suspended.pop(partition, None)
        while True:
            try:
                restored = await self._restorer.restore(partition, suspended)
                self._consumer.resume_at(partition, restored.owned.fold.state.next_offset)
            except ReconnectError as error:
                await self._again(partition, error, backoff)
            else:
                return restored

    async def _move_on(self, partition: int, owned: OwnedPartition) -> Restored:
        """What was to be read next is not in the log: go on with this state at the log's beginning."""
        backoff = Backoff()
        while True:
            try:
                bounds = await self._consumer.bounds(partition)
                self._consumer.resume_at(partition, bounds.begin)
            except ReconnectError as error:
                await self._again(partition, error, backoff)
            else:
                self._events.gap(partition, owned.fold.state.next_offset, bounds.begin)
                owned.move_to(bounds.begin)
                return Restored(owned, How.SUSPENDED)

    async def _again(self, partition: int, error: ReconnectError, backoff: Backoff) -> None:
        retry_in_s = backoff.next_s()
        self._events.restore_failed(partition, str(error), retry_in_s)
        await asyncio.sleep(retry_in_s)

    # --- the loop ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. Raises StopError where going on would do harm."""
        started_s = time.perf_counter()
        await asyncio.to_thread(warm_up, self._plan, self._partitions)
        self._compiled = True
        self._events.compiled(time.perf_counter() - started_s)
        await self._consumer.start(self, self._events.kafka_unreachable)
        self._reachable = True
        while True:
            await self._round()

    async def _round(self) -> None:
        self._round_s = self._clock.monotonic_s()
        if self._failure is not None:
            raise self._failure
        try:
            found = await self._consumer.poll(_POLL_S)
            self._reachable = True
        except OutOfRangeError as error:
            # What is being restored has not sought its new place yet.
            for partition in error.partitions & self._owned.keys():
                self._consumer.pause(partition)
                self._start(partition, self._move_on(partition, self._owned.pop(partition)))
            return
        except ReconnectError as error:
            self._reachable = False
            self._events.poll_failed(str(error))
            await asyncio.sleep(1.0)
            return
        turn = asyncio.create_task(self._take_turn(found))
        try:
            await asyncio.shield(turn)
        except asyncio.CancelledError:
            # What is on its way is finished, or the next owner would say it again.
            await asyncio.wait([turn], timeout=_FINISH_S)
            turn.cancel()
            await asyncio.gather(turn, return_exceptions=True)
            raise
        self._write_own_records()
        self._report()

    async def _take_turn(self, found: Mapping[int, list[LogRecord]]) -> None:
        async with self._turn:
            work = {at: records for at, records in found.items() if at in self._owned}
            if work:
                await self._work(work)
            if self._clock.monotonic_s() - self._committed_s >= min(self._settings.commit_every / 1e6, _LEASE_S / 2):
                await self._commit(set(self._owned))
            await self._checkpoints.take_due(self._owned)

    async def _work(self, work: dict[int, list[LogRecord]]) -> None:
        """Fold, publish; what the fold did not survive is restored."""
        if not await self._renew_lease():
            # Not ours, perhaps: what was polled is read again when the group has given its word.
            for at in work.keys() & self._owned.keys():
                self._consumer.resume_at(at, self._owned[at].fold.state.next_offset)
            await asyncio.sleep(_FENCED_S)
            return
        owned = {at: self._owned[at] for at in work}
        started_s = time.perf_counter()
        outcomes = await self._survival.fold(work, owned)
        self._folded(outcomes, owned, time.perf_counter() - started_s)
        await self._publisher.publish(outcomes, owned)
        failpoint("published")
        for at, outcome in outcomes.items():
            owned[at].said = outcome.next_offset
            if outcome.failed is not None:
                # The state is torn.
                self._consumer.pause(at)
                await self._survival.failed(at, outcome.failed)
                await self._checkpoints.end([at])
                self._begin_anew([at])

    def _folded(self, outcomes: Mapping[int, Outcome], owned: Mapping[int, OwnedPartition], seconds: float) -> None:
        heard_s = self._clock.monotonic_s()
        for at, outcome in outcomes.items():
            owned[at].heard_s = heard_s
            self._events.folded(outcome)
        self._events.worked(seconds)

    def _ended(self, task: asyncio.Task[None]) -> None:
        # What a task of ours did not expect must not leave a partition silently behind.
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error

    # --- commits ----------------------------------------------------------------------------------------------------

    async def _renew_lease(self) -> bool:
        """Whether the group has given its word lately that these partitions are ours; asks if it has not."""
        # Whoever says nothing yet needs nobody's word.
        if self._clock.monotonic_s() - self._lease_s < _LEASE_S or not any(one.live for one in self._owned.values()):
            return True
        await self._commit(set(self._owned), unmoved=True)
        return self._clock.monotonic_s() - self._lease_s < _LEASE_S

    async def _commit(self, partitions: Iterable[int], *, unmoved: bool = False) -> None:
        """Commit what has moved on; a failure is told and made good by the next commit. In turn only."""
        self._committed_s = self._clock.monotonic_s()
        # To ask for the group's word costs no more than a commit.
        unmoved = unmoved or self._committed_s - self._lease_s >= _LEASE_S / 2
        moved = {}
        for partition in partitions:
            one = self._owned.get(partition)
            # While it is not live, the old commit stands: what follows it has not been published yet.
            if one is None or one.said < one.live_from:
                continue
            if unmoved or one.said > one.committed or one.snapshot_id != one.committed_snapshot_id:
                moved[partition] = (one, one.said, one.snapshot_id)
        if not moved:
            return
        failpoint("before-commit")
        try:
            await self._consumer.commit(
                {
                    at: (offset, str(Note(name, one.fold.state.now_us or None)))
                    for at, (one, offset, name) in moved.items()
                }
            )
        except ReconnectError as error:
            self._events.commit_failed(str(error))
            if isinstance(error, RefusedError):
                # Until it is assigned anew, nothing here counts.
                self._lease_s = float("-inf")
            return
        self._lease_s = self._clock.monotonic_s()
        named = {}
        for partition, (one, offset, name) in moved.items():
            if name != one.committed_snapshot_id:
                named[partition] = one
                one.careful = False
            one.committed, one.committed_snapshot_id = offset, name
        self._events.committed(len(moved))
        if named:
            await self._checkpoints.committed(named)

    # --- time passes ------------------------------------------------------------------------------------------------

    def _write_own_records(self) -> None:
        now_s, tick_s = self._clock.monotonic_s(), self._settings.tick / 1e6
        wanted = self._plan.definitions
        for partition, one in self._owned.items():
            if not one.defined and one.fold.plan.definitions.digest != wanted.digest:
                one.defined = self._own.define(partition, wanted, lambda at=partition: self._events.defined(at))  # type: ignore[misc]
            if now_s - one.heard_s < tick_s:
                continue
            if self._consumer.behind(partition, one.fold.state.next_offset) != 0:
                continue
            if self._own.tick(partition, self._events.ticked):
                one.heard_s = now_s  # the next tick is due a tick from now, whether this one arrives or not

    def _report(self) -> None:
        owned = self._owned.values()
        self._events.states(
            live=sum(one.live for one in owned),
            restoring=len(self._restoring),
            catching_up=sum(not one.live and not one.rebuilding for one in owned),
            warming=sum(one.rebuilding for one in owned),
        )
        now_us = self._clock.now_us()
        for partition, one in self._owned.items():
            state = one.fold.state
            behind = self._consumer.behind(partition, state.next_offset)
            if state.now_us:
                self._events.lag(partition, max(0.0, (now_us - state.now_us) / 1e6), behind)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def sensors_page(self) -> bytes:
        """`/metrics/sensors`, rendered off the event loop."""
        return await asyncio.to_thread(self._render)

    def _render(self) -> bytes:
        owned = list(self._owned.values())
        for one in owned:
            one.lock.acquire()
        try:
            return self._page.render(one.fold for one in owned)
        finally:
            for one in owned:
                one.lock.release()

    async def drain(self) -> None:
        """Commit what is done, with a snapshot of each partition if the store is quick enough."""
        self._events.stopping()
        self._own.cancel()
        for task in self._restoring.values():
            task.cancel()
        async with self._turn:
            # First what is quick: a store that hangs must not cost the commit.
            await self._commit(set(self._owned))
            await self._checkpoints.take_all(self._owned)
            await self._commit(set(self._owned))

    def unhealthy(self) -> list[str]:
        """For /healthz: only what a restart would mend."""
        if not self._reachable or self._writer.failing:
            return []  # a restart would not bring Kafka back
        idle_s = self._clock.monotonic_s() - self._round_s
        return [f"no progress for {idle_s:.0f} s"] if self._compiled and idle_s > _STUCK_S else []

    def unready(self) -> list[str]:
        """What keeps the worker from its work, for /readyz."""
        if not self._compiled:
            return ["kernels are being compiled"]
        if not self._reachable:
            return ["Kafka cannot be reached"]
        if failing := self._writer.failing:
            return [f"Kafka does not confirm writes to {len(failing)} partitions"]
        if self._restoring:
            return [f"{len(self._restoring)} partitions are being restored"]
        if not self._owned:
            return ["no partition assigned yet"]
        silent_s = self._clock.monotonic_s() - self._lease_s
        if silent_s > _LEASE_S and any(one.live for one in self._owned.values()):
            return ["the consumer group does not answer: nothing is published until it does"]
        return [f"snapshots cannot be written: {self._checkpoints.trouble}"] if self._checkpoints.trouble else []

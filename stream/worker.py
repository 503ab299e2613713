"""The worker: consume → fold → publish → commit, one fold per partition.

Guarantee: every record is folded into the state exactly once, whatever happens to the process: a state is a snapshot
and the log behind it, and the fold is a function of the log. Offsets are committed only after all effects up to them
are on all in-sync replicas, so every alert transition is published at least once, under an id that is the same each
time, and carries a fence by which readers drop the late words of an owner that was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Generator, Mapping
from contextlib import closing
from functools import partial

from ingest.contract.clock import Clock
from ingest.contract.errors import ReconnectError
from ingest.contract.failpoints import failpoint
from ingest.contract.kafka_client import Backoff
from ingest.contract.log_writer import LogWriter
from ingest.contract.settings import Settings
from stream.checkpoints import Checkpoints
from stream.commits import Commits
from stream.consumer import LogConsumer, OutOfRangeError
from stream.exposition import SensorPage
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.plan import Plan
from stream.model_costs import ModelCosts
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
_SNAPSHOTS_S = 5.0
# Of the time that the group gives its members for a rebalance.
_REVOKE_S = 5.0
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
        costs: ModelCosts | None = None,
    ) -> None:
        self._costs = costs
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
        self._commits = Commits(consumer, checkpoints, settings.worker.commit_every, events, clock)
        self._own = OwnRecords(settings, writer, clock, self._ended)
        self._owned: dict[int, OwnedPartition] = {}
        self._suspended: dict[int, OwnedPartition] = {}
        """Taken away with everything said and committed: they go on if they come back before anybody else commits."""
        self._restoring: dict[int, asyncio.Task[None]] = {}
        # Held from a poll's fold to its effects' confirmation, and by commits: a rebalance waits for it.
        self._turn = asyncio.Lock()
        self._page = SensorPage(settings.plant.levels)
        checkpoints.watch(self._ended)
        self._draining = False
        self._compiled = False
        self._reachable = False
        self._round_s = clock.monotonic_s()
        self._failure: BaseException | None = None
        events.watch(lambda: [one.fold for one in self._owned.values()])

    # --- the consumer's owner ---------------------------------------------------------------------------------

    def assigned(self, partitions: set[int]) -> None:
        """New partitions, paused: restore them outside of the rebalance."""
        self._events.assigned(partitions, self._consumer.generation)
        self._commits.granted()
        if self._draining:
            return
        # What did not come back is somebody else's now.
        self._suspended = {at: one for at, one in self._suspended.items() if at in partitions}
        self._begin_anew(partitions)

    def _begin_anew(self, partitions: Collection[int]) -> None:
        self._restorer.begin_life(partitions)
        for partition in partitions:
            self._owned.pop(partition, None)
            self._start(partition, partial(self._restore, partition))

    def _start(self, partition: int, find: Callable[[], Coroutine[None, None, Restored]]) -> None:
        if before := self._restoring.pop(partition, None):
            before.cancel()
        task = self._restoring[partition] = asyncio.create_task(self._resume(partition, find))
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
                await self._commits.commit({at: self._owned[at] for at in partitions & self._owned.keys()})
        except TimeoutError:
            self._events.commit_failed("the rebalance does not wait for it")
        finally:
            for partition in partitions:
                one = self._owned.pop(partition, None)
                if one is not None and in_turn and one.settled and one.committed == one.said:
                    self._suspended[partition] = one
        self._events.revoked(partitions)

    async def _resume(self, partition: int, find: Callable[[], Coroutine[None, None, Restored]]) -> None:
        """Go on with what is found."""
        started_s = self._clock.monotonic_s()
        restored = await find()
        owned = restored.owned
        owned.heard_s = self._clock.monotonic_s()
        self._owned[partition] = owned
        self._checkpoints.begin(partition, owned)
        self._events.restored(
            partition, restored.how, owned.fold.state.next_offset, owned.live_from, owned.heard_s - started_s
        )
        self._restoring.pop(partition, None)

    async def _restore(self, partition: int) -> Restored:
        """Find a state, and seek."""
        backoff = Backoff()
        while True:
            try:
                restored = await self._restorer.restore(partition, self._suspended.get(partition))
                self._consumer.resume_at(partition, restored.owned.fold.state.next_offset)
            except ReconnectError as error:
                await self._again(partition, error, backoff)
            else:
                # Taken away again before this, it would still be there.
                self._suspended.pop(partition, None)
                return restored

    async def _move_on(self, partition: int, owned: OwnedPartition) -> Restored:
        """What was to be read next is not in the log: go on with this state at the log's beginning."""
        backoff = Backoff()
        while True:
            at = owned.fold.state.next_offset
            try:
                bounds = await self._consumer.bounds(partition)
                place = at if bounds.begin <= at <= bounds.end else bounds.begin
                self._consumer.resume_at(partition, place)
            except ReconnectError as error:
                await self._again(partition, error, backoff)
            else:
                if place != at:
                    self._events.gap(partition, at, place)
                    # What was said by an earlier owner is not said again, unless that was in another log.
                    owned.move_to(place, max(place, owned.live_from) if owned.live_from <= bounds.end else place)
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
                self._start(partition, partial(self._move_on, partition, self._owned.pop(partition)))
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
            if self._commits.due:
                await self._commits.commit(self._owned.copy())
            await self._checkpoints.take_due(self._owned)

    async def _work(self, work: dict[int, list[LogRecord]]) -> None:
        """Fold, publish; what the fold did not survive is restored."""
        polled = work
        if not await self._commits.may_speak(work, self._owned):
            # Not ours, perhaps: what says something is read again when the group has given its word.
            work = self._silent(polled)
            for at in (polled.keys() - work.keys()) & self._owned.keys():
                self._consumer.resume_at(at, self._owned[at].fold.state.next_offset)
            if not work:
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
            if self._owned.get(at) is not owned[at]:
                continue  # taken away while it was published
            if outcome.failed is not None:
                # The state is torn.
                self._consumer.pause(at)
                await self._checkpoints.end([at])
                await self._survival.failed(at, outcome.failed)
                if self._owned.get(at) is owned[at]:
                    self._begin_anew([at])
            elif outcome.next_offset <= polled[at][-1].offset:
                # Not all of it: a careful partition does not keep the others waiting.
                self._consumer.resume_at(at, outcome.next_offset)

    def _silent(self, work: Mapping[int, list[LogRecord]]) -> dict[int, list[LogRecord]]:
        """The records before those that say something."""
        found = {
            at: [one for one in work[at] if one.offset < self._owned[at].live_from]
            for at in work.keys() & self._owned.keys()
        }
        return {at: records for at, records in found.items() if records}

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

    # --- time passes ------------------------------------------------------------------------------------------------

    def _write_own_records(self) -> None:
        if not self._commits.has_lease:
            return
        now_s, tick_s = self._clock.monotonic_s(), self._settings.tick / 1e6
        for partition, one in self._owned.items():
            if self._consumer.behind(partition, one.fold.state.next_offset) != 0:
                continue
            if not one.defined and one.live:
                # What was written before, by whomever, has been read by now.
                self._define(partition, one)
            if now_s - one.heard_s >= tick_s and self._own.tick(partition, self._events.ticked):
                one.heard_s = now_s  # the next tick is due a tick from now, whether this one arrives or not

    def _define(self, partition: int, one: OwnedPartition) -> None:
        wanted = self._plan.definitions
        one.defined = one.fold.plan is self._plan or one.fold.plan.definitions.digest == wanted.digest
        if not one.defined:
            one.defined = self._own.define(partition, wanted, partial(self._events.defined, partition))

    def _report(self) -> None:
        if self._costs is not None:
            self._costs.look()
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
            if heard_us := state.clock.latest_us:
                self._events.lag(partition, max(0.0, (now_us - heard_us) / 1e6), behind)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def sensors_page(self) -> bytes:
        """`/metrics/sensors`, rendered off the event loop."""
        async with self._page.turn:
            return await asyncio.to_thread(self._render, list(self._owned.values()))

    def _render(self, owned: list[OwnedPartition]) -> bytes:
        def one_by_one() -> Generator[PartitionFold, None, None]:
            # A page may take seconds: the other partitions go on meanwhile.
            for one in owned:
                with one.lock:
                    yield one.fold

        with closing(one_by_one()) as folds:
            return self._page.render(folds)

    async def drain(self) -> None:
        """Commit what is done, with a snapshot of each partition if the store is quick enough."""
        self._events.stopping()
        self._draining = True
        self._own.cancel()
        for task in self._restoring.values():
            task.cancel()
        try:
            async with self._turn:
                # First what is quick: a store that hangs must not cost the commit.
                await self._commits.commit(self._owned.copy())
                await self._checkpoints.take_all(self._owned, _SNAPSHOTS_S)
                await self._commits.commit(self._owned.copy())
        finally:
            await self._checkpoints.close()

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
        if not self._commits.has_lease and any(one.live for one in self._owned.values()):
            return ["the consumer group does not answer: nothing is published until it does"]
        return [f"snapshots cannot be written: {self._checkpoints.trouble}"] if self._checkpoints.trouble else []

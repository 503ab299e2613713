"""The worker: consume → fold → publish → commit, one fold per partition.

Guarantee: offsets are committed only after all effects up to them are on all in-sync replicas of the alerts topic, so
every alert transition is published at least once, under an id that is the same each time. State is in memory: after a
start it is rebuilt from the log (`worker.rebuild` before the last commit), during which nothing is published again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import numpy as np

from ingest.contract.clock import Clock
from ingest.contract.errors import ReconnectError
from ingest.contract.kafka_client import Backoff
from ingest.contract.log_writer import LogWriter, Outgoing
from ingest.contract.quarantine import quarantine_record
from ingest.contract.readings import Readings, Words
from ingest.contract.sensors import labels_of
from ingest.contract.settings import Settings
from ingest.contract.wire import ARROW, Envelope, Kind, encode_readings, headers_of
from stream.consumer import Bounds, LogConsumer, OutOfRangeError
from stream.effects import Description, alert_record, alerts_partition, is_armed
from stream.exposition import SensorPage
from stream.fold.alerts import Phase
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.plan import Plan
from stream.owned import Outcome, OwnedPartition, Unreadable
from stream.worker_events import WorkerEvents

_POLL_S = 0.2
# A loop that has not come round for so long is stuck, not slow.
_STUCK_S = 120.0


class Worker:
    """A member of the group. Composition (consumer, writer) is the caller's."""

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        consumer: LogConsumer,
        writer: LogWriter,
        events: WorkerEvents,
        clock: Clock,
        alerts_partitions: int,
        quarantine_partitions: int,
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._consumer = consumer
        self._writer = writer
        self._events = events
        self._clock = clock
        self._alerts_partitions = alerts_partitions
        self._quarantine_partitions = quarantine_partitions
        self._partitions = settings.kafka.topics.readings.partitions
        self._owned: dict[int, OwnedPartition] = {}
        self._restoring: dict[int, asyncio.Task[None]] = {}
        self._ticks: dict[int, asyncio.Task[None]] = {}
        # Held from a poll's fold to its effects' confirmation, and by commits: a rebalance waits for it.
        self._turn = asyncio.Lock()
        self._page = SensorPage(list(plan.classes.classes), settings.plant.levels)
        self._compiled = False
        self._committed_s = clock.monotonic_s()
        self._round_s = clock.monotonic_s()
        self._reachable = False
        self._tick_seq = 0
        self._failure: BaseException | None = None
        events.watch(
            lambda: sum(len(one.fold.state.names) for one in self._owned.values()),
            lambda: sum(one.fold.state.nbytes() for one in self._owned.values()),
        )

    # --- the consumer's owner ---------------------------------------------------------------------------------

    def assigned(self, partitions: set[int]) -> None:
        """New partitions, paused: restore them outside of the rebalance."""
        self._events.assigned(partitions, self._consumer.generation)
        self._begin_anew(partitions)

    def _begin_anew(self, partitions: set[int]) -> None:
        for partition in partitions:
            owned = self._owned[partition] = OwnedPartition(PartitionFold(self._plan, self._partitions))
            task = self._restoring[partition] = asyncio.create_task(self._restore(partition, owned))
            task.add_done_callback(self._ended)

    async def revoked(self, partitions: set[int]) -> None:
        """Partitions go: finish the turn, commit them, forget them."""
        if not partitions:
            return
        for partition in partitions:
            if task := self._restoring.pop(partition, None):
                task.cancel()
        async with self._turn:
            await self._commit(partitions)
            for partition in partitions:
                self._owned.pop(partition, None)
        self._events.revoked(partitions)

    async def _restore(self, partition: int, owned: OwnedPartition) -> None:
        """Find where to begin, and begin."""
        backoff = Backoff()
        while True:
            try:
                bounds = await self._consumer.bounds(partition)
                begin, live = await self._begin(partition, bounds)
                owned.start_at(begin, live)
                owned.heard_s = self._clock.monotonic_s()
                self._consumer.resume_at(partition, begin)
            except ReconnectError as error:
                owned.ready = False
                retry_in_s = backoff.next_s()
                self._events.restore_failed(partition, str(error), retry_in_s)
                await asyncio.sleep(retry_in_s)
            else:
                self._events.restored(partition, begin, live)
                self._restoring.pop(partition, None)
                return

    async def _begin(self, partition: int, bounds: Bounds) -> tuple[int, int]:
        """(where to read from, where effects begin to count)."""
        if bounds.committed is None:
            return bounds.begin, bounds.begin
        if not bounds.begin <= bounds.committed <= bounds.end:
            # Retention overtook us, or the topic was made anew: say so, and take all there is.
            self._events.gap(partition, bounds.committed, bounds.begin)
            return bounds.begin, bounds.begin
        # From the commit back, not from now: after a long stop, the past that counts is the one before it.
        before_us = bounds.committed_at_us or self._clock.now_us()
        since = await self._consumer.offset_since(partition, before_us - self._settings.worker.rebuild)
        begin = bounds.committed if since is None else min(since, bounds.committed)
        return max(begin, bounds.begin), bounds.committed

    # --- the loop ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. Raises StopError where going on would do harm."""
        started = time.perf_counter()
        await asyncio.to_thread(warm_up, self._plan, self._partitions)
        self._compiled = True
        self._events.compiled(time.perf_counter() - started)
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
            self._begin_anew(error.partitions - self._restoring.keys())
            return
        except ReconnectError as error:
            self._reachable = False
            self._events.poll_failed(str(error))
            await asyncio.sleep(1.0)
            return
        async with self._turn:
            work = {at: records for at, records in found.items() if self._is_ready(at)}
            if work:
                owned = {at: self._owned[at] for at in work}
                outcomes = await asyncio.to_thread(self._fold, work)
                await self._publish(outcomes)
                for at, outcome in outcomes.items():
                    owned[at].said = outcome.next_offset
            if self._clock.monotonic_s() - self._committed_s >= self._settings.worker.commit_every / 1e6:
                await self._commit(set(self._owned))
        self._tick_quiet_partitions()
        self._report()

    def _ended(self, task: asyncio.Task[None]) -> None:
        # What a task of ours did not expect must not leave a partition silently behind.
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error

    def _is_ready(self, partition: int) -> bool:
        owned = self._owned.get(partition)
        return owned is not None and owned.ready

    def _fold(self, work: dict[int, list[LogRecord]]) -> dict[int, Outcome]:
        outcomes = {}
        for partition, records in work.items():
            owned = self._owned[partition]
            started = time.perf_counter()
            outcome = outcomes[partition] = owned.fold_all(records)
            seconds = time.perf_counter() - started
            owned.heard_s = self._clock.monotonic_s()
            if outcome.rebuilt.any():
                self._events.folded(0, outcome.rebuilt, 0.0, rebuilding=True)
            self._events.folded(outcome.records, outcome.verdicts, seconds, rebuilding=False)
        return outcomes

    async def _publish(self, outcomes: dict[int, Outcome]) -> None:
        """Effects to the alerts topic and unreadable records to quarantine, and wait until Kafka has them."""
        alerts: dict[int, list[Outgoing]] = {}
        aside: dict[int, list[Outgoing]] = {}
        generation = self._consumer.generation
        for partition, outcome in outcomes.items():
            if outcome.gap is not None:
                self._events.gap(partition, *outcome.gap)
            for effects in outcome.effects:
                for one in effects.transitions:
                    record = alert_record(
                        one,
                        self._describe(one.sensor),
                        partition=partition,
                        generation=generation,
                        group=self._settings.worker.group,
                        offset=effects.offset,
                    )
                    alerts.setdefault(alerts_partition(one.sensor, self._alerts_partitions), []).append(record)
            for bad in outcome.unreadable:
                number, record = self._set_aside(partition, bad)
                aside.setdefault(number, []).append(record)
        topics = self._settings.kafka.topics
        await asyncio.gather(
            *(self._writer.write(topics.alerts.name, partition, records) for partition, records in alerts.items()),
            *(self._writer.write(topics.quarantine.name, partition, records) for partition, records in aside.items()),
        )
        for outcome in outcomes.values():
            for effects in outcome.effects:
                for one in effects.transitions:
                    self._events.published(one, armed=self._describe(one.sensor).armed)

    def _describe(self, sensor: str) -> Description:
        plant, table = self._settings.plant, self._plan.classes
        one = table.classes[table.index_of(sensor)]
        labels = labels_of(sensor, tuple(plant.levels))
        return Description(labels, table.display_name(sensor), one.unit, one.name, is_armed(sensor, one, plant))

    def _set_aside(self, partition: int, bad: Unreadable) -> tuple[int, Outgoing]:
        self._events.quarantined(partition, bad.record.offset, bad.error.detail)
        topic = self._settings.kafka.topics.readings.name
        return quarantine_record(
            f"{topic}/{partition}/{bad.record.offset}".encode(),
            bad.record.value or b"",
            bad.error,
            route=topic,
            source=self._settings.worker.group,
            arrival_us=self._clock.now_us(),
            partitions=self._quarantine_partitions,
        )

    async def _commit(self, partitions: Iterable[int]) -> None:
        """Commit what has moved on; a failure is told and made good by the next commit."""
        self._committed_s = self._clock.monotonic_s()
        moved = {}
        for partition in partitions:
            owned = self._owned.get(partition)
            # While rebuilding, the old commit stands: what follows it has not been published yet.
            if owned is not None and owned.ready and owned.said > max(owned.committed, owned.live_from):
                moved[partition] = (owned.said, owned.fold.state.now_us)
        if not moved:
            return
        try:
            await self._consumer.commit(moved)
        except ReconnectError as error:
            self._events.commit_failed(str(error))
            return
        for partition, (offset, _) in moved.items():
            if (owned := self._owned.get(partition)) is not None:
                owned.committed = offset
        self._events.committed(len(moved))

    # --- time passes ------------------------------------------------------------------------------------------------

    def _tick_quiet_partitions(self) -> None:
        now_s, tick_s = self._clock.monotonic_s(), self._settings.worker.tick / 1e6
        for partition, owned in self._owned.items():
            # One under way is enough: what Kafka does not take must not pile up.
            if not owned.ready or now_s - owned.heard_s < tick_s or partition in self._ticks:
                continue
            if self._consumer.behind(partition, owned.fold.state.next_offset) != 0:
                continue
            owned.heard_s = now_s  # the next tick is due a tick from now, whether this one arrives or not
            task = self._ticks[partition] = asyncio.create_task(self._tick(partition))
            task.add_done_callback(self._ended)

    async def _tick(self, partition: int) -> None:
        now_us = self._clock.now_us()
        self._tick_seq += 1
        envelope = Envelope(Kind.TICK, ARROW, self._settings.worker.group, self._tick_seq, now_us, self._partitions)
        topic = self._settings.kafka.topics.readings.name
        try:
            await self._writer.write(topic, partition, [Outgoing(b"", None, headers_of(envelope), now_us // 1000)])
            self._events.ticked()
        finally:
            self._ticks.pop(partition, None)

    def _report(self) -> None:
        ready = [at for at, owned in self._owned.items() if owned.ready]
        self._events.states(len(ready), len(self._owned) - len(ready))
        now_us = self._clock.now_us()
        for partition in ready:
            state = self._owned[partition].fold.state
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
        """Commit what is done."""
        self._events.stopping()
        for task in [*self._ticks.values(), *self._restoring.values()]:
            task.cancel()
        async with self._turn:
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
        if not self._owned:
            return ["no partition assigned yet"]
        restoring = sum(not one.ready for one in self._owned.values())
        return [f"{restoring} partitions are being restored"] if restoring else []


def warm_up(plan: Plan, partitions: int) -> None:
    """Compile every kernel (or load it from the cache) on a state that is thrown away."""
    fold = PartitionFold(plan, partitions)
    nothing = np.zeros(2, np.uint8)
    at_us = np.array([1_700_000_000_000_000, 1_700_000_001_000_000], np.int64)
    readings = Readings(Words(np.zeros(2, np.int32), ["warm/up"]), at_us, np.zeros(2), nothing, nothing)
    for offset, kind in enumerate((Kind.READINGS, Kind.TICK)):
        fold.state.episodes["phase"][:1] = Phase.FIRING  # so that the tick has an episode to look at
        envelope = Envelope(kind, ARROW, "warm-up", offset, int(at_us[1]) + offset * 2_000_000, partitions)
        value = encode_readings(readings) if kind is Kind.READINGS else b""
        fold.fold(LogRecord(offset, headers_of(envelope), value))
    for window_us in {window for one in plan.classes.classes for window in one.windows}:
        fold.statistics(window_us)

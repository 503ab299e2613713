"""What happens to a worker: one function per happening, which counts it and says it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge

from ingest.contract.observe import log
from stream.budget_told import BudgetMetrics
from stream.fold.alerts import Transition
from stream.fold.counters import Turn
from stream.fold.gate import Verdict
from stream.fold.partition import Effects, PartitionFold
from stream.owned import Outcome
from stream.restoring import How
from stream.snapshot import Fault


class WorkerEvents:
    """Log lines and metrics of the worker. Its ledger, in readings: received = the sum over all verdicts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._log = log("worker")
        self._registry = registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"millstream_worker_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"millstream_worker_{name}", text, labels, registry=registry)

        self._readings = counter("readings", "Readings by what became of them.", "verdict")
        for verdict in Verdict:
            self._readings.labels(verdict.name.lower())
        self._turns = counter("turns", "Counters that fell and were counted on, by why.", "turn")
        for turn in Turn:
            self._turns.labels(turn.name.lower())
        self._refolded = counter("refolded_readings", "Readings between a snapshot and the last commit, folded again.")
        self._records = counter("records", "Records folded.")
        self._quarantined = counter("records_quarantined", "Records that could not be read, set aside and skipped.")
        self._failed = counter("fold_failures", "Records that the fold did not survive; its state was restored.")
        self._fold_seconds = counter("fold_seconds", "Time spent folding.")
        self._transitions = counter(
            "alert_transitions", 'Alert transitions published; armed="no": nobody is told.', "phase", "armed"
        )
        self._digests = counter("digests", "Digests of episodes that were over when they were learned of.")
        self._ticks = counter("ticks", "Ticks written to quiet partitions.")
        self._commits = counter("commits", "Offset commits.", "outcome")
        self._restores = counter("restores", "Partitions restored, by where their state came from.", "how")
        for how in How:
            self._restores.labels(how.value)
        self._unusable = counter("snapshots_unusable", "Snapshots passed over by a restore.", "reason")
        for reason in Fault:
            self._unusable.labels(reason.value)
        self._snapshots = counter("snapshots", "Snapshots.", "outcome")
        for outcome in ("written", "failed"):
            self._snapshots.labels(outcome)
        self._stopped = gauge("snapshot_stop_seconds", "How long the newest snapshot stopped its partition's fold.")
        self._written = gauge("snapshot_write_seconds", "How long the newest snapshot took until it was durable.")
        self._snapshot_at = gauge("snapshot_timestamp_seconds", "When the newest snapshot was made.", "partition")
        self._restore_seconds = gauge("restore_seconds", "How long the newest restore of a partition took.")
        self._definitions = counter("definitions", "Changes of definitions written to the log.")
        self._resets = counter("definition_resets", "Windows, models and alerts that a change could not keep.", "what")
        for what in ("windows", "models", "alerts"):
            self._resets.labels(what)
        self._commands = counter("commands", "Commands in the log, by what became of them.", "command", "outcome")
        self._forgotten = counter("sensors_forgotten", "Sensors that were silent for longer than worker.forget.")
        self._gaps = counter("gap_records", "Records that were deleted before they could be read.")
        self._retries = counter("kafka_write_failures", "Records that Kafka did not confirm and that were sent again.")
        self._lag = gauge("lag_seconds", "Age of the newest folded record, by its arrival time.", "partition")
        self._behind = gauge("lag_records", "Records between the newest folded and the end of the log.", "partition")
        self._partitions = gauge("partitions", "Partitions of this worker, by state.", "state")
        self._sensors = gauge("sensors", "Sensors in this worker's state.")
        self._bytes = gauge("state_bytes", "Memory of the state's arrays.")

    def watch(self, folds: Callable[[], Iterable[PartitionFold]]) -> None:
        """Look at these when metrics are read."""
        self._sensors.set_function(lambda: sum(len(one.state.slots) for one in folds()))
        self._bytes.set_function(lambda: sum(one.state.nbytes() for one in folds()))
        BudgetMetrics(self._registry, folds)

    def starting(self, kafka: str, topic: str, group: str) -> None:
        """The daemon begins."""
        self._log.info("starting", kafka=kafka, topic=topic, group=group)

    def listening(self, url: str) -> None:
        """Metrics can be read."""
        self._log.info("listening", url=url)

    def compiled(self, seconds: float) -> None:
        """Kernels are ready."""
        self._log.info("kernels ready", seconds=round(seconds, 1))

    def kafka_unreachable(self, reason: str, retry_in_s: float) -> None:
        """No broker answered."""
        self._log.warning("kafka not reachable", reason=reason, retry_in_s=round(retry_in_s, 1))

    def write_stalled(self, topic: str, partition: int, for_s: float) -> None:
        """A record has had no answer for so long; it is still waited for."""
        self._log.warning("kafka does not answer", topic=topic, partition=partition, for_s=round(for_s, 1))

    def write_failed(self, topic: str, partition: int, reason: str, retry_in_s: float) -> None:
        """A record was not confirmed; it will be sent again."""
        self._retries.inc()
        self._log.warning(
            "kafka did not confirm", topic=topic, partition=partition, reason=reason, retry_in_s=round(retry_in_s, 1)
        )

    def assigned(self, partitions: set[int], generation: int) -> None:
        """Partitions were given to this worker."""
        self._log.info("partitions assigned", partitions=sorted(partitions), generation=generation)

    def revoked(self, partitions: set[int]) -> None:
        """Partitions were taken away."""
        self._log.info("partitions revoked", partitions=sorted(partitions))
        for partition in partitions:
            self._lag.remove(str(partition))
            self._behind.remove(str(partition))
            self._snapshot_at.remove(str(partition))

    def restored(self, partition: int, how: How, begin: int, live: int, seconds: float) -> None:
        """A partition is read from `begin`; effects are published from `live` on."""
        self._restores.labels(how.value).inc()
        self._restore_seconds.set(seconds)
        say = self._log.warning if how in (How.REBUILD, How.FOUND) else self._log.info
        say(
            "partition restored",
            partition=partition,
            how=how.value,
            reading_from=begin,
            live_from=live,
            seconds=round(seconds, 3),
        )

    def snapshot_unusable(self, partition: int, snapshot_id: str, reason: Fault, detail: str) -> None:
        """A snapshot was passed over for an earlier one, or for the log."""
        self._unusable.labels(reason.value).inc()
        self._log.error(
            "snapshot unusable", partition=partition, snapshot=snapshot_id, reason=reason.value, detail=detail
        )

    def tries_lost(self, partition: int, reason: str) -> None:
        """What was known of records that the fold did not survive cannot be read: they are tried anew."""
        self._log.error("tries of records lost", partition=partition, reason=reason)

    def snapshot_written(
        self, partition: int, stopped_s: float, wrote_s: float, state_bytes: int, made_us: int
    ) -> None:
        """A snapshot is durable."""
        self._snapshots.labels("written").inc()
        self._stopped.set(stopped_s)
        self._written.set(wrote_s)
        self._snapshot_at.labels(str(partition)).set(made_us / 1e6)
        self._log.debug(
            "snapshot", partition=partition, stopped_s=round(stopped_s, 4), wrote_s=round(wrote_s, 3), bytes=state_bytes
        )

    def snapshot_failed(self, partition: int, reason: str) -> None:
        """The store failed; it will be tried again, and the log is kept in mind as far as the last one."""
        self._snapshots.labels("failed").inc()
        self._log.error("snapshot store", partition=partition, reason=reason)

    def fold_failed(self, partition: int, offset: int, tries: int, error: BaseException) -> None:
        """The fold did not survive a record; the state is restored and the record tried again, or set aside."""
        self._failed.inc()
        self._log.error("fold failed", partition=partition, offset=offset, tries=tries, exc_info=error)

    def steered(self, partition: int, effects: Effects) -> None:
        """A record changed what is in force or which sensors there are, or ended a backlog."""
        self._digests.inc(len(effects.digests))
        if (migration := effects.migration) is not None:
            self._resets.labels("windows").inc(migration.windows_reset)
            self._resets.labels("models").inc(sum(migration.models_reset.values()))
            self._resets.labels("alerts").inc(len(migration.transitions))
            self._log.info("definitions in force", partition=partition, offset=effects.offset, kept=str(migration))
        if (applied := effects.applied) is not None:
            self._commands.labels(applied.command, applied.outcome.value).inc()
            self._log.info("command", partition=partition, command=applied.command, outcome=applied.outcome.value)
        if effects.forgotten:
            self._forgotten.inc(effects.forgotten)
            self._log.info("sensors forgotten", partition=partition, sensors=effects.forgotten)

    def defined(self, partition: int) -> None:
        """Other definitions were written to the log: they are in force from there on."""
        self._definitions.inc()
        self._log.info("definitions changed", partition=partition)

    def restore_failed(self, partition: int, reason: str, retry_in_s: float) -> None:
        """Offsets could not be read."""
        self._log.warning(
            "partition not restored yet", partition=partition, reason=reason, retry_in_s=round(retry_in_s, 1)
        )

    def gap(self, partition: int, expected: int, found: int) -> None:
        """The log no longer holds, or never held, what was to be read next."""
        self._gaps.inc(max(0, found - expected))
        self._log.error("gap in the log", partition=partition, expected_offset=expected, next_offset=found)

    def states(self, *, live: int, restoring: int, catching_up: int, warming: int) -> None:
        """How many partitions are in which state."""
        self._partitions.labels("live").set(live)
        self._partitions.labels("restoring").set(restoring)
        self._partitions.labels("catching_up").set(catching_up)
        self._partitions.labels("warming").set(warming)

    def folded(self, outcome: Outcome) -> None:
        """Records of a partition were folded; or folded again, when their effects were published before."""
        self._refolded.inc(int(outcome.rebuilt.sum()))
        self._records.inc(outcome.records)
        for verdict in np.flatnonzero(outcome.verdicts).tolist():
            self._readings.labels(Verdict(verdict).name.lower()).inc(int(outcome.verdicts[verdict]))
        for turn in np.flatnonzero(outcome.turns).tolist():
            self._turns.labels(Turn(turn).name.lower()).inc(int(outcome.turns[turn]))

    def worked(self, seconds: float) -> None:
        """Folding took so long."""
        self._fold_seconds.inc(seconds)

    def lag(self, partition: int, seconds: float, records: int | None) -> None:
        """How far behind a partition is."""
        self._lag.labels(str(partition)).set(seconds)
        if records is not None:
            self._behind.labels(str(partition)).set(records)

    def quarantined(self, partition: int, offset: int, detail: str) -> None:
        """A record could not be read."""
        self._quarantined.inc()
        self._log.warning("record quarantined", partition=partition, offset=offset, detail=detail[:300])

    def published(self, transition: Transition, *, armed: bool) -> None:
        """An alert changed its phase, and Kafka has it. Not armed: nobody is told."""
        phase = transition.phase.name.lower()
        self._transitions.labels(phase, "yes" if armed else "no").inc()
        self._log.info(
            f"alert {phase}" if armed else f"would have alerted: {phase}",
            id=transition.id,
            sensor=transition.sensor,
            rule=transition.rule,
            value=transition.value,
            score=round(transition.score, 2),
            model=transition.model,
        )

    def ticked(self) -> None:
        """A tick was written."""
        self._ticks.inc()

    def committed(self, partitions: int) -> None:
        """Offsets were committed."""
        self._commits.labels("ok").inc()
        self._log.debug("committed", partitions=partitions)

    def commit_failed(self, reason: str) -> None:
        """Offsets were not committed; the next commit covers them."""
        self._commits.labels("failed").inc()
        self._log.warning("commit failed", reason=reason)

    def poll_failed(self, reason: str) -> None:
        """Kafka cannot be read."""
        self._log.warning("cannot read from kafka", reason=reason)

    def stopping(self) -> None:
        """The daemon was asked to end."""
        self._log.info("stopping")

    def stopped(self) -> None:
        """The daemon ends."""
        self._log.info("stopped")

"""What happens to a worker: one function per happening, which counts it and says it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge

from ingest.contract.observe import log
from stream.fold.alerts import Transition
from stream.fold.gate import Verdict


class WorkerEvents:
    """Log lines and metrics of the worker. Its ledger, in readings: received = the sum over all verdicts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._log = log("worker")

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"millstream_worker_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"millstream_worker_{name}", text, labels, registry=registry)

        self._readings = counter("readings", "Readings by what became of them.", "verdict")
        for verdict in Verdict:
            self._readings.labels(verdict.name.lower())
        self._rebuilt = counter("rebuild_readings", "Readings folded again to rebuild the state after a start.")
        self._records = counter("records", "Records folded.")
        self._quarantined = counter("records_quarantined", "Records that could not be read, set aside and skipped.")
        self._fold_seconds = counter("fold_seconds", "Time spent folding.")
        self._transitions = counter(
            "alert_transitions", 'Alert transitions published; armed="no": nobody is told.', "phase", "armed"
        )
        self._ticks = counter("ticks", "Ticks written to quiet partitions.")
        self._commits = counter("commits", "Offset commits.", "outcome")
        self._gaps = counter("gap_records", "Records that were deleted before they could be read.")
        self._retries = counter("kafka_write_failures", "Records that Kafka did not confirm and that were sent again.")
        self._lag = gauge("lag_seconds", "Age of the newest folded record, by its arrival time.", "partition")
        self._behind = gauge("lag_records", "Records between the newest folded and the end of the log.", "partition")
        self._partitions = gauge("partitions", "Partitions of this worker, by state.", "state")
        self._sensors = gauge("sensors", "Sensors in this worker's state.")
        self._bytes = gauge("state_bytes", "Memory of the state's arrays.")

    def watch(self, sensors: Callable[[], float], state_bytes: Callable[[], float]) -> None:
        """Read these when metrics are read."""
        self._sensors.set_function(sensors)
        self._bytes.set_function(state_bytes)

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

    def restored(self, partition: int, begin: int, live: int) -> None:
        """A partition is read from `begin`; effects are published from `live` on."""
        self._log.info("partition restored", partition=partition, reading_from=begin, live_from=live)

    def restore_failed(self, partition: int, reason: str, retry_in_s: float) -> None:
        """Offsets could not be read."""
        self._log.warning(
            "partition not restored yet", partition=partition, reason=reason, retry_in_s=round(retry_in_s, 1)
        )

    def gap(self, partition: int, expected: int, found: int) -> None:
        """The log no longer holds, or never held, what was to be read next."""
        self._gaps.inc(max(0, found - expected))
        self._log.error("gap in the log", partition=partition, expected_offset=expected, next_offset=found)

    def states(self, live: int, restoring: int) -> None:
        """How many partitions are in which state."""
        self._partitions.labels("live").set(live)
        self._partitions.labels("restoring").set(restoring)

    def folded(self, records: int, verdicts: NDArray[np.int64], seconds: float, *, rebuilding: bool) -> None:
        """Records were folded."""
        self._fold_seconds.inc(seconds)
        if rebuilding:
            self._rebuilt.inc(int(verdicts.sum()))
            return
        self._records.inc(records)
        for verdict in np.flatnonzero(verdicts).tolist():
            self._readings.labels(Verdict(verdict).name.lower()).inc(int(verdicts[verdict]))

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

"""What happens to a notifier: one function per happening, which counts it and says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from ingest.contract.observe import log
from stream.notify.delivery import Answer, Outcome
from stream.notify.intake import Drop, Taken
from stream.notify.outbox import Row, Waiting


class NotifierEvents:
    """Log lines and metrics of the notifier. Its ledger, per webhook: queued = delivered + expired + waiting.

    webhooks: their names. Neither URLs nor secrets come here.
    """

    def __init__(self, registry: CollectorRegistry, webhooks: Sequence[str]) -> None:
        self._log = log("notifier")
        self._webhooks = webhooks

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"millstream_notifier_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"millstream_notifier_{name}", text, labels, registry=registry)

        self._records = counter("records", "Records of the alerts topic read.")
        self._queued = counter("queued", "Transitions put into the outbox.", "webhook")
        self._deliveries = counter("deliveries", "Attempts by outcome, and transitions given up.", "webhook", "outcome")
        self._dropped = counter("dropped", "Transitions that are not sent.", "reason")
        self._depth = gauge("queue_depth", "Transitions that wait in the outbox.", "webhook")
        self._oldest = gauge("oldest_age_seconds", "Age of the oldest one that waits; 0 if none does.", "webhook")
        self._disabled = gauge("webhook_disabled", "1: the receiver answered 410, nothing is sent.", "webhook")
        self._commits = counter("commits", "Offset commits.", "outcome")
        self._gaps = counter("gap_records", "Records that were deleted before they could be read.")
        self._disk = counter("disk_failures", "Times the outbox could not be read or written.")
        self._behind = gauge("lag_records", "Records between what was read and the end of the log.", "partition")
        for name in webhooks:
            self._queued.labels(name)
            self._disabled.labels(name).set(0)
            for outcome in Outcome:
                self._deliveries.labels(name, outcome)
        for reason in Drop:
            self._dropped.labels(reason)

    def starting(self, kafka: str, topic: str, group: str) -> None:
        """The daemon begins."""
        self._log.info("starting", kafka=kafka, topic=topic, group=group, webhooks=list(self._webhooks))
        if not self._webhooks:
            self._log.warning("no webhook is configured: nobody is told of alerts")

    def listening(self, url: str) -> None:
        """Metrics can be read."""
        self._log.info("listening", url=url)

    def kafka_unreachable(self, reason: str, retry_in_s: float) -> None:
        """No broker answered."""
        self._log.warning("kafka not reachable", reason=reason, retry_in_s=round(retry_in_s, 1))

    def poll_failed(self, reason: str) -> None:
        """Kafka cannot be read."""
        self._log.warning("cannot read from kafka", reason=reason)

    def assigned(self, partitions: set[int]) -> None:
        """Partitions were given to this notifier."""
        self._log.info("partitions assigned", partitions=sorted(partitions))

    def revoked(self, partitions: set[int]) -> None:
        """Partitions were taken away."""
        self._log.info("partitions revoked", partitions=sorted(partitions))
        for partition in partitions:
            self._behind.remove(str(partition))

    def restored(self, partition: int, offset: int) -> None:
        """A partition is read on."""
        self._log.info("partition restored", partition=partition, reading_from=offset)

    def begun(self, partition: int, offset: int, skipped: int, start: str) -> None:
        """A partition is read for the first time."""
        self._log.info(
            "new group: what was published before is not sent" if start == "latest" else "new group: reading it all",
            partition=partition,
            reading_from=offset,
            skipped=skipped,
            start=start,
        )

    def gap(self, partition: int, expected: int, found: int) -> None:
        """The log no longer holds, or never held, what was to be read next."""
        self._gaps.inc(max(0, found - expected))
        self._log.error("gap in the log", partition=partition, expected_offset=expected, next_offset=found)

    def restore_failed(self, partition: int, reason: str, retry_in_s: float) -> None:
        """Offsets could not be read or committed."""
        self._log.warning(
            "partition not restored yet", partition=partition, reason=reason, retry_in_s=round(retry_in_s, 1)
        )

    def behind(self, partition: int, records: int) -> None:
        """How far behind a partition is."""
        self._behind.labels(str(partition)).set(records)

    def taken(self, taken: Taken) -> None:
        """Records were read, and the outbox has what is to be sent."""
        self._records.inc(taken.records)
        for webhook, count in taken.queued.items():
            self._queued.labels(webhook).inc(count)
        for reason, count in taken.dropped.items():
            self._dropped.labels(reason).inc(count)
            self._log.debug("dropped", reason=reason.value, count=count)
        if count := taken.dropped[Drop.TOO_OLD]:
            self._log.warning("alerts too old to be sent", count=count)
        for reason, partition, offset, detail in taken.remarks:
            self._log.warning(
                "alert dropped", reason=reason.value, partition=partition, offset=offset, detail=detail[:300]
            )

    def committed(self) -> None:
        """Offsets were committed."""
        self._commits.labels("ok").inc()

    def commit_failed(self, reason: str) -> None:
        """Offsets were not committed; the outbox knows better, and the next commit covers them."""
        self._commits.labels("failed").inc()
        self._log.warning("commit failed", reason=reason)

    def attempted(self, webhook: str, row: Row, answer: Answer, retry_in_s: float | None) -> None:
        """A delivery was tried; it is tried again after retry_in_s, if that is not None."""
        self._deliveries.labels(webhook, answer.outcome).inc()
        known = {"webhook": webhook, "id": row.message_id, "sensor": row.sensor, "attempt": row.failures + 1}
        if answer.outcome is Outcome.DELIVERED:
            self._log.info("delivered", **known)
        else:
            again = {} if retry_in_s is None else {"retry_in_s": round(retry_in_s, 1)}
            self._log.warning("not delivered", **known, outcome=answer.outcome.value, reason=answer.reason, **again)

    def expired(self, webhook: str, count: int) -> None:
        """Transitions were given up."""
        self._deliveries.labels(webhook, Outcome.EXPIRED).inc(count)
        self._log.error("given up: too old", webhook=webhook, count=count)

    def disabled(self, webhook: str) -> None:
        """The receiver wants no more."""
        self._disabled.labels(webhook).set(1)
        self._log.error("webhook disabled until the next start: the receiver answered 410 Gone", webhook=webhook)

    def unconfigured(self, webhook: str, count: int) -> None:
        """What waited for a webhook that is no more was dropped."""
        self._dropped.labels(Drop.UNCONFIGURED).inc(count)
        self._log.warning("webhook is no longer in the settings: what waited is dropped", webhook=webhook, count=count)

    def waiting(self, waiting: Mapping[str, Waiting], now_us: int) -> None:
        """What is in the outbox."""
        for name in self._webhooks:
            one = waiting.get(name)
            self._depth.labels(name).set(one.rows if one else 0)
            self._oldest.labels(name).set(max(0.0, (now_us - one.oldest_us) / 1e6) if one else 0.0)

    def disk_failed(self, reason: str, retry_in_s: float) -> None:
        """The outbox could not be read or written."""
        self._disk.inc()
        self._log.error("the outbox cannot be used", reason=reason, retry_in_s=round(retry_in_s, 1))

    def stopping(self) -> None:
        """The daemon was asked to end."""
        self._log.info("stopping")

    def stopped(self) -> None:
        """The daemon ends."""
        self._log.info("stopped")

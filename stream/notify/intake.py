"""From the alerts topic into the outbox: what is dropped, and why.

A generation is believed again when the higher one has not been heard for an hour: a worker group that was deleted, or
slept until Kafka forgot it, counts from 1 again, and its alerts must not be dropped for ever. A worker that has lost a
partition finds out within seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ingest.contract.errors import QuarantineError
from ingest.contract.notifier_settings import NotifierSettings, WebhookSettings
from stream.notify.alert import Alert, AlertRecord, Origin, message, read_alert
from stream.notify.digest import DIGEST, AlertDigest, digest_message, is_digest, read_digest
from stream.notify.outbox import Outbox

GENERATION_MEMORY_US = 3_600 * 1_000_000
# As long as the alerts topic's retention, by default.
SEEN_MEMORY_US = 7 * 86_400 * 1_000_000
_UNARMED = "unarmed"


class Drop(StrEnum):
    """Why a transition is not sent: a closed set, so that it can be a metric's label."""

    UNREADABLE = "unreadable"
    """Not an alert, or not one of ours."""
    OLD_GENERATION = "old_generation"
    """The late word of a worker that has lost the partition."""
    UNARMED = "unarmed"
    """The sensor's alerts are only observed so far."""
    DUPLICATE = "duplicate"
    """Read before: a worker publishes at least once."""
    TOO_OLD = "too_old"
    """Older than `notifier.give_up` when it was read."""
    NEVER_FIRED = "never_fired"
    """Resolved, of an episode that only was pending, or that fired while it was not armed."""
    OVERFLOW = "overflow"
    """More than `notifier.max_waiting` wait for that webhook."""
    UNCONFIGURED = "unconfigured"
    """Its webhook is no longer in the settings."""


@dataclass(slots=True)
class Taken:
    """What reading some records brought. remarks: (reason, partition, offset, detail) of what is worth a line."""

    records: int = 0
    queued: Counter[str] = field(default_factory=Counter)
    dropped: Counter[Drop] = field(default_factory=Counter)
    remarks: list[tuple[Drop, int, int, str]] = field(default_factory=list)


class Intake:
    """Decides about each record once: whatever is needed for that is in the outbox, in the same transaction."""

    def __init__(self, settings: NotifierSettings, webhooks: Sequence[WebhookSettings], outbox: Outbox) -> None:
        self._settings = settings
        self._webhooks = webhooks
        self._outbox = outbox

    def take(self, records: Sequence[AlertRecord], now_us: int) -> Taken:
        """Put what is to be sent into the outbox; blocking. Raises IncompatibleError, sqlite3.Error."""
        taken = Taken(len(records))
        with self._outbox.transaction():
            rows = {name: one.rows for name, one in self._outbox.waiting().items()}
            for record in records:
                self._take(record, now_us, rows, taken)
                self._outbox.move(record.partition, record.offset + 1)
        return taken

    def _take(self, record: AlertRecord, now_us: int, rows: dict[str, int], taken: Taken) -> None:
        def drop(reason: Drop, detail: str = "") -> None:
            taken.dropped[reason] += 1
            if detail:
                taken.remarks.append((reason, record.partition, record.offset, detail))

        if record.value is None:
            return  # a tombstone: compaction's, not ours
        try:
            alert, origin = read_digest(record) if is_digest(record) else read_alert(record)
        except QuarantineError as error:
            drop(Drop.UNREADABLE, error.detail)
            return
        if (highest := self._outranked(origin, record)) is not None:
            drop(Drop.OLD_GENERATION, f"generation {origin.generation}, {highest} was heard of this partition")
            return
        seen = self._outbox.phases_seen(alert.id)
        if not alert.armed:
            self._outbox.see(alert.id, _UNARMED, record.at_us)
            drop(Drop.UNARMED)
        elif alert.phase in seen:
            drop(Drop.DUPLICATE)
        else:
            self._outbox.see(alert.id, alert.phase, record.at_us)
            if now_us - record.at_us > self._settings.give_up:
                drop(Drop.TOO_OLD)
            else:
                self._queue(alert, seen, record, now_us, rows, taken)

    def _outranked(self, origin: Origin, record: AlertRecord) -> int | None:
        """The higher generation that was heard lately, if there is one.

        In the same partition of the alerts topic: what two workers say of a sensor is in one, and only there in order.
        """
        group = f"{origin.group}/{record.partition}"
        heard = self._outbox.generation(group, origin.partition)
        if heard is not None and origin.generation < heard[0] and record.at_us - heard[1] < GENERATION_MEMORY_US:
            return heard[0]
        self._outbox.hear(group, origin.partition, origin.generation, record.at_us)
        return None

    def _queue(
        self,
        alert: Alert | AlertDigest,
        seen: set[str],
        record: AlertRecord,
        now_us: int,
        rows: dict[str, int],
        taken: Taken,
    ) -> None:
        zone = self._settings.zone_of(alert.sensor)
        body = message(alert, zone, self._settings.links) if isinstance(alert, Alert) else b""
        # Nothing seen of it at all: its beginning is older than our memory, or was compacted away.
        never_fired = alert.phase == "resolved" and bool(seen) and "firing" not in seen
        for webhook in self._webhooks:
            if isinstance(alert, AlertDigest):
                wanted = [one for one in alert.worst if webhook.wants(one.sensor, one.severity, DIGEST)]
                if not wanted and not alert.concerns(webhook):
                    continue
                body = digest_message(alert, wanted, zone)
            elif not webhook.wants(alert.sensor, alert.severity, alert.phase):
                continue
            if never_fired and ("pending" not in webhook.phases or "pending" not in seen):
                taken.dropped[Drop.NEVER_FIRED] += 1
                continue
            if rows.get(webhook.name, 0) >= self._settings.max_waiting:
                taken.dropped[Drop.OVERFLOW] += 1
                taken.remarks.append((Drop.OVERFLOW, record.partition, record.offset, webhook.name))
                continue
            self._outbox.put(webhook.name, alert.id, alert.phase, alert.sensor, body, record.at_us, now_us)
            rows[webhook.name] = rows.get(webhook.name, 0) + 1
            taken.queued[webhook.name] += 1

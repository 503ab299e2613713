"""A record of the alerts topic, understood; and what a receiver is sent about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from ingest.contract.errors import IncompatibleError, QuarantineError, Reason
from ingest.contract.readings import MAX_TS_US, MIN_TS_US
from ingest.contract.wire import SCHEMA_MAJOR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PHASE = re.compile(r"[a-z]{1,32}")
_LARGEST = 2**63


class AlertRecord(NamedTuple):
    """A record as it stands in the log. at_us: when it was written."""

    partition: int
    offset: int
    at_us: int
    headers: Iterable[tuple[str, bytes | None]]
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Which worker's word it is. partition: of the readings; group: the worker's, where the record has it.

    generation: the fence of the partition's owner, of 64 bits at the most.
    """

    group: str
    partition: int
    generation: int


class Alert(msgspec.Struct, frozen=True):
    """A transition. What newer writers add is read over; what older ones lack is null."""

    id: str
    phase: str
    sensor: str
    at_us: int
    since_us: int
    rule: str | None = None
    revision: str | None = None
    severity: str = "warning"
    labels: dict[str, Any] = {}
    value: float | None = None
    score: float | None = None
    model: str | None = None
    boundary: float | None = None
    recent_alerts: float | None = None
    budget_share: float | None = None
    data_quality: str | None = None
    unit: str | None = None
    band: Any = None
    display_name: str | None = None
    armed: bool = True
    together: int = 1
    node: str | None = None

    @property
    def message_id(self) -> str:
        """The same for every attempt at this transition, ever."""
        return f"{self.id}_{self.phase}"


_decoder = msgspec.json.Decoder(Alert)


def read_origin(record: AlertRecord) -> tuple[str, Origin]:
    """(kind of the record, whose word it is).

    Raises QuarantineError for what cannot be one, IncompatibleError for one of a newer version.
    """
    found = {name: value for name, value in record.headers if value is not None}
    try:
        major = int(found["schema"].partition(b".")[0])
        if major > SCHEMA_MAJOR:
            raise IncompatibleError(
                f"an alert of schema version {found['schema'].decode(errors='replace')[:20]}, this program reads up to "
                f"{SCHEMA_MAJOR}.x: upgrade it (nothing was skipped; it goes on from here)"
            )
        kind = found["kind"].decode("ascii")
        origin = Origin(found.get("group", b"").decode("ascii"), int(found["partition"]), int(found["generation"]))
    except (KeyError, ValueError) as error:
        raise QuarantineError(Reason.RECORD, f"headers: {error}") from error
    if not all(-_LARGEST <= number < _LARGEST for number in (origin.partition, origin.generation)):
        raise QuarantineError(Reason.RECORD, "headers: a partition or generation of more than 64 bits")
    return kind, origin


def read_alert(record: AlertRecord) -> tuple[Alert, Origin]:
    """Raises QuarantineError for what is no alert, IncompatibleError for one of a newer version."""
    kind, origin = read_origin(record)
    if kind != "alert":
        raise QuarantineError(Reason.RECORD, "a record of another kind")
    try:
        alert = _decoder.decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise QuarantineError(Reason.RECORD, f"value: {error}") from error
    check_words(alert.id, alert.phase)
    check_times(alert.at_us, alert.since_us)
    return alert, origin


def check_words(alert: str, phase: str) -> None:
    """They become a header and a metric's or log's word. Raises QuarantineError."""
    if not _ID.fullmatch(alert) or not _PHASE.fullmatch(phase):
        raise QuarantineError(Reason.RECORD, "an id or phase that cannot be one")


def check_times(*times_us: int) -> None:
    """Raises QuarantineError for one that cannot be shown."""
    if not all(MIN_TS_US <= one < MAX_TS_US for one in times_us):
        raise QuarantineError(Reason.TIMESTAMP, "a time before 1990 or after 2200")


def moment(at_us: int) -> datetime:
    """µs since 1970 as a time in UTC."""
    return _EPOCH + timedelta(microseconds=at_us)


def iso(at_us: int) -> str:
    """As text, to the millisecond."""
    return moment(at_us).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def message(alert: Alert, zone: tzinfo, links: Mapping[str, str]) -> bytes:
    """The body: the same bytes for every attempt. links: name → URL with `{sensor}` for the sensor's path."""
    data = {
        "id": alert.id,
        "sensor": alert.sensor,
        "display_name": alert.display_name,
        "labels": alert.labels,
        "value": alert.value,
        "unit": alert.unit,
        "band": alert.band,
        "score": alert.score,
        "model": alert.model,
        "boundary": alert.boundary,
        "recent_alerts": alert.recent_alerts,
        "budget_share": alert.budget_share,
        "data_quality": alert.data_quality,
        "rule": alert.rule,
        "severity": alert.severity,
        "phase": alert.phase,
        "since": iso(alert.since_us),
        "at": iso(alert.at_us),
        "local_time": moment(alert.at_us).astimezone(zone).isoformat(timespec="milliseconds"),
        "together": alert.together,
        "node": alert.node,
        "links": {name: url.replace("{sensor}", quote(alert.sensor, safe="")) for name, url in links.items()},
    }
    return msgspec.json.encode({"type": f"alert.{alert.phase}", "timestamp": iso(alert.at_us), "data": data})

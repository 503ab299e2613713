"""A digest of the alerts topic, understood: what came and went while data was late; and what is sent about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import get_args

import msgspec

from ingest.contract.classes import glob
from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.notifier_settings import Severity, WebhookSettings
from stream.notify.alert import AlertRecord, Origin, check_times, check_words, iso, moment, read_origin

DIGEST = "digest"
"""Its kind in the headers, and its phase."""
SHOWN = 20
"""Episodes in a message, the worst."""
_SEVERITIES: tuple[str, ...] = get_args(Severity)


class Missed(msgspec.Struct, frozen=True):
    """An episode that fired and was over before anybody was told. Times: event time, µs."""

    id: str
    sensor: str
    since_us: int
    until_us: int
    rule: str | None = None
    severity: str = "warning"
    display_name: str | None = None
    peak_score: float | None = None


class AlertDigest(msgspec.Struct, frozen=True):
    """Of one site. count: all of its episodes; `worst` lists some of them, the worst first.

    It may list none, where those that the worker kept concern nobody. severity: none of them is severer.
    """

    id: str
    site: str
    at_us: int
    since_us: int
    until_us: int
    count: int
    worst: list[Missed]
    severity: str = "critical"
    phase: str = DIGEST
    armed: bool = True

    @property
    def sensor(self) -> str:
        """Where a path is asked for."""
        return self.site

    @property
    def more(self) -> int:
        """How many it counts and does not list."""
        return max(0, self.count - len(self.worst))

    def concerns(self, webhook: WebhookSettings) -> bool:
        """Whether one of those not listed may be for a receiver: none is severer than those that are."""
        if not self.more or DIGEST not in webhook.phases:
            return False
        bound = self.worst[-1].severity if self.worst else self.severity
        mild = _SEVERITIES[: _SEVERITIES.index(bound) + 1] if bound in _SEVERITIES else _SEVERITIES
        here = any(glob(pattern.partition("/")[0]).fullmatch(self.site) for pattern in webhook.match)
        return here and not set(mild).isdisjoint(webhook.severities)

    @property
    def message_id(self) -> str:
        """The same for every attempt at this digest, ever."""
        return f"{self.id}_{self.phase}"


_decoder = msgspec.json.Decoder(AlertDigest)


def is_digest(record: AlertRecord) -> bool:
    """Whether it says that it is one."""
    return any(name == "kind" and value == DIGEST.encode() for name, value in record.headers)


def read_digest(record: AlertRecord) -> tuple[AlertDigest, Origin]:
    """Raises QuarantineError for what is no digest, IncompatibleError for one of a newer version."""
    _, origin = read_origin(record)
    try:
        digest = _decoder.decode(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise QuarantineError(Reason.RECORD, f"value: {error}") from error
    check_words(digest.id, digest.phase)
    check_times(digest.at_us, digest.since_us, digest.until_us)
    for one in digest.worst:
        check_times(one.since_us, one.until_us)
    return digest, origin


def digest_message(digest: AlertDigest, wanted: Sequence[Missed], zone: tzinfo) -> bytes:
    """The body: the same bytes for every attempt. wanted: those of `worst` that concern the receiver.

    count: how many these are; more: how many others of the site the digest counts and does not list, which may concern
    anybody. since, until: of those that concern the receiver; if there are none, of the digest.
    """
    data = {
        "id": digest.id,
        "site": digest.site,
        "phase": digest.phase,
        "text": _text(digest, wanted),
        "count": len(wanted),
        "more": digest.more,
        "since": iso(min((one.since_us for one in wanted), default=digest.since_us)),
        "until": iso(max((one.until_us for one in wanted), default=digest.until_us)),
        "at": iso(digest.at_us),
        "local_time": moment(digest.at_us).astimezone(zone).isoformat(timespec="milliseconds"),
        "worst": [
            {
                "id": one.id,
                "sensor": one.sensor,
                "display_name": one.display_name,
                "rule": one.rule,
                "severity": one.severity,
                "peak_score": one.peak_score,
                "since": iso(one.since_us),
                "until": iso(one.until_us),
            }
            for one in wanted[:SHOWN]
        ],
    }
    return msgspec.json.encode({"type": f"alert.{digest.phase}", "timestamp": iso(digest.at_us), "data": data})


def _text(digest: AlertDigest, wanted: Sequence[Missed]) -> str:
    if not wanted:
        return f"{digest.site}: {_alerts(digest.more)} came and went while data was late; of which sensors is not known"
    return f"{digest.site}: {_alerts(len(wanted))} came and went while data was late"


def _alerts(count: int) -> str:
    return "1 alert" if count == 1 else f"{count} alerts"

"""A digest of the alerts topic, understood: what came and went while data was late; and what is sent about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

import msgspec

from ingest.contract.errors import QuarantineError, Reason
from stream.notify.alert import AlertRecord, Origin, check_times, check_words, iso, moment, read_origin

DIGEST = "digest"
"""Its kind in the headers, and its phase."""
SHOWN = 20
"""Episodes in a message, the worst."""


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
    """Of one site. count: all of its episodes; `worst` lists some of them, the worst first."""

    id: str
    site: str
    at_us: int
    since_us: int
    until_us: int
    count: int
    worst: list[Missed]
    phase: str = DIGEST
    armed: bool = True

    @property
    def sensor(self) -> str:
        """Where a path is asked for."""
        return self.site

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
    """The body: the same bytes for every attempt. wanted: those of `worst` that concern the receiver, at least one.

    count: how many these are; more: how many others of the site the digest counts and does not list.
    """
    data = {
        "id": digest.id,
        "site": digest.site,
        "phase": digest.phase,
        "text": _text(digest, wanted),
        "count": len(wanted),
        "more": digest.count - len(digest.worst),
        "since": iso(min(one.since_us for one in wanted)),
        "until": iso(max(one.until_us for one in wanted)),
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
    who = "1 alert" if len(wanted) == 1 else f"{len(wanted)} alerts"
    return f"{digest.site}: {who} came and went while data was late"

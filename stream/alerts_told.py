"""What the alerts topic says of a group's partitions: needed where a state was lost, or nothing was ever committed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from ingest.contract.errors import IncompatibleError, QuarantineError
from stream.fold.alerts import Phase
from stream.fold.partition import LogRecord
from stream.fold.reconciling import OpenAlert
from stream.notify.alert import AlertRecord, read_alert

_OPEN = (Phase.PENDING, Phase.FIRING)
# Records of a partition between a commit and the end of the log, at most.
_RECENT = 1_000_000


@dataclass(slots=True)
class Told:
    """Of one partition. next_offset: behind the last record that had an effect, 0 if none had. fence: the highest."""

    next_offset: int = 0
    fence: int = 0
    said: dict[str, list[tuple[int, OpenAlert]]] = field(default_factory=dict)
    """By alert: the offsets of the records that caused its transitions, and what it was from there on."""

    def open_before(self, offset: int) -> list[OpenAlert]:
        """The alerts that were open when what follows from the records before this offset had been said."""
        found = []
        for transitions in self.said.values():
            before = [alert for at, alert in transitions if at < offset]
            if before and before[-1].phase in _OPEN:
                found.append(before[-1])
        return found


async def alerts_told(records: AsyncIterator[tuple[int, LogRecord]], group: str) -> dict[int, Told]:
    """By partition of the readings topic. What cannot be read is read over. Raises ReconnectError."""
    found: defaultdict[int, Told] = defaultdict(Told)
    heard: dict[tuple[int, int], int] = {}
    async for partition, record in records:
        if record.value is None:
            continue
        headers = dict(record.headers)
        at = AlertRecord(partition, record.offset, record.timestamp_ms * 1000, record.headers, record.value)
        try:
            alert, origin = read_alert(at)
            offset, phase = int(headers.get("offset") or b""), Phase[alert.phase.upper()]
        except (QuarantineError, IncompatibleError, ValueError, KeyError):
            continue
        if origin.group != group:
            continue
        # The late word of an owner that was: those who read alerts do not believe it either. Partitions of the alerts
        # topic are not read in order with each other.
        if origin.generation < heard.get((partition, origin.partition), 0):
            continue
        heard[partition, origin.partition] = origin.generation
        told = found[origin.partition]
        told.fence = max(told.fence, origin.generation)
        told.next_offset = max(told.next_offset, offset + 1)
        known = OpenAlert(
            alert.id, phase, alert.sensor, alert.rule or "", alert.revision or "", alert.severity, alert.since_us
        )
        told.said.setdefault(alert.id, []).append((offset, known))
    return {partition: _without_past(told) for partition, told in found.items()}


def _without_past(told: Told) -> Told:
    """Alerts that ended long before anybody's commit need not be kept; a worker commits every few seconds."""
    ended = [
        name
        for name, transitions in told.said.items()
        if transitions[-1][1].phase not in _OPEN and transitions[-1][0] < told.next_offset - _RECENT
    ]
    for name in ended:
        del told.said[name]
    return told

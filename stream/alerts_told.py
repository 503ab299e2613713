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

_OPEN = {phase.name.lower(): phase for phase in (Phase.PENDING, Phase.FIRING)}


@dataclass(slots=True)
class Told:
    """Of one partition. next_offset: behind the last record that had an effect, 0 if none had. fence: the highest."""

    next_offset: int = 0
    fence: int = 0
    alerts: dict[str, OpenAlert] = field(default_factory=dict)
    """Those that are open, by id."""


async def alerts_told(records: AsyncIterator[tuple[int, LogRecord]], group: str) -> dict[int, Told]:
    """By partition of the readings topic. What cannot be read is read over. Raises ReconnectError."""
    found: defaultdict[int, Told] = defaultdict(Told)
    async for partition, record in records:
        if record.value is None:
            continue
        headers = dict(record.headers)
        at = AlertRecord(partition, record.offset, record.timestamp_ms * 1000, record.headers, record.value)
        try:
            alert, origin = read_alert(at)
            offset = int(headers.get("offset") or b"")
        except (QuarantineError, IncompatibleError, ValueError):
            continue
        if origin.group != group:
            continue
        told = found[origin.partition]
        # The late word of an owner that was: those who read alerts do not believe it either.
        if origin.generation < told.fence:
            continue
        told.fence = origin.generation
        told.next_offset = max(told.next_offset, offset + 1)
        phase = _OPEN.get(alert.phase)
        if phase is None:
            told.alerts.pop(alert.id, None)
        else:
            told.alerts[alert.id] = OpenAlert(
                alert.id, phase, alert.sensor, alert.rule or "", alert.revision or "", alert.severity, alert.since_us
            )
    return dict(found)

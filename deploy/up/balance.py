"""The balance of a run: what went in, what came out, and whether the faults that were injected were found."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.up.figures import Figures

# A drift has to grow before anything can see it (the simulator's ramp), a lasting change shows at once.
_GROWTH_US = {"drift": 130_000_000}
_SLACK_US = 2_000_000


@dataclass(frozen=True, slots=True)
class Fault:
    """A line of the simulator's truth; times in µs UTC."""

    sensor: str
    kind: str
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Fired:
    """An alert that fired."""

    sensor: str
    since_us: int


def read_truth(path: Path) -> list[Fault]:
    """The faults that were injected; none if nothing was written."""

    def us(text: str) -> int:
        return round(datetime.fromisoformat(text).timestamp() * 1e6)

    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Fault(row["sensor"], row["kind"], us(row["start"]), us(row["end"])) for row in csv.DictReader(file)]


@dataclass(frozen=True, slots=True)
class Balance:
    """Messages and readings, faults and webhooks. sent: None without a simulator. dropped: gated by the worker.

    in_flight: messages that were on their way when the run was stopped. empty: messages that carry no reading.

    faults: per kind (injected, alerted), of those that could be seen by the end.
    """

    sent: int | None
    received: int
    produced: int
    empty: int
    in_flight: int
    readings: int
    folded: int
    quarantined: int
    dropped: int
    faults_injected: int
    faults_alerted: int
    faults: dict[str, tuple[int, int]]
    webhooks_delivered: int
    restarts: int
    seconds: float

    @property
    def balanced(self) -> bool:
        """Whether every message is accounted for and no reading was folded twice.

        With the simulator, which stops first, all has arrived: every reading was folded once.
        """
        if self.received != self.produced + self.empty + self.quarantined + self.in_flight:
            return False
        if self.sent is None:
            return self.folded + self.dropped <= self.readings + self.in_flight
        return self.sent == self.received and self.readings == self.folded + self.dropped

    def as_json(self) -> dict[str, Any]:
        """For a report file."""
        return {**asdict(self), "seconds": round(self.seconds, 1), "balanced": self.balanced}


def balance(
    figures: Figures,
    *,
    sent: int | None,
    truth: Iterable[Fault],
    fired: Iterable[Fired],
    until_us: int,
    webhooks_delivered: int,
    restarts: int,
    seconds: float,
) -> Balance:
    """Put it together. until_us: the end of the readings."""
    alerts = list(fired)
    kinds: dict[str, tuple[int, int]] = {}
    for fault in truth:
        if fault.start_us + _GROWTH_US.get(fault.kind, _SLACK_US) > until_us:
            continue
        seen = any(a.sensor == fault.sensor and fault.start_us <= a.since_us < fault.end_us for a in alerts)
        injected, alerted = kinds.get(fault.kind, (0, 0))
        kinds[fault.kind] = (injected + 1, alerted + seen)
    return Balance(
        sent=sent,
        received=figures.received,
        produced=figures.produced,
        empty=figures.empty,
        in_flight=figures.in_flight,
        readings=figures.readings_produced,
        folded=figures.folded,
        quarantined=figures.quarantined,
        dropped=figures.gated,
        faults_injected=sum(injected for injected, _ in kinds.values()),
        faults_alerted=sum(alerted for _, alerted in kinds.values()),
        faults=kinds,
        webhooks_delivered=webhooks_delivered,
        restarts=restarts,
        seconds=seconds,
    )

"""What a plain model of silence expects, and the logs that tests of it have."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ingest.contract.class_settings import SILENT, ClassSettings
from ingest.contract.classes import Reporting
from stream.fold.alerts import Phase, Transition
from stream.fold.clock import Clock
from tests.unit.stream.logs import HOUR_US, S_US, START_US, Batch, Row, plan_of

ONE = ClassSettings(name="all", match=["**"], models=[], rules=[SILENT], windows=["1m"])
ON_CHANGE = ONE.model_copy(update={"name": "change", "match": ["change/**"], "reporting": Reporting.ON_CHANGE})
BEATING = ON_CHANGE.model_copy(update={"name": "beat", "match": ["beat/**"], "heartbeat": 30 * S_US})
PLAN = plan_of(ON_CHANGE, BEATING, ONE)
USUAL_S = 20


class Sensor:
    """What one sensor has learned, said plainly."""

    def __init__(self, name: str, alive_us: int) -> None:
        self.name, self.heard_us, self.from_us = name, alive_us, (alive_us + 300 * S_US) // S_US * S_US
        self.long = self.mean = self.dev = 0.0
        self.since_us: int | None = None

    @property
    def boundary(self) -> float:
        if self.name.startswith("beat"):
            return 2.0 * 30 * S_US
        if self.name.startswith("change") or not self.mean:
            return float("inf")
        regular = self.dev <= self.mean / 2
        return max(10.0 * S_US, 3.5 * self.long) if regular else max(24.0 * HOUR_US, 16 * self.long)

    def hear(self, alive_us: int) -> None:
        gap, before = float(alive_us - self.heard_us), self.heard_us
        self.heard_us = alive_us
        if before == alive_us or self.name[1] != "/":
            return
        if not self.mean:
            self.long, self.mean, self.dev = gap, gap, 2 * gap
            return
        if alive_us >= self.from_us and gap >= self.boundary:
            gap = min(gap, 3 * self.long)
        away = abs(gap - self.mean)
        self.mean += (gap - self.mean) / 16
        self.dev += (away - self.dev) / 16
        self.long = max(gap, self.long - self.long * (gap * (1 / (5 * 24.0 * HOUR_US))))

    def look(self, alive_us: int, now_us: int) -> list[tuple[str, Phase, int]]:
        idle = alive_us - max(self.heard_us, self.from_us)
        if self.since_us is None and idle >= self.boundary:
            self.since_us = now_us - idle
            return [(self.name, Phase.FIRING, self.since_us)]
        if self.since_us is not None and idle < self.boundary:
            since_us, self.since_us = self.since_us, None
            return [(self.name, Phase.RESOLVED, since_us)]
        return []


def expected(log: Iterable[Batch]) -> list[tuple[str, Phase, int]]:
    """Machines of one sensor each, so that none covers another."""
    clock, alive_us, sensors, said = Clock(), 0, dict[str, Sensor](), list[tuple[str, Phase, int]]()
    for batch in log:
        before, clock = clock, clock.heard(batch.arrival_us)
        if clock.now_us // S_US > before.now_us // S_US:
            found = [one for sensor in sensors.values() for one in sensor.look(alive_us, before.now_us)]
            said += sorted(found, key=lambda one: one[1] is not Phase.RESOLVED)
        step_us = clock.now_us - before.now_us
        alive_us += step_us if 0 < step_us <= 60 * S_US else 0
        for row in batch.rows:
            sensors.setdefault(row.sensor, Sensor(row.sensor, alive_us)).hear(alive_us)
    return said


def beat(names: Iterable[str], first_s: float, last_s: float, every_s: float = 1.0) -> list[Batch]:
    """All of them, every so often."""
    log = []
    for at_s in np.arange(first_s, last_s, every_s).tolist():
        at_us = START_US + round(at_s * S_US)
        log.append(Batch(at_us, tuple(Row(name, at_us, 1.0) for name in names)))
    return log


def ticks(first_s: int, last_s: int, every_s: int = 1) -> list[Batch]:
    return [Batch(START_US + at * S_US) for at in range(first_s, last_s, every_s)]


def seconds(found: Iterable[Transition]) -> list[tuple[str, Phase, int]]:
    return [(one.sensor, one.phase, (one.at_us - START_US) // S_US) for one in found]


LEARNED = beat(["a/1/t"], 0, 400)
"""One sensor, which is known well."""

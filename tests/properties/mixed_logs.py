"""Logs in which everything happens at once: alerts open while machines are repaired, levels change, names and settings
do, counters turn, sensors die, budgets are shared out anew and clocks go astray.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from ingest.contract.class_settings import ANOMALY, DEFAULT_MODELS, SILENT, ClassSettings, ModelSettings, RuleSettings
from ingest.contract.classes import Kind, Reporting
from ingest.contract.readings import Flag, Quality
from stream.fold.budget import REFRESH_US
from stream.fold.commands import (
    AcceptLevel,
    Adopt,
    Command,
    EndMaintenance,
    Maintain,
    RejectLevel,
    Rename,
    Retire,
    row_data,
)
from stream.fold.definitions import Definitions
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.plan import Plan, make_plan
from tests.properties.test_commands import command
from tests.properties.test_migrate import config
from tests.unit.stream.logs import (
    FUTURE_US,
    HOUR_US,
    MINUTE_US,
    MODELS,
    PARTITIONS,
    S_US,
    START_US,
    Batch,
    Row,
    record_of,
)

_EAGER = [ModelSettings(name=one.name, options={"warm_up": 15}) for one in DEFAULT_MODELS[:1]] + DEFAULT_MODELS[1:2]
_EAGER += [ModelSettings(name="ewma_z", options={"warm_up": 15})]
_SCORED = [ANOMALY, SILENT, RuleSettings(name="hot", signal="value", above=200.0, severity="critical")]
_SOON: dict[str, Any] = {"level_after": 20, "level_lasts": "5m"}
_WARM = ClassSettings(name="warm", match=["**/t*"], unit="Cel", models=_EAGER)
CLASSES = (
    ClassSettings(name="counter", match=["**/count"], kind=Kind.COUNTER, models=_EAGER, **_SOON),
    ClassSettings(name="door", match=["**/door"], reporting=Reporting.ON_CHANGE, models=_EAGER, staleness="5m"),
    ClassSettings(name="shown", match=["**/shown"], models=_EAGER, rules=[]),
    ClassSettings(name="limits", match=["**/limit"], models=[], rules=_SCORED[2:]),
    ClassSettings(name="nobody", match=["nowhere/**"]),
    ClassSettings(name="gauge", match=["**"], models=_EAGER, rules=_SCORED, warm_up=5, **_SOON),
)
PLANS: tuple[Plan, ...] = tuple(
    make_plan(Definitions(classes, 9, FUTURE_US, alerts_per_day=per_day, forget_us=6 * HOUR_US), MODELS)
    for classes, per_day in (
        (CLASSES, 400),
        ((*CLASSES[1:4], CLASSES[0], *CLASSES[4:]), 20),
        ((CLASSES[0], _WARM, *CLASSES[1:]), 1_000_000),
    )
)
SENSORS = ("a/1/t1", "a/1/t2", "a/1/count", "a/1/door", "a/2/t1", "a/2/shown", "b/1/limit")
NAMES = (*SENSORS, "b/1/t3", "b/1/count", "b/1/shown")
STRANGE = (float("nan"), float("inf"), -float("inf"), 65_535.0, 1e99, -1e99, 1e-310, 4_294_967_295.0)

Happening = tuple[int, "Batch | Command | Plan"]
"""(when it arrived, readings or none, a command, or what is in force from here on)."""


class _Plant:
    """Sensors with levels of their own."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._level = {one: chance.uniform(10.0, 50.0) for one in NAMES}
        self._dead_until = dict.fromkeys(NAMES, 0)

    def value(self, sensor: str, at: int) -> float | None:
        chance, level = self._chance, self._level
        if chance.random() < 0.004:
            self._dead_until[sensor] = at + chance.choice((30, 100))
        if at < self._dead_until[sensor]:
            return None
        if chance.random() < 0.01:
            level[sensor] = chance.choice((level[sensor] + 100.0, chance.uniform(10.0, 50.0)))
        if sensor.endswith("count"):
            level[sensor] = (level[sensor] + chance.randrange(3)) % (65_536 if chance.random() < 0.99 else 40)
            return float(round(level[sensor]))
        if sensor.endswith("door"):
            return float(round(level[sensor])) if chance.random() < 0.2 else None
        if chance.random() < 0.01:
            return chance.choice(STRANGE)
        return level[sensor] + chance.gauss(0.0, 1.0) + (60.0 if chance.random() < 0.01 else 0.0)


class MixedLog(list[Happening]):
    """A log that is too long to be printed."""

    def __init__(self, seed: int, happenings: Iterable[Happening]) -> None:
        super().__init__(happenings)
        self._seed = seed

    def __repr__(self) -> str:
        return f"mixed_log({self._seed})"


def mixed_log(seed: int, steps: int = 220) -> MixedLog:
    """A reading of most sensors every 20 seconds."""
    chance = random.Random(seed)
    plant, now_us, log, plan = _Plant(chance), START_US, list[Happening](), PLANS[0]
    for at in range(steps):
        now_us += 20 * S_US
        if chance.random() < 0.02:
            now_us += chance.choice((REFRESH_US, HOUR_US, 30 * HOUR_US, -HOUR_US))
            # The clock follows once enough have told it so.
            log += [(now_us + wait_us, Batch(now_us + wait_us)) for wait_us in (0, 30 * S_US, 61 * S_US)]
            now_us += 61 * S_US
        if (roll := chance.random()) < 0.08:
            log.append((now_us, _command(chance, now_us, plan)))
        elif roll < 0.1:
            plan = chance.choice(PLANS)
            log.append((now_us, plan))
        values = [(sensor, plant.value(sensor, at)) for sensor in SENSORS]
        rows = tuple(
            Row(sensor, _time(chance, now_us), value, None, *_marks(chance))
            for sensor, value in values
            if value is not None
        )
        sent_us = now_us + 10 * MINUTE_US if rows and chance.random() < 0.02 else None
        log.append((now_us, Batch(now_us, rows, sent_us)))
    return MixedLog(seed, log)


def as_records(log: Iterable[Happening], sizes: Sequence[int] = (1_000,)) -> list[LogRecord]:
    """The log, readings that arrived together in records of these sizes, over and over."""
    records: list[LogRecord] = []
    for at_us, what in log:
        offset = len(records)
        match what:
            case Batch():
                rows = what.rows
                while True:
                    size = sizes[len(records) % len(sizes)]
                    records.append(record_of(len(records), what._replace(rows=rows[:size]), tick=not what.rows))
                    if not (rows := rows[size:]):
                        break
            case Plan():
                records.append(config(offset, what, at_us))
            case _:
                records.append(command(offset, what, at_us))
    return records


def _time(chance: random.Random, now_us: int) -> int:
    return now_us - (chance.choice((1, 30, 7_200)) * S_US if chance.random() < 0.02 else chance.randrange(S_US))


def _marks(chance: random.Random) -> tuple[int, int]:
    """(quality, flags)."""
    if chance.random() < 0.97:
        return Quality.GOOD, 0
    return chance.choice((Quality.GOOD, Quality.BAD)), chance.choice((0, int(Flag.HISTORICAL), int(Flag.RETAINED)))


def _command(chance: random.Random, now_us: int, plan: Plan) -> Command:
    one, other = chance.choice(SENSORS), chance.choice(NAMES)
    match chance.randrange(9):
        case 0:
            return Rename(one, other)
        case 1:
            return Rename(other, one)
        case 2:
            return Retire(one)
        case 3:
            donor = _donor(chance.randrange(3), chance.choice((plan, plan, PLANS[0])))
            return Adopt(other, donor.plan.definitions.digest, row_data(donor.state.row(chance.randrange(3))))
        case 4:
            until_us = now_us + chance.choice((60, 600, 7_200)) * S_US
            return Maintain(f"m{chance.randrange(9)}", chance.choice(("a/1/**", "**/t1", "**")), now_us, until_us)
        case 5:
            return EndMaintenance(f"m{chance.randrange(9)}", now_us)
        case 6:
            return AcceptLevel(one)
        case _:
            return RejectLevel(one)


@cache
def _donor(seed: int, plan: Plan) -> PartitionFold:
    """Who another partition's rows are of."""
    fold, plant = PartitionFold(plan, PARTITIONS), _Plant(random.Random(seed))
    for at in range(80):
        at_us = START_US - (80 - at) * 20 * S_US
        values = [(sensor, plant.value(sensor, at)) for sensor in SENSORS]
        rows = tuple(Row(sensor, at_us, value) for sensor, value in values if value is not None)
        fold.fold(record_of(at, Batch(at_us, rows), tick=not rows))
    return fold

"""Changed levels: told once, learned anew, accepted or rejected; whatever the log is cut into."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ingest.contract.class_settings import ClassSettings, ModelSettings, RuleSettings
from stream.fold.alerts import Phase, Transition
from stream.fold.commands import AcceptLevel, Command, Maintain, RejectLevel
from stream.fold.kept import KEPT_US
from stream.fold.levels import BACK_AFTER, Stage
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.plan import Plan
from stream.fold.warming import warming
from tests.properties.test_commands import command
from tests.unit.stream.logs import (
    PARTITIONS,
    S_US,
    START_US,
    Batch,
    Row,
    plan_of,
    records_of,
)

AFTER = 30
SENSOR = "a/1/t"
CLASS = ClassSettings(
    name="any", match=["**"], windows=["1m"], level_after=AFTER, level_lasts="0s",
    models=[
        ModelSettings(name="ewma_z", options={"warm_up": 20}),
        ModelSettings(name="running_range", options={"warm_up": 20}),
    ],
    rules=[
        RuleSettings(name="anomaly", above=1.0, hysteresis=0.2, resolve_after="60s"),
        RuleSettings(name="hot", signal="value", above=1_000.0),
    ],
)  # fmt: skip
PLAN = plan_of(CLASS)
Levels = Sequence[tuple[int, float]]
"""(how many readings, around which level), one after the other."""
SHIFT: Levels = ((100, 20.0), (200, 60.0))


def values_of(levels: Levels, seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    return [round(level + chance.gauss(0.0, 1.0), 2) for count, level in levels for _ in range(count)]


def log_of(values: Iterable[float], sensor: str = SENSOR, begin: int = 0) -> list[Batch]:
    times = ((START_US + at * S_US, value) for at, value in enumerate(values, begin))
    return [Batch(at_us, (Row(sensor, at_us, value),)) for at_us, value in times]


@dataclass
class Run:
    """A fold, and what it told: (reading, phase, rule)."""

    plan: Plan = PLAN
    at: int = 0
    told: list[tuple[int, Phase, str]] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fold = PartitionFold(self.plan, PARTITIONS)

    def take(self, record: LogRecord) -> Any:
        effects = self.fold.fold(record._replace(offset=self.fold.state.next_offset))
        self.transitions += effects.transitions
        self.told += [(self.at, one.phase, one.rule) for one in effects.transitions]
        return effects

    def hear(self, values: Iterable[float]) -> Run:
        for record in records_of(log_of(values, begin=self.at)):
            self.take(record)
            self.at += 1
        return self

    def say(self, what: Command) -> str:
        return str(self.take(command(0, what, START_US + self.at * S_US)).applied.outcome.value)

    def of(self, rule: str) -> list[tuple[int, Phase]]:
        return [(at, phase) for at, phase, name in self.told if name == rule]

    def banks(self, sensor: str = SENSOR) -> list[bytes]:
        slot = self.fold.state.slots.get(sensor)
        return [bank[slot].tobytes() for bank in self.fold.state.banks]

    @property
    def stage(self) -> Stage:
        return Stage(int(self.fold.state.levels[0]["stage"]))

    @property
    def score(self) -> float:
        return float(self.fold.state.sensors[0]["score"])


def until_changed(levels: Levels = SHIFT) -> Run:
    """Up to the event, and no further."""
    run = Run()
    for value in values_of(levels):
        run.hear([value])
        if run.stage is Stage.CHANGED:
            return run
    raise AssertionError("no level has changed")


# --- one event ----------------------------------------------------------------------------------------------------


def test_a_level_that_stays_elsewhere_is_told_once_and_its_alert_ends_with_it() -> None:
    run = Run().hear(values_of(SHIFT))

    (fired, first), (resolved, last) = run.of("level")
    assert (first, last) == (Phase.FIRING, Phase.RESOLVED)
    assert fired == 100 + AFTER
    assert fired + AFTER <= resolved <= fired + AFTER + 2
    assert run.of("anomaly") == [(100, Phase.FIRING), (fired, Phase.RESOLVED)]
    event = next(one for one in run.transitions if one.rule == "level")
    assert event.since_us == START_US + 100 * S_US
    assert event.severity == "info"
    assert event.value == pytest.approx(60.0, abs=1.0)
    assert event.band is not None
    assert event.band[0] is not None
    assert event.band[1] is not None
    assert event.band[0] < 20.0 < event.band[1] < 60.0
    assert event.score > 1.0
    assert len({one.id for one in run.transitions if one.rule == "level"}) == 1


def test_models_begin_anew_and_know_the_new_level_afterwards() -> None:
    run = until_changed()
    # The reading with which the clock moved on is the first that they know.
    assert [int(bank[0]["seen"]) for bank in run.fold.state.banks] == [1, 1]
    run.hear(values_of([(100, 60.0)], seed=5))
    assert run.stage is Stage.SETTLED
    assert run.score < 1.0
    run.hear([100.0])
    assert run.score > 1.0


def test_who_comes_back_to_the_level_before_within_a_day_is_no_anomaly_and_models_know_it() -> None:
    run = until_changed()
    known = [row.tobytes() for row in next(iter(run.fold.state.kept.changed.values())).banks]
    run.hear(values_of([(100, 60.0)], seed=5))
    told = len(run.told)
    run.hear(values_of([(BACK_AFTER, 20.0)], seed=3))
    assert run.stage is Stage.BACK
    run.take(records_of([Batch(START_US + (run.at + 1) * S_US)])[0])
    assert run.banks() == known
    run.hear(values_of([(100, 20.0)], seed=4))
    assert len(run.told) == told


@pytest.mark.parametrize("how", ["accepted", "a day later"])
def test_a_level_that_was_accepted_is_the_only_one_that_is_known(how: str) -> None:
    run = until_changed()
    run.hear(values_of([(100, 60.0)], seed=5))
    if how == "accepted":
        assert run.say(AcceptLevel(SENSOR)) == "done"
    else:
        changed = run.fold.state.kept.changed
        changed[0] = replace(changed[0], at_us=changed[0].at_us - KEPT_US)
    run.hear(values_of([(2, 60.0)], seed=6))
    assert run.stage is Stage.CALM
    run.hear([20.0])
    assert run.score > 1.0


def test_a_second_shift_is_a_second_event() -> None:
    run = Run().hear(values_of([(100, 20.0), (150, 60.0), (150, 100.0), (150, 20.0)]))

    assert [phase for _, phase in run.of("level")] == [Phase.FIRING, Phase.RESOLVED] * 3
    assert len({one.id for one in run.transitions if one.rule == "level"}) == 3


@pytest.mark.parametrize(
    "values",
    [
        values_of([(100, 20.0), (AFTER - 12, 60.0), (200, 20.0)]),
        values_of([(100, 20.0), *[(1, 60.0), (30, 20.0)] * 10]),
        values_of([(100, 20.0), *[(3, 60.0), (3, -20.0)] * 50]),
        values_of([(100, 20.0)]) + [20.0 + 5.0 * at for at in range(200)],
        values_of([(400, 20.0)]),
        [20.0] * 400,
        [20.0] * 100 + [60.0] * 300,
    ],
    ids=["too short", "spikes", "to and fro", "a drift", "usual", "constant", "a switch"],
)  # fmt: skip
def test_what_does_not_stay_as_steady_as_before_is_no_level(values: list[float]) -> None:
    assert Run().hear(values).of("level") == []


def test_a_drift_that_ends_is_a_level_then() -> None:
    drift = values_of([(100, 20.0)]) + [20.0 + 5.0 * at for at in range(50)] + values_of([(200, 270.0)])
    ((fired, _), _) = Run().hear(drift).of("level")
    assert 150 + AFTER <= fired <= 150 + 2 * AFTER + 2


def test_what_goes_with_the_shift_is_no_level_and_what_lasts_is_one() -> None:
    lasting = plan_of(CLASS.model_copy(update={"level_lasts": 150 * S_US}))

    assert Run(lasting).hear(values_of([(200, 20.0), (140, 60.0), (100, 20.0)])).of("level") == []
    ((fired, _), _) = Run(lasting).hear(values_of([(200, 20.0), (220, 60.0)])).of("level")
    assert 350 <= fired <= 352


def test_before_a_sensor_is_known_for_long_it_has_no_other_level() -> None:
    lasting = plan_of(CLASS.model_copy(update={"level_lasts": 150 * S_US}))

    assert Run(lasting).hear(values_of([(140, 20.0), (300, 60.0)])).of("level") == []


@pytest.mark.parametrize(
    "change",
    [{"level_after": 0}, {"rules": [CLASS.rules[1]]}, {"rules": [CLASS.rules[0].model_copy(update={"above": 1e8})]}],
    ids=["switched off", "no rule on a score", "no alert"],
)
def test_nobody_is_told_of_a_level_without_an_alert(change: dict[str, Any]) -> None:
    run = Run(plan_of(CLASS.model_copy(update=change))).hear(values_of(SHIFT))
    assert run.of("level") == []
    assert run.stage is Stage.CALM
    assert not len(run.fold.state.kept)


# --- answers ------------------------------------------------------------------------------------------------------


def test_accepted_is_over_at_once_and_what_was_known_is_gone() -> None:
    run = until_changed()
    at, banks = run.at, run.banks()
    assert run.say(AcceptLevel(SENSOR)) == "done"

    assert run.of("level")[-1] == (at, Phase.RESOLVED)
    assert not len(run.fold.state.kept)
    assert run.banks() == banks
    once = run.fold.state.digest_parts()
    assert [run.say(one) for one in (AcceptLevel(SENSOR), RejectLevel(SENSOR))] == ["no_change"] * 2
    assert run.fold.state.digest_parts() == once
    assert len(run.of("level")) == 2


@pytest.mark.parametrize("later", [0, 10, 120])
def test_rejected_is_an_anomaly_until_it_is_back_and_models_know_what_they_knew(later: int) -> None:
    run = until_changed()
    known = [row.tobytes() for row in next(iter(run.fold.state.kept.changed.values())).banks]
    run.hear(values_of([(later, 60.0)], seed=3))
    assert run.say(RejectLevel(SENSOR)) == "done"
    assert run.of("level")[-1][1] is Phase.RESOLVED
    assert run.banks() == known

    run.hear(values_of([(3 * AFTER, 60.0)], seed=4))
    assert run.of("anomaly")[-1][1] is Phase.FIRING
    assert run.score > 1.0
    assert run.banks() == known
    assert len(run.of("level")) == 2
    assert run.say(RejectLevel(SENSOR)) == "done"
    once = run.fold.state.digest_parts()
    assert run.say(RejectLevel(SENSOR)) == "done"
    assert run.fold.state.digest_parts() == once
    assert run.fold.state.levels[0]["stage"] == Stage.REJECTED

    run.hear(values_of([(90, 20.0)], seed=5))
    assert run.stage is Stage.CALM
    assert run.of("anomaly")[-1][1] is Phase.RESOLVED
    assert run.banks() != known
    # From here on it can change again.
    run.hear(values_of([(2 * AFTER, 60.0)], seed=6))
    assert len(run.of("level")) >= 3


def test_who_thinks_again_accepts_what_was_rejected() -> None:
    run = until_changed()
    assert [run.say(one) for one in (RejectLevel(SENSOR), AcceptLevel(SENSOR))] == ["done", "done"]
    run.hear(values_of([(60, 60.0)], seed=3))
    assert run.stage is Stage.CALM
    assert run.score < 1.0


def test_what_comes_back_by_itself_is_over_and_models_know_what_they_knew() -> None:
    run = until_changed()
    known = [row.tobytes() for row in next(iter(run.fold.state.kept.changed.values())).banks]
    run.hear(values_of([(BACK_AFTER, 20.0)], seed=3))
    assert run.stage is Stage.BACK
    run.take(records_of([Batch(START_US + (run.at + 1) * S_US)])[0])
    assert run.of("level")[-1][1] is Phase.RESOLVED
    assert run.banks() == known
    assert not len(run.fold.state.kept)


def test_nothing_is_answered_of_nobody_and_nothing() -> None:
    run = Run().hear(values_of([(50, 20.0)]))
    before = run.fold.state.digest_parts()
    assert run.say(AcceptLevel("z/t")) == run.say(RejectLevel("z/t")) == "unknown_sensor"
    assert run.say(AcceptLevel(SENSOR)) == run.say(RejectLevel(SENSOR)) == "no_change"
    # Only the clock moved on.
    assert len(run.told) == 0
    assert run.fold.state.digest_parts()[1:3] == before[1:3]


def test_without_what_was_kept_rejected_begins_anew_and_is_an_anomaly_all_the_same() -> None:
    run = until_changed()
    run.fold.state.kept.drop(0)
    assert run.say(RejectLevel(SENSOR)) == "done"
    run.hear(values_of([(50, 60.0)], seed=3))
    assert run.score > 1.0
    assert not any(one.strip(b"\0") for one in run.banks())


# --- maintenance, warm-up -----------------------------------------------------------------------------------------


def test_a_level_does_not_change_in_maintenance_and_its_event_ends_with_it() -> None:
    quiet = Run()
    quiet.say(Maintain("m", "a/**", START_US + 100 * S_US, START_US + 300 * S_US))
    assert quiet.hear(values_of(SHIFT)).told == []
    assert quiet.stage is Stage.CALM
    # It came back different from it.
    assert [phase for _, phase in quiet.hear(values_of([(100, 60.0)])).of("level")] == [Phase.FIRING, Phase.RESOLVED]

    run = until_changed()
    run.say(Maintain("m", "a/**", START_US, START_US + 300 * S_US))
    assert run.of("level")[-1][1] is Phase.RESOLVED
    assert run.say(RejectLevel(SENSOR)) == "done"


def test_before_a_class_is_warm_nothing_scores_and_limits_hold() -> None:
    plan = plan_of(CLASS.model_copy(update={"warm_up": 120}))
    run = Run(plan).hear(values_of([(100, 20.0), (19, 60.0), (1, 2_000.0)]))

    assert run.of("anomaly") == []
    assert run.of("hot") == [(119, Phase.FIRING)]
    assert warming(plan, run.fold.state).tolist() == [False]
    assert int(run.fold.state.levels[0]["seen"]) == 120
    run.hear([-2_000.0])
    assert run.of("anomaly") == [(120, Phase.FIRING)]


def test_a_sensor_warms_until_a_model_expects_something() -> None:
    run = Run().hear(values_of([(19, 20.0)]))
    assert warming(PLAN, run.fold.state).tolist() == [True]
    assert warming(PLAN, run.hear(values_of([(5, 20.0)])).fold.state).tolist() == [False]
    assert warming(PLAN, until_changed().fold.state).tolist() == [True]
    nothing = plan_of(CLASS.model_copy(update={"models": []}))
    assert warming(nothing, Run(nothing).hear([1.0]).fold.state).tolist() == [False]

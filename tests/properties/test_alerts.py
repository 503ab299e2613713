"""Alerts are what a plain state machine makes of the same signal, and their ids survive a replay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.class_settings import ClassSettings, RuleSettings
from ingest.contract.classes import Reporting
from ingest.contract.readings import Quality
from stream.fold.alerts import EPISODE, RULE, SAY, Phase, Transition, step
from stream.fold.calibration import REFRACTORY
from tests.unit.stream.logs import (
    HOUR_US,
    PLANT,
    S_US,
    START_US,
    Batch,
    Row,
    examples,
    fold_log,
    long_log,
    plan_of,
    with_ticks,
)

STALENESS_US = 60 * S_US


class Change(NamedTuple):
    """What a transition says about when and how."""

    phase: Phase
    at_us: int
    since_us: int


@dataclass
class Machine:
    """Pending after the first reading outside, firing when it stayed there, resolved when it stayed inside."""

    rule: RuleSettings
    phase: Phase = Phase.NONE
    since_us: int = 0
    inside_since_us: int | None = None

    def outside(self, x: float) -> bool:
        return x >= self.rule.above if self.rule.above is not None else x <= (self.rule.below or 0.0)

    def inside(self, x: float) -> bool:
        if self.rule.above is not None:
            return x < self.rule.above - self.rule.hysteresis
        return x > (self.rule.below or 0.0) + self.rule.hysteresis

    def see(self, at_us: int, x: float) -> list[Change]:
        if self.phase is Phase.NONE and self.outside(x):
            self.since_us, self.inside_since_us = at_us, None
            return self._to(Phase.PENDING if self.rule.hold else Phase.FIRING, at_us)
        if self.phase is Phase.PENDING and not self.outside(x):
            return self._to(Phase.RESOLVED, at_us)
        if self.phase is Phase.PENDING and at_us >= self.since_us + self.rule.hold:
            return self._to(Phase.FIRING, at_us)
        if self.phase is Phase.FIRING:
            if not self.inside(x):
                self.inside_since_us = None
            else:
                self.inside_since_us = at_us if self.inside_since_us is None else self.inside_since_us
                if at_us >= self.inside_since_us + self.rule.resolve_after:
                    return self._to(Phase.RESOLVED, at_us)
        return []

    def _to(self, phase: Phase, at_us: int) -> list[Change]:
        self.phase = Phase.NONE if phase is Phase.RESOLVED else phase
        return [Change(phase, at_us, self.since_us)]


def changes(transitions: list[Transition]) -> list[Change]:
    return [Change(one.phase, one.at_us, one.since_us) for one in transitions]


def watch(rule: RuleSettings, reporting: Reporting = Reporting.PERIODIC) -> ClassSettings:
    return ClassSettings(name="watched", match=["**"], reporting=reporting, staleness="60s", models=[], rules=[rule])


@st.composite
def rules(draw: st.DrawFn) -> RuleSettings:
    return RuleSettings(
        name="limit",
        signal="value",
        hysteresis=draw(st.sampled_from([0.0, 1.0, 2.5])),
        hold=draw(st.sampled_from(["0s", "1s", "5s"])),
        resolve_after=draw(st.sampled_from(["0s", "1s", "4s"])),
        **{draw(st.sampled_from(["above", "below"])): draw(st.sampled_from([0.0, 3.0, -2.0]))},
    )


LEVELS = st.sampled_from([-5.0, -2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 2.5, 3.0, 4.0])
STEPS = st.sampled_from([1, 400_000, S_US, 2 * S_US, 5 * S_US, 45 * S_US, 2 * HOUR_US])


@examples(120)
@given(rule=rules(), signal=st.lists(st.tuples(STEPS, LEVELS), min_size=1, max_size=40))
def test_periodic_sensors_alert_by_their_readings_alone(rule: RuleSettings, signal: list[tuple[int, float]]) -> None:
    machine, at_us, expected, log = Machine(rule), START_US, list[Change](), list[Batch]()
    for step_us, x in signal:
        at_us += step_us
        expected += machine.see(at_us, x)
        log += [Batch(at_us, (Row("a/t", at_us, x),)), Batch(at_us + step_us // 2)]

    assert changes(fold_log(plan_of(watch(rule)), log).transitions) == expected


@examples(120)
@given(rule=rules(), signal=st.lists(st.tuples(STEPS, st.one_of(st.none(), LEVELS)), min_size=1, max_size=40))
def test_on_change_sensors_alert_by_time_too(rule: RuleSettings, signal: list[tuple[int, float | None]]) -> None:
    """None: a tick. Time counts while a value holds, looked at when the clock's second changes."""
    machine, now_us, expected, log = Machine(rule), START_US, list[Change](), list[Batch]()
    last: tuple[int, float] | None = None
    for step_us, x in signal:
        before_us, now_us = now_us, now_us + step_us
        held = last is not None and last[0] < before_us <= last[0] + STALENESS_US
        # All that arrived by `before_us` is known now, so that is the time that the held value is judged at.
        if last and held and now_us // S_US > before_us // S_US and machine.phase is not Phase.NONE:
            expected += machine.see(before_us, last[1])
        if x is not None:
            expected += machine.see(now_us, x)
            last = now_us, x
        log.append(Batch(now_us, () if x is None else (Row("a/t", now_us, x),)))

    assert changes(fold_log(plan_of(watch(rule, Reporting.ON_CHANGE)), with_ticks(log)).transitions) == expected


# --- what people rely on ------------------------------------------------------------------------------------------

HOT = RuleSettings(name="hot", signal="value", above=10.0, hold="5s", resolve_after="2s")
PATIENT = ClassSettings(
    name="watched", match=["**"], reporting=Reporting.ON_CHANGE, staleness="60s", models=[], rules=[HOT]
)


def ticks(first_s: int, last_s: int) -> list[Batch]:
    return [Batch(START_US + at * S_US) for at in range(first_s, last_s)]


def at(second: int, x: float, quality: Quality = Quality.GOOD) -> Batch:
    return Batch(START_US + second * S_US, (Row("a/t", START_US + second * S_US, x, None, quality),))


def told(one: ClassSettings, log: list[Batch]) -> list[tuple[Phase, int]]:
    found = fold_log(plan_of(one), log).transitions
    return [(change.phase, (change.at_us - START_US) // S_US) for change in found]


def test_an_on_change_value_that_stays_outside_fires_by_ticks_alone() -> None:
    assert told(PATIENT, [at(0, 11.0), *ticks(1, 20)]) == [(Phase.PENDING, 0), (Phase.FIRING, 5)]


def test_an_on_change_value_that_stays_inside_resolves_by_ticks_alone() -> None:
    log = [at(0, 11.0), *ticks(1, 8), at(8, 3.0), *ticks(9, 20)]

    assert told(PATIENT, log) == [(Phase.PENDING, 0), (Phase.FIRING, 5), (Phase.RESOLVED, 10)]


@pytest.mark.parametrize("reporting", list(Reporting))
def test_silence_never_resolves(reporting: Reporting) -> None:
    one = watch(HOT, reporting)
    log = [*(at(second, 11.0) for second in range(8)), *ticks(8, 4_000)]

    assert told(one, log) == [(Phase.PENDING, 0), (Phase.FIRING, 5)]


def test_a_stale_value_neither_fires_nor_resolves() -> None:
    slow = PATIENT.model_copy(update={"rules": [HOT.model_copy(update={"hold": 90 * S_US})]})
    gone = [at(0, 11.0), *ticks(1, 8), at(8, 3.0), Batch(START_US + 70 * S_US), *ticks(71, 200)]

    assert told(slow, [at(0, 11.0), *ticks(1, 300)]) == [(Phase.PENDING, 0)]
    assert told(PATIENT, gone) == [(Phase.PENDING, 0), (Phase.FIRING, 5)]


def test_bad_quality_stops_the_clock_of_an_on_change_alert() -> None:
    log = [at(0, 11.0), at(2, 11.0, Quality.BAD), *ticks(3, 50)]

    assert told(PATIENT, log) == [(Phase.PENDING, 0)]


def test_a_reading_between_limit_and_hysteresis_keeps_an_alert_open() -> None:
    rule = HOT.model_copy(update={"hysteresis": 2.0, "hold": 0})

    assert told(watch(rule), [at(0, 11.0), *(at(second, 9.0) for second in range(1, 60))]) == [(Phase.FIRING, 0)]


def test_readings_that_come_late_or_bad_never_alert() -> None:
    rule = HOT.model_copy(update={"hold": 0})
    old = Batch(START_US + 20 * S_US, (Row("a/t", START_US + S_US, 99.0),))

    assert told(watch(rule), [at(10, 1.0), old, at(21, 99.0, Quality.BAD), at(22, float("inf"))]) == []


# --- ids ----------------------------------------------------------------------------------------------------------


def test_ids_are_the_same_in_a_replay_and_one_for_each_episode() -> None:
    plan = plan_of(*PLANT)
    for seed in range(3):
        log = long_log(seed)

        first, second = fold_log(plan, log).transitions, fold_log(plan, log).transitions

        assert [one.id for one in first] == [one.id for one in second]
        episodes = {(one.sensor, one.rule, one.since_us) for one in first}
        assert len({one.id for one in first}) == len(episodes) > 0


@pytest.mark.parametrize(
    "change",
    [
        {"above": 10.5},
        {"hysteresis": 0.5},
        {"hold": S_US},
        {"resolve_after": S_US},
        {"severity": "critical"},
    ],
    ids=lambda change: str(next(iter(change))),
)
def test_a_changed_rule_has_another_revision_and_its_alerts_other_ids(change: dict[str, object]) -> None:
    log = [at(second, 11.0) for second in range(20)]
    before = fold_log(plan_of(watch(HOT)), log).transitions[0]
    after = fold_log(plan_of(watch(HOT.model_copy(update=change))), log).transitions[0]

    assert (before.sensor, before.rule, before.since_us) == (after.sensor, after.rule, after.since_us)
    assert before.revision != after.revision
    assert before.id != after.id


def test_what_is_not_the_rule_does_not_change_its_revision() -> None:
    log = [at(second, 11.0) for second in range(20)]
    other = ClassSettings(name="other", match=["b/**"], rules=[HOT.model_copy(update={"above": 1.0})])
    wider = watch(HOT).model_copy(update={"windows": [300 * S_US], "unit": "Cel", "match": ["a/**", "**"]})
    before = fold_log(plan_of(watch(HOT)), log).transitions

    assert fold_log(plan_of(other, wider), log).transitions == before


def test_a_rule_tells_what_set_the_score() -> None:
    usual = [at(second, 5.0 + second % 3) for second in range(200)]
    one = ClassSettings(name="scored", match=["**"])

    found = fold_log(plan_of(one), [*usual, at(200, 500.0)]).transitions

    assert [change.phase for change in found] == [Phase.FIRING]
    assert found[0].model in {model.name for model in one.model_list}
    assert found[0].score >= 1.0
    assert found[0].value == 500.0


def test_durations_in_a_revision_do_not_depend_on_how_they_are_written() -> None:
    ways = [HOT, RuleSettings.model_validate({**HOT.model_dump(), "hold": "5000ms", "resolve_after": "2s"})]

    assert len({plan_of(watch(rule)).rules[0][0].revision for rule in ways}) == 1


# --- rest ---------------------------------------------------------------------------------------------------------


def fired(scores: list[float], *, on_score: bool = True, every_us: int = S_US) -> list[int]:
    """The readings at which a rule fires that ends with the first reading inside."""
    episode, rule = np.zeros(1, EPISODE)[0], np.zeros(1, RULE)[0]
    rule["used"], rule["on_score"], rule["sign"], rule["limit"], rule["clear"] = 1, on_score, 1.0, 1.0, 0.8
    found = []
    for at, score in enumerate(scores):
        before = int(episode["phase"])
        follows = step(episode, rule, START_US + at * every_us, score, score, True)
        if follows & SAY and before == Phase.NONE:
            found.append(at)
    return found


def test_a_score_that_comes_and_goes_is_one_alert_for_some_readings() -> None:
    assert fired([2.0, 0.0] * (REFRACTORY // 2 + 2)) == [0, REFRACTORY + 2]


def test_what_is_far_worse_alerts_at_once() -> None:
    assert fired([2.0, 0.0, 5.9, 0.0, 6.0, 0.0, 17.9, 0.0]) == [0, 4]


def test_what_comes_again_the_next_day_alerts_anew() -> None:
    assert fired([2.0, 0.0, 2.0, 0.0], every_us=12 * HOUR_US) == [0, 2]


def test_a_rule_on_values_is_never_at_rest() -> None:
    assert fired([2.0, 0.0] * 3, on_score=False) == [0, 2, 4]

"""Silence: what sensors learn of their gaps, and who is told to be silent: whom a plain model says."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.contract.class_settings import ClassSettings, RuleSettings
from ingest.contract.classes import Reporting
from ingest.contract.readings import Flag, Quality
from stream.fold.alerts import Phase, Transition
from stream.fold.commands import Rename, apply
from stream.fold.definitions import Definitions
from stream.fold.partition import PartitionFold
from stream.fold.plan import Plan, make_plan
from stream.fold.silence import SILENCE, learn, learned_us
from stream.fold.silent_together import judge
from tests.properties.silence_by_hand import LEARNED, ONE, PLAN, USUAL_S, beat, expected, seconds, ticks
from tests.unit.stream.logs import (
    FUTURE_US,
    HOUR_US,
    MODELS,
    PARTITIONS,
    S_US,
    START_US,
    Batch,
    Row,
    examples,
    fold_log,
    plan_of,
    records_of,
)

NAMES = ("p/1/t", "q/1/t", "r/1/t", "change/1/t", "beat/1/t")
HEARD = st.tuples(
    st.sampled_from([0, 100_000, S_US, 5 * S_US, 20 * S_US, 50 * S_US, 400 * S_US]), st.sets(st.sampled_from(NAMES))
)


def log_of(talk: list[tuple[int, set[str]]]) -> list[Batch]:
    """Ten minutes in which all speak, then this: (how much later, who)."""
    log = beat(NAMES, 0, 600, USUAL_S)
    for step_us, names in talk:
        at_us = log[-1].arrival_us + step_us
        log.append(Batch(at_us, tuple(Row(name, at_us, 1.0) for name in sorted(names))))
    return log


def said(found: Iterable[Transition]) -> list[tuple[str, Phase, int]]:
    return [(one.sensor, one.phase, one.since_us) for one in found]


@examples(40)
@given(talk=st.lists(HEARD, min_size=5, max_size=40))
def test_who_is_told_to_be_silent_is_who_a_plain_model_says(talk: list[tuple[int, set[str]]]) -> None:
    log = log_of(talk)

    assert said(fold_log(PLAN, log).transitions) == expected(log)


# --- what is learned ----------------------------------------------------------------------------------------------


def learned(gaps_s: Iterable[float]) -> float:
    """The boundary after these gaps, in seconds."""
    row = np.zeros(1, SILENCE)[0]
    for gap_s in gaps_s:
        learn(row, gap_s * S_US, True)
    return float(learned_us(row)) / S_US


def test_gaps_of_all_kinds_have_boundaries_of_their_own() -> None:
    chance = np.random.default_rng(5)

    assert learned([]) == float("inf")
    assert learned([1.0] * 22) == 86_400.0
    assert learned([1.0] * 23) == 10.0
    assert learned([60.0] * 30) == pytest.approx(210.0)
    assert learned(chance.uniform(0.5, 1.5, 200)) == 10.0
    assert learned([*[0.2] * 100, *[3.0] * 1, *[0.2] * 100]) == pytest.approx(10.5, rel=1e-3)
    assert learned(chance.exponential(5.0, 500)) == 86_400.0
    assert learned([1.0, 3_600.0] * 50) >= 86_400.0


def test_one_outage_teaches_little_and_a_habit_is_learned() -> None:
    assert learned([*[1.0] * 100, 30_000.0, *[1.0] * 100]) == pytest.approx(10.5, rel=1e-3)
    assert learned([*[1.0] * 100, *[600.0] * 60]) == pytest.approx(2_100.0)


@examples(40)
@given(gaps=st.lists(st.floats(1.0, 1e13), min_size=1, max_size=60), judged=st.booleans())
def test_learning_is_the_same_to_the_bit_compiled_or_not_and_stays_finite(gaps: list[float], judged: bool) -> None:
    rows = np.zeros(2, SILENCE)
    for gap_us in gaps:
        learn(rows[0], gap_us, judged)
        learn.py_func(rows[1], gap_us, judged)  # type: ignore[attr-defined]

    assert rows[0].tobytes() == rows[1].tobytes()
    for name in ("long_us", "mean_us", "dev_us"):
        assert 0.0 <= rows[0][name] <= 2 * max(gaps)


# --- what people rely on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late_us", [0, 400_000, 900_000])
def test_an_outage_of_many_is_learned_in_full_by_none_of_them(late_us: int) -> None:
    """Whatever part of a second the log began at; a third of them had once."""
    names = [f"a/{at}/t" for at in range(24)]

    def speak(quarter: int) -> Batch:
        """Each sends every other second, but for a quarter of an hour."""
        at_us = START_US + quarter * S_US // 4
        due = names[quarter % 8 :: 8] if not 1_600 <= quarter < 5_200 else []
        return Batch(at_us + late_us, tuple(Row(name, at_us, 1.0) for name in due))

    found = fold_log(
        PLAN, [speak(quarter) for quarter in (*range(1_600), *range(1_600, 5_200, 4), *range(5_200, 5_280))]
    )

    assert [one.phase for one in found.transitions] == [Phase.FIRING, Phase.RESOLVED]
    assert found.fold.state.silences["long_us"].max() <= 7 * S_US


def test_a_sensor_that_stops_is_told_of_after_ten_seconds_and_is_back_with_its_next_reading() -> None:
    log = [*LEARNED, *ticks(400, 450), *beat(["a/1/t"], 450, 460)]
    found = fold_log(plan_of(ONE), log).transitions

    assert seconds(found) == [("a/1/t", Phase.FIRING, 409), ("a/1/t", Phase.RESOLVED, 450)]
    assert {one.since_us for one in found} == {START_US + 399 * S_US}
    assert found[0].id == found[1].id
    assert (found[0].together, found[0].node, found[0].model) == (1, None, None)


@pytest.mark.parametrize("every_s", [1, 5, 10, 60])
@pytest.mark.parametrize(("missed", "told"), [(2, False), (3, True)])
def test_three_readings_in_a_row_that_were_missed_are_told(every_s: int, missed: int, told: bool) -> None:
    """However fast: below three seconds there are more of them in ten seconds."""
    gap_s = max((missed + 1) * every_s, 12 if told else 0)
    last_s = 30 * every_s + 300 // every_s * every_s
    log = [*beat(["a/1/t"], 0, last_s + 1, every_s), *ticks(last_s + 1, last_s + gap_s)]
    back = beat(["a/1/t"], last_s + gap_s, last_s + gap_s + 1)

    assert bool(fold_log(plan_of(ONE), [*log, *back]).transitions) == told


def test_a_rule_with_a_hold_is_pending_first_and_one_above_two_waits_twice_as_long() -> None:
    log = [*LEARNED, *ticks(400, 450), *beat(["a/1/t"], 450, 460)]
    held = ONE.model_copy(update={"rules": [RuleSettings(name="s", signal="silence", above=1.0, hold="5s")]})
    late = ONE.model_copy(update={"rules": [RuleSettings(name="s", signal="silence", above=2.0)]})

    assert [(phase.name, at) for _, phase, at in seconds(fold_log(plan_of(held), log).transitions)] == [
        ("PENDING", 409),
        ("FIRING", 414),
        ("RESOLVED", 450),
    ]
    assert seconds(fold_log(plan_of(late), log).transitions)[0] == ("a/1/t", Phase.FIRING, 419)


def test_a_new_sensor_is_not_judged_and_a_class_without_the_rule_never() -> None:
    without = ONE.model_copy(update={"rules": []})

    assert fold_log(plan_of(ONE), [*beat(["a/1/t"], 0, 200), *ticks(200, 280)]).transitions == []
    assert fold_log(plan_of(without), [*LEARNED, *ticks(400, 900)]).transitions == []


def test_who_sent_ten_times_a_second_and_now_once_an_hour_cries_a_few_times() -> None:
    log = beat(["a/1/t"], 0, 330, 0.1)
    for hour in range(1, 12):
        log += [
            *ticks(330 + 3_600 * (hour - 1), 330 + 3_600 * hour, 30),
            *beat(["a/1/t"], 330 + 3_600 * hour, 331 + 3_600 * hour),
        ]

    fired = [at for _, phase, at in seconds(fold_log(plan_of(ONE), log).transitions) if phase is Phase.FIRING]

    assert 1 <= len(fired) <= 3
    assert fired[-1] < 3 * 3_600


def test_on_change_sensors_are_silent_after_the_death_of_their_device_alone() -> None:
    name = "change/1/t"
    dead_us = START_US + 410 * S_US
    alive = [*beat([name], 0, 400), *ticks(400, 5_000, 30)]
    dies = [*beat([name], 0, 400), Batch(dead_us, (Row(name, dead_us, float("nan"), None, Quality.BAD),))]
    log = [*dies, *ticks(411, 500), *beat([name], 500, 505)]

    assert fold_log(PLAN, alive).transitions == []
    assert seconds(fold_log(PLAN, log).transitions) == [(name, Phase.FIRING, 440), (name, Phase.RESOLVED, 500)]


def test_a_promised_heartbeat_is_missed_twice() -> None:
    log = [*beat(["beat/1/t"], 0, 400, 30), *ticks(391, 500)]

    assert seconds(fold_log(PLAN, log).transitions) == [("beat/1/t", Phase.FIRING, 450)]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (Row("a/1/t", START_US + 405 * S_US, 1.0, None, Quality.BAD), [415]),
        (Row("a/1/t", START_US + 100 * S_US, 1.0), [415]),
        (Row("a/1/t", START_US + 405 * S_US, 1.0, None, Quality.GOOD, int(Flag.RETAINED)), [409]),
    ],
    ids=["bad", "twice", "stored"],
)
def test_all_but_stored_messages_are_signs_of_life_and_teach_nothing(row: Row, told: list[int]) -> None:
    log = [*LEARNED, *ticks(400, 405), Batch(START_US + 405 * S_US, (row,)), *ticks(406, 440)]
    folded = fold_log(plan_of(ONE), log)

    assert [at for _, _, at in seconds(folded.transitions)] == told
    assert folded.fold.state.silences[0]["long_us"] < 1.01 * S_US


def test_what_comes_out_of_a_spool_teaches_nothing() -> None:
    back_us = START_US + 2_000 * S_US
    spooled = tuple(Row("a/1/t", START_US + at * S_US, 1.0) for at in range(400, 2_000, 100))
    log = [*LEARNED, *ticks(400, 2_000), Batch(START_US + 400 * S_US, spooled, back_us), *beat(["a/1/t"], 2_001, 2_100)]
    folded = fold_log(plan_of(ONE), log)

    assert seconds(folded.transitions) == [("a/1/t", Phase.FIRING, 409), ("a/1/t", Phase.RESOLVED, 2_000)]
    assert folded.fold.state.silences[0]["long_us"] < 1.01 * S_US


def test_a_log_that_stood_still_makes_nobody_silent() -> None:
    later = [*ticks(4_000, 4_090, 30), *beat(["a/1/t"], 4_091, 4_100)]

    assert fold_log(plan_of(ONE), [*LEARNED, *later]).transitions == []


def test_who_is_masked_is_not_judged_and_begins_anew_after_it() -> None:
    fold = PartitionFold(plan_of(ONE), PARTITIONS)
    for record in records_of(LEARNED):
        fold.fold(record)
    state, masked = fold.state, np.ones(1, np.bool_)

    state.alive_us += HOUR_US
    assert judge(fold.plan, state, state.now_us, masked) == []
    state.alive_us += 5 * S_US
    assert judge(fold.plan, state, state.now_us) == []
    state.alive_us += 10 * S_US
    assert [one.phase for one in judge(fold.plan, state, state.now_us)] == [Phase.FIRING]


@pytest.mark.parametrize(
    ("rules", "wrong"),
    [
        ([{"name": "s", "signal": "silence", "below": 1.0}], "at least 1.0"),
        ([{"name": "s", "signal": "silence", "above": 0.5}], "at least 1.0"),
        ([{"name": "s", "signal": "silence", "above": 1.0, "hysteresis": 0.5}], "a reading ends it"),
        ([{"name": "s", "signal": "silence", "above": 1.0, "resolve_after": "5s"}], "a reading ends it"),
        ([{"name": name, "signal": "silence", "above": 1.0} for name in "ab"], "one sensor's silence is one alert"),
    ],
)
def test_a_rule_on_silence_that_means_nothing_is_a_mistake(rules: list[object], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        ClassSettings.model_validate({"name": "x", "match": ["**"], "rules": rules})


# --- who is gone --------------------------------------------------------------------------------------------------


def forgetting(*classes: ClassSettings) -> Plan:
    return make_plan(Definitions(classes, 1_000, FUTURE_US, forget_us=2 * HOUR_US), MODELS)


def test_a_sensor_that_is_forgotten_ends_its_silence() -> None:
    log = [*LEARNED, *ticks(400, 4 * 3_600, 30)]
    folded = fold_log(forgetting(ONE), log)

    assert folded.fold.state.names == [""]
    assert [one.phase for one in folded.transitions] == [Phase.FIRING, Phase.RESOLVED]
    assert len({one.id for one in folded.transitions}) == 1
    assert folded.fold.state.silences[0].tobytes() == bytes(SILENCE.itemsize)


def test_a_silent_sensor_with_a_new_name_is_told_of_anew_under_it() -> None:
    folded = fold_log(plan_of(ONE), [*LEARNED, *ticks(400, 420)])
    renamed = apply(folded.fold.plan, folded.fold.state, Rename("a/1/t", "a/1/u"))
    later = [one for record in records_of(ticks(420, 450), 420) for one in folded.fold.fold(record).transitions]

    told = [*folded.transitions, *renamed.transitions, *later]
    assert [(one.sensor, one.phase) for one in told] == [
        ("a/1/t", Phase.FIRING),
        ("a/1/t", Phase.RESOLVED),
        ("a/1/u", Phase.FIRING),
    ]
    assert (told[1].model, told[1].band) == (None, None)


def test_a_change_of_the_way_of_reporting_forgets_the_gaps() -> None:
    folded = fold_log(plan_of(ONE), LEARNED)
    changed = plan_of(ONE.model_copy(update={"reporting": Reporting.ON_CHANGE}))
    effects = folded.fold._redefine(changed, folded.effects[-1])

    assert effects.migration is not None
    assert folded.fold.state.silences[0]["mean_us"] == -1.0
    assert folded.fold.state.silences[0]["dev_us"] == 0.0
    assert folded.fold.state.silences[0]["from_s"] > 0

"""What falls silent together is one alert, whatever the log's pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.contract.readings import Quality
from stream.fold import partition as partition_module
from stream.fold import silence as silence_module
from stream.fold import silent_together as together_module
from stream.fold.alerts import Phase, Transition
from stream.fold.partition import PartitionFold
from stream.fold.silence import hear
from stream.fold.silent_together import MANY, common_node, judge
from tests.properties.silence_by_hand import ONE, PLAN, USUAL_S, beat, seconds, ticks
from tests.properties.test_fold import CUTS, cut, kept
from tests.unit.stream.logs import (
    HOUR_US,
    PARTITIONS,
    S_US,
    START_US,
    Batch,
    Encoding,
    Row,
    examples,
    fold_log,
    plan_of,
    records_of,
)

TWO_MACHINES = ("a/1/t", "a/1/p", "a/1/v", "a/2/t", "a/2/p", "change/1/t", "beat/1/t")
STEPS = st.tuples(st.sampled_from([0, 100_000, S_US, 20 * S_US, 50 * S_US]), st.sets(st.sampled_from(TWO_MACHINES)))


def together(talk: list[tuple[int, set[str]]]) -> list[Batch]:
    log = beat(TWO_MACHINES, 0, 600, USUAL_S)
    for step_us, names in talk:
        at_us = log[-1].arrival_us + step_us
        rows = [
            Row(name, at_us - 1, 1.0, quality=Quality.BAD if step_us == 0 else Quality.GOOD) for name in sorted(names)
        ]
        log.append(Batch(at_us, tuple(rows)))
    return log


@examples(20)
@given(talk=st.lists(STEPS, min_size=5, max_size=30), cuts=CUTS, dies=st.floats(0, 1))
def test_neither_the_pieces_of_a_log_nor_a_snapshot_change_what_is_told(
    talk: list[tuple[int, set[str]]], cuts: list[tuple[int, Encoding, bool]], dies: float
) -> None:
    log = together(talk)
    whole = fold_log(PLAN, log)

    records = cut(log, cuts)
    fold, found = PartitionFold(PLAN, PARTITIONS), list[Transition]()
    for at, record in enumerate(records):
        found += fold.fold(record).transitions
        if at == int(dies * (len(records) - 1)):
            fold = kept(fold)

    assert fold.state.digest_parts() == whole.digest
    assert found == whole.transitions


@examples(30)
@given(talk=st.lists(STEPS, min_size=5, max_size=30))
def test_each_silent_sensor_is_told_of_by_one_open_alert_and_an_open_alert_has_a_silent_sensor(
    talk: list[tuple[int, set[str]]],
) -> None:
    fold, open_ids = PartitionFold(PLAN, PARTITIONS), dict[str, str]()
    for record in records_of([*together(talk), *ticks(3_000, 3_004)]):
        for one in fold.fold(record).transitions:
            assert (one.id in open_ids) == (one.phase is Phase.RESOLVED)
            open_ids = {**open_ids, one.id: one.sensor}
            if one.phase is Phase.RESOLVED:
                del open_ids[one.id]
        state = fold.state
        leader = state.silences["leader"][: state.slots.rows]
        assert {state.names[at - 1] for at in leader[leader > 0].tolist()} >= set(open_ids.values())
        assert sorted(open_ids.values()) == sorted(
            state.names[at] for at in np.flatnonzero(leader == np.arange(1, leader.size + 1)).tolist()
        )


def plant(machines: int) -> list[str]:
    return [f"site/line/{machine:02}/{name}" for machine in range(machines) for name in ("t", "p", "v")]


def test_a_machine_that_falls_silent_is_one_alert_and_what_stays_away_is_told_after_a_grace() -> None:
    names = plant(2)
    log = [*beat(names, 0, 400), *beat(names[3:], 400, 450), *beat([*names[3:], names[0]], 450, 500)]
    found = fold_log(plan_of(ONE), log).transitions

    assert [(one.phase, one.together, one.node) for one in found] == [
        (Phase.FIRING, 3, "site/line/00"),
        (Phase.RESOLVED, 1, None),
        (Phase.FIRING, 2, "site/line/00"),
    ]
    assert [one.sensor for one in found] == [names[0], names[0], names[1]]
    assert seconds(found)[2][2] >= 460


def test_a_gateway_that_dies_is_one_alert_whatever_the_pace_of_its_sensors() -> None:
    """Of 60 sensors, a third sends every second, every 7 and every 30; another gateway's go on."""
    paces = {name: (1, 7, 30)[at % 3] for at, name in enumerate(plant(20))}
    others = ["other/1/t", "other/1/p"]

    def speak(second: int) -> Batch:
        rows = [*others, *(name for at, (name, pace) in enumerate(paces.items()) if second % pace == at % pace)]
        at_us = START_US + second * S_US
        return Batch(at_us, tuple(Row(name, at_us, 1.0) for name in (rows if second < 800 else others)))

    log = [speak(second) for second in range(1_200)]
    back = [
        Batch(one.arrival_us, (*one.rows, *(Row(name, one.arrival_us, 1.0) for name in paces)))
        for one in beat([], 1_200, 1_210)
    ]
    found = fold_log(plan_of(ONE), [*log, *back]).transitions

    assert [one.phase for one in found] == [Phase.FIRING, Phase.RESOLVED]
    assert found[0].together >= MANY
    assert found[0].node == "site/line"


def test_a_gateway_that_is_back_before_its_slow_sensors_are_silent_is_still_one_alert() -> None:
    """They miss the reading that they would have sent half a minute ago, and send the next one in its time."""
    paces = {name: (1, 10)[at % 2] for at, name in enumerate(plant(12))}

    def speak(second: int) -> Batch:
        due = [name for at, (name, pace) in enumerate(paces.items()) if (second + at) % pace == 0]
        at_us = START_US + second * S_US
        return Batch(at_us, tuple(Row(name, at_us, 1.0) for name in (due if not 1_500 <= second < 1_524 else [])))

    found = fold_log(plan_of(ONE), [speak(second) for second in range(1_600)]).transitions

    assert [one.phase for one in found] == [Phase.FIRING, Phase.RESOLVED]


def dead(paces_s: list[int], phases: list[float], per_machine: int) -> PartitionFold:
    """Known sensors, all of which stopped now: each was heard of less than its own pace ago."""
    names = [f"site/{at // per_machine:03}/{at}" for at in range(len(paces_s))]
    fold = PartitionFold(plan_of(ONE), PARTITIONS)
    for record in records_of(beat(names, 0, 1)):
        fold.fold(record)
    state, pace_us, used = fold.state, np.array(paces_s) * float(S_US), len(names)
    state.alive_us = 2 * HOUR_US
    state.silences["long_us"][:used] = state.silences["mean_us"][:used] = pace_us
    state.silences["dev_us"][:used], state.silences["from_s"][:used] = 0.0, 1
    state.heard_us[:used] = state.alive_us - np.array(phases) * pace_us
    return fold


def passed(fold: PartitionFold, seconds: int) -> list[Transition]:
    found, state = list[Transition](), fold.state
    for _ in range(seconds):
        state.alive_us += S_US
        found += judge(fold.plan, state, START_US + state.alive_us)
    return found


PACED = st.tuples(st.sampled_from([2, 10, 60]), st.floats(0, 0.99))


@examples(60)
@example(sensors=[(60, 0.0), (60, 0.5)], back=0)
@given(sensors=st.lists(PACED, min_size=2, max_size=8), back=st.integers(0, 7))
def test_a_machine_is_one_alert_whatever_its_sensors_paces_and_in_whatever_order_they_are_read(
    sensors: list[tuple[int, float]], back: int
) -> None:
    paces, phases = [pace for pace, _ in sensors], [phase for _, phase in sensors]
    fold = dead(paces, phases, per_machine=8)
    found = passed(fold, 4 * max(paces) + 10)
    state, led = fold.state, fold.state.silences["leader"][: len(sensors)]
    leader = int(led[0]) - 1

    assert [one.phase for one in found] == [Phase.FIRING]
    assert led.tolist() == [leader + 1] * len(sensors)
    assert found[0].sensor == state.names[leader]

    again = back % len(sensors)
    state.heard_us[again] = state.alive_us
    later = passed(fold, 4 * max(paces) + 10)

    if again == leader:
        # The others had until then to come back; it has stopped with them once more.
        assert [one.phase for one in later] == [Phase.RESOLVED, Phase.FIRING]
    else:
        assert [(one.sensor, one.phase) for one in later] == [(state.names[again], Phase.FIRING)]
        assert led[leader] == leader + 1


@examples(20)
@given(phases=st.lists(st.floats(0, 0.99), min_size=MANY + 1, max_size=60), pace_s=st.sampled_from([1, 60]))
def test_a_gateway_of_many_machines_is_one_alert_in_whatever_order_they_are_read(
    phases: list[float], pace_s: int
) -> None:
    fold = dead([pace_s] * len(phases), phases, per_machine=3)
    found = passed(fold, 4 * pace_s + 10)

    assert [one.phase for one in found] == [Phase.FIRING]
    assert found[0].together >= MANY


def test_one_sensor_that_fails_among_many_that_are_long_silent_is_told_of() -> None:
    names = plant(20)
    log = [*beat([*names, "other/1/t"], 0, 400), *beat(["other/1/t"], 400, 800, 4), *ticks(801, 860)]
    found = fold_log(plan_of(ONE), log).transitions

    assert [(one.sensor, one.phase) for one in found] == [(names[0], Phase.FIRING), ("other/1/t", Phase.FIRING)]


def test_a_slow_sensor_that_had_failed_before_another_of_its_machine_has_its_own_alert() -> None:
    slow = beat(["a/1/slow"], 0, 1_500, 50)
    log = sorted([*slow, *beat(["a/1/t"], 0.5, 1_600)], key=lambda one: one.arrival_us)
    found = fold_log(plan_of(ONE), [*log, *ticks(1_600, 1_700)]).transitions

    assert seconds(found) == [("a/1/t", Phase.FIRING, 1_610), ("a/1/slow", Phase.FIRING, 1_625)]
    assert [one.together for one in found] == [1, 1]


def test_what_is_above_several_sensors() -> None:
    assert common_node(["a/b", "a/b-x/t", "a/b/c"]) == "a"
    assert common_node(["a/b/t", "c/d/t"]) is None


def test_those_whom_a_forgotten_leader_covered_are_told_of_anew() -> None:
    names = plant(1)
    folded = fold_log(plan_of(ONE), [*beat(names, 0, 400), *ticks(400, 420)])
    state = folded.fold.state
    state.retire(0)

    later = [one for record in records_of(ticks(420, 450), 420) for one in folded.fold.fold(record).transitions]

    assert [(one.phase, one.sensor, one.together) for one in later] == [(Phase.FIRING, names[1], 2)]


def test_kernels_do_the_same_to_the_bit_compiled_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    step_us = (S_US, 20 * S_US, 50 * S_US)
    talk = [(step_us[at % 3], set(TWO_MACHINES[at % 5 : 3 + at % 3])) for at in range(40)]
    compiled = fold_log(PLAN, together(talk))
    for name in ("learn", "learned_us", "boundary_us"):
        monkeypatch.setattr(silence_module, name, getattr(silence_module, name).py_func)
    for name in ("look", "weigh"):
        monkeypatch.setattr(together_module, name, getattr(silence_module, name).py_func)
    monkeypatch.setattr(partition_module, "hear", hear.py_func)  # type: ignore[attr-defined]

    plain = fold_log(PLAN, together(talk))

    assert plain.digest == compiled.digest
    assert plain.transitions == compiled.transitions
    assert {one.phase for one in plain.transitions} == {Phase.FIRING, Phase.RESOLVED}

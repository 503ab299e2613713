"""Silence: who is told to be silent is who a plain model says, whatever the log's pieces; what falls silent together is
one alert."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.contract.class_settings import SILENT, ClassSettings, RuleSettings
from ingest.contract.classes import Reporting
from ingest.contract.readings import Flag, Quality
from stream.fold import partition as partition_module
from stream.fold import silence as silence_module
from stream.fold import silent_together as together_module
from stream.fold.alerts import Phase, Transition
from stream.fold.clock import Clock
from stream.fold.commands import Rename, apply
from stream.fold.definitions import Definitions
from stream.fold.partition import PartitionFold
from stream.fold.plan import Plan, make_plan
from stream.fold.silence import SILENCE, hear, learn, learned_us
from stream.fold.silent_together import MANY, common_node, judge
from tests.properties.test_fold import CUTS, cut, kept
from tests.unit.stream.logs import (
    FUTURE_US,
    HOUR_US,
    MODELS,
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

ONE = ClassSettings(name="all", match=["**"], models=[], rules=[SILENT], windows=["1m"])
ON_CHANGE = ONE.model_copy(update={"name": "change", "match": ["change/**"], "reporting": Reporting.ON_CHANGE})
BEATING = ON_CHANGE.model_copy(update={"name": "beat", "match": ["beat/**"], "heartbeat": 30 * S_US})
PLAN = plan_of(ON_CHANGE, BEATING, ONE)
NAMES = ("p/1/t", "q/1/t", "r/1/t", "change/1/t", "beat/1/t")
USUAL_S = 20
HEARD = st.tuples(
    st.sampled_from([0, 100_000, S_US, 5 * S_US, 20 * S_US, 50 * S_US, 400 * S_US]), st.sets(st.sampled_from(NAMES))
)


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
        return max(10.0 * S_US, 4 * self.long) if regular else max(24.0 * HOUR_US, 16 * self.long)

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


def log_of(talk: list[tuple[int, set[str]]]) -> list[Batch]:
    """Ten minutes in which all speak, then this: (how much later, who)."""
    log = beat(NAMES, 0, 600, USUAL_S)
    for step_us, names in talk:
        at_us = log[-1].arrival_us + step_us
        log.append(Batch(at_us, tuple(Row(name, at_us, 1.0) for name in sorted(names))))
    return log


def said(found: Iterable[Transition]) -> list[tuple[str, Phase, int]]:
    return [(one.sensor, one.phase, one.since_us) for one in found]


def seconds(found: Iterable[Transition]) -> list[tuple[str, Phase, int]]:
    return [(one.sensor, one.phase, (one.at_us - START_US) // S_US) for one in found]


@examples(40)
@given(talk=st.lists(HEARD, min_size=5, max_size=40))
def test_who_is_told_to_be_silent_is_who_a_plain_model_says(talk: list[tuple[int, set[str]]]) -> None:
    log = log_of(talk)

    assert said(fold_log(PLAN, log).transitions) == expected(log)


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
    assert learned([60.0] * 30) == pytest.approx(240.0)
    assert learned(chance.uniform(0.5, 1.5, 200)) == 10.0
    assert learned([*[0.2] * 100, *[3.0] * 1, *[0.2] * 100]) == pytest.approx(12.0, rel=1e-3)
    assert learned(chance.exponential(5.0, 500)) == 86_400.0
    assert learned([1.0, 3_600.0] * 50) >= 86_400.0


def test_one_outage_teaches_little_and_a_habit_is_learned() -> None:
    assert learned([*[1.0] * 100, 30_000.0, *[1.0] * 100]) == pytest.approx(12.0, rel=1e-3)
    assert learned([*[1.0] * 100, *[600.0] * 60]) == pytest.approx(2_400.0)


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

LEARNED = beat(["a/1/t"], 0, 400)


def test_a_sensor_that_stops_is_told_of_after_ten_seconds_and_is_back_with_its_next_reading() -> None:
    log = [*LEARNED, *ticks(400, 450), *beat(["a/1/t"], 450, 460)]
    found = fold_log(plan_of(ONE), log).transitions

    assert seconds(found) == [("a/1/t", Phase.FIRING, 409), ("a/1/t", Phase.RESOLVED, 450)]
    assert {one.since_us for one in found} == {START_US + 399 * S_US}
    assert found[0].id == found[1].id
    assert (found[0].together, found[0].node, found[0].model) == (1, None, None)


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


# --- together -----------------------------------------------------------------------------------------------------


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


def test_one_sensor_that_fails_among_many_that_are_long_silent_is_told_of() -> None:
    names = plant(20)
    log = [*beat([*names, "other/1/t"], 0, 400), *beat(["other/1/t"], 400, 800, 4), *ticks(801, 860)]
    found = fold_log(plan_of(ONE), log).transitions

    assert [(one.sensor, one.phase) for one in found] == [(names[0], Phase.FIRING), ("other/1/t", Phase.FIRING)]


def test_a_slow_sensor_that_had_failed_before_another_of_its_machine_has_its_own_alert() -> None:
    slow = beat(["a/1/slow"], 0, 1_500, 50)
    log = sorted([*slow, *beat(["a/1/t"], 0.5, 1_600)], key=lambda one: one.arrival_us)
    found = fold_log(plan_of(ONE), [*log, *ticks(1_600, 1_700)]).transitions

    assert seconds(found) == [("a/1/t", Phase.FIRING, 1_610), ("a/1/slow", Phase.FIRING, 1_650)]
    assert [one.together for one in found] == [1, 1]


def test_what_is_above_several_sensors() -> None:
    assert common_node(["a/b", "a/b-x/t", "a/b/c"]) == "a"
    assert common_node(["a/b/t", "c/d/t"]) is None


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


def test_those_whom_a_forgotten_leader_covered_are_told_of_anew() -> None:
    names = plant(1)
    folded = fold_log(plan_of(ONE), [*beat(names, 0, 400), *ticks(400, 420)])
    state = folded.fold.state
    state.retire(0)

    later = [one for record in records_of(ticks(420, 450), 420) for one in folded.fold.fold(record).transitions]

    assert [(one.phase, one.sensor, one.together) for one in later] == [(Phase.FIRING, names[1], 2)]


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


# --- compiled or not ----------------------------------------------------------------------------------------------


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

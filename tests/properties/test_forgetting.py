"""Forgetting: who was silent for too long loses the slot, as the log alone says, and nobody else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.class_settings import ClassSettings
from ingest.contract.readings import Flag
from stream.fold.definitions import Definitions
from stream.fold.partition import PartitionFold
from stream.fold.plan import Plan, make_plan
from stream.fold.state import PartitionState
from stream.owned import OwnedPartition
from tests.properties.test_fold import CUTS, cut
from tests.unit.stream.logs import (
    FUTURE_US,
    HOUR_US,
    MINUTE_US,
    MODELS,
    PARTITIONS,
    PLANT,
    S_US,
    SENSORS,
    START_US,
    Batch,
    Encoding,
    Row,
    examples,
    fold_log,
    fold_records,
    logs,
    records_of,
    with_ticks,
)


def plan_of(*classes: ClassSettings, forget_us: int = 2 * HOUR_US, max_sensors: int = 1_000) -> Plan:
    return make_plan(Definitions(classes, max_sensors, FUTURE_US, forget_us=forget_us), MODELS)


QUIET = plan_of(ClassSettings(name="all", match=["**"], rules=[], models=[], windows=["1m"]))
PLAN = plan_of(*PLANT)
STEPS_US = st.sampled_from([0, S_US, MINUTE_US, 20 * MINUTE_US, HOUR_US, 90 * MINUTE_US, 400 * 24 * HOUR_US])
TALK = st.lists(
    st.tuples(STEPS_US, st.booleans(), st.sets(st.sampled_from("abcde"), max_size=3)), min_size=1, max_size=20
)


def log_of(talk: list[tuple[int, bool, set[str]]]) -> list[Batch]:
    """talk: (how much later, whether the log went on meanwhile, who is heard then)."""
    log = [Batch(START_US)]
    for step_us, went_on, names in talk:
        now_us = log[-1].arrival_us + step_us
        if went_on and step_us <= 90 * MINUTE_US:
            log = passing(log, now_us)
        log.append(Batch(now_us, tuple(Row(name, now_us, 1.0) for name in sorted(names))))
    return with_ticks(log)


def passing(log: list[Batch], until_us: int) -> list[Batch]:
    """With a tick a minute up to then; a worker writes one a second."""
    return [*log, *(Batch(at_us) for at_us in range(log[-1].arrival_us + MINUTE_US, until_us, MINUTE_US))]


class Reference:
    """The same, said plainly: what is in no step of the log of a minute at the most does not count."""

    def __init__(self, forget_us: int) -> None:
        self.names: list[str] = []
        self._heard: dict[str, int] = {}
        self._alive, self._now = 0, START_US
        self._leaps = 0
        self._forget_us = forget_us

    def take(self, batch: Batch) -> None:
        before, step_us = self._alive, batch.arrival_us - self._now
        # The third record of a leap is the one that the clock follows.
        self._leaps = self._leaps + 1 if step_us > MINUTE_US else 0
        if step_us <= MINUTE_US or self._leaps == 3:
            self._alive += step_us if step_us <= MINUTE_US else 0
            self._now, self._leaps = batch.arrival_us, 0
        if before // HOUR_US != self._alive // HOUR_US:
            self.names = [
                name if name and self._alive - self._heard[name] <= self._forget_us else "" for name in self.names
            ]
        for row in batch.rows:
            self._heard[row.sensor] = self._alive
            if row.sensor in self.names:
                continue
            if "" in self.names:
                self.names[self.names.index("")] = row.sensor
            else:
                self.names.append(row.sensor)


@examples(100)
@given(talk=TALK, hours=st.integers(1, 5))
def test_who_is_known_is_who_was_heard_lately(talk: list[tuple[int, bool, set[str]]], hours: int) -> None:
    plan = plan_of(*QUIET.definitions.classes, forget_us=hours * HOUR_US)
    fold, reference = PartitionFold(plan, PARTITIONS), Reference(hours * HOUR_US)

    for batch, record in zip(log_of(talk), records_of(log_of(talk)), strict=True):
        known = len(fold.state.slots)
        effects = fold.fold(record)
        reference.take(batch)
        assert fold.state.names == reference.names
        assert len(fold.state.slots) == sum(map(bool, reference.names))
        assert known - effects.forgotten <= len(fold.state.slots)


@examples(30)
@given(
    log=logs(most_batches=30),
    cuts=CUTS,
    crash=st.integers(0, 100),
    polls=st.lists(st.integers(1, 7), min_size=1),
    max_sensors=st.sampled_from([1_000, 3]),
)
def test_any_split_any_grouping_and_any_crash_give_the_same_bits(
    log: list[Batch], cuts: list[tuple[int, Encoding, bool]], crash: int, polls: list[int], max_sensors: int
) -> None:
    plan = plan_of(*PLANT, forget_us=HOUR_US, max_sensors=max_sensors)
    whole = fold_log(plan, log)
    pieces = cut(log, cuts)

    split = fold_records(plan, pieces)
    fold = PartitionFold(plan, PARTITIONS)
    for record in pieces:
        if record.offset == crash:
            fold = PartitionFold(plan, PARTITIONS, PartitionState.thaw(plan, fold.state.freeze()))
        fold.fold(record)
    owned, records = OwnedPartition(PartitionFold(plan, PARTITIONS), live_from=0, fence=0), records_of(log)
    while records:
        size = polls[len(records) % len(polls)]
        owned.fold_all(records[:size])
        records = records[size:]

    assert split.digest == whole.digest
    assert split.transitions == whole.transitions
    assert fold.state.digest_parts() == whole.digest
    assert owned.fold.state.digest_parts() == whole.digest


def steps(hours: int, *rows: Row) -> list[Batch]:
    """The rows, and then so many hours."""
    return passing([Batch(START_US, rows)], START_US + hours * HOUR_US + 1)


def test_a_sensor_that_is_gone_leaves_nothing_and_its_slot_is_the_next_ones() -> None:
    fold = fold_log(QUIET, steps(4, Row("a/t", START_US, 1.0))).fold

    assert fold.state.names == [""]
    fresh = PartitionState(QUIET).row(0)
    assert {name: row.tobytes() for name, row in fold.state.row(0).items()} == {
        n: r.tobytes() for n, r in fresh.items()
    }
    after = [Batch(START_US + 4 * HOUR_US, (Row("b/t", START_US + 4 * HOUR_US, 1.0),))]
    fold.fold(records_of(after, fold.state.next_offset)[0])
    assert fold.state.names == ["b/t"]


def test_one_that_comes_back_with_the_very_record_that_ends_its_time_begins_anew() -> None:
    back_us = START_US + 3 * HOUR_US
    log = [*steps(3, Row("a/t", START_US, 1.0))[:-1], Batch(back_us - 1), Batch(back_us, (Row("a/t", back_us, 2.0),))]
    fold = fold_log(QUIET, log).fold

    assert fold.state.names == ["a/t"]
    assert fold.state.sensors[0]["ring_used"] == 1


def test_a_standstill_of_everything_and_a_wild_clock_forget_nobody() -> None:
    rows = (Row("a/t", START_US, 1.0), Row("b/t", START_US, 1.0))
    fold = fold_log(QUIET, [Batch(START_US, rows), Batch(START_US + 400 * 24 * HOUR_US)]).fold

    assert fold.state.names == ["a/t", "b/t"]


@pytest.mark.parametrize("every_s", [20, 150])
def test_one_gateway_an_hour_ahead_among_others_makes_nobody_forget(every_s: int) -> None:
    """That one sends again and again; the clocks of the others are right. In fact not two hours have passed."""
    log = [Batch(START_US, (Row("a/silent/t", START_US, 1.0),))]
    for second in range(10, 7_190, 10):
        now_us = START_US + second * S_US
        log.append(Batch(now_us, (Row("a/right/t", now_us, 1.0),)))
        if second % every_s == 0:
            log.append(Batch(now_us + HOUR_US, (Row("b/wrong/t", now_us + HOUR_US, 1.0),)))

    fold = fold_log(QUIET, log).fold

    assert fold.state.names == ["a/silent/t", "a/right/t", "b/wrong/t"]
    assert fold.state.alive_us == 7_180 * S_US


def test_a_clock_that_goes_to_and_fro_by_an_hour_makes_nobody_forget() -> None:
    """For two minutes all say that it is an hour later, then all that it is not, and so on."""
    log = [Batch(START_US, (Row("a/silent/t", START_US, 1.0),))]
    for second in range(1, 7_000):
        ahead_us = HOUR_US if second // 120 % 2 else 0
        log.append(Batch(START_US + second * S_US + ahead_us))

    fold = fold_log(QUIET, log).fold

    assert fold.state.names == ["a/silent/t"]
    assert fold.state.alive_us < 7_000 * S_US


def test_an_open_alert_keeps_its_sensor() -> None:
    hot = tuple(Row("a/1/temperature", START_US + at * S_US, 50.0) for at in range(-9, 1))
    fold = fold_log(PLAN, steps(5, *hot, Row("a/2/temperature", START_US, 1.0))).fold

    assert fold.state.names == ["a/1/temperature", ""]


def test_a_value_that_holds_keeps_its_sensor() -> None:
    holding = ClassSettings(
        name="h", match=["**"], reporting="on-change", staleness="6h", rules=[], models=[], windows=["1m"]
    )
    row = Row("a/valve", START_US, 1.0)

    assert fold_log(plan_of(holding), steps(5, row)).fold.state.names == ["a/valve"]
    assert fold_log(plan_of(holding), steps(8, row)).fold.state.names == [""]


def test_text_and_bad_quality_are_signs_of_life_and_stored_messages_are_none() -> None:
    later_us = START_US + 2 * HOUR_US
    first = (
        Row("text/mode", START_US, text="run"),
        Row("bad/t", START_US, 1.0),
        Row("retained/t", START_US, 1.0),
        Row("late/t", START_US, 1.0),
    )
    second = (
        Row("text/mode", later_us, text="stop"),
        Row("bad/t", later_us, 1.0, quality=2),
        Row("retained/t", later_us, 1.0, flags=int(Flag.RETAINED)),
        Row("late/t", START_US, 1.0),
    )
    log = passing([*steps(2, *first)[:-1], Batch(later_us, second)], later_us + 2 * HOUR_US)

    assert fold_log(PLAN, log).fold.state.names == ["text/mode", "bad/t", "", "late/t"]


def test_what_is_forgotten_makes_room_in_the_budget() -> None:
    plan = plan_of(*QUIET.definitions.classes, max_sensors=1)
    at_us = START_US + 4 * HOUR_US
    log = [*steps(4, Row("a/t", START_US, 1.0))[:-1], Batch(at_us, (Row("b/t", at_us, 1.0),))]

    assert fold_log(plan, log).fold.state.names == ["b/t"]


def test_a_plant_that_falls_silent_while_the_log_goes_on_is_forgotten_as_a_whole() -> None:
    rows = tuple(Row(name, START_US, 1.0) for name in SENSORS)
    fold = PartitionFold(plan_of(*PLANT, forget_us=HOUR_US), PARTITIONS)

    forgotten = [fold.fold(record).forgotten for record in records_of(steps(3, *rows))]

    assert sum(forgotten) == len(SENSORS)
    assert len(fold.state.slots) == 0
    assert set(fold.state.names) == {""}

"""Changed levels: however the log is cut, whatever is lost, whoever is renamed; and snapshots that lie about them."""

from __future__ import annotations

import copy
import json
import random
from datetime import UTC
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.class_settings import ModelSettings
from stream.effects import Description, alert_record
from stream.fold.alerts import Phase
from stream.fold.commands import AcceptLevel, Adopt, Command, Maintain, RejectLevel, Rename, Retire, row_data
from stream.fold.forgetting import forget
from stream.fold.kept import MOST
from stream.fold.levels import LEVEL, Stage
from stream.fold.migrate import migrate
from stream.fold.partition import PartitionFold
from stream.fold.reconciling import OpenAlert, reconcile
from stream.fold.state import Frozen, LayoutError, PartitionState
from stream.notify.alert import AlertRecord, message, read_alert
from tests.properties.test_commands import command
from tests.properties.test_fold import CUTS, cut, kept
from tests.properties.test_levels import AFTER, CLASS, PLAN, SENSOR, log_of, until_changed, values_of
from tests.unit.stream.logs import (
    HOUR_US,
    PARTITIONS,
    S_US,
    START_US,
    Batch,
    Encoding,
    Row,
    examples,
    plan_of,
    records_of,
)

# --- any split ----------------------------------------------------------------------------------------------------


SENSORS = ("a/1/t", "a/2/t", "b/1/t")
ANSWERS = st.one_of(
    st.builds(AcceptLevel, st.sampled_from(SENSORS)),
    st.builds(RejectLevel, st.sampled_from(SENSORS)),
    st.builds(Rename, st.sampled_from(SENSORS), st.sampled_from([*SENSORS, "c/t"])),
    st.builds(Retire, st.sampled_from(SENSORS)),
    st.builds(
        lambda at: Maintain(f"m{at}", "a/**", START_US + at * S_US, START_US + (at + 10) * S_US), st.integers(20, 55)
    ),
)


def plant_log(seed: int) -> list[Batch]:
    """Three sensors whose levels change now and then, four readings a record."""
    chance, log, level, now_us = random.Random(seed), list[Batch](), dict.fromkeys(SENSORS, 20.0), START_US
    for at in range(60):
        rows = []
        if at > 15 and chance.random() < 0.1:
            level[chance.choice(SENSORS)] = chance.choice((20.0, 60.0, 100.0))
        for sensor in SENSORS:
            for step in range(4):
                rows.append(Row(sensor, now_us + step * S_US // 4, round(level[sensor] + chance.gauss(0.0, 1.0), 1)))
        chance.shuffle(rows)
        now_us += S_US
        log.append(Batch(now_us, tuple(rows)))
    return log


Answers = list[tuple[int, Command]]
"""(before which batch, what is said)."""


def fold_plant(
    seed: int, answers: Answers, cuts: list[tuple[int, Encoding, bool]] | None = None, crash: int = -1
) -> tuple[list[bytes], list[Any], list[Any], set[int]]:
    """The state without its offset, transitions, outcomes, stages; whole or cut, and restarted from a snapshot."""
    fold, told, outcomes, offset, stages = PartitionFold(PLAN, PARTITIONS), [], [], 0, set[int]()
    for at, batch in enumerate(plant_log(seed)):
        records = [command(0, one, batch.arrival_us) for place, one in answers if place == at]
        for record in records + (records_of([batch]) if cuts is None else cut([batch], cuts)):
            if offset == crash:
                fold = kept(fold)
            effects = fold.fold(record._replace(offset=offset))
            told += effects.transitions
            outcomes += [effects.applied] if effects.applied else []
            offset += 1
        stages |= set(fold.state.levels["stage"].tolist())
    fold.state.next_offset = 0
    return fold.state.digest_parts(), told, outcomes, stages


@examples(20)
@given(
    seed=st.integers(0, 2**32),
    answers=st.lists(st.tuples(st.integers(20, 59), ANSWERS), max_size=5),
    cuts=CUTS,
    crash=st.integers(0, 400),
)
def test_any_split_and_any_restart_give_the_same_bits(
    seed: int, answers: Answers, cuts: list[tuple[int, Encoding, bool]], crash: int
) -> None:
    assert fold_plant(seed, answers, cuts, crash)[:3] == fold_plant(seed, answers)[:3]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_split_gives_the_same_bits_where_levels_are_rejected(seed: int) -> None:
    answers: Answers = [(at, RejectLevel(sensor)) for at in range(20, 60, 3) for sensor in SENSORS]
    cuts = [(1, Encoding(), False), (3, Encoding(), False), (2, Encoding(), False)]
    pieces, whole = fold_plant(seed, answers, cuts, 200), fold_plant(seed, answers)

    assert pieces[:3] == whole[:3]
    assert whole[3] >= {Stage.CALM, Stage.WATCHED, Stage.CHANGED, Stage.REJECTED}


def test_the_logs_that_are_split_have_levels_that_change_and_come_back() -> None:
    rules = set()
    for seed in range(3):
        fold = PartitionFold(PLAN, PARTITIONS)
        for record in records_of(plant_log(seed)):
            rules |= {(one.rule, one.phase) for one in fold.fold(record).transitions}
    assert {("level", Phase.FIRING), ("level", Phase.RESOLVED), ("anomaly", Phase.RESOLVED)} <= rules


# --- names, definitions, what was lost ----------------------------------------------------------------------------


@pytest.mark.parametrize("what", [Rename(SENSOR, "b/1/t"), Retire(SENSOR)], ids=["renamed", "retired"])
def test_no_event_outlives_its_sensors_name(what: Command) -> None:
    run = until_changed()
    run.say(what)
    assert run.of("level")[-1][1] is Phase.RESOLVED
    run.say(Retire("b/1/t"))
    assert not len(run.fold.state.kept)
    # Whoever gets the slot next has nothing to answer for.
    run.take(records_of([Batch(START_US + 500 * S_US, (Row("c/t", START_US + 500 * S_US, 1.0),))])[0])
    assert run.fold.state.slots.get("c/t") == 0
    assert run.say(RejectLevel("c/t")) == "no_change"
    assert int(run.fold.state.levels[0]["seen"]) == 1


def test_a_renamed_sensors_level_may_still_be_rejected_and_what_was_rejected_goes_with_it() -> None:
    run = until_changed()
    assert [run.say(one) for one in (Rename(SENSOR, "b/1/t"), RejectLevel("b/1/t"))] == ["done"] * 2
    there = PartitionState(PLAN)
    rows = row_data(run.fold.state.row(0))
    other = PartitionFold(PLAN, PARTITIONS, there)
    other.fold(command(0, Adopt("c/t", PLAN.definitions.digest, rows), START_US))
    later = START_US + 400 * S_US
    other.fold(records_of([Batch(later, (Row("c/t", later, 60.0),))], 1)[0])

    assert there.levels[0]["stage"] == Stage.REJECTED
    assert float(there.sensors[0]["score"]) > 1.0


def test_other_models_keep_no_past_and_another_unit_ends_the_event() -> None:
    run = until_changed()
    state = run.fold.state
    same, said = migrate(PLAN, state, plan_of(CLASS.model_copy(update={"level_after": AFTER + 1})))
    assert len(same.kept) == 1
    assert said.transitions == ()

    models = [ModelSettings(name="ewma_z", options={"warm_up": 21}), CLASS.models[1] if CLASS.models else ""]
    other, said = migrate(PLAN, state, plan_of(CLASS.model_copy(update={"models": models})))
    assert len(other.kept) == 0
    assert said.transitions == ()
    assert other.levels[0]["stage"] == Stage.CHANGED

    unit = plan_of(CLASS.model_copy(update={"unit": "Cel"}))
    warmer = migrate(unit, migrate(PLAN, state, unit)[0], plan_of(CLASS.model_copy(update={"unit": "bar"})))
    assert [(one.rule, one.phase) for one in warmer[1].transitions] == [("level", Phase.RESOLVED)]
    assert warmer[0].levels[0].tobytes() == np.zeros((), LEVEL).tobytes()


def test_after_a_loss_events_are_brought_into_line_with_what_was_told() -> None:
    run = until_changed()
    (event,) = [one for one in run.transitions if one.rule == "level"]
    told = OpenAlert(event.id, event.phase, event.sensor, event.rule, event.revision, event.severity, event.since_us)

    assert reconcile(run.fold, [told]) == []
    (untold,) = reconcile(run.fold, [])
    assert (untold.id, untold.phase) == (event.id, Phase.FIRING)
    (gone,) = reconcile(PartitionFold(PLAN, PARTITIONS), [told])
    assert (gone.id, gone.phase) == (event.id, Phase.RESOLVED)


def test_a_sensor_whose_event_is_open_is_not_forgotten() -> None:
    for what, sensors in ((AcceptLevel("z/t"), 1), (AcceptLevel(SENSOR), 0)):
        run = until_changed()
        run.say(what)
        state = run.fold.state
        state.episodes[:] = 0
        state.alive_us = 10_000 * HOUR_US - 1
        forget(PLAN, state, state.now_us - S_US)
        assert len(state.slots) == sensors


def test_readers_of_alerts_understand_the_event() -> None:
    (event,) = [one for one in until_changed().transitions if one.rule == "level"]
    what = Description({"machine": "1"}, "pump", "bar", "any", armed=True)
    record = alert_record(event, what, partition=1, generation=2, group="g", offset=3)
    alert, _ = read_alert(AlertRecord(0, 0, event.at_us, record.headers, record.value))
    sent = json.loads(message(alert, UTC, {}))["data"]

    assert (sent["rule"], sent["severity"], sent["phase"], sent["unit"]) == ("level", "info", "firing", "bar")
    assert sent["band"] == list(event.band or ())
    assert sent["value"] == event.value


def test_no_more_is_kept_than_there_is_room_for() -> None:
    sensors, fold = [f"a/{at}/t" for at in range(MOST + 40)], PartitionFold(PLAN, PARTITIONS)
    for offset, value in enumerate(values_of([(40, 20.0), (6, 60.0)])):
        at_us = START_US + offset * S_US
        fold.fold(records_of([Batch(at_us, tuple(Row(one, at_us, value) for one in sensors))], offset)[0])

    assert len(fold.state.kept) == MOST
    assert (fold.state.levels[: len(sensors)]["stage"] == Stage.WATCHED).all()
    assert kept(fold).state.digest_parts() == fold.state.digest_parts()


# --- lies ---------------------------------------------------------------------------------------------------------


def changing(array: str, name: str, value: Any) -> Any:
    def lie(frozen: Frozen) -> None:
        frozen.arrays[array][name] = value

    return lie


def twice(frozen: Frozen) -> None:
    for name in [name for name in frozen.arrays if name.startswith("kept")]:
        frozen.arrays[name] = np.repeat(frozen.arrays[name], 2)


def shorter(frozen: Frozen) -> None:
    frozen.arrays["kept.bank.ewma_z"] = frozen.arrays["kept.bank.ewma_z"][:0]


LIES = {
    "a stage that there is not": changing("levels", "stage", 9),
    "a stage before all": changing("levels", "stage", -1),
    "fewer readings than none": changing("levels", "seen", -1),
    "a run without end": changing("levels", "run", -(2**31)),
    "more inside than there is": changing("levels", "inside", 11),
    "told twice": changing("levels", "told", 2),
    "a band without an end": changing("levels", "high", np.inf),
    "a band of nothing": changing("levels", "low", np.nan),
    "a band upside down": changing("levels", "low", 1e9),
    "a level that is no number": changing("levels", "mean", np.nan),
    "since the end of time": changing("levels", "since_us", 2**63 - 1),
    "kept of no slot": changing("kept", "slot", 1),
    "kept of before all slots": changing("kept", "slot", -1),
    "half changed": changing("kept", "changed", 2),
    "kept since before all time": changing("kept", "at_us", -1),
    "kept of no band": changing("kept", "high", np.nan),
    "kept twice": twice,
    "kept without what is kept": shorter,
    "nothing kept": lambda frozen: frozen.arrays.pop("kept"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_snapshot_that_lies_about_levels_is_refused(lie: Any) -> None:
    state = until_changed().fold.state
    frozen = state.freeze()
    assert PartitionState.thaw(PLAN, frozen).digest_parts() == state.digest_parts()
    assert frozen.arrays["kept"].size == 1
    lie(frozen)
    with pytest.raises(LayoutError):
        PartitionState.thaw(PLAN, frozen)


CHANGED = until_changed().fold.state.freeze()
_BYTES = st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f", b"\0" * 7 + b"\x80"])


@examples(60)
@given(
    name=st.sampled_from([one for one in CHANGED.arrays if one == "levels" or one.startswith("kept")]),
    at=st.integers(0, 2**16),
    value=_BYTES | st.binary(min_size=8, max_size=8),
)
def test_any_eight_bytes_of_a_level_are_refused_or_harm_nothing(name: str, at: int, value: bytes) -> None:
    frozen = copy.deepcopy(CHANGED)
    flat = frozen.arrays[name].reshape(-1).view(np.uint8)
    place = at * 4 % flat.size
    flat[place : place + 8] = np.frombuffer(value, np.uint8)[: flat.size - place]
    try:
        state = PartitionState.thaw(PLAN, frozen)
    except LayoutError:
        return
    fold = PartitionFold(PLAN, PARTITIONS, state)
    log = log_of(values_of([(5, 60.0), (12, 20.0)]), begin=150)
    for record in (*records_of(log), command(0, RejectLevel(SENSOR), START_US), *records_of(log)):
        fold.fold(record._replace(offset=state.next_offset))
    migrate(PLAN, state, plan_of(CLASS.model_copy(update={"unit": "bar"})))

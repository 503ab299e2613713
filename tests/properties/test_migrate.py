"""Other definitions: what is still valid is kept to the bit, and the rest is reset and said."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.class_settings import ClassSettings, ModelSettings, RuleSettings
from ingest.contract.classes import Kind, Reporting
from ingest.contract.tags import Tag
from stream.control import config_record
from stream.fold.alerts import Phase
from stream.fold.definitions import Definitions
from stream.fold.migrate import migrate
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.plan import Plan, make_plan
from stream.fold.state import PartitionState
from stream.fold.windows import NO_PANE
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
    Row,
    eager,
    examples,
    fold_log,
    logs,
    long_log,
    records_of,
)

ANY_LOG = st.one_of(logs(), st.integers(0, 2**32).map(long_log))
MOTOR, SWITCH, MODE, ORDER, REST = PLANT


def with_(one: ClassSettings, **changed: Any) -> ClassSettings:
    return ClassSettings.model_validate({**one.model_dump(), **changed})


def plan_with(*classes: ClassSettings, tags: dict[str, Tag] | None = None) -> Plan:
    return make_plan(Definitions(classes, 1_000, FUTURE_US, tags or {}), MODELS)


_SLOW = [ModelSettings(name="ewma_z", options={"warm_up": 50})]
_HOT = RuleSettings(name="hot", signal="value", above=12.0, hold="2s", resolve_after="1s")
PLANS = {
    "the plant": plan_with(*PLANT),
    "other windows": plan_with(MOTOR, SWITCH, MODE, ORDER, with_(REST, windows=["10s", "1m"])),
    "one window less": plan_with(MOTOR, SWITCH, MODE, ORDER, with_(REST, windows=["1m"])),
    "windows that share no pane": plan_with(*(with_(one, windows=["7s"]) for one in PLANT)),
    "other options": plan_with(with_(MOTOR, models=_SLOW), SWITCH, MODE, ORDER, with_(REST, models=_SLOW)),
    "no models": plan_with(with_(MOTOR, models=[]), SWITCH, MODE, ORDER, with_(REST, models=[])),
    "other rules": plan_with(with_(MOTOR, rules=[]), SWITCH, MODE, ORDER, with_(REST, rules=[_HOT, REST.rules[0]])),
    "other places": plan_with(ORDER, MODE, SWITCH, MOTOR, REST),
    "units": plan_with(with_(MOTOR, unit="mA"), SWITCH, MODE, ORDER, with_(REST, unit="K")),
    "other units": plan_with(with_(MOTOR, unit="A"), SWITCH, MODE, ORDER, with_(REST, unit="Cel")),
    "another way of reporting": plan_with(
        with_(MOTOR, reporting=Reporting.PERIODIC), SWITCH, MODE, ORDER, with_(REST, reporting=Reporting.ON_CHANGE)
    ),
    "text instead of numbers": plan_with(
        with_(MOTOR, kind=Kind.ENUM, models=[]), SWITCH, with_(MODE, kind=Kind.GAUGE), ORDER, REST
    ),
    "all in one class": plan_with(REST),
    "quantiles": plan_with(with_(MOTOR, quantiles=["1m"]), SWITCH, MODE, ORDER, with_(REST, quantiles=["1m", "5m"])),
    "other quantiles": plan_with(MOTOR, SWITCH, MODE, ORDER, with_(REST, quantiles=["5m"])),
    "tags": plan_with(
        *PLANT, tags={"a/1/temperature": Tag("a/1/temperature", low=-5.0), "a/2/Ölstand": Tag("a/2/Ölstand", unit="m")}
    ),
}
ANY_PLAN = st.sampled_from(sorted(PLANS))


def config(offset: int, plan: Plan, arrival_us: int) -> LogRecord:
    made = config_record(plan.definitions, "test", offset, arrival_us, PARTITIONS)
    return LogRecord(offset, made.headers, made.value)


def rows(state: PartitionState, name: str) -> Any:
    return state.freeze().arrays[name]


# --- the state ----------------------------------------------------------------------------------------------------


@examples(25)
@given(log=ANY_LOG, plan=ANY_PLAN)
def test_equal_definitions_change_nothing_to_the_bit(log: list[Batch], plan: str) -> None:
    state = fold_log(PLANS[plan], log).fold.state
    again = make_plan(Definitions.from_bytes(PLANS[plan].definitions.to_bytes()), MODELS)

    made, migration = migrate(PLANS[plan], state, again)

    assert made.digest_parts() == state.digest_parts()
    assert migration.transitions == ()
    assert (migration.reclassed, migration.windows_reset, migration.models_reset) == (0, 0, {})
    assert str(migration).endswith("reset: nothing")


def comparable(old: Plan, new: Plan, sensor: str) -> bool:
    one, other = (plan.classes.classes[plan.classes.index_of(sensor)] for plan in (old, new))
    return one.kind.numeric and other.kind.numeric and (one.unit == other.unit or "" in (one.unit, other.unit))


def params_of(plan: Plan, sensor: str, model: str) -> bytes | None:
    at = plan.classes.index_of(sensor)
    for used in plan.models:
        if used.name == model and used.uses[at]:
            return bytes(used.params[at].tobytes())
    return None


@examples(40)
@given(log=ANY_LOG, plans=st.tuples(ANY_PLAN, ANY_PLAN))
def test_kept_is_what_is_valid_and_nothing_else(log: list[Batch], plans: tuple[str, str]) -> None:
    old, new = (PLANS[name] for name in plans)
    before = fold_log(old, log).fold.state
    untouched = before.digest_parts()

    after, migration = migrate(old, before, new)

    assert before.digest_parts() == untouched
    assert after.names == before.names
    assert (after.now_us, after.next_offset) == (before.now_us, before.next_offset)
    lost: Counter[str] = Counter()
    for slot, sensor in enumerate(before.names):
        assert after.class_of[slot] == new.classes.index_of(sensor)
        for field in ("ring", "ring_at", "ring_used", "shown_us", "shown_value", "last_us", "last_value"):
            assert after.sensors[slot][field].tobytes() == before.sensors[slot][field].tobytes()
        said = new.classes.classes[after.class_of[slot]].reporting
        on_change = before.sensors[slot]["on_change"] if said is None else said is Reporting.ON_CHANGE
        assert after.sensors[slot]["on_change"] == on_change
        for number, used in enumerate(new.models):
            row = after.banks[number][slot].tobytes()
            known = {one.name: bank for one, bank in zip(old.models, before.banks, strict=True)}
            params = params_of(old, sensor, used.name)
            valid = params is not None and params == params_of(new, sensor, used.name)
            if valid and comparable(old, new, sensor):
                assert row == known[used.name][slot].tobytes()
            else:
                assert not row.strip(b"\0")
        for used, bank in zip(old.models, before.banks, strict=True):
            params = params_of(new, sensor, used.name)
            if bank[slot].tobytes().strip(b"\0") and (
                params is None or params != params_of(old, sensor, used.name) or not comparable(old, new, sensor)
            ):
                lost[used.name] += 1
        same = comparable(old, new, sensor) and on_change == before.sensors[slot]["on_change"]
        if np.array_equal(old.levels, new.levels) and same:
            assert after.panes[slot].tobytes() == before.panes[slot].tobytes()
        if not same:
            assert (after.panes[slot]["id"] == NO_PANE).all()
    assert migration.models_reset == dict(lost)
    # It is a state of the new plan, whole and sound.
    assert PartitionState.thaw(new, after.freeze()).digest_parts() == after.digest_parts()


@examples(40)
@given(log=ANY_LOG, plans=st.tuples(ANY_PLAN, ANY_PLAN))
def test_panes_of_rings_that_can_take_them_lose_no_reading(log: list[Batch], plans: tuple[str, str]) -> None:
    old, new = (PLANS[name] for name in plans)
    before = fold_log(old, log).fold.state
    after, migration = migrate(old, before, new)

    span_old, span_new = (int((plan.levels[:, 0] * plan.levels[:, 2]).max()) for plan in (old, new))
    takes_all = all(any(wider % width == 0 for wider in new.levels[:, 0]) for width in old.levels[:, 0])
    if not takes_all or span_new < span_old:
        return
    # A ring keeps what is older than its span until something newer takes the place; another ring need not.
    starts_us = [
        (before.panes[: len(before.names), first : first + count]["id"], width)
        for width, first, count in old.levels.tolist()
    ]
    ages_us = [before.sensors["last_us"][: len(before.names), None] - ids * width for ids, width in starts_us]
    if any((age_us[ids != NO_PANE] >= span_old).any() for age_us, (ids, _) in zip(ages_us, starts_us, strict=True)):
        return
    kept = 0
    for slot, sensor in enumerate(before.names):
        if comparable(old, new, sensor) and after.sensors[slot]["on_change"] == before.sensors[slot]["on_change"]:
            there, then = ([pane for pane in one.panes[slot] if pane["id"] != NO_PANE] for one in (before, after))
            assert sum(pane["samples"] for pane in then) == sum(pane["samples"] for pane in there)
            assert min((p["min"] for p in then), default=0.0) == min((p["min"] for p in there), default=0.0)
            assert max((p["max"] for p in then), default=0.0) == max((p["max"] for p in there), default=0.0)
            kept += bool(there)
    assert migration.windows_kept == kept


@examples(40)
@given(log=ANY_LOG, plans=st.tuples(ANY_PLAN, ANY_PLAN))
def test_there_and_back_keeps_what_both_have(log: list[Batch], plans: tuple[str, str]) -> None:
    one, other = (PLANS[name] for name in plans)
    before = fold_log(one, log).fold.state

    there, _ = migrate(one, before, other)
    back, _ = migrate(other, there, one)

    assert back.names == before.names
    assert back.class_of.tobytes() == before.class_of.tobytes()
    assert back.sensors["ring"].tobytes() == before.sensors["ring"].tobytes()
    for number, used in enumerate(one.models):
        for slot, sensor in enumerate(before.names):
            params = params_of(one, sensor, used.name)
            if params is not None and params == params_of(other, sensor, used.name) and comparable(one, other, sensor):
                assert back.banks[number][slot].tobytes() == before.banks[number][slot].tobytes()
    if np.array_equal(one.levels, other.levels):
        for slot, sensor in enumerate(before.names):
            same_way = there.sensors[slot]["on_change"] == before.sensors[slot]["on_change"]
            if comparable(one, other, sensor) and same_way:
                assert back.panes[slot].tobytes() == before.panes[slot].tobytes()
    shared = {rule.revision for rules in other.rules for rule in rules}
    for slot, episodes in enumerate(before.episodes[: len(before.names)]):
        for at, rule in enumerate(one.rules[int(before.class_of[slot])]):
            stays = rule.revision in {r.revision for r in other.rules[int(there.class_of[slot])]} & shared
            expected = episodes[at] if stays else np.zeros((), episodes.dtype)
            assert back.episodes[slot, at].tobytes() == expected.tobytes()


def test_windows_that_stay_show_the_same_when_another_comes() -> None:
    log = [Batch(START_US + at * S_US, (Row("a/1/temperature", START_US + at * S_US, at % 7.0),)) for at in range(900)]
    before = fold_log(plan_with(with_(REST, windows=["10s", "1m", "10m", "1h"])), log).fold
    new = plan_with(with_(REST, windows=["10s", "1m", "5m", "10m", "1h"]))
    assert not np.array_equal(before.plan.levels, new.levels)

    state, migration = migrate(before.plan, before.state, new)
    after = PartitionFold(new, PARTITIONS, state)

    for window_us in (10 * S_US, MINUTE_US, 10 * MINUTE_US, HOUR_US):
        assert after.statistics(window_us).tobytes() == before.statistics(window_us).tobytes()
    assert after.statistics(HOUR_US)["samples"].tolist() == [900]
    assert (migration.windows_kept, migration.windows_reset) == (1, 0)


# --- alerts -------------------------------------------------------------------------------------------------------


@examples(40)
@given(log=ANY_LOG, plans=st.tuples(ANY_PLAN, ANY_PLAN), rest=ANY_LOG)
def test_no_alert_is_left_open_for_ever(log: list[Batch], plans: tuple[str, str], rest: list[Batch]) -> None:
    old, new = (PLANS[name] for name in plans)
    fold = PartitionFold(old, PARTITIONS)
    open_: dict[str, Phase] = {}
    records = records_of(log)
    records.append(config(len(records), new, log[-1].arrival_us))
    records += records_of(rest, len(records))
    for record in records:
        for one in fold.fold(record).transitions:
            if one.phase is Phase.RESOLVED:
                assert open_.pop(one.id, None) is not None, "what was never told is over"
            else:
                open_[one.id] = one.phase
        known = int((fold.state.episodes[: fold.state.slots.rows]["told"] * fold.state.episodes[
            : fold.state.slots.rows]["phase"] > 0).sum())  # fmt: skip
        assert len(open_) == known


def test_an_open_alert_goes_on_under_its_id_where_its_rule_is_the_same_and_ends_where_it_is_not() -> None:
    hot = Row("a/1/temperature", START_US, 50.0)
    log = [Batch(START_US + at * S_US, (hot._replace(ts_us=START_US + at * S_US),)) for at in range(5)]
    fired = fold_log(PLANS["the plant"], log)
    who = {one.rule: one.id for one in fired.transitions if one.phase is Phase.FIRING}
    assert set(who) == {"hot"}

    _, kept = migrate(PLANS["the plant"], fired.fold.state, PLANS["other places"])
    _, ended = migrate(PLANS["the plant"], fired.fold.state, PLANS["other rules"])

    assert kept.transitions == ()
    (end,) = ended.transitions
    assert (end.id, end.phase, end.rule, end.sensor) == (who["hot"], Phase.RESOLVED, "hot", "a/1/temperature")
    assert "1 open alerts" in str(ended)


def test_the_plans_here_are_worth_their_names() -> None:
    """The properties above say little if nothing is ever kept, or nothing ever lost."""
    state = fold_log(PLANS["the plant"], long_log(0)).fold.state
    assert set(SENSORS) <= set(state.names)
    found = {name: migrate(PLANS["the plant"], state, plan)[1] for name, plan in PLANS.items()}
    assert found["units"].windows_reset == 0
    in_kelvin = fold_log(PLANS["units"], long_log(0)).fold.state
    assert migrate(PLANS["units"], in_kelvin, PLANS["other units"])[1].windows_reset > 0
    assert found["other places"].windows_kept > 0
    assert found["other windows"].windows_reset == 0
    assert found["one window less"].windows_kept > 0
    assert found["windows that share no pane"].windows_kept == 0
    assert found["other options"].models_reset.keys() >= {"ewma_z"}
    assert found["other options"].models_kept == {}
    assert found["all in one class"].reclassed > 0
    assert eager("ewma_z")

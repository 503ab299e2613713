"""Commands in the log: a name changes and what was learned stays, a slot is given back, and nothing harms twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.errors import IncompatibleError, QuarantineError
from ingest.contract.wire import ARROW, JSON, Envelope, Kind, headers_of
from stream.control import command_record
from stream.fold.alerts import Phase
from stream.fold.commands import Adopt, Command, Outcome, Rename, Retire, RowData, encode_command
from stream.fold.partition import Effects, LogRecord, PartitionFold
from stream.fold.state import PartitionState
from stream.fold.windows import NO_PANE
from tests.properties.test_fold import CUTS, cut
from tests.properties.test_migrate import PLANS, with_
from tests.unit.stream.logs import (
    FUTURE_US,
    MINUTE_US,
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
    logs,
    long_log,
    plan_of,
    records_of,
)

PLAN = PLANS["the plant"]
QUIET = plan_of(*(with_(one, rules=[]) for one in PLANT))
"""Without rules: what a name does to alerts is looked at by itself."""
ANY_LOG = st.one_of(logs(), st.integers(0, 2**32).map(long_log))
NAMES = st.sampled_from([*SENSORS, "b/9/temperature", "b/9/current"])
COMMANDS = st.one_of(st.builds(Rename, NAMES, NAMES), st.builds(Retire, NAMES))


def command(offset: int, what: Command, arrival_us: int) -> LogRecord:
    made = command_record(what, "test", offset, arrival_us, PARTITIONS)
    return LogRecord(offset, made.headers, made.value)


def raw(value: bytes | None, content_type: str = JSON) -> LogRecord:
    headers = headers_of(Envelope(Kind.COMMAND, content_type, "test", 0, START_US, PARTITIONS))
    return LogRecord(0, headers, value)


def renamed(log: list[Batch], old: str, new: str) -> list[Batch]:
    rows = (
        (batch.arrival_us, tuple(r._replace(sensor=new) if r.sensor == old else r for r in batch.rows)) for batch in log
    )
    return [Batch(arrival_us, some) for arrival_us, some in rows]


def row_of(state: PartitionState, sensor: str) -> dict[str, bytes]:
    slot = state.slots.get(sensor)
    assert slot is not None
    return {name: row.tobytes() for name, row in state.row(slot).items()}


# --- rename -------------------------------------------------------------------------------------------------------


@examples(30)
@given(seed=st.integers(0, 2**32), at=st.integers(0, 60), sensor=st.sampled_from(SENSORS[4:]))
def test_a_renamed_sensor_is_as_if_it_had_always_had_its_name(seed: int, at: int, sensor: str) -> None:
    log, to = long_log(seed), "c/3/oil/temperature"
    before, after = log[:at], log[at:]
    now_us = before[-1].arrival_us if before else START_US

    fold = PartitionFold(QUIET, PARTITIONS)
    records = records_of(before)
    records.append(command(len(records), Rename(sensor, to), now_us))
    records += records_of(renamed(after, sensor, to), len(records))
    for record in records:
        fold.fold(record)

    always = PartitionFold(QUIET, PARTITIONS)
    records = records_of(renamed(before, sensor, to))
    # In place of the command time passes, as it does with a command.
    records += [one._replace(offset=len(records) + at) for at, one in enumerate(records_of([Batch(now_us)]))]
    for record in [*records, *records_of(renamed(after, sensor, to), len(records))]:
        always.fold(record)
    assert fold.state.digest_parts() == always.state.digest_parts()


@examples(40)
@given(log=ANY_LOG, what=COMMANDS)
def test_a_command_twice_is_a_command_once(log: list[Batch], what: Command) -> None:
    fold = fold_log(PLAN, log).fold
    end, now_us = fold.state.next_offset, log[-1].arrival_us

    first = fold.fold(command(end, what, now_us))
    once = fold.state.digest_parts()
    second = fold.fold(command(end + 1, what, now_us))

    assert fold.state.digest_parts() == once
    assert second.transitions == []
    assert first.applied is not None
    assert second.applied is not None
    known = isinstance(what, Rename) and what.old == what.to and first.applied.outcome is Outcome.DONE
    assert second.applied.outcome is (Outcome.DONE if known else Outcome.UNKNOWN_SENSOR)


@examples(40)
@given(log=ANY_LOG, what=st.lists(COMMANDS, min_size=1, max_size=4), cuts=CUTS, crash=st.integers(0, 100))
def test_any_split_and_any_crash_give_the_same_bits(
    log: list[Batch], what: list[Command], cuts: list[tuple[int, Encoding, bool]], crash: int
) -> None:
    def fold_all(pieces: list[LogRecord], crash: int) -> tuple[list[bytes], list[Any]]:
        records = [*pieces, *(command(0, one, log[-1].arrival_us) for one in what), *records_of(log)]
        fold, told = PartitionFold(PLAN, PARTITIONS), []
        for at, record in enumerate(records):
            if at == crash:
                fold = PartitionFold(PLAN, PARTITIONS, PartitionState.thaw(PLAN, fold.state.freeze()))
            told += fold.fold(record._replace(offset=at)).transitions
        # The offset is no part of it: the splits have different ones.
        return fold.state.digest_parts(), told

    assert fold_all(cut(log, cuts), crash) == fold_all(records_of(log), -1)


@examples(40)
@given(log=ANY_LOG, what=st.lists(COMMANDS, max_size=5))
def test_no_alert_outlives_its_sensors_name(log: list[Batch], what: list[Command]) -> None:
    fold, open_ = PartitionFold(PLAN, PARTITIONS), dict[str, str]()
    records = records_of(log)
    for some in what:
        records.append(command(len(records), some, log[-1].arrival_us))
    for record in records:
        effects = fold.fold(record)
        for one in effects.transitions:
            if one.phase is Phase.RESOLVED:
                assert open_.pop(one.id) == one.sensor
            else:
                open_[one.id] = one.sensor
        assert set(open_.values()) <= set(fold.state.names)


def hot_log(sensor: str, seconds: int = 5) -> list[Batch]:
    rows = (Row(sensor, START_US + at * S_US, 50.0) for at in range(seconds))
    return [Batch(row.ts_us, (row,)) for row in rows]


def test_an_open_alert_ends_under_the_old_name_and_begins_anew_under_the_new_one() -> None:
    found = fold_log(PLAN, hot_log("a/1/temperature"))
    (old_id,) = {one.id for one in found.transitions if one.rule == "hot"}
    effects = found.fold.fold(command(5, Rename("a/1/temperature", "b/1/temperature"), START_US + 5 * S_US))

    (end,) = effects.transitions
    assert (end.id, end.phase, end.sensor) == (old_id, Phase.RESOLVED, "a/1/temperature")
    after = [
        one
        for record in records_of(renamed(hot_log("b/1/temperature", 12), "", "")[6:], 6)
        for one in found.fold.fold(record).transitions
    ]
    assert {one.sensor for one in after} == {"b/1/temperature"}
    assert old_id not in {one.id for one in after}
    assert after[-1].phase is Phase.FIRING


def test_a_sensor_that_is_there_already_takes_over_models_and_what_is_older_in_windows() -> None:
    old, to = "a/1/temperature", "b/1/temperature"
    log = [Batch(START_US + at * S_US, (Row(old, START_US + at * S_US, float(at % 3)),)) for at in range(100)]
    later = START_US + 100 * S_US
    log += [Batch(later + at * S_US, (Row(to, later + at * S_US, 7.0),)) for at in range(20)]
    fold = fold_log(QUIET, log).fold
    learned = row_of(fold.state, old)
    own = row_of(fold.state, to)
    hour_before = fold.statistics(5 * MINUTE_US)["samples"].tolist()

    effects = fold.fold(command(len(log), Rename(old, to), later + 20 * S_US))

    assert effects.applied is not None
    assert effects.applied.outcome is Outcome.DONE
    assert fold.state.names == ["", to]
    taken = row_of(fold.state, to)
    assert taken["bank.ewma_z"] == learned["bank.ewma_z"]
    assert taken["bank.running_range"] == learned["bank.running_range"]
    assert taken["sensors"] == own["sensors"]
    assert hour_before == [100, 20]
    assert fold.statistics(5 * MINUTE_US)["samples"].tolist() == [0, 120]
    # The slot is given out again.
    fold.fold(records_of([Batch(later, (Row("c/t", later, 1.0),))], len(log) + 1)[0])
    assert fold.state.names == ["c/t", to]


def test_the_new_name_decides_the_class_anew() -> None:
    fold = fold_log(PLAN, hot_log("a/1/temperature", 20)).fold
    fold.fold(command(20, Rename("a/1/temperature", "a/1/mode"), START_US + 20 * S_US))
    slot = fold.state.slots.get("a/1/mode")

    assert slot is not None
    assert PLAN.classes.classes[fold.state.class_of[slot]].name == "mode"
    assert (fold.state.panes[slot]["id"] == NO_PANE).all()
    assert not row_of(fold.state, "a/1/mode")["bank.ewma_z"].strip(b"\0")


# --- retire -------------------------------------------------------------------------------------------------------


@examples(40)
@given(log=ANY_LOG, sensor=st.sampled_from(SENSORS))
def test_a_retired_sensor_leaves_nothing_behind_and_the_others_alone(log: list[Batch], sensor: str) -> None:
    fold = fold_log(PLAN, log).fold
    before = {name: row_of(fold.state, name) for name in fold.state.names if name != sensor}
    known = fold.state.slots.get(sensor)
    fold.fold(command(fold.state.next_offset, Retire(sensor), fold.state.now_us))

    assert {name: row_of(fold.state, name) for name in fold.state.names if name} == before
    assert sensor not in fold.state.names
    if known is not None:
        free = fold.state.row(known)
        fresh = PartitionState(PLAN).row(0)
        assert {name: row.tobytes() for name, row in free.items()} == {n: row.tobytes() for n, row in fresh.items()}
        assert known not in fold.state.texts


def test_what_is_retired_makes_room_in_the_budget() -> None:
    fold = fold_log(
        plan_of(*PLANT, max_sensors=1), [Batch(START_US, (Row("a", START_US, 1.0), Row("b", START_US, 1.0)))]
    ).fold
    assert fold.state.names == ["a"]
    fold.fold(command(1, Retire("a"), START_US))
    fold.fold(records_of([Batch(START_US, (Row("b", START_US, 1.0),))], 2)[0])
    assert fold.state.names == ["b"]


# --- records ------------------------------------------------------------------------------------------------------


UNREADABLE: dict[str, LogRecord] = {
    "no value": raw(None),
    "no JSON": raw(b"rename"),
    "another content type": raw(encode_command(Retire("a")), ARROW),
    "an unknown command": raw(b'{"version":1,"command":"explode","sensor":"a"}'),
    "no command": raw(b'{"version":1,"sensor":"a"}'),
    "no version": raw(b'{"command":"retire","sensor":"a"}'),
    "a version that never was": raw(b'{"version":0,"command":"retire","sensor":"a"}'),
    "no sensor": raw(b'{"version":1,"command":"retire"}'),
    "a sensor that nobody may be": raw(b'{"version":1,"command":"retire","sensor":"a//b"}'),
    "a name that nobody may have": raw(
        json.dumps({"version": 1, "command": "rename", "from": "a", "to": 'b"'}).encode()
    ),
    "more than is asked": raw(b'{"version":1,"command":"retire","sensor":"a","force":true}'),
    "too long": raw(encode_command(Adopt("a", "", {"x": RowData("", bytes(300_000))}))),
    "too deep": raw(b"[" * 100_000),
    "a text that is too long": raw(encode_command(Adopt("a", "", {}, "x" * 5_000))),
}


@pytest.mark.parametrize("bad", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_command_that_cannot_be_read_leaves_no_trace(bad: LogRecord) -> None:
    found = fold_log(PLAN, long_log(5, 20))
    digest, offset = found.digest, found.fold.state.next_offset

    with pytest.raises(QuarantineError):
        found.fold.fold(bad._replace(offset=offset))

    assert found.digest == digest
    assert found.fold.state.next_offset == offset + 1


def test_a_command_of_a_newer_version_stops_the_fold_where_it_is() -> None:
    found = fold_log(PLAN, long_log(5, 20))
    digest = found.digest
    with pytest.raises(IncompatibleError, match="upgrade this worker"):
        found.fold.fold(raw(b'{"version":2,"command":"merge","sensors":[]}'))
    assert found.digest == digest


@examples(100)
@given(value=st.binary(max_size=80))
def test_no_bytes_do_harm(value: bytes) -> None:
    with pytest.raises(QuarantineError):
        PartitionFold(PLAN, PARTITIONS).fold(raw(value))


def test_an_effect_says_what_became_of_a_command() -> None:
    found: Effects = PartitionFold(PLAN, PARTITIONS).fold(command(0, Retire("a"), START_US + FUTURE_US))

    assert found.applied is not None
    assert (found.applied.command, found.applied.outcome) == ("retire", "unknown_sensor")

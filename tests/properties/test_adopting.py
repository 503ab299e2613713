"""A sensor that comes from another partition: it is as if it had been renamed, and rows that lie do no harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.fold.commands import Adopt, Outcome, Rename, RowData, apply, row_data
from stream.fold.partition import PartitionFold
from stream.fold.silence import SILENCE
from stream.fold.state import PartitionState
from tests.properties.test_commands import ANY_LOG, PLAN, command, hot_log, renamed, row_of
from tests.properties.test_migrate import PLANS
from tests.unit.stream.logs import (
    MINUTE_US,
    PARTITIONS,
    PLANT,
    SENSORS,
    START_US,
    Batch,
    examples,
    fold_log,
    long_log,
    plan_of,
    records_of,
)


def adoption(state: PartitionState, sensor: str, to: str, digest: str = PLAN.definitions.digest) -> Adopt:
    slot = state.slots.get(sensor)
    assert slot is not None
    return Adopt(to, digest, row_data(state.row(slot)), state.texts.get(slot))


@examples(40)
@given(log=ANY_LOG, sensor=st.sampled_from(SENSORS))
def test_adopted_is_as_renamed(log: list[Batch], sensor: str) -> None:
    fold = fold_log(PLAN, log).fold
    if fold.state.slots.get(sensor) is None:
        return
    to, now_us = f"z/{sensor}", fold.state.now_us
    rows = adoption(fold.state, sensor, to)
    there = PartitionFold(PLAN, PARTITIONS)

    first = there.fold(command(0, rows, now_us))
    once = there.state.digest_parts()
    there.fold(command(1, rows, now_us))
    fold.fold(command(fold.state.next_offset, Rename(sensor, to), now_us))

    assert first.applied is not None
    assert first.applied.outcome is Outcome.DONE
    assert there.state.digest_parts() == once
    adopted, kept = row_of(there.state, to), row_of(fold.state, to)
    # What is reckoned in the time of a partition begins anew in another.
    own = ("heard_us", "silences")
    assert {name: row for name, row in adopted.items() if name not in own} == {
        name: row for name, row in kept.items() if name not in own
    }
    learned = list(SILENCE.names or ())[:3]
    assert np.frombuffer(adopted["silences"], SILENCE)[learned] == np.frombuffer(kept["silences"], SILENCE)[learned]
    assert there.state.texts.get(0) == fold.state.texts.get(fold.state.slots.get(to) or 0)


def test_a_snapshot_of_a_young_partition_holds_a_sensor_that_has_learned_long_gaps_elsewhere() -> None:
    fold = fold_log(PLAN, hot_log("a/1/temperature")).fold
    there, day_us = PartitionFold(PLAN, PARTITIONS), 24 * 60 * MINUTE_US
    for name in ("long_us", "mean_us", "dev_us"):
        fold.state.silences[name] = day_us
    there.fold(command(0, adoption(fold.state, "a/1/temperature", "b/t"), START_US))

    again = PartitionState.thaw(PLAN, there.state.freeze())

    assert again.digest_parts() == there.state.digest_parts()
    assert again.silences["long_us"][0] == day_us


@examples(40)
@given(
    log=ANY_LOG, own=ANY_LOG, sensor=st.sampled_from(SENSORS), begun=st.booleans(), on_us=st.sampled_from((0, 2, 90))
)
def test_an_adoption_that_is_read_again_does_not_throw_back_what_was_learned_since(
    log: list[Batch], own: list[Batch], sensor: str, begun: bool, on_us: int
) -> None:
    fold = fold_log(PLAN, log).fold
    if fold.state.slots.get(sensor) is None:
        return
    rows, past_us = adoption(fold.state, sensor, sensor), max(batch.arrival_us for batch in log) - START_US
    later = [
        Batch(
            one.arrival_us + past_us, tuple(r._replace(ts_us=r.ts_us + past_us + on_us * MINUTE_US) for r in one.rows)
        )
        for one in own
    ]
    there = PartitionFold(PLAN, PARTITIONS)
    at = len(later) // 2 if begun else 0
    for record in records_of(later[:at]):
        there.fold(record)
    there.fold(command(at, rows, there.state.now_us or START_US))
    for record in records_of(later[at:], at + 1):
        there.fold(record)
    before = there.state.digest_parts()

    assert apply(PLAN, there.state, rows).outcome is Outcome.DONE
    assert there.state.digest_parts() == before


def test_what_is_of_other_definitions_or_over_the_budget_is_not_adopted() -> None:
    fold = fold_log(PLAN, hot_log("a/1/temperature")).fold
    rows = adoption(fold.state, "a/1/temperature", "b/1/temperature")
    full = fold_log(plan_of(*PLANT, max_sensors=1), hot_log("a/t")).fold
    other = PartitionFold(PLANS["other windows"], PARTITIONS)

    full_rows = adoption(fold.state, "a/1/temperature", "b/t", full.plan.definitions.digest)
    assert apply(full.plan, full.state, full_rows).outcome is Outcome.OVER_BUDGET
    assert apply(other.plan, other.state, rows).outcome is Outcome.STALE
    assert other.state.names == []


@examples(60)
@given(seed=st.integers(0, 50), at=st.integers(0, 10_000), value=st.binary(min_size=8, max_size=8))
def test_rows_that_lie_harm_nothing(seed: int, at: int, value: bytes) -> None:
    fold = fold_log(PLAN, long_log(seed, 20)).fold
    found = adoption(fold.state, fold.state.names[0], "z/9/current")
    name = sorted(found.rows)[at % len(found.rows)]
    data = bytearray(found.rows[name].data)
    place = at % max(1, len(data) - 8)
    data[place : place + 8] = value[: len(data) - place]
    lie = Adopt("z/9/current", found.definitions, {**found.rows, name: RowData(found.rows[name].dtype, bytes(data))})
    there = PartitionFold(PLAN, PARTITIONS)

    there.fold(command(0, lie, START_US))
    PartitionState.thaw(PLAN, there.state.freeze())
    for record in records_of(renamed(long_log(seed, 20), "a/1/current", "z/9/current"), 1):
        there.fold(record)
    PartitionState.thaw(PLAN, there.state.freeze())
    for window_us in (MINUTE_US, 5 * MINUTE_US):
        there.statistics(window_us)


LIES = {"ring_used": 17, "ring_at": 16, "scored_by": len(PLAN.models), "on_change": 2, "holds": -1}


@pytest.mark.parametrize(("field", "value"), LIES.items())
def test_a_row_with_a_place_that_there_is_not_is_refused(field: str, value: int) -> None:
    fold = fold_log(PLAN, hot_log("a/1/temperature")).fold
    fold.state.sensors[0][field] = value
    lie = adoption(fold.state, "a/1/temperature", "b/t")

    assert apply(PLAN, PartitionState(PLAN), lie).outcome is Outcome.STALE


def test_a_pane_in_anothers_place_is_refused() -> None:
    fold = fold_log(PLAN, hot_log("a/1/temperature")).fold
    fold.state.panes[0]["id"] = np.roll(fold.state.panes[0]["id"], 1)

    assert apply(PLAN, PartitionState(PLAN), adoption(fold.state, "a/1/temperature", "b/t")).outcome is Outcome.STALE

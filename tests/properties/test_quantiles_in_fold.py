"""Quantiles in the fold: over the same windows, in every split, for those who ask."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from ingest.contract.class_settings import ClassSettings
from ingest.contract.classes import Kind
from ingest.contract.readings import Quality
from stream.exposition import SensorPage
from stream.fold import quantiles as quantiles_module
from stream.fold import sketch as sketch_module
from stream.fold.commands import Rename, apply
from stream.fold.migrate import migrate
from stream.fold.partition import PartitionFold
from stream.fold.quantiles import panes_of
from stream.fold.sketch import SKETCH
from stream.fold.state import LayoutError, PartitionState
from tests.properties.one_sensor import (
    ALLOWED,
    BEGIN_US,
    ON_CHANGE,
    PERIODIC,
    WINDOWS_US,
    WITH_QUANTILES,
    OneSensor,
    rank_errors,
)
from tests.unit.stream.logs import (
    HOUR_US,
    MINUTE_US,
    PARTITIONS,
    S_US,
    START_US,
    Batch,
    Folded,
    ReferenceRing,
    Row,
    examples,
    fold_log,
    logs,
    long_log,
    plan_of,
    records_of,
    with_ticks,
)

# --- in the fold ----------------------------------------------------------------------------------------------------


def quantiles_of(found: Folded, sensor: str, window_us: int) -> NDArray[np.float64]:
    return np.asarray(found.fold.quantiles(window_us)[found.fold.state.names.index(sensor)])


def window_of(until_us: int, window_us: int) -> tuple[int, int]:
    width_us = window_us // panes_of(window_us)
    end_us = (until_us // width_us + 1) * width_us
    return end_us - window_us, end_us


@examples(60)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 400),
    gap_us=st.sampled_from([10_000, S_US, 7 * S_US]),
    disorder=st.sampled_from([0.0, 1.0, 5.0, 40.0]),
    idle_us=st.sampled_from([0, 40 * S_US, 4 * MINUTE_US, HOUR_US]),
)
def test_periodic_readings_count_once_each_in_the_windows_they_are_in(
    seed: int, count: int, gap_us: int, disorder: float, idle_us: int
) -> None:
    chance = np.random.default_rng(seed)
    ts_us = START_US + np.cumsum(chance.integers(1, 2 * gap_us, count))
    ts_us = ts_us[np.argsort(ts_us + chance.random(count) * disorder * gap_us, kind="stable")]
    rows = [Row("a/t", int(at), float(x)) for at, x in zip(ts_us, chance.normal(0, 3, count), strict=True)]
    now_us = int(ts_us.max())
    plan = plan_of(PERIODIC)

    found = fold_log(plan, with_ticks([Batch(now_us, tuple(rows)), Batch(now_us + idle_us)]))

    ring, kept, last_us = ReferenceRing(), list[Row](), 0
    for row in rows:
        if ring.see(row.ts_us) in ("in order", "out of order"):
            kept.append(row)
            last_us = max(last_us, row.ts_us)
    until_us = max(last_us, last_us + idle_us - int(plan.levels[0, 0]))
    for window_us in WINDOWS_US:
        begin_us, end_us = window_of(until_us, window_us)
        values = np.array([row.value for row in kept if begin_us <= row.ts_us < end_us])
        got = quantiles_of(found, "a/t", window_us)
        if values.size:
            assert max(rank_errors(got, values)) <= ALLOWED
        else:
            assert np.isnan(got).all()


@examples(80)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([1, 1_000, 400_000, S_US, 4_999_999, 12 * S_US, 29 * S_US, 31 * S_US, 90 * S_US, HOUR_US]),
            st.sampled_from([0.0, 1.0, -2.5, 40.0, 1e6]),
            st.sampled_from([Quality.GOOD, Quality.GOOD, Quality.UNCERTAIN, Quality.BAD]),
        ),
        max_size=40,
    ),
    idle_us=st.sampled_from([0, 700_000, 10 * S_US, 30 * S_US, 2 * MINUTE_US, HOUR_US]),
    latency_us=st.sampled_from([0, HOUR_US]),
    staleness_us=st.sampled_from([30 * S_US, 2 * HOUR_US]),
)
def test_the_value_of_an_on_change_sensor_weighs_as_long_as_it_held(
    steps: list[tuple[int, float, Quality]], idle_us: int, latency_us: int, staleness_us: int
) -> None:
    rows, at_us = [Row("a/i", START_US, 3.0)], START_US
    for gap_us, value, quality in steps:
        at_us += gap_us
        rows.append(Row("a/i", at_us, value, None, quality))
    log = [*(Batch(row.ts_us + latency_us, (row,)) for row in rows), Batch(at_us + idle_us + latency_us)]

    found = fold_log(plan_of(ON_CHANGE.model_copy(update={"staleness": staleness_us})), with_ticks(log))

    ends_us = [later.ts_us for _, later in pairwise(rows)] + [at_us + idle_us]
    for window_us in WINDOWS_US:
        begin_us, _ = window_of(at_us + idle_us, window_us)
        spans = [
            (max(row.ts_us, begin_us), min(end_us, row.ts_us + staleness_us), row.value)
            for row, end_us in zip(rows, ends_us, strict=True)
            if row.quality != Quality.BAD
        ]
        held = [(end // 1_000 - begin // 1_000, x) for begin, end, x in spans if end // 1_000 > begin // 1_000]
        got = quantiles_of(found, "a/i", window_us)
        if held:
            weights, values = (np.array(column, np.float64) for column in zip(*held, strict=True))
            # A millisecond at each end of a window and of a hold is a matter of rounding.
            assert max(rank_errors(got, values, weights)) <= ALLOWED + 2.0 / weights.sum()
        elif rows[-1].quality != Quality.BAD and idle_us == 0:
            assert got.tolist() == [rows[-1].value] * 3
        else:
            assert np.isnan(got).all()


def test_a_motor_that_runs_a_tenth_of_the_time_has_the_median_of_one_that_is_off() -> None:
    rows = [Row("a/i", BEGIN_US + MINUTE_US, 0.0)]
    rows += [Row("a/i", BEGIN_US + 5 * MINUTE_US + half * S_US // 2, 40.0 + half) for half in range(60)]

    found = fold_log(plan_of(ON_CHANGE), [*(Batch(row.ts_us, (row,)) for row in rows), Batch(rows[-1].ts_us)])

    p50, p90, p99 = quantiles_of(found, "a/i", 5 * MINUTE_US)
    assert (p50, p90) == (0.0, pytest.approx(42.0, abs=6.0))
    assert 90.0 <= p99 <= 99.0


# --- state ----------------------------------------------------------------------------------------------------------


@examples(40)
@given(log=st.one_of(logs(), st.integers(0, 2**32).map(long_log)), cut=st.integers(0, 2**16))
def test_any_split_of_a_log_and_a_restart_in_the_middle_give_the_same_bits(log: list[Batch], cut: int) -> None:
    plan = plan_of(*WITH_QUANTILES)
    whole = fold_log(plan, log)
    pieces = [batch._replace(rows=batch.rows[at : at + 1]) for batch in log for at in range(max(1, len(batch.rows)))]

    fold = PartitionFold(plan, PARTITIONS)
    for record in records_of(pieces):
        if record.offset == cut % len(pieces):
            fold = PartitionFold(plan, PARTITIONS, PartitionState.thaw(plan, fold.state.freeze()))
        fold.fold(record)

    assert fold.state.digest_parts() == whole.digest
    for window_us in WINDOWS_US:
        assert fold.quantiles(window_us).tobytes() == whole.fold.quantiles(window_us).tobytes()
    assert fold.state.digest_parts() == whole.digest  # reading changes nothing


def test_other_values_make_another_digest() -> None:
    plan = plan_of(PERIODIC)
    one, other = (
        fold_log(plan, [Batch(START_US, (Row("a/t", START_US, 5.0), Row("a/t", START_US + 1, x)))]) for x in (1.0, 2.0)
    )

    assert one.fold.state.sketches.rows.tobytes() != other.fold.state.sketches.rows.tobytes()
    assert one.fold.state.freeze().arrays["sketch.rows"].tobytes() in one.digest


def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sketch_module, quantiles_module):
        for name, found in list(vars(module).items()):
            if hasattr(found, "py_func"):
                monkeypatch.setattr(module, name, found.py_func)


def a_life() -> list[bytes]:
    """A sensor of each kind, with enough readings to fill the compactors, press panes and open them again."""
    chance, out = np.random.default_rng(4), []
    for on_change in (0, 1):
        sensor = OneSensor()
        sensor.sensors["on_change"] = on_change
        sensor._limits["staleness_us"] = HOUR_US
        ts_us = BEGIN_US + np.cumsum(chance.integers(1, 2 * HOUR_US // 1_000, 2_500))
        ts_us = ts_us[np.argsort(np.arange(2_500) + chance.uniform(0, 15, 2_500))] if not on_change else ts_us
        sensor.see(ts_us, chance.normal(size=2_500))
        sensor.see(ts_us.max() + np.arange(1, 3_000, dtype=np.int64), chance.normal(size=2_999))
        out += [sensor.sketches.rows.tobytes(), sensor.quantiles().tobytes()]
    return out


def test_interpreted_and_compiled_agree_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = a_life()
    with monkeypatch.context() as patch:
        interpreted(patch)
        assert a_life() == compiled


def test_only_sensors_whose_class_asks_have_a_sketch_and_each_window_has_its_own() -> None:
    asks = PERIODIC.model_copy(update={"name": "asks", "match": ["**/t"]})
    asks_less = PERIODIC.model_copy(update={"name": "asks less", "match": ["**/p"], "quantiles": [5 * MINUTE_US]})
    rest = PERIODIC.model_copy(update={"name": "rest", "quantiles": []})
    rows = tuple(Row(f"{at}/{name}", START_US, 1.0) for at in range(100) for name in ("t", "p", "x"))

    state = fold_log(plan_of(asks, asks_less, rest), [Batch(START_US, rows)]).fold.state

    of = state.sketches.of[:300]
    assert (of > 0).sum(axis=1).tolist() == [2, 1, 0] * 100
    assert sorted(of[of > 0].tolist()) == list(range(1, 301))
    assert len(state.freeze().arrays["sketch.rows"]) == 300


def test_a_sketch_whose_sensor_is_gone_is_given_to_the_next_one_fresh() -> None:
    found = fold_log(plan_of(PERIODIC), [Batch(START_US, tuple(Row(f"a/{at}", START_US, 7.0) for at in range(3)))])
    state = found.fold.state

    state.retire(1)
    assert state.sketches.rows[2:4].tobytes() == bytes(2 * SKETCH.itemsize)
    for record in records_of([Batch(START_US + S_US, (Row("b/new", START_US + S_US, 9.0),))], 1):
        found.fold.fold(record)

    assert state.sketches.of[:3].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert quantiles_of(found, "b/new", MINUTE_US).tolist() == [9.0] * 3
    assert quantiles_of(found, "a/2", MINUTE_US).tolist() == [7.0] * 3


def test_quantiles_follow_a_new_name_but_not_into_another_class() -> None:
    asked = PERIODIC.model_copy(update={"name": "asked", "match": ["a/*"]})
    plan = plan_of(asked, PERIODIC.model_copy(update={"quantiles": [5 * MINUTE_US]}))
    found = fold_log(plan, [Batch(START_US, tuple(Row(f"a/{at}", START_US, float(at)) for at in range(3)))])
    state = found.fold.state

    for old, new in (("a/0", "a/new"), ("a/1", "a/2"), ("a/2", "b/new")):
        apply(plan, state, Rename(old, new))

    assert quantiles_of(found, "a/new", MINUTE_US).tolist() == [0.0] * 3
    assert np.isnan(quantiles_of(found, "b/new", 5 * MINUTE_US)).all()
    assert (state.sketches.of[:3] > 0).sum(axis=1).tolist() == [2, 0, 1]
    assert PartitionState.thaw(plan, state.freeze()).digest_parts() == state.digest_parts()


def test_other_definitions_keep_the_quantiles_of_windows_that_stay() -> None:
    one, other = (
        plan_of(PERIODIC.model_copy(update={"quantiles": asked})) for asked in ([5 * MINUTE_US], list(WINDOWS_US))
    )
    rows = tuple(Row("a/t", START_US + at * S_US, float(at)) for at in range(100))
    state = fold_log(one, [Batch(START_US + 100 * S_US, rows)]).fold.state

    more, _ = migrate(one, state, other)
    fewer, _ = migrate(other, more, one)

    fold = PartitionFold(other, PARTITIONS, more)
    assert np.isnan(fold.quantiles(MINUTE_US)).all()
    was = PartitionFold(one, PARTITIONS, state).quantiles(5 * MINUTE_US)
    assert fold.quantiles(5 * MINUTE_US).tobytes() == was.tobytes()
    assert PartitionFold(one, PARTITIONS, fewer).quantiles(5 * MINUTE_US).tobytes() == was.tobytes()
    assert (fewer.sketches.of > 0).sum() == 1


@examples(15)
@given(seed=st.integers(0, 2**32))
def test_equal_definitions_change_no_sketch(seed: int) -> None:
    plan = plan_of(*WITH_QUANTILES)
    found = fold_log(plan, long_log(seed))

    assert migrate(plan, found.fold.state, plan)[0].digest_parts() == found.digest


@pytest.mark.parametrize("of", [[[3]], [[-1]], [[2], [2]]])
def test_frozen_sketches_that_belong_to_nobody_or_to_two_are_refused(of: list[list[int]]) -> None:
    plan = plan_of(PERIODIC.model_copy(update={"quantiles": [MINUTE_US]}))
    rows = tuple(Row(f"a/{at}", START_US, 1.0) for at in range(2))
    frozen = fold_log(plan, [Batch(START_US, rows)]).fold.state.freeze()
    frozen.arrays["sketch.of"][: len(of)] = of

    with pytest.raises(LayoutError):
        PartitionState.thaw(plan, frozen)


# --- settings and page ----------------------------------------------------------------------------------------------


def test_a_window_that_the_class_has_not_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="5m is not among the class's windows, which are 1m"):
        ClassSettings(name="x", match=["**"], windows=["1m"], quantiles=["1m", "5m"])


def test_quantiles_of_what_is_no_number_are_a_mistake() -> None:
    with pytest.raises(ValidationError, match="quantiles need numbers, and this class is of kind text"):
        ClassSettings(name="x", match=["**"], windows=["1m"], quantiles=["1m"], kind=Kind.TEXT, models=[])


def test_the_page_shows_quantiles_to_those_who_ask() -> None:
    asked = PERIODIC.model_copy(update={"series": ["p50", "p99"], "quantiles": [MINUTE_US]})
    rows = tuple(Row("a/t", START_US + at, float(at)) for at in range(100))
    found = fold_log(plan_of(asked), [Batch(START_US + 100, rows)])

    page = SensorPage(["site", "quantity"]).render([found.fold]).decode()

    label = '{sensor="a/t",site="a",quantity="t",window="1m"}'
    shown = [line for line in page.splitlines() if not line.startswith("#")]
    assert shown == [f"millstream_sensor_p50{label} 49.0", f"millstream_sensor_p99{label} 98.0"]

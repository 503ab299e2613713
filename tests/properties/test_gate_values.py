"""Sentinels and rates of change: what stands for no value, or cannot have come so fast, changes nothing but what is
shown of it; and nothing that is real is refused for ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import inf, nextafter
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.contract.class_settings import ClassSettings
from ingest.contract.classes import Kind, Reporting
from ingest.contract.readings import Flag
from stream.fold import rows as rows_module
from stream.fold.definitions import Definitions
from stream.fold.gate import DEFAULT_SENTINELS, Verdict
from stream.fold.partition import PartitionFold
from stream.fold.rows import SENSOR
from tests.unit.stream.logs import (
    FUTURE_US,
    HOUR_US,
    PARTITIONS,
    S_US,
    START_US,
    Batch,
    Folded,
    Row,
    examples,
    fold_log,
    fold_records,
    plan_of,
    record_of,
    records_of,
)

SHOWN = ("shown_us", "shown_value", "shown_quality", "shown_text", "refused", "ring", "ring_at", "ring_used")
GAUGE = ClassSettings(name="gauge", match=["**"], windows=["10s", "1m"])
NAMED = GAUGE.model_copy(update={"sentinels": [-1.0, 85.0, 6_553.5]})
SLOW = GAUGE.model_copy(update={"max_rate": 2.0, "staleness": 60 * S_US})
COUNTER = ClassSettings(name="counter", match=["**"], kind=Kind.COUNTER, windows=["10s", "1m"])
PLANS = {
    "by default": plan_of(GAUGE),
    "named": plan_of(NAMED),
    "slow": plan_of(SLOW),
    "slow, on change": plan_of(SLOW.model_copy(update={"reporting": Reporting.ON_CHANGE})),
    "counter": plan_of(COUNTER),
    "slow counter": plan_of(COUNTER.model_copy(update={"max_rate": 1_000.0})),
}
VALUES = st.sampled_from([0.0, 1.0, 2.5, 20.0, 21.0, 85.0, -1.0, 500.0, 6_553.5, 7_000.0, *DEFAULT_SENTINELS, 65_530.0])
LOGS = st.lists(
    st.tuples(st.sampled_from([1, 1, 1, 3, 20, 90, -2, 0]), VALUES, st.sampled_from([0, 0, Flag.BEYOND_RANGE])),
    max_size=60,
)


def log_of(what: list[tuple[int, float, int]]) -> list[Batch]:
    at_us, log = START_US, list[Batch]()
    for step, value, flags in what:
        at_us += step * S_US
        log.append(Batch(at_us, (Row("a/t", at_us, value, flags=int(flags)),)))
    return log


def seconds(*values: float, first: int = 0) -> list[Batch]:
    """A reading a second."""
    return [Batch(at, (Row("a/t", at, x),)) for k, x in enumerate(values) for at in [START_US + (first + k) * S_US]]


def verdicts_of(plan: Any, log: list[Batch]) -> list[Verdict]:
    fold, found = PartitionFold(plan, PARTITIONS), list[Verdict]()
    for record in records_of(log):
        before = fold.state.counts.copy()
        fold.fold(record)
        found += [Verdict(one) for one in (fold.state.counts - before).nonzero()[0].tolist()]
    return found


# --- for all of them ----------------------------------------------------------------------------------------------


@examples(60)
@given(what=LOGS, name=st.sampled_from(sorted(PLANS)), size=st.integers(2, 9))
def test_any_split_of_a_log_with_all_of_it_gives_the_same_bits(
    what: list[tuple[int, float, int]], name: str, size: int
) -> None:
    rows = [row._replace(ts_us=min(row.ts_us, START_US + HOUR_US)) for one in log_of(what) for row in one.rows]
    arrival_us = START_US + HOUR_US
    one_by_one = [record_of(at, Batch(arrival_us, (row,))) for at, row in enumerate(rows)]
    pieces = [record_of(at, Batch(arrival_us, tuple(rows[at : at + size]))) for at in range(0, len(rows), size)]

    found, expected = fold_records(PLANS[name], pieces), fold_records(PLANS[name], one_by_one)

    found.fold.state.next_offset = expected.fold.state.next_offset
    assert found.digest == expected.digest


def learned(found: Folded) -> dict[str, bytes]:
    """All that is kept of the sensor, but what is shown of it, and that it was heard."""
    row = found.fold.state.row(0)
    fields = {name: row["sensors"][name].tobytes() for name in SENSOR.names or () if name not in SHOWN}
    return fields | {name: array.tobytes() for name, array in row.items() if name not in ("sensors", "heard_us")}


@examples(60)
@given(what=LOGS.filter(bool), name=st.sampled_from(sorted(PLANS)))
def test_a_refused_reading_changes_nothing_but_what_is_shown_of_it(
    what: list[tuple[int, float, int]], name: str
) -> None:
    plan, log = PLANS[name], log_of(what)
    before, last = fold_log(plan, log[:-1] or log), fold_log(plan, [*(log[:-1] or log), log[-1]])
    changed = np.flatnonzero(last.fold.state.counts - before.fold.state.counts)
    if Verdict(int(changed[0])) in (Verdict.SENTINEL, Verdict.TOO_FAST, Verdict.OUT_OF_RANGE):
        # Time passed as well, for all that it is told to.
        idle = fold_log(plan, [*(log[:-1] or log), Batch(log[-1].arrival_us)])
        assert learned(last) == learned(idle)
        assert last.fold.state.turns.tolist() == idle.fold.state.turns.tolist()
        assert last.fold.state.sensors[0]["refused"] == changed[0]


def interpreted(kernel: Any) -> Any:
    """A kernel, and all that it calls, without the compiler."""
    code, names = kernel.py_func.__code__, dict(kernel.py_func.__globals__)
    for name in code.co_names:
        if hasattr(names.get(name), "py_func"):
            names[name] = interpreted(names[name])
    return FunctionType(code, names, code.co_name)


@pytest.mark.parametrize("name", sorted(PLANS))
def test_interpreted_or_compiled_is_the_same_to_the_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(3)
    steps, values = [1, 1, 1, 3, 20, -2, 0], [0.0, 1.0, 20.0, 85.0, 500.0, 7_000.0, 65_530.0, 65_535.0, -9_999.0, -1.0]
    log = log_of([(int(chance.choice(steps)), float(chance.choice(values)), 0) for _ in range(60)])
    compiled = fold_log(PLANS[name], log)

    monkeypatch.setattr("stream.fold.partition.fold_rows", interpreted(rows_module.fold_rows))
    with np.errstate(all="ignore"):
        words = fold_log(PLANS[name], log)

    assert words.digest == compiled.digest
    assert sum(one > 0 for one in compiled.fold.state.counts) > 2


# --- sentinels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", DEFAULT_SENTINELS)
def test_a_number_at_the_end_of_its_bits_is_no_value_for_a_sensor_that_says_nothing_like_it(code: float) -> None:
    assert verdicts_of(PLANS["by default"], seconds(20.0, code, code, 21.0, code)) == [
        Verdict.FOLDED, Verdict.SENTINEL, Verdict.SENTINEL, Verdict.FOLDED, Verdict.SENTINEL
    ]  # fmt: skip
    assert verdicts_of(PLANS["by default"], seconds(code))[0] is Verdict.SENTINEL


@pytest.mark.parametrize("code", DEFAULT_SENTINELS)
def test_the_same_number_is_a_value_like_any_for_a_sensor_that_was_near(code: float) -> None:
    assert set(verdicts_of(PLANS["by default"], seconds(0.9 * code, code, code, 0.11 * code))) == {Verdict.FOLDED}


def test_a_number_next_to_a_sentinel_is_none() -> None:
    found = verdicts_of(PLANS["by default"], seconds(20.0, 65_534.0, 20.0, 9_999.0))

    assert set(found) == {Verdict.FOLDED}


def test_after_a_pressure_in_pascal_no_default_sentinel_of_16_bits_is_refused() -> None:
    assert set(verdicts_of(PLANS["by default"], seconds(101_325.0, 65_535.0, 32_767.0))) == {Verdict.FOLDED}


@pytest.mark.parametrize("code", [-1.0, 85.0, 6_553.5, float(np.float32(6_553.5)), 85.000001])
def test_a_sentinel_that_the_class_names_is_refused_wherever_the_sensor_was(code: float) -> None:
    found = verdicts_of(PLANS["named"], seconds(84.0, code, 86.0))

    assert found == [Verdict.FOLDED, Verdict.SENTINEL, Verdict.FOLDED]


def test_a_class_that_names_sentinels_has_no_others() -> None:
    assert set(verdicts_of(PLANS["named"], seconds(20.0, 65_535.0, 85.01))) == {Verdict.FOLDED}
    none = plan_of(GAUGE.model_copy(update={"sentinels": []}))
    assert set(verdicts_of(none, seconds(20.0, *DEFAULT_SENTINELS))) == {Verdict.FOLDED}


def test_zero_can_be_named() -> None:
    plan = plan_of(GAUGE.model_copy(update={"sentinels": [0.0]}))

    assert verdicts_of(plan, seconds(1.0, 0.0, -0.0, 1e-300)) == [
        Verdict.FOLDED, Verdict.SENTINEL, Verdict.SENTINEL, Verdict.FOLDED
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [Kind.COUNTER, Kind.BOOL])
def test_counters_and_switches_have_no_sentinels_unless_named(kind: Kind) -> None:
    plan = plan_of(ClassSettings(name="all", match=["**"], kind=kind))

    assert verdicts_of(plan, seconds(1.0, 65_535.0)) == [Verdict.FOLDED] * 2


# --- rates --------------------------------------------------------------------------------------------------------


@examples(80)
@given(
    step=st.floats(2.5, 1e6).filter(lambda one: all(abs(one - abs(none)) > 1 for none in DEFAULT_SENTINELS)),
    rate=st.floats(1e-3, 10.0),
    staleness_s=st.sampled_from([20, 60]),
    up=st.booleans(),
)
def test_a_real_step_is_believed_as_soon_as_there_was_time_for_it_or_the_last_value_is_stale(
    step: float, rate: float, staleness_s: int, up: bool
) -> None:
    plan = plan_of(GAUGE.model_copy(update={"max_rate": rate, "staleness": staleness_s * S_US}))
    level = step if up else -step

    found = verdicts_of(plan, seconds(0.0, *[level] * 70))

    refused = found.count(Verdict.TOO_FAST)
    needed_s = min(staleness_s, step / rate)
    assert found == [Verdict.FOLDED, *[Verdict.TOO_FAST] * refused, *[Verdict.FOLDED] * (70 - refused)]
    assert abs(refused - (np.ceil(needed_s) - 1)) <= 1e-6 * needed_s + (needed_s % 1 < 1e-9)


@examples(40)
@given(spikes=st.lists(st.tuples(st.integers(1, 59), st.floats(200.0, 9e3)), max_size=12))
def test_spikes_leave_no_trace_however_many_there_are(spikes: list[tuple[int, float]]) -> None:
    plain = [float(at % 3) for at in range(60)]
    wild = plain.copy()
    for at, spike in spikes:
        wild[at] = spike
    kept = [batch for at, batch in enumerate(seconds(*plain)) if wild[at] == plain[at]]

    found, expected = fold_log(PLANS["slow"], seconds(*wild)), fold_log(PLANS["slow"], kept)

    assert found.count(Verdict.TOO_FAST) == sum(one != other for one, other in zip(wild, plain, strict=True))
    assert found.fold.state.panes[0].tobytes() == expected.fold.state.panes[0].tobytes()
    assert [bank[0].tobytes() for bank in found.fold.state.banks] == [
        bank[0].tobytes() for bank in expected.fold.state.banks
    ]


def test_a_counter_may_fall_as_fast_as_it_likes_and_rise_no_faster_than_its_rate() -> None:
    assert verdicts_of(PLANS["slow counter"], seconds(5_000.0, 0.0, 1_000.0, 2_001.0, 3_000.0)) == [
        Verdict.FOLDED, Verdict.FOLDED, Verdict.FOLDED, Verdict.TOO_FAST, Verdict.FOLDED
    ]  # fmt: skip


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"sentinels": [1.0], "kind": "text"},
        {"sentinels": [inf]},
        {"sentinels": list(range(9))},
        {"max_rate": 0},
        {"max_rate": inf},
        {"max_rate": 1.0, "kind": "bool"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ClassSettings.model_validate({"name": "all", "match": ["**"], **wrong})


def test_the_options_travel_in_the_log() -> None:
    one = ClassSettings(name="all", match=["**"], sentinels=[-1.5], max_rate=0.25, range=(-inf, inf))
    told = Definitions((one,), 10, FUTURE_US)

    assert Definitions.from_bytes(told.to_bytes()).classes == (one,)
    assert "sentinels" not in json.dumps(GAUGE.model_dump(mode="json", exclude_defaults=True))


def test_a_range_that_lets_everything_through_silences_what_the_device_said() -> None:
    row = Row("a/t", START_US, 5.0, flags=int(Flag.BEYOND_RANGE))
    for limits, verdict in (((None, None), Verdict.OUT_OF_RANGE), ((-inf, inf), Verdict.FOLDED)):
        plan = plan_of(GAUGE.model_copy(update={"range": limits}))
        assert verdicts_of(plan, [Batch(START_US, (row,))]) == [verdict]


# --- the visible reason -------------------------------------------------------------------------------------------


def reason(*batches: Batch, by: Callable[[], ClassSettings] = lambda: GAUGE) -> str:
    row = fold_log(plan_of(by()), list(batches)).fold.state.sensors[0]
    return Verdict(int(row["refused"])).name if row["refused"] else ""


def test_a_sensor_remembers_why_its_latest_reading_was_refused_until_one_is_good() -> None:
    assert reason(*seconds(20.0, 65_535.0)) == "SENTINEL"
    assert reason(*seconds(20.0, 65_535.0, 20.0)) == ""
    future = Batch(START_US + S_US, (Row("a/t", START_US + S_US + FUTURE_US + 1, 20.0),))
    assert reason(*seconds(20.0), future) == "FUTURE"
    again = Batch(START_US + S_US, (Row("a/t", START_US, 20.0),))
    assert reason(*seconds(20.0), again) == ""
    stands_still = Batch(START_US + S_US, (Row("a/t", START_US, nextafter(20.0, inf)),))
    assert reason(*seconds(20.0), stands_still) == "DUPLICATE"
    text = Batch(START_US, (Row("a/t", START_US, text="run"),))
    assert reason(text, text, by=lambda: GAUGE.model_copy(update={"kind": Kind.TEXT})) == ""

"""Counters: over rollovers and resets windows have what was counted, and nothing that was not."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.class_settings import ClassSettings, RuleSettings
from ingest.contract.classes import Kind, Reporting
from ingest.contract.readings import Quality
from stream.exposition import SensorPage
from stream.fold.alerts import Phase
from stream.fold.commands import Rename, apply
from stream.fold.counters import Turn
from stream.fold.gate import Verdict
from stream.fold.migrate import migrate
from stream.fold.partition import PartitionFold
from stream.owned import OwnedPartition
from tests.unit.stream.logs import (
    MINUTE_US,
    PARTITIONS,
    S_US,
    START_US,
    Batch,
    Folded,
    Row,
    examples,
    fold_log,
    plan_of,
    records_of,
)

COUNTER = ClassSettings(name="counter", match=["**"], kind=Kind.COUNTER, windows=["10s", "1h"], rules=[])
PLAN = plan_of(COUNTER)
ON_CHANGE = plan_of(COUNTER.model_copy(update={"reporting": Reporting.ON_CHANGE, "quantiles": [10 * S_US]}))
HOUR_US = 60 * MINUTE_US
BITS = st.sampled_from([16, 24, 32])


class Count(NamedTuple):
    """What a device says, and what it has really counted since the first reading."""

    value: float
    true: float


class Device:
    """A counter of so many bits; what it has counted when it is reset is its own secret only if nobody reads it."""

    def __init__(self, bits: int, start: int) -> None:
        self._top, self._value, self._true = 2**bits, start, float(start)

    def count(self, by: int) -> Count:
        """Some more, and a reading."""
        self._value = (self._value + by) % self._top
        self._true += by
        return Count(float(self._value), self._true)

    def reset(self, counts_on: int) -> Count:
        """Somebody presses the button, and it counts on."""
        self._value = counts_on
        self._true += counts_on
        return Count(float(self._value), self._true)


@st.composite
def counts(draw: st.DrawFn) -> tuple[list[Count], int, int]:
    """(readings, rollovers, resets) of a device that is read more often than it turns."""
    bits = draw(BITS)
    top = 2**bits
    start = draw(st.one_of(st.integers(0, 1_000), st.integers(top - 3_000, top - 1)))
    device, found, turns = Device(bits, start), list[Count](), [0, 0]
    found.append(device.count(0))
    for by, is_reset in draw(st.lists(st.tuples(st.integers(0, 2_000), st.sampled_from([0, 0, 0, 1])), max_size=40)):
        last = found[-1].value
        # A count that is small falls by less than half when it begins anew; close to the top, it could be a rollover.
        if is_reset and 2 * by < last < top - max(top // 16, 10_000):
            found.append(device.reset(by))
            turns[1] += 1
            continue
        found.append(device.count(by))
        turns[0] += found[-1].value < last
    return found, turns[0], turns[1]


def log_of(values: list[float], step_us: int = S_US) -> list[Batch]:
    return [Batch(START_US + at * step_us, (Row("a/t", START_US + at * step_us, x),)) for at, x in enumerate(values)]


def turns_of(found: Folded) -> tuple[int, int]:
    return int(found.fold.state.turns[Turn.ROLLOVER]), int(found.fold.state.turns[Turn.RESET])


@examples(100)
@given(what=counts(), plan=st.sampled_from([PLAN, ON_CHANGE]))
def test_the_unwrapped_count_is_what_was_counted_whatever_the_device_did(
    what: tuple[list[Count], int, int], plan: Any
) -> None:
    readings, rollovers, resets = what

    found = fold_log(plan, log_of([one.value for one in readings]))

    row, shown = found.statistics("a/t", HOUR_US), found.fold.state.sensors[0]
    assert turns_of(found) == (rollovers, resets) == (shown["rollovers"], shown["resets"])
    assert row["first"] == row["min"] == readings[0].true
    assert row["last"] == row["max"] == readings[-1].true
    assert shown["shown_value"] == shown["last_value"] == readings[-1].value
    assert found.count(Verdict.FOLDED) == len(readings)
    if plan is PLAN and len(readings) > 1:
        true = np.array([one.true for one in readings])
        slope = np.polyfit(np.arange(len(true)) / 60.0, true - true[0], 1)[0]
        assert row["mean"] == pytest.approx(true.mean(), rel=1e-12)
        assert row["slope"] == pytest.approx(slope, rel=1e-6, abs=1e-3)
        assert row["slope"] > -1e-3


@examples(60)
@given(
    what=counts().filter(lambda what: what[1] + what[2] <= 1),
    swaps=st.lists(st.integers(1, 39), max_size=8),
)
def test_a_reading_out_of_order_is_no_turn_and_gets_its_place(
    what: tuple[list[Count], int, int], swaps: list[int]
) -> None:
    readings, rollovers, resets = what
    log = log_of([one.value for one in readings])
    # A reset that comes late itself, or before what was counted last, tells less.
    fell = [at for at in range(1, len(log)) if readings[at].value < readings[at - 1].value] if resets else []
    for at in swaps:
        if at + 1 < len(log) and not {at, at + 1} & set(fell):
            log[at], log[at + 1] = log[at + 1], log[at]

    found, in_order = fold_log(PLAN, log), fold_log(PLAN, log_of([one.true for one in readings]))

    assert turns_of(found) == (rollovers, resets)
    row, expected = found.statistics("a/t", HOUR_US), in_order.statistics("a/t", HOUR_US)
    for name in ("samples", "first", "last", "min", "max"):
        assert row[name] == expected[name], name
    assert row["mean"] == pytest.approx(expected["mean"], rel=1e-12)


@pytest.mark.parametrize(
    ("values", "totals", "turns"),
    [
        ([65_530, 4], [65_530, 65_540], (1, 0)),
        ([65_535, 0], [65_535, 65_536], (1, 0)),
        ([2**24 - 1, 2], [2**24 - 1, 2**24 + 2], (1, 0)),
        ([2**32 - 1, 2], [2**32 - 1, 2**32 + 2], (1, 0)),
        ([50_000, 3], [50_000, 50_003], (0, 1)),
        ([70_000, 3], [70_000, 70_003], (0, 1)),
        ([2**33, 3], [2**33, 2**33 + 3], (0, 1)),
        ([65_530.5, 4], [65_530.5, 65_534.5], (0, 1)),
        ([65_530, -4], [65_530, 65_530], (0, 1)),
        ([1_000, 999, 1_001], [1_000, 1_000, 1_002], (0, 1)),
        ([1_000, 0, 5, 0, 7], [1_000, 1_000, 1_005, 1_005, 1_012], (0, 2)),
        ([-5, -7, -3], [-5, -5, -1], (0, 1)),
        ([0, 0, 0], [0, 0, 0], (0, 0)),
    ],
    ids=str,
)
def test_what_makes_a_count_fall(values: list[float], totals: list[float], turns: tuple[int, int]) -> None:
    found = [fold_log(PLAN, log_of(values[: at + 1])) for at in range(len(values))]

    assert [one.statistics("a/t", HOUR_US)["last"] for one in found] == totals
    assert turns_of(found[-1]) == turns


def test_a_fast_counter_that_is_seldom_read_rolls_over_at_its_pace() -> None:
    """12,000 a minute: a fifth of the way round 16 bits from one reading to the next."""
    true = [12_000.0 * at for at in range(30)]

    found = fold_log(PLAN, log_of([one % 65_536 for one in true], MINUTE_US))

    assert turns_of(found) == (5, 0)
    assert found.statistics("a/t", HOUR_US)["last"] == true[-1]


def test_no_rollover_is_faster_than_the_class_believes() -> None:
    plan = plan_of(COUNTER.model_copy(update={"max_rate": 5.0}))

    assert turns_of(fold_log(plan, log_of([65_530.0, 0.0]))) == (0, 1)
    assert turns_of(fold_log(plan, log_of([65_534.0, 2.0]))) == (1, 0)


def test_of_an_on_change_counter_the_unwrapped_count_holds_and_has_quantiles() -> None:
    log = [*log_of([65_530.0, 4.0]), Batch(START_US + 5 * S_US, (Row("b/t", START_US + 5 * S_US, 1.0),))]

    found = fold_log(ON_CHANGE, log)

    assert found.statistics("a/t", 10 * S_US)["max"] == 65_540.0
    assert found.statistics("a/t", 10 * S_US)["mean"] == pytest.approx((65_530.0 + 4 * 65_540.0) / 5)
    assert found.fold.quantiles(10 * S_US)[0].tolist() == [65_540.0] * 3


def test_a_bad_reading_is_no_turn() -> None:
    log = log_of([500.0, 0.0, 501.0])
    bad = log[1].rows[0]._replace(quality=int(Quality.BAD))

    found = fold_log(PLAN, [log[0], Batch(log[1].arrival_us, (bad,)), log[2]])

    assert turns_of(found) == (0, 0)
    assert found.statistics("a/t", HOUR_US)["last"] == 501.0


def test_a_rule_is_held_against_what_the_counter_shows() -> None:
    rule = RuleSettings(name="full", signal="value", above=50_000.0, resolve_after="0s")
    plan = plan_of(COUNTER.model_copy(update={"rules": [rule]}))

    found = fold_log(plan, log_of([65_530.0, 4.0]))

    assert [(one.phase, one.value) for one in found.transitions] == [(Phase.FIRING, 65_530.0), (Phase.RESOLVED, 4.0)]


# --- a gauge falls as it likes ------------------------------------------------------------------------------------


def test_a_gauge_that_falls_is_no_counter() -> None:
    found = fold_log(plan_of(COUNTER.model_copy(update={"kind": Kind.GAUGE})), log_of([60_000.0, 4.0]))

    assert turns_of(found) == (0, 0)
    assert found.statistics("a/t", HOUR_US)["last"] == 4.0


# --- what becomes of it -------------------------------------------------------------------------------------------


def test_turns_are_counted_once_by_whoever_is_live() -> None:
    records = records_of(log_of([65_530.0, 4.0, 1.0, 2.0, 0.0]))
    owned = OwnedPartition(PartitionFold(PLAN, PARTITIONS), live_from=2, fence=1)

    outcomes = [owned.fold_all(records[:3]), owned.fold_all(records[3:])]

    assert [one.turns.tolist() for one in outcomes] == [[0, 1], [0, 1]]
    assert owned.fold.state.turns.tolist() == [1, 2]


def test_a_counter_that_becomes_a_gauge_begins_anew_if_it_ever_turned() -> None:
    gauge = plan_of(COUNTER.model_copy(update={"kind": Kind.GAUGE}))
    for values, kept in (([5.0, 6.0], True), ([65_530.0, 4.0], False)):
        state = fold_log(PLAN, log_of(values)).fold.state

        after, migration = migrate(PLAN, state, gauge)

        assert (migration.windows_kept, migration.windows_reset) == (int(kept), int(not kept))
        assert after.sensors[0]["offset"] == 0.0
        assert after.sensors[0]["rollovers"] == 0
    same = migrate(PLAN, state, plan_of(COUNTER.model_copy(update={"rules": [RuleSettings(name="x", above=1.0)]})))[0]
    assert same.sensors[0]["offset"] == 65_536.0


def test_a_counters_past_under_another_name_is_counted_from_where_the_new_one_is() -> None:
    rows = [*log_of([65_530.0, 4.0, 10.0]), *(
        Batch(one.arrival_us + MINUTE_US, (one.rows[0]._replace(sensor="a/u", ts_us=one.arrival_us + MINUTE_US),))
        for one in log_of([20.0, 30.0])
    )]  # fmt: skip
    found = fold_log(PLAN, rows)

    apply(PLAN, found.fold.state, Rename("a/t", "a/u"))

    row = found.statistics("a/u", HOUR_US)
    assert (row["samples"], row["last"]) == (5, 30.0)
    assert (row["min"], row["first"]) == (-6.0, -6.0)


def test_what_is_shown_is_the_value_and_windows_have_what_was_counted() -> None:
    plan = plan_of(COUNTER.model_copy(update={"series": ["value", "last", "refused"], "shown_windows": [HOUR_US]}))
    fold = fold_log(plan, log_of([65_530.0, 4.0, float("nan")])).fold

    lines = [one for one in SensorPage([]).render([fold]).decode().splitlines() if one[0] != "#"]

    assert lines == [
        'millstream_sensor_refused{sensor="a/t",reason="non_finite"} 1',
        'millstream_sensor_last{sensor="a/t",window="1h"} 65540.0',
    ]
    fold = fold_log(plan, log_of([65_530.0, 4.0])).fold
    assert b'millstream_sensor_value{sensor="a/t"} 4.0\n' in SensorPage([]).render([fold])

"""Panes: what they hold does not depend on the order of arrival, on merging, or on the compiler."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingest.contract.class_settings import EVERYTHING_ELSE, ClassSettings
from ingest.contract.classes import Reporting
from ingest.contract.panes import pane_levels
from stream.fold import rows as fold_rows_module
from stream.fold import windows
from stream.fold.gate import Verdict
from stream.fold.plan import Plan
from stream.fold.rows import SENSOR
from stream.fold.windows import NO_PANE, PANE, STATISTICS, hold, merge, read, renew, weigh, weigh_held
from tests.unit.stream.logs import HOUR_US, MINUTE_US, S_US, START_US, Batch, Row, as_row, examples, fold_log, plan_of

WINDOWS_US = (10 * S_US, MINUTE_US, 10 * MINUTE_US, HOUR_US)
LEVELS = np.array(pane_levels(WINDOWS_US), np.int64)
PERIODIC = ClassSettings(name="periodic", match=["**"], models=[], rules=[])
EXACT = ("samples", "min", "max", "first", "last", "covered")
TOLERANT = ("mean", "stddev", "slope")


@examples(60)
@given(
    seed=st.integers(0, 2**32),
    gap_us=st.sampled_from([1, 10_000, S_US, 7 * S_US, 100 * S_US]),
    reporting=st.sampled_from(list(Reporting)),
)
def test_readings_out_of_order_are_in_the_same_windows(seed: int, gap_us: int, reporting: Reporting) -> None:
    """Periodic ones to the last statistic; of on-change ones the extremes, ends and counts of readings."""
    chance = np.random.default_rng(seed)
    ts_us = START_US + np.cumsum(chance.integers(1, 2 * gap_us + 1, 120))
    rows = [Row("a/t", int(at), float(x)) for at, x in zip(ts_us, chance.normal(5, 1, 120), strict=True)]
    mixed = [rows[at] for begin in range(0, 120, 8) for at in begin + chance.permutation(8)]
    for at in sorted(chance.integers(0, 120, 5), reverse=True):
        # Refused ones among them, mostly ahead of the others, are as if they had not come.
        ahead = Row("a/t", mixed[at].ts_us + int(chance.integers(1, 50)) * gap_us + 1, np.nan)
        if ahead.ts_us not in ts_us and ahead.ts_us < mixed[-1].ts_us:
            mixed.insert(at, ahead)
    plan = plan_of(PERIODIC.model_copy(update={"reporting": reporting}))

    ordered, shuffled = (fold_log(plan, [Batch(START_US, tuple(one))]) for one in (rows, mixed))

    assert shuffled.count(Verdict.LATE) == 0
    # Both know the same latest time: the newest reading is in both the last one folded in order.
    assert shuffled.fold.state.sensors[0]["last_us"] == ordered.fold.state.sensors[0]["last_us"]
    for window_us in WINDOWS_US:
        found, expected = shuffled.statistics("a/t", window_us), ordered.statistics("a/t", window_us)
        if reporting is Reporting.PERIODIC:
            assert {name: found[name] for name in EXACT} == {name: expected[name] for name in EXACT}
            for name in TOLERANT:
                # A slope's error grows with the shortness of the time.
                error = 1e-9 * (max(1.0, 60 / max(1e-6, found["covered"])) if name == "slope" else 1)
                assert found[name] == pytest.approx(expected[name], rel=1e-9, abs=error, nan_ok=True)
        else:
            assert found["samples"] == expected["samples"]


def filled(chance: np.random.Generator, count: int, offset: float) -> Any:
    pane = as_row(PANE)
    renew(pane, 0)
    for at_s in np.sort(chance.random(count)):
        weigh(pane, offset + chance.normal(), 0.1 + chance.random(), at_s, 0.0)
    return pane


def merged(one: Any, other: Any, shift_s: float) -> Any:
    into = one.copy()
    merge(into, other, shift_s)
    return into


@examples(60)
@given(
    seed=st.integers(0, 2**32), counts=st.tuples(*[st.integers(0, 20)] * 3), offset=st.sampled_from([0.0, 1e3, -1e6])
)
def test_merging_is_associative_and_an_empty_pane_is_its_neutral_element(
    seed: int, counts: tuple[int, int, int], offset: float
) -> None:
    chance = np.random.default_rng(seed)
    one, two, three = (filled(chance, count, offset) for count in counts)

    left, right = merged(merged(one, two, 1.0), three, 2.0), merged(one, merged(two, three, 1.0), 1.0)

    for name in PANE.names or ():
        assert left[name] == pytest.approx(right[name], rel=1e-9, abs=1e-8 * (1 + abs(offset)), nan_ok=True), name
    assert merged(one, filled(chance, 0, 0.0), 5.0).tobytes() == one.tobytes()
    assert merged(filled(chance, 0, 0.0), one, 0.0).tobytes() == one.tobytes()


# --- the compiler -------------------------------------------------------------------------------------------------


def interpreted(kernel: Any, instead: dict[str, Any] | None = None) -> Any:
    """A kernel without the compiler, and without it all that it calls."""
    code, names = kernel.py_func.__code__, dict(kernel.py_func.__globals__)
    for name in code.co_names:
        if hasattr(names.get(name), "py_func"):
            names[name] = interpreted(names[name], instead)
    return FunctionType(code, names | (instead or {}))


class Arrays:
    """Four sensors, every other one on change."""

    def __init__(self, plan: Plan) -> None:
        self.sensors = np.zeros(4, SENSOR)
        self.sensors["on_change"] = [0, 1, 0, 1]
        self.panes = np.zeros((4, plan.panes), PANE)
        self.panes["id"] = NO_PANE
        self.plan = plan

    def fold(self, kernel: Any, slot: NDArray[np.int32], ts_us: NDArray[np.int64], x: NDArray[np.float64]) -> bytes:
        quality = np.where(np.arange(x.size) % 13 == 0, 2, 0).astype(np.uint8)
        none, verdict, reworded = np.zeros(x.size, np.uint8), np.zeros(x.size, np.uint8), np.zeros(x.size, np.bool_)
        kernel(
            self.sensors, self.panes, np.zeros(4, np.int32), self.plan.limits, self.plan.levels, int(ts_us.max()),
            int(ts_us.max()), slot, ts_us, x, none.astype(np.bool_), quality, none, verdict, reworded,
            x.copy(), np.zeros(2, np.int64),
        )  # fmt: skip
        return self.sensors.tobytes() + self.panes.tobytes() + verdict.tobytes() + reworded.tobytes()

    def read(self, kernel: Any, level: int, now_us: int) -> bytes:
        out = np.zeros(4, STATISTICS)
        kernel(
            self.sensors, self.panes, np.zeros(4, np.int32), self.plan.limits, self.plan.levels, level,
            WINDOWS_US[level], now_us, np.zeros(1, PANE)[0], out,
        )  # fmt: skip
        return out.tobytes()


@examples(15)
@given(seed=st.integers(0, 2**32), gap_us=st.sampled_from([1_000, S_US, 20 * S_US, 10 * MINUTE_US]))
def test_interpreted_and_compiled_agree_to_the_bit(seed: int, gap_us: int) -> None:
    chance, plan = np.random.default_rng(seed), plan_of(EVERYTHING_ELSE)
    slot = chance.integers(-1, 4, 150).astype(np.int32)
    ts_us = START_US + np.cumsum(chance.integers(0, gap_us, 150)) - chance.integers(0, 3, 150) * gap_us
    x = np.round(chance.normal(20, 3, 150), 1)
    # Refused, and ahead of what comes after them.
    x[chance.random(150) < 0.1] = np.nan
    ts_us += np.where((np.arange(150) % 13 == 0) | np.isnan(x), chance.integers(0, 5, 150) * gap_us, 0)
    machine, words = Arrays(plan), Arrays(plan)

    by_machine = machine.fold(fold_rows_module.fold_rows, slot, ts_us, x)

    assert words.fold(interpreted(fold_rows_module.fold_rows), slot, ts_us, x) == by_machine
    for level in range(4):
        for idle_us in (0, 30 * S_US):
            now_us = int(ts_us.max()) + idle_us
            assert words.read(interpreted(read), level, now_us) == machine.read(read, level, now_us)


# --- held values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held_us", [3 * S_US, 50 * S_US, 50 * MINUTE_US, 9 * HOUR_US, 7 * 24 * HOUR_US])
def test_a_value_held_for_long_costs_no_more_than_one_update_per_pane(held_us: int) -> None:
    panes = np.zeros((1, 20), PANE)
    panes["id"] = NO_PANE
    updates = []

    def count(*args: Any) -> None:
        updates.append(args[2])
        weigh_held.py_func(*args)  # type: ignore[attr-defined]

    until_us = START_US + 1_234_567 + held_us
    interpreted(hold, {"weigh_held": count})(panes, 0, LEVELS, until_us - held_us, until_us, 5.0)

    # What a window sees is whole: the longest one's share of the time.
    assert len(updates) <= 20 + len(LEVELS)
    seen_us = min(held_us, until_us - windows.floor_of(LEVELS, 3, until_us - 1))
    assert panes["weight"].sum() == pytest.approx(seen_us / 1e6, rel=1e-12)
    assert set(panes["mean"][panes["id"] != NO_PANE]) == {5.0}


def test_a_held_value_makes_room_without_losing_what_a_window_sees() -> None:
    one = PERIODIC.model_copy(update={"reporting": Reporting.ON_CHANGE, "staleness": 8 * HOUR_US})
    begin_us = START_US // HOUR_US * HOUR_US
    rows = [Row("a/t", begin_us + at * S_US, float(at % 2)) for at in range(0, 3_000, 7)]
    rows.append(Row("a/t", begin_us + 3_550 * S_US, 4.0))

    found = fold_log(plan_of(one), [Batch(row.ts_us, (row,)) for row in rows])

    assert found.statistics("a/t", HOUR_US)["samples"] == len(rows)
    assert found.statistics("a/t", HOUR_US)["covered"] == pytest.approx(3_550)
    assert found.statistics("a/t", MINUTE_US)["samples"] == 1

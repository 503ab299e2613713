"""Rolling statistics are what a slow, plain calculation over the same window gives."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.classes import Reporting
from ingest.contract.readings import Flag, Quality
from stream.fold.plan import Plan
from stream.fold.windows import NO_PANE
from tests.properties.windows_by_hand import (
    GAPS_US,
    ON_CHANGE,
    PERIODIC,
    SETS,
    Expected,
    assert_equal,
    begin_of,
    of_readings,
    of_steps,
)
from tests.unit.stream.logs import (
    HOUR_US,
    MINUTE_US,
    S_US,
    START_US,
    Batch,
    Folded,
    ReferenceRing,
    Row,
    examples,
    fold_log,
    plan_of,
    with_ticks,
)

# --- periodic -----------------------------------------------------------------------------------------------------


def over_readings(rows: list[Row], arrivals_us: list[int], now_us: int, window_us: int, plan: Plan) -> Expected:
    """Mean and so on of the readings in the window that ends with the sensor's own time."""
    ring, kept, last_us, last_arrival_us, clock_us = ReferenceRing(), list[Row](), 0, 0, 0
    for row, arrival_us in zip(rows, arrivals_us, strict=True):
        clock_us = max(clock_us, arrival_us)
        order = ring.see(row.ts_us)
        if order in ("in order", "out of order"):
            kept.append(row)
        if order == "in order":
            last_us, last_arrival_us = row.ts_us, clock_us
    until_us = max(last_us, last_us + max(clock_us, now_us) - last_arrival_us - int(plan.levels[0, 0]))
    start_us = begin_of(plan, window_us, until_us)
    return of_readings([(row.ts_us, row.value) for row in kept if start_us <= row.ts_us < start_us + window_us])


@examples(80)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 150),
    gap_us=st.sampled_from(GAPS_US),
    disorder=st.sampled_from([0.0, 1.0, 5.0, 40.0]),
    offset=st.sampled_from([0.0, 20.0, -1e6]),
    clock_off_us=st.sampled_from([0, -HOUR_US, 2 * MINUTE_US]),
    idle_us=st.sampled_from([0, 4 * S_US, 40 * S_US, 4 * MINUTE_US, HOUR_US]),
    windows_us=SETS,
)
def test_windows_of_periodic_sensors_equal_numpys_answer_over_the_same_readings(
    seed: int,
    count: int,
    gap_us: int,
    disorder: float,
    offset: float,
    clock_off_us: int,
    idle_us: int,
    windows_us: tuple[int, ...],
) -> None:
    chance = np.random.default_rng(seed)
    ts_us = START_US + np.cumsum(chance.integers(1, 2 * gap_us, count))
    ts_us = ts_us[np.argsort(ts_us + chance.random(count) * disorder * gap_us, kind="stable")]
    rows = [Row("a/t", int(at), float(offset + x)) for at, x in zip(ts_us, chance.normal(0, 3, count), strict=True)]
    arrivals_us = [int(at) - clock_off_us for at in np.maximum.accumulate(ts_us)]
    now_us = arrivals_us[-1] + idle_us
    plan = plan_of(PERIODIC.model_copy(update={"windows": list(windows_us)}))

    log = [*(Batch(at, (row,)) for at, row in zip(arrivals_us, rows, strict=True)), Batch(now_us)]
    found = fold_log(plan, with_ticks(log))

    for window_us in windows_us:
        expected = over_readings(rows, arrivals_us, now_us, window_us, plan)
        assert_equal(found.statistics("a/t", window_us), expected, scale=3 + abs(offset))
    assert_nothing_lost(found, [row.ts_us for row in rows], max(windows_us))


def assert_nothing_lost(found: Folded, ts_us: list[int], longest_us: int) -> None:
    """Every folded reading of the longest window is in exactly one pane, and every pane in its place."""
    panes, levels = found.fold.state.panes[0], found.fold.plan.levels
    begin_us = begin_of(found.fold.plan, longest_us, int(found.fold.state.sensors[0]["last_us"]))
    inside = 0
    for width_us, first, count in levels.tolist():
        for at, pane in enumerate(panes[first : first + count]):
            if pane["id"] != NO_PANE:
                assert pane["id"] % count == at
                inside += int(pane["samples"]) if pane["id"] * width_us >= begin_us else 0
                if pane["samples"]:
                    assert pane["id"] * width_us <= pane["first_us"] <= pane["last_us"] < (pane["id"] + 1) * width_us
    ring = ReferenceRing()
    assert inside == sum(ring.see(at) in ("in order", "out of order") and at >= begin_us for at in ts_us)


# --- on-change ----------------------------------------------------------------------------------------------------


def over_time(rows: list[Row], now_us: int, window_us: int, plan: Plan, staleness_us: int) -> Expected:
    """The integral of the step function: a value holds until the next one, bad quality, staleness, or now."""
    ends_us = [later.ts_us for _, later in pairwise(rows)] + [now_us]
    start_us = begin_of(plan, window_us, now_us)
    held = [
        (max(row.ts_us, start_us) - start_us, min(end_us, row.ts_us + staleness_us) - start_us, row.value)
        for row, end_us in zip(rows, ends_us, strict=True)
        if row.quality != Quality.BAD and min(end_us, row.ts_us + staleness_us) > max(row.ts_us, start_us)
    ]
    seen = [(row.ts_us - start_us, row.value) for row in rows if row.quality != Quality.BAD and row.ts_us >= start_us]
    return of_steps(seen, held, at_once=rows[-1].ts_us == now_us and rows[-1].quality != Quality.BAD)


@examples(80)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(
                [1, 1_000, 400_000, S_US, 4_999_999, 5 * S_US, 29 * S_US, 31 * S_US, 90 * S_US, HOUR_US, 5 * HOUR_US]
            ),
            st.sampled_from([0.0, 1.0, -2.5, 40.0, 1e6]),
            st.sampled_from([Quality.GOOD, Quality.GOOD, Quality.UNCERTAIN, Quality.BAD]),
        ),
        min_size=1,
        max_size=40,
    ),
    idle_us=st.sampled_from([0, 1, 700_000, 10 * S_US, 30 * S_US, 2 * MINUTE_US, HOUR_US]),
    latency_us=st.sampled_from([0, 250_000, HOUR_US]),
    staleness_us=st.sampled_from([30 * S_US, 2 * HOUR_US]),
    windows_us=SETS,
)
def test_windows_of_on_change_sensors_equal_the_integral_of_the_step_function(
    steps: list[tuple[int, float, Quality]],
    idle_us: int,
    latency_us: int,
    staleness_us: int,
    windows_us: tuple[int, ...],
) -> None:
    rows, at_us = [Row("a/i", START_US, 3.0)], START_US
    for gap_us, value, quality in steps:
        at_us += gap_us
        rows.append(Row("a/i", at_us, value, None, quality))
    plan = plan_of(ON_CHANGE.model_copy(update={"staleness": staleness_us, "windows": list(windows_us)}))

    log = [*(Batch(row.ts_us + latency_us, (row,)) for row in rows), Batch(at_us + idle_us + latency_us)]
    found = fold_log(plan, with_ticks(log))

    for window_us in windows_us:
        expected = over_time(rows, at_us + idle_us, window_us, plan, staleness_us)
        assert_equal(found.statistics("a/i", window_us), expected, scale=1e6)


def test_a_motor_that_was_off_and_reported_by_exception_has_its_true_mean() -> None:
    rows = [Row("a/i", START_US, 0.0)]
    rows += [Row("a/i", START_US + 90 * S_US + half * S_US // 2, 40.0) for half in range(20)]
    log = [*(Batch(row.ts_us, (row,)) for row in rows), Batch(START_US + 100 * S_US)]

    by_time = fold_log(plan_of(ON_CHANGE), with_ticks(log))
    by_message = fold_log(plan_of(PERIODIC), log)

    assert by_time.statistics("a/i", 5 * MINUTE_US)["mean"] == pytest.approx(4.0)
    assert by_message.statistics("a/i", 5 * MINUTE_US)["mean"] == pytest.approx(38.1, abs=0.01)


@pytest.mark.parametrize(
    ("said", "flags", "mean"),
    [
        (None, Flag.ON_CHANGE, 4.0),  # Sparkplug, say
        (None, Flag.HISTORICAL, 38.1),
        (Reporting.PERIODIC, Flag.ON_CHANGE, 38.1),  # the settings know better
        (Reporting.ON_CHANGE, Flag.HISTORICAL, 4.0),
    ],
)
def test_a_class_that_does_not_say_how_its_sensors_report_goes_by_their_source(
    said: Reporting | None, flags: Flag, mean: float
) -> None:
    one = PERIODIC.model_copy(update={"reporting": said})
    rows = [Row("a/i", START_US, 0.0, flags=int(flags))]
    rows += [Row("a/i", START_US + 90 * S_US + half * S_US // 2, 40.0) for half in range(20)]  # the first one counts
    log = [*(Batch(row.ts_us, (row,)) for row in rows), Batch(START_US + 100 * S_US)]

    found = fold_log(plan_of(one), with_ticks(log))

    assert found.statistics("a/i", 5 * MINUTE_US)["mean"] == pytest.approx(mean, abs=0.01)


def test_a_value_that_held_for_longer_than_the_window_fills_it() -> None:
    on_the_hour = START_US // HOUR_US * HOUR_US
    log = [Batch(at, (Row("a/i", at, x),)) for at, x in ((on_the_hour - HOUR_US, 10.0), (on_the_hour, 0.0))]

    found = fold_log(plan_of(ON_CHANGE), with_ticks([*log, Batch(on_the_hour + 9 * S_US)]))

    # The newest panes have 9 of their 25 seconds, and 4 of their 5.
    assert found.statistics("a/i", 5 * MINUTE_US)["mean"] == pytest.approx(10.0 * 275 / 284)
    assert found.statistics("a/i", MINUTE_US)["mean"] == pytest.approx(10.0 * 50 / 59)


def test_an_on_change_value_that_came_after_a_newer_bad_one_held_until_that() -> None:
    rows = (Row("a/i", START_US + S_US, 0.0, None, Quality.BAD), Row("a/i", START_US, 5.0))

    found = fold_log(plan_of(ON_CHANGE), [Batch(START_US + S_US, rows), Batch(START_US + 20 * S_US)])

    one = found.statistics("a/i", MINUTE_US)
    assert (one["covered"], one["mean"], one["min"], one["max"]) == (1.0, 5.0, 5.0, 5.0)
    assert np.isnan(found.fold.unchanged_s()).all()

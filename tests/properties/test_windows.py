"""Rolling statistics are what a slow, plain calculation over the same window gives."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingest.contract.class_settings import ClassSettings
from ingest.contract.classes import Reporting
from ingest.contract.panes import level_of
from ingest.contract.readings import Flag, Quality
from stream.exposition import SensorPage
from stream.fold.plan import Plan
from stream.fold.windows import NO_PANE
from tests.unit.stream.logs import (
    HOUR_US,
    MINUTE_US,
    PLANT,
    S_US,
    START_US,
    Batch,
    Folded,
    ReferenceRing,
    Row,
    examples,
    fold_log,
    logs,
    plan_of,
    record_of,
    records_of,
    with_ticks,
)

WINDOWS_US = (MINUTE_US, 5 * MINUTE_US)
DEFAULTS_US = (10 * S_US, MINUTE_US, 10 * MINUTE_US, HOUR_US)
PERIODIC = ClassSettings(name="periodic", match=["**"], windows=["1m", "5m"], models=[], rules=[])
ON_CHANGE = PERIODIC.model_copy(update={"name": "on-change", "reporting": Reporting.ON_CHANGE})
SETS = st.sampled_from([WINDOWS_US, DEFAULTS_US, (7 * S_US, MINUTE_US), (13 * S_US, 90 * S_US, 400 * S_US)])
GAPS_US = (10_000, S_US, 7 * S_US, 100 * S_US, 3 * HOUR_US)


class Expected(NamedTuple):
    """Statistics by the plain calculation."""

    samples: int
    covered: float = 0.0
    mean: float = math.nan
    stddev: float = math.nan
    min: float = math.nan
    max: float = math.nan
    first: float = math.nan
    last: float = math.nan
    slope: float = math.nan
    t_deviation: float = math.inf
    """Standard deviation of the time in seconds: what a slope's error is to be held against."""


def assert_equal(found: dict[str, float], expected: Expected, scale: float) -> None:
    assert found["samples"] == expected.samples
    for name in ("covered", "mean", "stddev"):
        assert found[name] == pytest.approx(getattr(expected, name), rel=1e-9, abs=1e-9 * scale, nan_ok=True), name
    for name in ("min", "max", "first", "last"):
        assert found[name] == pytest.approx(getattr(expected, name), rel=0, abs=0, nan_ok=True), name
    error = 60e-9 * scale / expected.t_deviation
    assert found["slope"] == pytest.approx(expected.slope, rel=1e-6, abs=error, nan_ok=True)


def begin_of(plan: Plan, window_us: int, until_us: int) -> int:
    """Where the window begins whose last pane holds `until_us`."""
    width_us = plan.levels[level_of(plan.levels.tolist(), window_us), 0]
    return int((until_us // width_us + 1) * width_us - window_us)


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


def of_readings(seen: list[tuple[int, float]]) -> Expected:
    """Of (time, value) of the readings in a window, by NumPy."""
    seen = sorted(seen)
    if not seen:
        return Expected(0)
    at_s = np.array([at - seen[0][0] for at, _ in seen]) / 1e6
    values = np.array([value for _, value in seen])
    after = at_s - at_s.mean()
    return Expected(
        len(seen), float(at_s[-1]), values.mean(), values.std(), values.min(), values.max(), values[0], values[-1],
        60 * float((after * (values - values.mean())).sum() / (after**2).sum()) if len(seen) > 1 else math.nan,
        at_s.std() if len(seen) > 1 else math.inf,
    )  # fmt: skip


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


def of_steps(seen: list[tuple[int, float]], held: list[tuple[int, int, float]], *, at_once: bool) -> Expected:
    """Of (time, value) of the readings in a window and (from, until, value) of what held in it, in µs from its begin.

    at_once: the newest value is in force, and no time has passed.
    """
    ends = sorted(
        [*seen, *((at, x) for at, _, x in held), *((end - 1, x) for _, end, x in held)], key=lambda end: end[0]
    )
    if not ends:
        return Expected(0)
    values = [x for _, x in ends]
    sides = (min(values), max(values), values[0], values[-1])
    if not held:
        now = bool(seen) and at_once
        return Expected(len(seen), 0.0, max(seen)[1] if now else math.nan, 0.0 if now else math.nan, *sides)
    begins_us, stops_us, levels = (np.array(column) for column in zip(*held, strict=True))
    begins, stops = begins_us / 1e6, stops_us / 1e6
    # From whole µs: the difference of two large times would be wrong in its few digits.
    weights = (stops_us - begins_us) / 1e6
    mean, middle = np.average(levels, weights=weights), np.average((begins + stops) / 2, weights=weights)
    t_m2 = (((stops - middle) ** 3 - (begins - middle) ** 3) / 3).sum()
    co = ((levels - mean) * ((stops - middle) ** 2 - (begins - middle) ** 2) / 2).sum()
    return Expected(
        len(seen), float(weights.sum()), float(mean), math.sqrt(np.average((levels - mean) ** 2, weights=weights)),
        *sides, float(60 * co / t_m2), math.sqrt(t_m2 / weights.sum()),
    )  # fmt: skip


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


# --- among what is refused ----------------------------------------------------------------------------------------


class Plainly:
    """What one sensor's readings come to, told one by one: samples, steps, and where its time stands."""

    def __init__(self, plan: Plan, staleness_us: int) -> None:
        self.samples: list[tuple[int, float]] = []
        self.steps: list[tuple[int, int, float]] = []
        self.last_us, self.value, self.bad_us = 0, math.nan, 0
        self._ring, self._staleness_us = ReferenceRing(), staleness_us
        self._newest, self._newest_is_bad = 0, False
        self._coarsest = plan.levels[-1].tolist()

    def see(self, row: Row) -> bool:
        """Whether the sensor's time moved."""
        order, moved = self._ring.see(row.ts_us), False
        if order != "duplicate" and (order != "late" or row.ts_us > self.last_us):
            if row.quality == Quality.BAD:
                if row.ts_us > self.last_us:
                    # The first bad one after a value ends it.
                    self.bad_us = min(row.ts_us, self.bad_us) if self.bad_us > self.last_us else row.ts_us
            elif math.isfinite(row.value):
                moved = row.ts_us > self.last_us
                self._count(row, moved=moved)
        if row.ts_us > self._newest:
            self._newest, self._newest_is_bad = row.ts_us, row.quality == Quality.BAD
        return moved

    def _count(self, row: Row, *, moved: bool) -> None:
        width_us, _, count = self._coarsest
        if moved:
            self.steps += self.step(row.ts_us, row.ts_us)
            self.last_us, self.value = row.ts_us, row.value
            if self.bad_us <= row.ts_us < self._newest and self._newest_is_bad:
                self.bad_us = self._newest
        if row.ts_us // width_us > self.last_us // width_us - count:
            self.samples.append((row.ts_us, row.value))

    @property
    def in_force(self) -> bool:
        return self.bad_us <= self.last_us

    def step(self, now_us: int, end_us: int) -> list[tuple[int, int, float]]:
        """That of the newest value: until now if it is in force, else until the bad reading, `end_us` at the latest."""
        if self.last_us == 0:
            return []
        until_us = min(now_us if self.in_force else min(self.bad_us, end_us), self.last_us + self._staleness_us)
        return [(self.last_us, until_us, self.value)]


@examples(100)
@given(
    what=st.lists(
        st.tuples(
            st.sampled_from([1, 400_000, S_US, 4_999_999, 31 * S_US, 90 * S_US, 20 * MINUTE_US, 3 * HOUR_US]),
            st.sampled_from([0.0, 1.0, -2.5, 40.0]),
            st.sampled_from([0, 0, 0, 0, 1, 700_000, 12 * S_US, 3 * MINUTE_US]),
            st.sampled_from(["good", "good", "good", "bad", "NaN", "bad ahead", "NaN ahead"]),
        ),
        min_size=1,
        max_size=50,
    ),
    on_change=st.booleans(),
    catching_up=st.booleans(),
    idle_us=st.sampled_from([0, 1, 700_000, 10 * S_US, 50 * S_US]),
    staleness_us=st.sampled_from([30 * S_US, 2 * HOUR_US]),
    windows_us=SETS,
)
def test_refused_and_bad_readings_wherever_their_time_is_cost_a_window_nothing(
    what: list[tuple[int, float, int, str]],
    on_change: bool,
    catching_up: bool,
    idle_us: int,
    staleness_us: int,
    windows_us: tuple[int, ...],
) -> None:
    rows, at_us = list[Row](), START_US
    for gap_us, value, lag_us, kind in what:
        at_us += 0 if "ahead" in kind else gap_us
        ts_us = at_us + min(gap_us, 290 * S_US) if "ahead" in kind else at_us - lag_us
        quality = Quality.BAD if "bad" in kind else Quality.GOOD
        rows.append(Row("a/t", ts_us, math.nan if "NaN" in kind else value, None, quality))
    one = ON_CHANGE if on_change else PERIODIC
    plan = plan_of(one.model_copy(update={"staleness": staleness_us, "windows": list(windows_us)}))
    found, plain = fold_log(plan, []), Plainly(plan, staleness_us)
    # What a gateway kept all comes at once.
    arrivals_us = [at_us if catching_up else row.ts_us for row in rows]
    log = with_ticks([Batch(at, (row,)) for at, row in zip(arrivals_us, rows, strict=True)])
    for record, batch in zip(records_of(log), log, strict=True):
        found.fold.fold(record)
        for row in batch.rows:
            plain.see(row)
    found.fold.fold(record_of(len(log), Batch(found.fold.state.now_us + idle_us), tick=True))

    # When the sensor was last heard goes with the clock, when that is put right.
    heard_us = int(found.fold.state.sensors["last_now_us"][0])
    now_us = plain.last_us + max(0, found.fold.state.now_us - heard_us)
    if not on_change:
        now_us = max(plain.last_us, now_us - int(plan.levels[0, 0]))
    for window_us in windows_us if plain.last_us else ():
        begin_us = begin_of(plan, window_us, now_us)
        end_us = begin_us + window_us
        seen = [(at - begin_us, value) for at, value in plain.samples if begin_us <= at < end_us]
        steps = [
            (max(begin, begin_us) - begin_us, min(end, end_us) - begin_us, value)
            for begin, end, value in [*plain.steps, *plain.step(now_us, end_us)]
        ]
        held = [step for step in steps if step[0] < step[1]]
        expected = of_steps(seen, held, at_once=plain.in_force) if on_change else of_readings(seen)
        assert_equal(found.statistics("a/t", window_us), expected, scale=100)
    panes, widths_us = found.fold.state.panes[0], np.repeat(plan.levels[:, 0], plan.levels[:, 2])
    assert (panes["id"] * widths_us <= plain.last_us).all(), "no pane is ahead of its sensor's time"


@pytest.mark.parametrize("ahead_us", [90 * S_US, HOUR_US])
def test_a_spool_of_bad_quality_pushed_out_panes_that_a_window_still_asked_for(ahead_us: int) -> None:
    rows = [Row("a/i", START_US + at * S_US, float(at % 7)) for at in range(600)]
    bad = Row("a/i", rows[-1].ts_us + ahead_us, 0.0, None, Quality.BAD)
    plan = plan_of(ON_CHANGE.model_copy(update={"windows": list(DEFAULTS_US)}))
    came_us = START_US + 3 * HOUR_US

    before, after = (fold_log(plan, [Batch(came_us, tuple(one))]) for one in (rows, [*rows, bad]))
    back = fold_log(plan, [Batch(came_us, (*rows, bad, Row("a/i", bad.ts_us + S_US, 1.0)))])

    for window_us in DEFAULTS_US:
        found, expected = after.statistics("a/i", window_us), before.statistics("a/i", window_us)
        assert found["samples"] == expected["samples"]
        assert 0 <= found["covered"] - expected["covered"] <= window_us / 5e6  # the rest of the newest pane
    assert back.statistics("a/i", HOUR_US)["covered"] <= 599 + ahead_us / 1e6
    assert back.statistics("a/i", MINUTE_US)["last"] == 1.0


# --- numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", [PERIODIC, ON_CHANGE], ids=lambda one: str(one.name))
def test_a_huge_offset_keeps_its_standard_deviation(one: ClassSettings) -> None:
    noise: NDArray[np.float64] = np.random.default_rng(1).normal(0.0, 1e-3, 600)
    values = 1e9 + noise
    rows = [Row("a/t", START_US + at * S_US // 2, float(x)) for at, x in enumerate(values)]

    found = fold_log(plan_of(one), [Batch(rows[-1].ts_us + S_US // 2, tuple(rows))])

    statistics = found.statistics("a/t", 5 * MINUTE_US)
    seen = values[-int(statistics["samples"]) :]
    # The newest value of an on-change sensor has not held for any time yet.
    exact = float(np.std((seen if one is PERIODIC else seen[:-1]) - 1e9))
    assert statistics["stddev"] == pytest.approx(exact, rel=1e-4)


def test_a_constant_has_no_deviation_however_large_it_is() -> None:
    rows = tuple(Row("a/t", START_US + at * S_US, 0.1 + 1e9) for at in range(60))

    found = fold_log(plan_of(PERIODIC), [Batch(START_US + MINUTE_US, rows)]).statistics("a/t", 5 * MINUTE_US)

    assert (found["mean"], found["stddev"], found["slope"]) == (0.1 + 1e9, 0.0, 0.0)


@pytest.mark.parametrize("one", [PERIODIC, ON_CHANGE], ids=lambda one: str(one.name))
def test_a_slow_drift_of_a_huge_value_is_found(one: ClassSettings) -> None:
    rows = tuple(Row("a/t", START_US + at * S_US, 1e9 + at * 1e-3) for at in range(300))

    found = fold_log(plan_of(one), [Batch(START_US + 300 * S_US, rows)]).statistics("a/t", 5 * MINUTE_US)

    assert found["slope"] == pytest.approx(0.06, rel=1e-4)
    assert found["last"] - found["first"] == pytest.approx(0.3, abs=0.03)


# --- since when ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "expected_s"),
    [(PERIODIC, 3.0), (ON_CHANGE, 23.0), (ON_CHANGE.model_copy(update={"staleness": 10 * S_US}), 13.0)],
    ids=["known up to the newest reading", "holds until now", "holds until it is stale"],
)
def test_the_time_since_a_change_is_that_since_the_value_came(one: ClassSettings, expected_s: float) -> None:
    values = (1.0, 1.0, 2.0, 1.0, 2.0, 2.0, 2.0, 2.0)  # the newest value came with the fifth reading
    rows = tuple(Row("a/t", START_US + at * S_US, x) for at, x in enumerate(values))

    found = fold_log(plan_of(one), [Batch(START_US + 7 * S_US, rows), Batch(START_US + 27 * S_US)])

    assert found.fold.unchanged_s().tolist() == [expected_s]


def test_what_is_not_in_force_has_not_been_unchanged_for_any_time() -> None:
    bad = Row("a/t", START_US + S_US, 1.0, None, Quality.BAD)
    rows = (Row("a/t", START_US, 1.0), bad, Row("a/new", START_US, 1.0, None, Quality.BAD))

    found = fold_log(plan_of(ON_CHANGE), [Batch(START_US + 5 * S_US, rows)])

    assert np.isnan(found.fold.unchanged_s()).all()


# --- time ---------------------------------------------------------------------------------------------------------


@examples(25)
@given(log=logs())
def test_reading_windows_changes_nothing(log: list[Batch]) -> None:
    found = fold_log(plan_of(*PLANT), log)
    digest, page = found.digest, SensorPage(["site", "machine", "quantity"])

    first = [found.fold.statistics(window_us).tobytes() for window_us in WINDOWS_US]
    page.render([found.fold])

    assert [found.fold.statistics(window_us).tobytes() for window_us in WINDOWS_US] == first
    assert found.digest == digest


def samples(found: Folded, sensor: str) -> float:
    return found.statistics(sensor, MINUTE_US)["samples"]


def test_an_idle_sensors_window_empties_by_the_partitions_clock() -> None:
    rows = tuple(Row("a/t", START_US + at * S_US, 1.0) for at in range(30))
    log = [Batch(START_US + 30 * S_US, rows)]
    plan = plan_of(PERIODIC)
    kept = [
        samples(fold_log(plan, with_ticks([*log, Batch(START_US + (30 + idle_s) * S_US)])), "a/t")
        for idle_s in range(0, 100, 5)
    ]

    assert kept[0] == 30
    assert all(earlier >= later for earlier, later in pairwise(kept))
    assert kept[-1] == 0
    after_an_hour = fold_log(plan, with_ticks([*log, Batch(START_US + HOUR_US)]))
    assert math.isnan(after_an_hour.statistics("a/t", MINUTE_US)["mean"])


def test_a_sensor_with_a_clock_an_hour_off_keeps_its_window_while_others_go_on() -> None:
    log = [
        Batch(
            START_US + at * S_US,
            (Row("a/right", START_US + at * S_US, 1.0), Row("a/slow", START_US + at * S_US - HOUR_US, 2.0)),
        )
        for at in range(300)
    ]

    found = fold_log(plan_of(PERIODIC), log)

    right, slow = found.statistics("a/right", MINUTE_US), found.statistics("a/slow", MINUTE_US)
    assert slow["samples"] == right["samples"] > 50
    assert slow["mean"] == 2.0


def test_a_gateway_that_comes_back_with_an_hour_of_spool_finds_its_windows_open() -> None:
    backlog = [Row("a/spooled", START_US + at * S_US, float(at)) for at in range(600)]
    busy = [Batch(START_US + at * S_US, (Row("a/live", START_US + at * S_US, 1.0),)) for at in range(0, 3_600, 5)]
    drained = [Batch(START_US + HOUR_US, tuple(backlog[at : at + 50])) for at in range(0, 600, 50)]

    found = fold_log(plan_of(PERIODIC), busy + drained).statistics("a/spooled", 5 * MINUTE_US)

    assert 290 <= found["samples"] <= 300
    assert found["max"] == 599.0


def test_a_value_that_only_held_has_no_deviation() -> None:
    # value × weight / weight is not quite the value for some weights: a pane's first one once brought a deviation.
    begin_us = (START_US // MINUTE_US + 1) * MINUTE_US
    times_us = [begin_us, begin_us + 1_025, begin_us + 10 * S_US]
    log = [Batch(at_us, (Row("a/t", at_us, 1e6),)) for at_us in times_us]
    (found,) = fold_log(plan_of(ON_CHANGE), log).fold.statistics(MINUTE_US)
    assert (found["mean"], found["stddev"]) == (1e6, 0.0)

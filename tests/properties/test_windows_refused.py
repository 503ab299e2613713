"""Readings that are refused, or bad, cost the windows of the good ones nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.readings import Quality
from stream.fold.plan import Plan
from tests.properties.windows_by_hand import (
    DEFAULTS_US,
    ON_CHANGE,
    PERIODIC,
    SETS,
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
    ReferenceRing,
    Row,
    examples,
    fold_log,
    plan_of,
    record_of,
    records_of,
    with_ticks,
)

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

"""The budget of alerts: it holds for any tail, with sensors that come and go, and no bad actor spends it alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.fold.budget import (
    HIGHEST,
    LEVELS,
    POOL,
    REFRESH_US,
    boundary_of,
    carry_pools,
    count_peak,
    days_remembered,
    expect_of_new,
    expected_per_day,
    level_of_score,
    reaching,
    refresh,
    remaining,
    share_out,
    wrong_pools,
)
from stream.fold.calibration import ALLOWANCE, REFRACTORY, calibrate
from stream.fold.levels import LEVEL
from stream.fold.plan import LIMITS
from stream.fold.rows import SENSOR
from tests.unit.stream.logs import MINUTE_US, START_US, examples

Scores = NDArray[np.float64]
BUDGET = 20.0
DAY_US = 86_400_000_000
DAY = 1_440  # readings, one a minute
AT_ONCE = 40

peaks_of = st.lists(st.floats(0.0, 1e6), min_size=LEVELS, max_size=LEVELS).map(np.array)
allowed_of = st.floats(1e-3, 1e6)


@examples(200)
@given(peaks=peaks_of, allowed=allowed_of, more=st.floats(1.0, 100.0))
def test_a_larger_budget_never_has_a_higher_boundary(peaks: Scores, allowed: float, more: float) -> None:
    tight, loose = boundary_of(peaks, allowed), boundary_of(peaks, allowed * more)

    assert 1.0 <= loose <= tight * (1.0 + 1e-9) < np.inf or tight == np.inf


@examples(200)
@given(peaks=peaks_of, low=st.floats(1e-3, 1e9), high=st.floats(1e-3, 1e9))
def test_fewer_peaks_reach_a_higher_score(peaks: Scores, low: float, high: float) -> None:
    low, high = sorted((low, high))

    assert reaching(peaks, high) <= reaching(peaks, low) * (1.0 + 1e-9)
    assert 0 <= level_of_score(low) <= level_of_score(high) < LEVELS


@examples(30)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 700), cut=st.integers(0, 700), spent=st.floats(0.0, 1e3))
def test_scores_never_grow_and_no_cut_changes_them(seed: int, count: int, cut: int, spent: float) -> None:
    scores = (0.2 * np.random.default_rng(seed).pareto(1.0, count)).tolist()

    def calibrated(pieces: list[list[float]], step: Callable[..., object]) -> Scores:
        site = _Site(1)
        site.sensors["spent"], site.sensors["extra"] = spent, (1.0 + 0.15 * spent) ** 2 - 1.0
        site.sensors["spent_us"] = START_US
        # Budgets are made anew by the clock, not by records.
        seen = [site.see(np.array(piece)[:, None], step, anew=False) for piece in pieces if piece]
        return np.concatenate(seen)[:, 0]

    whole = calibrated([scores], calibrate)

    assert (whole <= np.array(scores)).all()
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(whole, calibrated([scores[:cut], scores[cut:]], calibrate))
    np.testing.assert_array_equal(whole, calibrated([scores], calibrate.py_func))  # type: ignore[attr-defined]


@examples(100)
@given(
    total=st.floats(0.1, 1e3),
    needs=st.lists(st.floats(0.0, 1e3), min_size=1, max_size=8),
    claims=st.lists(st.integers(0, 5), min_size=8, max_size=8),
)
def test_no_more_is_shared_out_than_there_is_and_nobody_in_need_has_less_than_a_fair_part(
    total: float, needs: list[float], claims: list[int]
) -> None:
    needed, claimed = np.array(needs), np.array(claims[: len(needs)], np.float64)

    parts = share_out(total, needed, claimed)

    assert parts.sum() == pytest.approx(total)
    claimed = claimed if claimed.any() else np.ones(needed.size)
    assert (parts >= np.minimum(total * claimed / claimed.sum(), needed) * (1.0 - 1e-9)).all()


@examples(100)
@given(
    sensors=st.lists(st.sampled_from([0, 1, 1_000_000]), min_size=1, max_size=4),
    budget=st.sampled_from([20.0, 1.0 / 64, 1e6]),
    seed=st.integers(0, 2**32),
)
def test_a_class_that_has_nobody_or_next_to_nothing_of_the_budget_has_a_boundary_all_the_same(
    sensors: list[int], budget: float, seed: int
) -> None:
    chance, pools, now_us = np.random.default_rng(seed), np.zeros(len(sensors), POOL), START_US
    for _ in range(8):
        refresh(pools, np.array(sensors), np.ones(len(sensors)), budget, now_us)
        now_us += REFRESH_US * int(chance.choice([1, 144, -3]))

        assert wrong_pools(pools) is None
        assert ((pools["boundary"] >= 1.0) & (pools["boundary"] <= HIGHEST)).all()
        for peak in chance.choice([0.6, 1.2, 3.0, 1e9], int(chance.choice([0, 3, 100]))):
            pool = pools[int(chance.integers(len(sensors)))]
            count_peak(pool, peak, 0.0)
            pool["spent"] += peak >= 1.0


ages = st.floats(0.0, 60.0)


@examples(100)
@given(days=st.tuples(ages, ages, ages).map(sorted))
def test_what_is_forgotten_does_not_depend_on_how_often_it_is_looked_at(days: list[float]) -> None:
    first, then, last = days

    assert remaining(first, then) * remaining(then, last) == pytest.approx(remaining(first, last), rel=1e-9)
    assert 0.0 < remaining(first, last) <= 1.0


@examples(20)
@given(age=ages)
def test_the_days_that_are_remembered_are_the_sum_of_what_remains_of_them(age: float) -> None:
    moments = np.linspace(0.0, age, 4_001)
    left = [remaining(moment, age) for moment in moments]

    lived = float(np.sum((np.array(left[1:]) + left[:-1]) / 2)) * age / 4_000
    assert days_remembered(age) == pytest.approx(lived + days_remembered(0.0) * remaining(0.0, age), rel=1e-3)


class _Site:
    """Sensors with a reading a minute, whose scores are made up. Class of each: its number modulo `pools`."""

    def __init__(
        self, sensors: int, pools: int = 1, weight: tuple[float, ...] | None = None, *, scored: bool = False
    ) -> None:
        """scored: a new sensor brings the peaks along that are expected of it."""
        self.sensors = np.zeros(sensors, SENSOR)
        self.levels = np.zeros(sensors, LEVEL)
        self.pools = np.zeros(pools, POOL)
        self.weight = np.ones(pools) if weight is None else np.array(weight)
        self.class_of = (np.arange(sensors) % pools).astype(np.int32)
        self.at_us = START_US // REFRESH_US * REFRESH_US
        self._quiet_until = np.zeros(sensors, np.int64)
        self._limits = np.zeros(pools, LIMITS)
        self._limits["scored"] = scored
        self._share()

    def _share(self) -> None:
        counts = np.bincount(self.class_of, minlength=self.pools.size)
        refresh(self.pools, counts, self.weight, BUDGET, self.at_us)

    def see(self, scores: Scores, step: Callable[..., object] = calibrate, *, anew: bool = True) -> Scores:
        """Scores of shape (minutes, the first so many sensors), calibrated."""
        minutes, sensors = scores.shape
        slot = np.tile(np.arange(sensors, dtype=np.int32), minutes)
        ts_us = np.repeat(self.at_us + np.arange(minutes) * MINUTE_US, sensors)
        found, allowance = scores.ravel().copy(), np.zeros(scores.size, ALLOWANCE)
        pool_of = np.arange(self.pools.size, dtype=np.int32)
        by, expected = np.zeros(scores.size, np.int16), np.full((scores.size, 2), np.nan)
        step(
            self.sensors, self.pools, self.levels, pool_of, self.class_of, self._limits, slot,
            ts_us, np.zeros(scores.size), np.zeros(scores.size, np.uint8), np.zeros(0, np.uint8), found, by, expected,
            allowance,
        )  # fmt: skip
        np.testing.assert_allclose(found * allowance["width"], scores.ravel(), rtol=1e-12)
        before, self.at_us = self.at_us, self.at_us + minutes * MINUTE_US
        if anew and self.at_us // REFRESH_US != before // REFRESH_US:
            self._share()
        return found.reshape(scores.shape)

    def alerts(self, scores: Scores) -> list[int]:
        """Who alerts, in order; once per time of excitement."""
        first_us, found = self.at_us, self.see(scores)
        alerting = []
        for minute, sensor in zip(*(found >= 1.0).nonzero(), strict=True):
            at = first_us // MINUTE_US + int(minute)
            if self._quiet_until[sensor] <= at:
                self._quiet_until[sensor] = at + REFRACTORY
                alerting.append(int(sensor))
        return alerting

    def days(self, days: int, draw: Callable[[tuple[int, int]], Scores], sensors: int) -> list[list[int]]:
        return [
            [one for _ in range(DAY // AT_ONCE) for one in self.alerts(draw((AT_ONCE, sensors)))] for _ in range(days)
        ]


TAILS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Any]] = {
    "exponential": lambda rng, shape: rng.exponential(0.1, shape),
    "heavy": lambda rng, shape: 0.045 * rng.pareto(3.0, shape),
    "very heavy": lambda rng, shape: 0.002 * rng.pareto(1.5, shape),
}


@pytest.mark.parametrize("tail", TAILS)
def test_the_budget_holds_for_any_tail(tail: str) -> None:
    rng, site = np.random.default_rng(1), _Site(1_000)
    unbounded = sum((TAILS[tail](rng, (DAY, 1_000)) >= 1.0).any(axis=0))

    days = site.days(4, lambda shape: TAILS[tail](rng, shape), 1_000)

    assert unbounded > 2 * BUDGET  # of sensors: it would be broken every day
    assert sum(map(len, days)) <= 1.5 * 4 * BUDGET
    assert all(len(day) <= 1.5 * BUDGET for day in days[1:])
    assert len(days[-1]) >= 0.3 * BUDGET  # nor is it a muzzle
    assert expected_per_day(site.pools[0]) == pytest.approx(BUDGET, rel=0.5)


def test_it_holds_while_sensors_come() -> None:
    rng, site = np.random.default_rng(2), _Site(2_000)
    few = site.days(2, lambda shape: rng.exponential(0.1, shape), 500)
    lower = float(site.pools["boundary"][0])

    many = site.days(3, lambda shape: rng.exponential(0.1, shape), 2_000)

    assert sum(map(len, few)) <= 3 * BUDGET
    assert all(len(day) <= 2 * BUDGET for day in many)
    assert site.pools["boundary"][0] > lower


def test_a_quiet_plant_is_left_to_its_models() -> None:
    rng, site = np.random.default_rng(3), _Site(1_000)

    site.days(2, lambda shape: rng.uniform(0.0, 0.8, shape), 1_000)

    assert site.pools["boundary"][0] == 1.0
    assert site.see(np.full((1, 1), 1.2)).max() == 1.2


def test_a_storm_finds_the_boundary_rising() -> None:
    rng, site = np.random.default_rng(4), _Site(2_000)
    site.days(1, lambda shape: rng.uniform(0.0, 0.4, shape), 2_000)

    storm = site.alerts(0.5 + rng.exponential(4.0, (5, 2_000)))

    assert BUDGET / 2 < len(storm) < 2_000 / 10


def test_what_befalls_many_within_minutes_is_told_of_a_few() -> None:
    rng, site = np.random.default_rng(7), _Site(300)
    site.days(1, lambda shape: rng.uniform(0.0, 0.4, shape), 300)
    begins = rng.uniform(0.0, 10.0, 300)

    # All are excited before the first of them raises an alert.
    told = site.alerts(np.clip(0.55 + 0.1 * (np.arange(60)[:, None] - begins), 0.55, 4.0))

    assert 2 <= len(set(told)) < 300 / 10


def test_what_rises_slowly_is_not_outrun_by_a_boundary_of_its_own_making() -> None:
    rng, site = np.random.default_rng(8), _Site(300)
    site.days(1, lambda shape: 0.045 * rng.pareto(3.0, shape), 300)
    boundary = float(site.pools["boundary"][0])

    found = site.see(np.linspace(0.55, 1.5 * boundary, 90)[:, None])

    assert boundary > 1.0
    assert found.max() == pytest.approx(1.5, rel=0.1)


@pytest.mark.parametrize("scored", [False, True])
def test_a_plant_that_nobody_knows_keeps_its_budget_on_its_first_day(scored: bool) -> None:
    rng, site, shift = np.random.default_rng(9), _Site(2_000, pools=20, scored=scored), 360

    def first_shifts(shape: tuple[int, int]) -> Scores:
        nonlocal shift
        found, shift = rng.uniform(0.0, 0.4, shape), shift - shape[0]
        return found + (0 >= shift > -60) * rng.pareto(2.0, shape) * 0.1

    (first,) = site.days(1, first_shifts, 2_000)

    assert (len(first) <= 1.2 * BUDGET) == scored
    site.days(2, lambda shape: rng.uniform(0.0, 0.4, shape), 2_000)
    assert site.pools["boundary"].max() < 1.6


@pytest.mark.parametrize("parts", [4, 12, 60, 240])
def test_what_is_expected_of_a_new_plant_does_not_depend_on_its_partitions_and_classes(parts: int) -> None:
    """With few sensors in each, a class's boundary was 500 once, where it was 15 for all of them together."""

    def boundaries(parts: int) -> list[float]:
        pools, sensors, found = np.zeros(1, POOL), np.array([19_200 // parts]), []
        refresh(pools, sensors, np.ones(1), BUDGET / parts, START_US)
        for _ in range(int(sensors[0])):
            expect_of_new(pools[0])
        for hours in (0, 1, 3, 6, 12, 24, 48):
            refresh(pools, sensors, np.ones(1), BUDGET / parts, START_US + hours * DAY_US // 24)
            found.append(float(pools["boundary"][0]))
        return found

    found = boundaries(parts)

    np.testing.assert_allclose(found, boundaries(1), rtol=0.1)
    assert found == sorted(found, reverse=True)
    assert found[-1] == 1.0


def test_who_alerts_again_and_again_neither_spends_the_budget_nor_raises_the_boundary_of_others() -> None:
    rng, site = np.random.default_rng(5), _Site(500)

    def scores(shape: tuple[int, int]) -> Scores:
        found = rng.uniform(0.0, 0.4, shape)
        found[:, :2] += (rng.random((shape[0], 2)) < 0.02) * 3.0
        return found

    days = site.days(4, scores, 500)

    assert site.pools["boundary"][0] < 1.5
    assert sum(map(len, days)) < 0.8 * 4 * BUDGET
    assert (site.sensors["extra"][:2] > 0.5).all()
    assert not site.sensors["extra"][2:].any()


def test_its_past_is_forgotten() -> None:
    site = _Site(1)
    for _ in range(4):
        site.see(np.array([[3.0]] + [[0.0]] * 299))
    wide = float(site.sensors["extra"][0])

    site.see(np.zeros((4 * DAY, 1)))

    assert wide > 0.5
    assert site.sensors["extra"][0] < 0.1 * wide


def test_one_class_may_not_spend_what_another_needs() -> None:
    rng, site = np.random.default_rng(6), _Site(1_000, pools=2)

    def scores(shape: tuple[int, int]) -> Scores:
        found = rng.uniform(0.0, 0.4, shape)
        found[:, ::2] = 0.002 * rng.pareto(1.5, found[:, ::2].shape)
        return found

    days = site.days(3, scores, 1_000)

    noisy, quiet = site.pools["boundary"]
    assert noisy > 1.2
    assert quiet == 1.0
    assert all(len(day) <= 2 * BUDGET for day in days)
    assert site.see(np.tile([0.0, 1.5], (1, 500))).max() == 1.5  # the quiet class still alerts


def test_severe_classes_have_a_larger_share() -> None:
    site = _Site(100, pools=2, weight=(1.0, 4.0))
    site.see(np.tile(np.linspace(1.0, 30.0, 100), (1, 1)))
    site.see(np.zeros((10, 100)))

    assert site.pools["daily"][1] > 1.4 * site.pools["daily"][0]


def test_a_long_fault_is_one_peak_and_held_against_one_boundary() -> None:
    site = _Site(1)

    found = site.see(np.full((2_000, 1), 4.0))

    assert (found == 4.0).all()
    assert site.pools["spent"][0] == pytest.approx(1.0, rel=0.9)
    assert site.pools["peaks"].sum() <= 1.0


def test_classes_keep_their_pools_by_name() -> None:
    pools = np.zeros(2, POOL)
    pools["spent"] = 1.0, 2.0

    carried = carry_pools(["a", "b"], pools, ["b", "c"])

    assert carried["spent"].tolist() == [2.0, 0.0]


@pytest.mark.parametrize(
    ("field", "value"), [("boundary", np.nan), ("peaks", -1.0), ("allowed", np.inf), ("since_us", -1), ("daily", -0.5)]
)
def test_pools_that_no_fold_has_made_are_told(field: str, value: float) -> None:
    pools = np.zeros(1, POOL)
    assert wrong_pools(pools) is None

    pools[field] = value

    assert wrong_pools(pools) is not None

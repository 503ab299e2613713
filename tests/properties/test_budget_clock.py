"""The budget where the clock errs, and where classes come later than others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.fold.budget import POOL, REFRESH_US, carry_pools, count_peak, refresh
from tests.unit.stream.logs import START_US

BUDGET = 20.0
DAY_US = 86_400_000_000


def grown(days: int) -> NDArray[Any]:
    """Pools of two classes of so many days, with the same peaks each day."""
    pools = np.zeros(2, POOL)
    for day in range(days + 1):
        pools["peaks"][:, 4:10] += 8.0
        refresh(pools, np.array([100, 100]), np.ones(2), BUDGET, START_US + day * DAY_US)
    return pools


@pytest.mark.parametrize("place", [0, 2])
def test_a_class_that_is_new_leaves_the_boundaries_of_others_where_they_were(place: int) -> None:
    pools, names = grown(12), ["a", "b"]
    names.insert(place, "new")

    carried = carry_pools(["a", "b"], pools, names)
    refresh(carried, np.array([10, 10, 10]), np.ones(3), BUDGET, START_US + 12 * DAY_US + REFRESH_US)

    others = carried[np.arange(3) != place]
    assert pools["boundary"][0] > 1.5
    np.testing.assert_allclose(others["boundary"], pools["boundary"], rtol=0.01)
    np.testing.assert_allclose(others["allowed"], pools["allowed"], rtol=0.01)


@pytest.mark.parametrize("ahead_days", [10, 1_000])
def test_a_clock_that_was_days_or_years_ahead_takes_no_budget_away(ahead_days: int) -> None:
    pools, sensors = grown(12), np.array([100, 100])
    refresh(pools, sensors, np.ones(2), BUDGET, START_US + (12 + ahead_days) * DAY_US)
    pools["spent"] = 3.0

    refresh(pools, sensors, np.ones(2), BUDGET, START_US + 12 * DAY_US)

    assert pools["spent"].tolist() == [3.0, 3.0]
    assert (pools["boundary"] < 2.0).all()


def test_what_was_counted_since_a_time_that_was_to_come_is_forgotten_all_the_same() -> None:
    pools, sensors = np.zeros(1, POOL), np.array([100])
    refresh(pools, sensors, np.ones(1), BUDGET, START_US + 1_000 * DAY_US)
    for day in range(60):
        refresh(pools, sensors, np.ones(1), BUDGET, START_US + day * DAY_US)
        count_peak(pools[0], 3.0, 0.0)
        pools["spent"] += 1.0

    assert pools["peaks"].sum() < 4.0
    assert pools["spent"][0] < 2.0

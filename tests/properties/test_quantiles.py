"""Quantiles are values whose rank is right to 1 %, whatever the values and their order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.fold.quantiles import PER_MILLE, panes_of
from stream.fold.sketch import DESK, SKETCH, at_rank, put, ranked
from tests.peers import ask_peer
from tests.properties.one_sensor import (
    ALLOWED,
    BEGIN_US,
    SHARES,
    OneSensor,
    Values,
    rank_errors,
)
from tests.unit.stream.logs import (
    HOUR_US,
)


def _converging(chance: np.random.Generator, count: int) -> Values:
    """A controller that swings in: every value lies between all earlier ones."""
    sides = np.where(np.arange(count) % 2, 1.0, -1.0)
    return np.asarray(np.exp(-np.arange(count) * chance.uniform(0.5, 10.0) / count) * sides)


SERIES: dict[str, Callable[[np.random.Generator, int], Values]] = {
    "sorted": lambda chance, count: np.sort(chance.normal(size=count)),
    "reversed": lambda chance, count: -np.sort(chance.normal(size=count)),
    "shuffled": lambda chance, count: chance.permutation(np.arange(float(count))),
    "heavy-tailed": lambda chance, count: chance.pareto(0.5, count),
    "constant": lambda _, count: np.full(count, 0.1),
    "two values": lambda chance, count: chance.choice([0.0, 1.0], count, p=[0.9, 0.1]),
    "sawtooth": lambda chance, count: np.arange(float(count)) % int(chance.integers(2, 5_000)),
    "huge offset": lambda chance, count: 1e12 + chance.normal(0.0, 1e-2, count),
    "random walk": lambda chance, count: np.cumsum(chance.normal(size=count)),
    "converging": _converging,
    "diverging": lambda chance, count: _converging(chance, count)[::-1],
    "sine": lambda chance, count: np.sin(np.arange(count) / chance.uniform(5.0, 500.0)),
    "rounded": lambda chance, count: np.round(chance.normal(20.0, 1.0, count), 1),
}
PANE_US = HOUR_US // panes_of(HOUR_US)


def layouts(chance: np.random.Generator, count: int) -> dict[str, NDArray[np.int64]]:
    """Ways in which an hour's readings come: (name, pane of each), ascending."""
    panes = panes_of(HOUR_US)
    return {
        "evenly": np.arange(count) * panes // count,
        "all at once": np.zeros(count, np.int64),
        "in bursts": np.sort(chance.choice(panes, count, p=chance.dirichlet(np.full(panes, 0.5)))),
    }


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("count", [30, 300, 5_000, 40_000, 200_000])
def test_ranks_are_right_to_one_per_cent(name: str, count: int) -> None:
    for seed in range(3 if count < 100_000 else 1):
        chance = np.random.default_rng(seed)
        for how, pane in layouts(chance, count).items():
            values = SERIES[name](chance, count)
            if how == "in bursts":
                values = values * (1.0 + pane % 3)  # panes that are nothing like each other
            sensor = OneSensor()
            sensor.see(BEGIN_US + pane * PANE_US + np.arange(count), values)
            found = [sensor.quantiles()]
            # And when all panes are over: one later reading, which moves none of them out of the window.
            if pane[-1] < panes_of(HOUR_US) - 1:
                sensor.see(np.array([BEGIN_US + HOUR_US - 1]), values[:1])
                found.append(sensor.quantiles())
            for one in found:
                assert max(rank_errors(one, values)) <= ALLOWED, (how, seed)


def test_a_pane_counts_up_to_a_thousand_million_and_no_further() -> None:
    row, desk = np.zeros(1, SKETCH)[0], np.zeros(1, DESK)[0]

    for at in range(2_000):
        put(row, 5, 1, float(at), 2**21 - 1, desk)

    assert row["total"] == 2**30
    used = ranked(row, 5, 1, 0.0, 0, desk)
    assert desk["weight"][:used].sum() == 2**30
    assert max(rank_errors(np.array([at_rank(desk, used, share) for share in PER_MILLE]), np.arange(512.0))) < ALLOWED


def test_a_time_before_1970_is_in_no_pane() -> None:
    row, desk = np.zeros(1, SKETCH)[0], np.zeros(1, DESK)[0]

    put(row, 5, 0, 1.0, 1, desk)
    put(row, 5, -3, 1.0, 1, desk)

    assert row.tobytes() == bytes(SKETCH.itemsize)


def test_few_readings_have_exact_quantiles() -> None:
    chance = np.random.default_rng(1)
    for count in range(1, 76):
        values = chance.normal(size=count)
        sensor = OneSensor()
        sensor.see(BEGIN_US + np.arange(count) * (HOUR_US // count), values)

        exact = np.quantile(values, SHARES, method="inverted_cdf")
        assert sensor.quantiles().tolist() == exact.tolist()


def test_readings_that_come_after_their_pane_was_over_count_in_it() -> None:
    """One reading from a clock that ran ahead, then twelve minutes of the usual ones."""
    values = np.random.default_rng(2).normal(size=20_000)
    sensor = OneSensor()
    sensor.see(np.array([BEGIN_US + 2 * PANE_US]), values[:1])
    sensor.see(BEGIN_US + PANE_US // 2 + np.arange(19_999) * (PANE_US // 20_000), values[1:])
    sensor.sensors["last_us"] = BEGIN_US + 2 * PANE_US

    assert max(rank_errors(sensor.quantiles(), values)) <= ALLOWED


def test_readings_in_disorder_around_the_end_of_a_pane_do_no_harm() -> None:
    chance = np.random.default_rng(3)
    count = 20_000
    ts_us = BEGIN_US + np.arange(count) * (4 * PANE_US // count)
    order = np.argsort(np.arange(count) + chance.uniform(0, 15, count), kind="stable")
    values = np.cumsum(chance.normal(size=count))
    sensor = OneSensor()
    for at in np.split(order, 200):
        sensor.see(ts_us[at], values[at])

    assert max(rank_errors(sensor.quantiles(), values)) <= ALLOWED


# --- beside a library -----------------------------------------------------------------------------------------------


def test_ranks_are_as_good_as_a_librarys_with_as_much_memory() -> None:
    """Apache DataSketches' KLL, which draws lots: a sketch for each pane, as a window needs; one that cannot forget."""
    count, panes = 20_000, panes_of(HOUR_US)
    series = [make(np.random.default_rng(5), count) for make in SERIES.values()]
    ours = []
    for values in series:
        sensor = OneSensor()
        sensor.see(BEGIN_US + np.arange(count) * (HOUR_US // count), values)
        ours.append(max(rank_errors(sensor.quantiles(), values)))

    told = ask_peer(
        "quantiles",
        {"bytes": SKETCH.itemsize, "panes": panes, "shares": SHARES, "series": [values.tolist() for values in series]},
    )

    theirs = {
        how: [
            max(rank_errors(np.array(one), values)) for one, values in zip(told[how]["quantiles"], series, strict=True)
        ]
        for how in ("whole", "panes")
    }
    assert max(told["whole"]["bytes"], told["panes"]["bytes"]) <= 1.05 * SKETCH.itemsize
    assert 0.0 < max(theirs["whole"]) < 2.0 * ALLOWED  # it did what it was asked
    assert np.mean(ours) < np.mean(theirs["panes"])

"""Windows of huge, constant and slow values, and of sensors whose time is not that of the others."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from ingest.contract.class_settings import ClassSettings
from ingest.contract.readings import Quality
from stream.exposition import SensorPage
from tests.properties.windows_by_hand import (
    ON_CHANGE,
    PERIODIC,
    WINDOWS_US,
)
from tests.unit.stream.logs import (
    HOUR_US,
    MINUTE_US,
    PLANT,
    S_US,
    START_US,
    Batch,
    Folded,
    Row,
    examples,
    fold_log,
    logs,
    plan_of,
    with_ticks,
)

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

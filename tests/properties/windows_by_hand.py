"""The plain calculation that windows are held against, and the sensors that tests of them have."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import strategies as st

from ingest.contract.class_settings import ClassSettings
from ingest.contract.classes import Reporting
from ingest.contract.panes import level_of
from stream.fold.plan import Plan
from tests.unit.stream.logs import (
    HOUR_US,
    MINUTE_US,
    S_US,
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

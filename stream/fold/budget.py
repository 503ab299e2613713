"""The budget of alerts: how high scores of a class have to be for the plant to stay within its alerts a day.

One sensor never sees enough of its own tail, so the peaks of all sensors of a class are pooled, each time of excitement
once. Where more of them reach 1.0, the models' own boundary, than the budget allows, the class's boundary rises to
where their tail says that only as many will. It never falls below 1.0: a budget is a limit, not a target.

A partition has its part of the plant's budget. It is shared out to classes by their sensors and the severity of their
rules; what some do not need goes to those that do.

Peaks are forgotten within days, and sooner in a plant's first days: what was cried while models knew little says little
of what is to come. Of a new sensor nothing is known, so it brings a part of a usual sensor's peaks along.

Source: peaks over a threshold after A. Siffer, P.-A. Fouque, A. Termier, C. Largouet, "Anomaly Detection in Streams
with Extreme Value Theory", KDD 2017; the tail of scores, which are ratios, by B. M. Hill, "A Simple General Approach to
Inference About the Tail of a Distribution", Ann. Statist. 3, 1975.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

FIRST = 0.5
"""The lowest score that counts as excitement."""
HIGHEST = 1e6
"""The highest boundary: what scores more is told, whoever has spent what."""
LEVELS = 40
_STEP = 0.17328679513998632  # ln(2) / 4: four levels double a score
_FARTHEST = math.log(HIGHEST / FIRST)
_ENOUGH = 10.0  # peaks by which a tail is known
_USUAL_EXCESS = 0.35  # of a tail of which nothing is known: mean of ln(peak / level)
_USUAL_WEIGHT = 2.0
_UNKNOWN = 0.1  # peaks at 1.0 and more that a new sensor brings along

_LEAST = 1e-3  # of a budget: no class has nothing

_DAY_US = 86_400_000_000.0
_MEMORY_DAYS = 3.0
_BEFORE_DAYS = 0.25  # a partition begins as if it had been there for so long
_POWER = 3.0  # of its age by which what is counted fades while it is young
_AIM = 0.8  # of the budget: tails are estimated, and a limit is one
REFRESH_US = 600_000_000
"""How often the clock makes budgets anew."""

POOL = np.dtype(
    [
        ("since_us", np.int64),  # the partition's clock when counting began
        ("as_of_us", np.int64),  # and when it was made anew
        ("allowed", np.float64),  # peaks that may be beyond the boundary, of those that are remembered
        ("daily", np.float64),  # alerts a day
        ("boundary", np.float64),  # >= 1; 0 before anything is known
        ("spent", np.float64),  # alerts of about a day
        ("peaks", np.float64, (LEVELS,)),  # by level; what is above the last one is in it
    ]
)
"""State per class of one name."""


@kernel
def level_of_score(score: float) -> int:
    """Its level, 0 to LEVELS - 1.

    >>> [level_of_score(score) for score in (0.1, 0.5, 1.0, 2.0, 1e9)]
    [0, 0, 4, 8, 39]
    """
    if not score > FIRST:
        return 0
    return min(int(math.log(score / FIRST) / _STEP + 1e-9), LEVELS - 1)


@kernel
def boundary_of(peaks: NDArray[np.float64], allowed: float) -> float:
    """The score, at least 1.0, that no more than `allowed` (> 0) of such peaks are expected to reach.

    >>> peaks = np.zeros(LEVELS)
    >>> peaks[4:8] = 100.0, 50.0, 25.0, 12.5
    >>> [round(boundary_of(peaks, allowed), 1) for allowed in (200.0, 100.0, 10.0, 1.0)]
    [1.0, 1.1, 1.7, 2.3]
    """
    if reaching(peaks, 1.0) <= allowed:
        return 1.0
    tail, excess, level = 0.0, 0.0, LEVELS
    while level > 0 and tail < max(_ENOUGH, allowed):
        level -= 1
        tail += peaks[level]
    for above in range(level, LEVELS):
        excess += peaks[above] * (above - level + 0.5) * _STEP
    mean = (excess + _USUAL_WEIGHT * _USUAL_EXCESS) / (tail + _USUAL_WEIGHT)
    beyond = mean * math.log(max(tail / allowed, 1.0))
    boundary: float = max(1.0, FIRST * math.exp(min(level * _STEP + beyond, _FARTHEST)))
    return boundary


@kernel
def reaching(peaks: NDArray[np.float64], score: float) -> float:
    """How many of these peaks reach a score; what is within one level is taken as even."""
    exact = math.log(max(score / FIRST, 1.0)) / _STEP + 1e-9
    level = min(int(exact), LEVELS - 1)
    found: float = peaks[level] * (1.0 - min(exact - level, 1.0))
    for above in range(level + 1, LEVELS):
        found += peaks[above]
    return found


@kernel
def _left(spent: float, daily: float) -> float:
    """What remains of a budget for those who have spent more than a day's: a storm finds the boundary rising."""
    share = daily / max(spent, daily)
    return share * share * share


@kernel
def count_peak(pool: Any, peak: float, before: float) -> None:
    """A peak of so much; before: what it was counted as already, 0.0 for a new one."""
    level = level_of_score(peak)
    if before > 0.0:
        was = level_of_score(before)
        if was == level:
            return
        pool["peaks"][was] = max(pool["peaks"][was] - 1.0, 0.0)
    pool["peaks"][level] += 1.0
    pool["boundary"] = _boundary(pool)


@kernel
def boundary_beside(pool: Any, peak: float) -> float:
    """The boundary that all other peaks make. peak: one that was counted."""
    level = level_of_score(peak)
    counted = pool["peaks"][level] + 0.0
    pool["peaks"][level] = max(counted - 1.0, 0.0)
    boundary: float = _boundary(pool)
    pool["peaks"][level] = counted
    return boundary


@kernel
def expect_of_new(pool: Any) -> None:
    """A sensor of which nothing is known yet came: with its part of a usual one's peaks."""
    fading = math.exp(-_STEP / _USUAL_EXCESS)
    # Below 1.0 as well, where most peaks are: without them, a tail that is looked at from there on seems far longer.
    peaks = _UNKNOWN * (1.0 - fading) * math.exp(level_of_score(1.0) * _STEP / _USUAL_EXCESS)
    for level in range(LEVELS):
        pool["peaks"][level] += peaks
        peaks *= fading
    pool["boundary"] = _boundary(pool)


@kernel
def _boundary(pool: Any) -> float:
    """By its peaks and what is left of its budget; as it was before there is one."""
    if not pool["daily"] > 0.0:
        unchanged: float = pool["boundary"] + 0.0
        return unchanged
    found: float = boundary_of(pool["peaks"], pool["allowed"] * _left(pool["spent"], pool["daily"]))
    return found


def refresh(
    pools: NDArray[Any], sensors: NDArray[np.int64], weight: NDArray[np.float64], alerts_per_day: float, now_us: int
) -> None:
    """Forget what was long ago, and share the budget out anew.

    pools: POOL. sensors: how many each has. weight: of one of them, by pool, > 0. alerts_per_day: the partition's part
    of the plant's, > 0. now_us: the partition's clock.
    """
    for pool in pools:
        if pool["boundary"] == 0.0:
            pool["since_us"] = pool["as_of_us"] = now_us
        # Where the clock went back, nothing was counted after it.
        pool["since_us"], pool["as_of_us"] = min(pool["since_us"], now_us), min(pool["as_of_us"], now_us)
        before = _age_days(pool)
        pool["as_of_us"] = now_us
        age = _age_days(pool)
        pool["peaks"] *= remaining(before, age)
        pool["spent"] *= math.exp(before - age)
    # By day, as a class that is new has counted for less long than the others.
    days = np.array([days_remembered(_age_days(pool)) for pool in pools])
    needs = np.array([reaching(pool["peaks"], 1.0) for pool in pools]) / days
    parts = share_out(_AIM * alerts_per_day, needs, sensors * weight)
    for pool, part, remembered in zip(pools, parts, days, strict=True):
        pool["allowed"] = max(part * remembered, _LEAST)
        pool["daily"] = max(part / _AIM, _LEAST)
        pool["boundary"] = _boundary(pool)


def _age_days(pool: Any) -> float:
    return max(0.0, float(pool["as_of_us"] - pool["since_us"]) / _DAY_US)


def remaining(before_days: float, age_days: float) -> float:
    """How much of the peaks that were remembered at one age is left at another.

    Old age forgets exponentially, with a time constant of three days; youth by a power of its age, so that half of
    what is remembered is of the last sixth of its life.

    >>> [round(remaining(before, before + 1.0), 2) for before in (0.0, 0.25, 1.0, 9.0, 30.0)]
    [0.01, 0.04, 0.17, 0.72, 0.72]
    """
    left, grown = 1.0, _POWER * _MEMORY_DAYS - _BEFORE_DAYS
    if before_days < min(age_days, grown):
        until_days = min(age_days, grown)
        left = ((before_days + _BEFORE_DAYS) / (until_days + _BEFORE_DAYS)) ** _POWER
        before_days = until_days
    return left * math.exp(-max(0.0, age_days - before_days) / _MEMORY_DAYS)


def days_remembered(age_days: float) -> float:
    """Of how many days the peaks are at an age, as if none was forgotten: the integral of what remains.

    >>> [round(days_remembered(age), 2) for age in (0.0, 1.0, 8.75, 30.0)]
    [0.06, 0.31, 2.25, 3.0]
    """
    grown = _POWER * _MEMORY_DAYS - _BEFORE_DAYS
    youth = (min(age_days, grown) + _BEFORE_DAYS) / (_POWER + 1.0)
    return _MEMORY_DAYS - (_MEMORY_DAYS - youth) * math.exp(-max(0.0, age_days - grown) / _MEMORY_DAYS)


def share_out(total: float, needs: NDArray[np.float64], claims: NDArray[np.float64]) -> NDArray[np.float64]:
    """Parts of a total: by claims, but what is more than a need goes to those in need. What nobody needs is by claims.

    claims: >= 0; where there are none, all are equal.

    >>> share_out(10.0, np.array([1.0, 20.0, 2.0]), np.ones(3))
    array([1., 7., 2.])
    >>> share_out(10.0, np.zeros(2), np.array([1.0, 3.0]))
    array([2.5, 7.5])
    """
    claims = claims if claims.any() else np.ones(needs.size)
    parts, left, open_ = np.zeros(needs.size), total, claims > 0
    while left > 0.0 and open_.any():
        fair = np.where(open_, left * claims / claims[open_].sum(), 0.0)
        content = open_ & (needs <= fair)
        if not content.any():
            break
        parts[content] = needs[content]
        left -= float(needs[content].sum())
        open_ &= ~content
    last = np.where(open_, claims, 0.0) if open_.any() else claims
    parts += max(left, 0.0) * last / last.sum()
    return parts


def expected_per_day(pool: Any) -> float:
    """Alerts a day to expect of a class by what is remembered; NaN in the first hour."""
    age = _age_days(pool)
    if age <= 1.0 / 24.0:
        return math.nan
    return float(reaching(pool["peaks"], float(pool["boundary"]))) / days_remembered(age)


def carry_pools(names: Sequence[str], pools: NDArray[Any], new_names: Sequence[str]) -> NDArray[Any]:
    """The pools of other definitions: classes keep theirs by name."""
    carried = np.zeros(len(new_names), POOL)
    for at, name in enumerate(new_names):
        if name in names:
            carried[at] = pools[names.index(name)]
    return carried


def wrong_pools(pools: NDArray[Any]) -> str | None:
    """What is wrong with pools that come from outside, if anything is."""
    times = np.concatenate([pools["since_us"], pools["as_of_us"]])
    if times.size and not (times.min() >= 0 and times.max() <= 2**56):
        return "a budget of a time that there is not"
    numbers = np.concatenate([pools[name].ravel() for name in ("allowed", "daily", "boundary", "spent", "peaks")])
    if not (np.isfinite(numbers) & (numbers >= 0.0)).all():
        return "a budget that is no number"
    return None

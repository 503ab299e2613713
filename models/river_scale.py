"""River's scores on the scale where 1.0 is the boundary.

A raw score of river's means what its model makes of it. Between 0 and 1 it is taken for a share of what is usual, and
its surprise is −ln(1 − raw): a GaussianScorer's is then −ln p, and what is ten times as rare is 2.3 more. Every other
raw score is its own surprise. The boundary is a given raw score's surprise, or comes from the model's own tail: beyond
its highest surprises the tail goes on exponentially (peaks over a threshold, Siffer et al., KDD 2017, with the shape
parameter 0), and the boundary is where one reading in 100,000 would be. Order statistics give the tail: of an epoch's
`k` highest, the lowest is where it begins, and the middle one how fast it falls (A. Rényi, "On the theory of order
statistics", 1953), so that a few readings that are far out do not move it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_NOTHING_LEFT = 1e-15  # of 1 − raw: floats next to 1.0 are farther apart than numbers smaller than this
_LEAST = 1.0  # surprise of a score between 0 and 1: whatever is usual, a raw score of 0.63 is no anomaly
_RARITY = 1e-5  # share of readings beyond the boundary
_SMOOTHING = 8  # epochs
_HIGHEST = 1e9
_MOST_RAW = 1e100  # what is made of it stays finite


def kept(epoch: int) -> int:
    """How many of an epoch's highest surprises are kept."""
    return max(8, epoch // 32)


def surprise(raw: float, *, unit: bool) -> float:
    """At least 0.0, and finite. unit: the raw score is between 0 and 1. What is no score, or negative, counts as 0.

    >>> surprise(0.99, unit=True), surprise(3.0, unit=False), surprise(float("nan"), unit=False)
    (4.605170185988091, 3.0, 0.0)
    """
    if not 0.0 < raw < math.inf:
        return 0.0
    return -math.log(max(1.0 - raw, _NOTHING_LEFT)) if unit else min(raw, _MOST_RAW)


def score_of(found: float, boundary: float) -> float:
    """A surprise on the common scale; 0.0 where no boundary is known."""
    return min(found / boundary, _HIGHEST) if boundary > 0.0 else 0.0


def boundary_of(row: Any, epoch: int, *, unit: bool) -> float:
    """The surprise that scores 1.0, by the tail; 0.0 as long as none is known. epoch: readings."""
    if row["epochs"] <= 0:
        return 0.0
    beyond = math.log(kept(epoch) / (epoch * _RARITY))
    return max(float(row["tail"]) + float(row["excess"]) * beyond, _LEAST if unit else 0.0)


def keep_highest(row: Any, found: float) -> None:
    """A surprise, to be kept if it is among the epoch's highest."""
    top = row["top"]
    lowest = int(top.argmin())
    if found > top[lowest]:
        top[lowest] = found


def end_epoch(row: Any) -> None:
    """Learn the tail from an epoch's highest surprises."""
    top = np.sort(row["top"])[::-1]
    k = top.size
    j = k // 2
    begin = float(top[-1])
    excess = (float(top[j - 1]) - begin) / sum(1.0 / i for i in range(j, k))
    row["epochs"] = min(max(int(row["epochs"]), 0) + 1, _SMOOTHING)
    weight = 1.0 / int(row["epochs"])
    row["tail"] += weight * (begin - float(row["tail"]))
    row["excess"] += weight * (excess - float(row["excess"]))
    row["top"] = 0.0

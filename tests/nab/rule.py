"""From scores to detections: which of the rows beyond the boundary would open an alert.

What is beyond the boundary stays there for a while and comes back, and is one alert all the same; who alerts again and
again must be the more unusual for the next one. A stand-in for what the worker does with calibrated scores, on a plant
of one sensor that never spends its budget.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

REST = 50
"""Readings after an alert in which there is no other one, ..."""
WORSE = 5.0
"""... unless it is for something so many times as bad."""
GROWTH = 1.3
"""How much more unusual the next one must be for each alert of the last day, which fade with that time constant."""
_DAY_US = 86_400_000_000.0


@kernel
def opening(
    score: NDArray[np.float64], at_us: NDArray[np.int64], boundary: float, rest: int, worse: float, growth: float
) -> NDArray[np.bool_]:
    """Which rows of one sensor open an alert, shape (rows,)."""
    found = np.zeros(score.size, np.bool_)
    alerts, first, since, last_us = 0.0, 0.0, rest + 1, at_us[0]
    for i in range(score.size):
        since += 1
        own = score[i] / boundary
        if own < 1.0:
            continue
        alerts *= math.exp(-max(at_us[i] - last_us, 0) / _DAY_US)
        last_us = max(at_us[i], last_us)
        own /= growth**alerts
        if own < 1.0 or (since <= rest and own <= worse * first):
            continue
        found[i] = True
        alerts += 1.0
        first, since = own, 0
    return found


def detections(score: NDArray[np.float64], at_us: NDArray[np.int64], boundary: float = 1.0) -> NDArray[np.bool_]:
    """As `opening`, by the rule as it is."""
    found: NDArray[np.bool_] = opening(score, at_us, boundary, REST, WORSE, GROWTH)
    return found

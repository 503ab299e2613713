"""Short mean against a long window: whether the last readings together are unlikely, though none of them alone is.

The tail probability of a short mean in the distribution that a long window has shown. Of the value itself rather than
of a prediction's error: without a model of the plant the best prediction is the last reading, and its error is deaf to
whatever stays. And against the spread of the short mean's own distance from the long one rather than the values' spread
over √n: readings of one sensor depend on each other, and only the distance itself shows by how much. The score is the
distance in standard deviations, not the probability, which is 0.0 long before the ranking of scores ends.

Source: S. Ahmad, A. Lavin, S. Purdy, Z. Agha, "Unsupervised real-time anomaly detection for streaming data",
Neurocomputing 262, 2017, section 3.2, with exponential windows after S. W. Roberts, "Control Chart Tests Based on
Geometric Moving Averages", Technometrics 1, 1959. Cost: some 20 ns a reading, 72 bytes a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.compiled import bank, kernel
from models.options import at_least_2, positive
from models.recurring import RECURRING, give_way
from models.resolution import see_move

_USUAL_SIGMAS = 3.0
_FARTHEST = 2.0  # one reading moves the short mean so many boundaries away at most
_LOST = 0.5

_STATE = np.dtype(
    [
        ("seen", np.int64),
        ("short", np.float64),
        ("long", np.float64),
        ("variance", np.float64),  # of the short mean's distance from the long one
        ("outside", np.float64),  # share of the recent readings that scored beyond the boundary
        ("last", np.float64),
        ("resolution", np.float64),
        *RECURRING,
    ]
)


@kernel
def _sigma(variance: float, resolution: float, alpha: float) -> float:
    """A quantised sensor's smallest step is the least that can mean anything; a mean resolves finer."""
    sigma: float = max(np.sqrt(variance), resolution * np.sqrt(alpha / (2.0 - alpha)))
    return sigma


def _step(row: Any, ts_us: int, value: float, params: NDArray[np.float64]) -> float:
    alpha, beta, boundary_sigmas = params[0], params[1], params[2]
    warm_up, patience = params[3], params[4]
    if row["seen"] == 0:
        row["short"] = value
        row["long"] = value
        row["variance"] = 0.0
        row["outside"] = 0.0
        row["last"] = value
        row["seen"] = 1
        return 0.0
    sigma = _sigma(row["variance"], row["resolution"], alpha)
    distance = row["short"] + alpha * (value - row["short"]) - row["long"]
    score = 0.0
    usual = distance
    lost = False
    if row["seen"] >= warm_up and sigma > 0.0:
        boundary = boundary_sigmas * sigma
        score = abs(distance) / boundary
        row["outside"] += ((1.0 if score > 1.0 else 0.0) - row["outside"]) / patience
        lost = row["outside"] > _LOST
        # A sentinel must not stay in the mean for longer than any other spike would.
        distance = min(max(distance, -_FARTHEST * boundary), _FARTHEST * boundary)
        usual = min(max(distance, -_USUAL_SIGMAS * sigma), _USUAL_SIGMAS * sigma)
    gain = max(beta, 1.0 / (row["seen"] + 1.0))
    row["short"] = row["long"] + distance
    row["long"] += gain * usual
    row["variance"] = (1.0 - gain) * (row["variance"] + gain * usual * usual)
    see_move(row, abs(value - row["last"]))
    row["last"] = value
    # What is outside more often than not is the usual now.
    row["seen"] = 0 if lost else row["seen"] + 1
    return give_way(row, min(score, 1e9))


def _band(row: Any, params: NDArray[np.float64]) -> tuple[float, float]:
    alpha = params[0]
    sigma = _sigma(row["variance"], row["resolution"], alpha)
    if row["seen"] < params[3] or sigma == 0.0:
        return np.nan, np.nan
    # The readings that bring the short mean to the boundary.
    room = params[2] * sigma * (1.0 + row["extra"])
    centre = row["short"] + (row["long"] - row["short"]) / alpha
    return centre - room / alpha, centre + room / alpha


_COMPILED, _BAND, _RUN = bank(_step, _band)


@dataclass(frozen=True, slots=True)
class ShortLong:
    """Options of the short mean against a long window.

    short: readings that the short mean is over, at least 2.
    long: readings of the long window, more than `short`.
    boundary_sigmas: the short mean's distance that scores 1.0, in standard deviations of that distance.
    warm_up: readings before anything is scored.
    patience: the model starts anew when more than half of about so many readings were outside.

    >>> model = ShortLong()
    >>> row = np.zeros(1, model.state)[0]
    >>> usual = [model.step(row, 0, 20.0 + i * 7 % 5, model.params) for i in range(1_000)]
    >>> shifted = [model.step(row, 0, 24.0 + i * 7 % 5, model.params) for i in range(20)]
    >>> max(usual) < 1.0 < shifted[-1]
    True
    """

    short: int = 20
    long: int = 2_000
    boundary_sigmas: float = 6.5
    warm_up: int = 400
    patience: int = 300

    state: ClassVar[np.dtype[Any]] = _STATE
    step: ClassVar[Any] = staticmethod(_COMPILED)
    band: ClassVar[Any] = staticmethod(_BAND)
    run: ClassVar[Any] = staticmethod(_RUN)

    def __post_init__(self) -> None:
        if not 2 <= self.short < self.long:
            raise ValueError("short must be at least 2 readings, and less than long")
        positive(boundary_sigmas=self.boundary_sigmas)
        at_least_2(warm_up=self.warm_up, patience=self.patience)

    @property
    def params(self) -> NDArray[np.float64]:
        """The windows as weights of the newest reading, boundary_sigmas, warm_up, patience."""
        weights = [2.0 / (self.short + 1.0), 2.0 / (self.long + 1.0)]
        return np.array([*weights, self.boundary_sigmas, self.warm_up, self.patience], np.float64)

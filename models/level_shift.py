"""Level shift: a two-sided cumulative sum of what each reading is off its expected value, in units of the noise.

The sums grow while readings stay on one side by more than the allowance, and fall back to zero otherwise: a shift too
small for any single reading adds up within a few. Expected is the long-run level plus what the reading before foretells
(an autoregression of order 1, learned): without it every slow wave would count as one shift after another, as sums take
dependent readings for evidence. One reading adds a bounded amount, so a spike is no shift.

Source: E. S. Page, "Continuous Inspection Schemes", Biometrika 41, 1954; residuals of an autoregression after L. C.
Alwan, H. V. Roberts, "Time-Series Modeling for Statistical Process Control", J. Bus. Econ. Stat. 6, 1988.
Cost: some 35 ns a reading, 104 bytes a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.compiled import bank
from models.options import at_least_2, positive, weight
from models.recurring import RECURRING, give_way
from models.resolution import see_move

_USUAL_SIGMAS = 3.0
_LARGEST_SIGMAS = 4.0  # what one reading adds at most
_FULL = 2.0  # the sums end at so many thresholds, so that they fall back soon when the level does

_STATE = np.dtype(
    [
        ("seen", np.int64),
        ("outside", np.int64),  # readings in a row that scored beyond the boundary
        ("mean", np.float64),
        ("variance", np.float64),
        ("covariance", np.float64),  # of a reading and the one before
        ("noise", np.float64),  # variance of what the one before does not foretell
        ("before", np.float64),  # the last reading's deviation, bounded
        ("up", np.float64),
        ("down", np.float64),
        ("last", np.float64),
        ("resolution", np.float64),
        *RECURRING,
    ]
)


def _step(row: Any, ts_us: int, value: float, params: NDArray[np.float64]) -> float:
    alpha, allowance, threshold = params[0], params[1], params[2]
    warm_up, patience = params[3], params[4]
    if row["seen"] == 0:
        row["outside"] = 0
        row["mean"] = value
        row["variance"] = 0.0
        row["covariance"] = 0.0
        row["noise"] = 0.0
        row["before"] = 0.0
        row["up"] = 0.0
        row["down"] = 0.0
        row["last"] = value
        row["seen"] = 1
        return 0.0
    # How much of a deviation is left at the next reading.
    kept = 0.0
    if row["variance"] > 0.0:
        kept = min(max(row["covariance"] / row["variance"], 0.0), 1.0)
    deviation = value - row["mean"]
    surprise = deviation - kept * row["before"]
    # A quantised sensor at rest has no noise; its smallest step is the least that can mean anything.
    sigma = max(np.sqrt(row["noise"]), row["resolution"])
    score = 0.0
    if row["seen"] >= warm_up and sigma > 0.0:
        sigmas = min(max(surprise / sigma, -_LARGEST_SIGMAS), _LARGEST_SIGMAS)
        row["up"] = min(max(row["up"] + sigmas - allowance, 0.0), _FULL * threshold)
        row["down"] = min(max(row["down"] - sigmas - allowance, 0.0), _FULL * threshold)
        score = max(row["up"], row["down"]) / threshold
        row["outside"] = row["outside"] + 1 if score > 1.0 else 0
        # What is far out teaches, and foretells, only as much as the rim of the usual. The rim of what was foretold: a
        # slow wave may go as far as it likes.
        surprise = min(max(surprise, -_USUAL_SIGMAS * sigma), _USUAL_SIGMAS * sigma)
        deviation = kept * row["before"] + surprise
    # A shift that is not over must not be learned as noise, nor as waves.
    gain = max(alpha, 1.0 / (row["seen"] + 1.0)) if score <= 1.0 else 0.0
    row["mean"] += gain * deviation
    row["variance"] += gain * (deviation * deviation - row["variance"])
    row["covariance"] += gain * (deviation * row["before"] - row["covariance"])
    row["noise"] += gain * (surprise * surprise - row["noise"])
    row["before"] = deviation
    see_move(row, abs(value - row["last"]))
    row["last"] = value
    # A level that lasts is the usual one now.
    row["seen"] = 0 if row["outside"] >= patience else row["seen"] + 1
    return give_way(row, score)


def _band(row: Any, params: NDArray[np.float64]) -> tuple[float, float]:
    allowance, threshold = params[1], params[2]
    sigma = max(np.sqrt(row["noise"]), row["resolution"])
    if row["seen"] < params[3] or sigma == 0.0:
        return np.nan, np.nan
    kept = 0.0
    if row["variance"] > 0.0:
        kept = min(max(row["covariance"] / row["variance"], 0.0), 1.0)
    expected = row["mean"] + kept * row["before"]
    # What brings a sum to its threshold; no single reading can where it is far below, and any does where it is full.
    width = 1.0 + row["extra"]
    if width >= _FULL:
        return -np.inf, np.inf
    high = width * threshold + allowance - row["up"]
    low = width * threshold + allowance - row["down"]
    room_up = np.inf if high >= _LARGEST_SIGMAS else -np.inf if high < -_LARGEST_SIGMAS else high * sigma
    room_down = np.inf if low >= _LARGEST_SIGMAS else -np.inf if low < -_LARGEST_SIGMAS else low * sigma
    return expected - room_down, expected + room_up


_COMPILED, _BAND, _RUN = bank(_step, _band)


@dataclass(frozen=True, slots=True)
class LevelShift:
    """Options of the level shift.

    alpha: weight of the newest reading in level and noise, 0 < alpha < 1; memory is about 2 / alpha readings.
    allowance: what a reading may be off without adding to a sum, in standard deviations of the noise; half of the
        smallest shift that matters.
    threshold: the sum that scores 1.0, in standard deviations of the noise. Scores end at 2.0.
    warm_up: readings before anything is scored.
    patience: after so many readings in a row beyond the boundary the model starts anew from the level they have.

    >>> model = LevelShift()
    >>> row = np.zeros(1, model.state)[0]
    >>> usual = [model.step(row, 0, 20.0 + i * 7 % 5, model.params) for i in range(500)]
    >>> shifted = [model.step(row, 0, 25.0 + i * 7 % 5, model.params) for i in range(20)]
    >>> max(usual) < 1.0 < shifted[-1]
    True
    """

    alpha: float = 0.002
    allowance: float = 0.75
    threshold: float = 15.0
    warm_up: int = 300
    patience: int = 200

    state: ClassVar[np.dtype[Any]] = _STATE
    step: ClassVar[Any] = staticmethod(_COMPILED)
    band: ClassVar[Any] = staticmethod(_BAND)
    run: ClassVar[Any] = staticmethod(_RUN)

    def __post_init__(self) -> None:
        weight(alpha=self.alpha)
        if not self.allowance >= 0.0:
            raise ValueError("allowance must not be negative")
        positive(threshold=self.threshold)
        at_least_2(warm_up=self.warm_up, patience=self.patience)

    @property
    def params(self) -> NDArray[np.float64]:
        """alpha, allowance, threshold, warm_up, patience."""
        return np.array([self.alpha, self.allowance, self.threshold, self.warm_up, self.patience], np.float64)

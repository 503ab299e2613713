"""NAB's scoring: early detections inside a labelled window earn, those outside of every window cost.

What is done here was written from the paper: A. Lavin, S. Ahmad, "Evaluating Real-time Anomaly Detection Algorithms:
the Numenta Anomaly Benchmark", ICMLA 2015. Scores are of a whole corpus: 100 for every window found at once and
nothing else, 0 for no detection at all; below 0 for those who cry wolf.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Windows = NDArray[np.int64]
"""First and last row of each, shape (windows, 2)."""

Scores = NDArray[np.float64]

PROBATION_SHARE, PROBATION_ROWS = 0.15, 750
_FAR = 3.0  # windows' widths behind a window, from where on a false alarm costs all of its weight


class Profile(NamedTuple):
    """What a window found at once earns, what a false alarm costs and what a missed window costs."""

    hit: float
    false_alarm: float
    miss: float


STANDARD = Profile(1.0, 0.11, 1.0)
LOW_FP = Profile(1.0, 0.22, 1.0)
LOW_FN = Profile(1.0, 0.11, 2.0)


class Best(NamedTuple):
    """The threshold that suits a profile best, and the score with it."""

    threshold: float
    score: float


def _sigmoid(position: Scores) -> Scores:
    return 2.0 / (1.0 + np.exp(5.0 * position)) - 1.0


def probation(rows: int) -> int:
    """How many rows at the beginning of a series are not judged."""
    return min(int(PROBATION_SHARE * rows), PROBATION_ROWS)


def worth_in(window: NDArray[np.int64], row: NDArray[np.int64]) -> Scores:
    """What a detection in these rows of a window is worth: 1 in its first row, less the later it comes."""
    first, last = window
    position = -(last - row + 1.0) / (last - first + 1.0)
    return _sigmoid(position) / _sigmoid(np.array(-1.0))


def cost_behind(windows: Windows, row: NDArray[np.int64]) -> Scores:
    """What a detection in these rows outside of all windows costs: next to nothing right behind one, at most 1."""
    found = np.ones(row.size)
    if not len(windows):
        return found
    before = np.searchsorted(windows[:, 1], row) - 1
    first, last = windows[np.maximum(before, 0)].T
    distance = (row - last) / np.maximum(last - first, 1)
    near = (before >= 0) & (distance <= _FAR)
    found[near] = -_sigmoid(distance[near])
    return found


def _judged(rows: int, windows: Windows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(rows that count, those of them outside of every window)."""
    counts = np.ones(rows, np.bool_)
    counts[: probation(rows)] = False
    outside = counts.copy()
    for first, last in windows:
        outside[first : last + 1] = False
    return counts, outside


def gain(detected: NDArray[np.bool_], windows: Windows, profile: Profile) -> float:
    """What detections in a series gain, against none at all."""
    counts, outside = _judged(detected.size, windows)
    found = -profile.false_alarm * float(cost_behind(windows, np.flatnonzero(detected & outside)).sum())
    for window in windows:
        first, last = window
        row = first + np.flatnonzero((detected & counts)[first : last + 1])
        if row.size:
            found += profile.miss + profile.hit * float(worth_in(window, row).max())
    return found


def false_alarms(detected: NDArray[np.bool_], windows: Windows) -> int:
    """Detections outside of every window."""
    return int((detected & _judged(detected.size, windows)[1]).sum())


def relative(raw: float, windows: int, profile: Profile) -> float:
    """NAB's score of a gain: 100 for every window found at once and no false alarm.

    Without any window there is nothing to relate to: the gain itself, which is at most 0.
    """
    return 100.0 * raw / (windows * (profile.hit + profile.miss)) if windows else raw


def _gains(score: Scores, windows: Windows, profile: Profile) -> tuple[Scores, Scores]:
    """(thresholds, what is gained when they fall to these) of one series, against no detection at all."""
    counts, outside = _judged(score.size, windows)
    thresholds, gains = [], []
    for window in windows:
        first, last = window
        row = first + np.flatnonzero(counts[first : last + 1])
        row = row[np.argsort(-score[row], kind="stable")]
        # The best detection counts, so falling thresholds add what is better than all before.
        best = np.maximum.accumulate(np.concatenate([[0.0], worth_in(window, row)]))
        gain = profile.hit * np.diff(best)
        gain[:1] += profile.miss
        thresholds.append(score[row])
        gains.append(gain)
    (row,) = np.nonzero(outside)
    thresholds.append(score[row])
    gains.append(-profile.false_alarm * cost_behind(windows, row))
    return np.concatenate(thresholds), np.concatenate(gains)


def score_at(series: Sequence[tuple[Scores, Windows]], threshold: float, profile: Profile) -> float:
    """The score of a corpus with this threshold. series: a score per row, and the windows, of each."""
    raw = sum(gain(score >= threshold, windows, profile) for score, windows in series)
    return relative(raw, sum(len(windows) for _, windows in series), profile)


def best_threshold(series: Sequence[tuple[Scores, Windows]], profile: Profile) -> Best:
    """The one threshold for a whole corpus with the highest score; infinite where silence is best."""
    parts = [_gains(score, windows, profile) for score, windows in series]
    thresholds = np.concatenate([one for one, _ in parts])
    order = np.argsort(-thresholds, kind="stable")
    thresholds = thresholds[order]
    raw = np.cumsum(np.concatenate([one for _, one in parts])[order])
    # Of equal scores, all are detections or none is.
    ends = np.flatnonzero(np.append(thresholds[1:] < thresholds[:-1], True))
    at = ends[np.argmax(raw[ends])]
    if raw[at] <= 0.0:
        return Best(np.inf, 0.0)
    count = sum(len(windows) for _, windows in series)
    return Best(float(thresholds[at]), relative(float(raw[at]), count, profile))

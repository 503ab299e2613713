"""What a plot needs of every sensor, in bounded memory: per piece of time the least and the greatest value, when they
were, and the highest score. A spike of one reading is in the picture however long the recording is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deploy.backtest.replay import Found
from models.compiled import kernel
from stream.fold.gate import FOLDED, OUT_OF_ORDER

BUCKET = np.dtype(
    [
        ("rows", np.int64),
        ("low", np.float64),
        ("low_us", np.int64),
        ("high", np.float64),
        ("high_us", np.int64),
        ("score", np.float64),
        ("score_us", np.int64),
        ("band_low", np.float64),  # of the row with the highest score: what is outside its band stays outside
        ("band_high", np.float64),
    ]
)
_BYTES = 192 * 2**20
_MOST, _FEWEST = 1_500, 16


@kernel
def gather(
    buckets: Any,
    sensor: NDArray[np.int32],
    ts_us: NDArray[np.int64],
    value: NDArray[np.float64],
    verdict: NDArray[np.uint8],
    score: NDArray[np.float64],
    band: NDArray[np.float64],
    first_us: NDArray[np.int64],
    width_us: NDArray[np.int64],
) -> None:
    """Put rows into the buckets of their sensors, shape (sensors, buckets); times before or after are left out.

    first_us, width_us: where a sensor's first bucket begins, and how long each is, shape (sensors,).
    """
    for i in range(sensor.size):
        seen = verdict[i] == FOLDED or verdict[i] == OUT_OF_ORDER
        if not seen or sensor[i] >= buckets.shape[0]:
            continue
        place = (ts_us[i] - first_us[sensor[i]]) // width_us[sensor[i]]
        if place < 0 or place >= buckets.shape[1]:
            continue
        bucket = buckets[sensor[i], place]
        x = value[i]
        if bucket["rows"] == 0 or x < bucket["low"]:
            bucket["low"] = x
            bucket["low_us"] = ts_us[i]
        if bucket["rows"] == 0 or x > bucket["high"]:
            bucket["high"] = x
            bucket["high_us"] = ts_us[i]
        if bucket["rows"] == 0 or score[i] > bucket["score"]:
            bucket["score"] = score[i]
            bucket["score_us"] = ts_us[i]
            bucket["band_low"] = band[i, 0]
            bucket["band_high"] = band[i, 1]
        bucket["rows"] += 1


class Curve(NamedTuple):
    """Of one sensor. at_us, value: at most two points a bucket, in order of time. score_us, score, low, high: one a
    bucket; the band NaN where none was known.
    """

    at_us: NDArray[np.int64]
    value: NDArray[np.float64]
    score_us: NDArray[np.int64]
    score: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class Curves:
    """Collects while rows are folded."""

    def __init__(self, first_us: NDArray[np.int64], last_us: NDArray[np.int64]) -> None:
        """Times of the first and the last reading of each sensor; beyond some 100,000 the rest have no curve."""
        sensors = len(first_us)
        places = min(_MOST, max(_FEWEST, _BYTES // (BUCKET.itemsize * max(1, sensors))))
        sensors = min(sensors, _BYTES // (BUCKET.itemsize * places))
        self._first_us = first_us
        self._width_us = np.maximum(last_us - first_us, 0) // places + 1
        self._buckets = np.zeros((sensors, places), BUCKET)

    def take(self, found: Found) -> None:
        """The rows of a record."""
        gather(
            self._buckets, found.rows.sensor, found.rows.ts_us, found.rows.value, found.verdict, found.score,
            found.band, self._first_us, self._width_us,
        )  # fmt: skip

    def of(self, sensor: int) -> Curve | None:
        """A sensor's; None if it has none."""
        if sensor >= len(self._buckets):
            return None
        used = self._buckets[sensor]
        used = used[used["rows"] > 0]
        if not used.size:
            return None
        two = np.stack([used["low_us"], used["high_us"]], axis=1)
        values = np.stack([used["low"], used["high"]], axis=1)
        order = np.argsort(two, axis=1, kind="stable")
        # One reading is one point, not the least and the greatest.
        apart = np.stack([np.ones(len(used), np.bool_), used["low_us"] != used["high_us"]], axis=1).ravel()
        return Curve(
            np.take_along_axis(two, order, 1).ravel()[apart],
            np.take_along_axis(values, order, 1).ravel()[apart],
            used["score_us"],
            used["score"],
            used["band_low"],
            used["band_high"],
        )

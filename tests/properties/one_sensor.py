"""The sensors that tests of quantiles have, and how far off a rank is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.contract.class_settings import ClassSettings
from ingest.contract.classes import Reporting
from stream.fold.gate import FOLDED
from stream.fold.plan import LIMITS
from stream.fold.quantiles import Sketches, fold_sketches, read_sketches
from stream.fold.rows import SENSOR
from tests.unit.stream.logs import (
    HOUR_US,
    MINUTE_US,
    PLANT,
    START_US,
)

WINDOWS_US = (MINUTE_US, 5 * MINUTE_US)
PERIODIC = ClassSettings(
    name="periodic", match=["**"], windows=["1m", "5m"], quantiles=["1m", "5m"], models=[], rules=[]
)
ON_CHANGE = PERIODIC.model_copy(update={"name": "on-change", "reporting": Reporting.ON_CHANGE})
WITH_QUANTILES = tuple(one.model_copy(update={"quantiles": one.windows}) if one.kind.numeric else one for one in PLANT)
SHARES = (0.5, 0.9, 0.99)
ALLOWED = 0.01

Values = NDArray[np.float64]
BEGIN_US = START_US // HOUR_US * HOUR_US


def rank_errors(found: NDArray[np.float64], values: Values, weights: NDArray[Any] | None = None) -> list[float]:
    """By how much the ranks of what was found miss what was asked for, as shares of all."""
    weights = np.ones(len(values)) if weights is None else weights
    total = weights.sum()
    return [
        max(0.0, weights[values < one].sum() / total - share, share - weights[values <= one].sum() / total)
        for one, share in zip(found.tolist(), SHARES, strict=True)
    ]


class OneSensor:
    """A periodic sensor's quantiles over an hour, without the rest of the fold."""

    def __init__(self) -> None:
        self.sketches = Sketches(np.array([[HOUR_US]]), 1)
        self.sensors, self._limits = np.zeros(1, SENSOR), np.zeros(1, LIMITS)
        self._class_of = np.zeros(1, np.int32)
        self.sketches.give(0, 0, self.sensors[0])

    def see(self, ts_us: NDArray[np.int64], values: Values) -> None:
        rows = len(ts_us)
        fold_sketches(
            self.sketches, self.sensors, self._class_of, self._limits, np.zeros(rows, np.int32), ts_us, values,
            np.full(rows, FOLDED, np.uint8),
        )  # fmt: skip
        self.sensors["last_us"] = ts_us.max()

    def quantiles(self) -> NDArray[np.float64]:
        found = read_sketches(self.sketches, self.sensors, self._class_of, self._limits, 0, HOUR_US, 0)
        return np.asarray(found[0])

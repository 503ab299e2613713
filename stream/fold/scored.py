"""What the fold found of the rows of a record, for those who judge models: a backtest, a scorecard."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.contract.readings import Readings


class Scored(NamedTuple):
    """One entry per row in each column, in the order in which the rows were folded.

    slot: -1 beyond the budget of sensors. verdict: `gate.Verdict`; models saw only rows that are FOLDED. score: 0.0 for
    the others. model: number of the one that set the score in `Plan.models`, -1 for none. expected: the band before
    the row was known, shape (rows, 2); NaN where nothing was. width: what the model's own score was divided by; 0.0
    where there was none.
    """

    readings: Readings
    slot: NDArray[np.int32]
    verdict: NDArray[np.uint8]
    score: NDArray[np.float64]
    model: NDArray[np.int16]
    expected: NDArray[Any]
    width: NDArray[np.float64]

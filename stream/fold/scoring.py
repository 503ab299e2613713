"""From folded rows to scores: masks, the models' banks, then calibration and levels together."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.fold.calibration import ALLOWANCE, calibrate
from stream.fold.gate import FOLDED
from stream.fold.plan import Plan
from stream.fold.relearning import taught_and_held
from stream.fold.repeating import told_of_repeats
from stream.fold.state import PartitionState


class RowScores(NamedTuple):
    """One entry per row in each column.

    seen: verdicts, MASKED where a row is in maintenance. score: calibrated. by: the model that set it, -1 for none.
    expected: its band, shape (rows, 2). allowance: see `calibration.ALLOWANCE`.
    """

    seen: NDArray[np.uint8]
    score: NDArray[np.float64]
    by: NDArray[np.int16]
    expected: NDArray[np.float64]
    allowance: NDArray[Any]


def score_rows(
    plan: Plan,
    state: PartitionState,
    slot: NDArray[np.int32],
    ts_us: NDArray[np.int64],
    value: NDArray[np.float64],
    verdict: NDArray[np.uint8],
    raw: NDArray[np.float64],
) -> RowScores:
    """Let models score rows and learn from them. value: as folded, counters unwrapped; raw: as they came."""
    rows = slot.size
    seen = state.masks.of_rows(slot, ts_us, verdict)
    taught, held = taught_and_held(state, slot, value, seen)
    score, by, expected = np.zeros(rows), np.empty(rows, np.int16), np.empty((rows, 2))
    by.fill(-1)
    expected.fill(np.nan)
    for number, (used, bank, run) in enumerate(zip(plan.models, state.banks, state.runs, strict=True)):
        told = told_of_repeats(plan, state, used, slot, taught)
        run(
            bank, slot, ts_us, value, told, state.class_of, used.uses, used.params, number, score, by, expected
        )  # fmt: skip
    allowance = np.zeros(rows, ALLOWANCE)
    busy = calibrate(
        state.sensors, state.pools, state.levels, plan.pool_of, state.class_of, plan.limits, slot, ts_us, value, seen,
        held, score, by, expected, allowance,
    )  # fmt: skip
    state.may_be_due |= busy > 0
    if plan.limits["counter"].any():
        # Bands beside the value as it came.
        turned = np.flatnonzero((seen == FOLDED) & (value != raw))
        expected[turned] -= (value[turned] - raw[turned])[:, None]
    return RowScores(seen, score, by, expected, allowance)

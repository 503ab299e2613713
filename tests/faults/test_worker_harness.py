"""The harness of the workers' tests finds what is wrong, and says it."""

from __future__ import annotations

import numpy as np

from stream.fold.state import Frozen
from tests.faults.worker_truth import different


def test_a_difference_is_found_and_named() -> None:
    one = np.zeros(2, [("mean", "f8"), ("n", "i4", 2)])
    other = one.copy()
    other["mean"][1], other["n"][0, 1] = -0.0, 7
    frozen = [Frozen(3, 0, ["a/b", "a/c"], {}, {}, {"panes": array}) for array in (one, other)]
    assert list(different(frozen[0], frozen[1])) == [
        "panes.mean[1] of a/c: np.float64(0.0), not np.float64(-0.0)",
        "panes.n[0, 1] of a/b: np.int32(0), not np.int32(7)",
    ]
    assert not list(different(frozen[0], frozen[0]))

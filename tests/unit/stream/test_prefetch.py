from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.prefetch import AHEAD, ahead, prefetch


@numba.njit  # type: ignore[untyped-decorator]
def ask(rows: Any, at: int) -> None:
    prefetch(rows, at)


@given(st.integers(0, 4 * AHEAD))
def test_each_row_is_asked_for_once_and_as_early_as_can_be(rows: int) -> None:
    asked = [(k, i) for i in range(rows) for k in ahead(i, rows)]
    assert asked == [(k, max(0, k - AHEAD)) for k in range(rows)]


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
@pytest.mark.parametrize("dtype", [np.float64, [("a", np.int64, (13,))]])
def test_asking_for_rows_changes_none_wherever_they_are(shape: tuple[int, ...], dtype: Any) -> None:
    rows: NDArray[Any] = np.full(shape, 7, dtype)
    for at in (-1, 0, 2, 3, 10**9):
        prefetch(rows, at)
        ask(rows, at)
    assert (rows == np.full(shape, 7, dtype)).all()
    assert all("llvm.prefetch" in code for code in ask.inspect_llvm().values())

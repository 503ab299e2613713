"""What a model is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Model(Protocol):
    """An anomaly model: options as a frozen dataclass, state as rows of an array, one compiled step.

    `step(row, ts_us, value, params) -> score` scores a reading by what the row knew before, then learns from it. A
    score of 1.0 is the boundary for every model; 0.0 means nothing unusual or not known yet. Scores are finite and
    not negative. A fresh row is all zeros. Values handed to a step are finite and in order of time per row.
    """

    @property
    def state(self) -> np.dtype[Any]:
        """The row's fields; float64 and int64 only, so that interpreted and compiled agree to the bit."""
        ...

    @property
    def params(self) -> NDArray[np.float64]:
        """The options as numbers, shape (parameters,)."""
        ...

    @property
    def step(self) -> Callable[..., float]:
        """The compiled step."""
        ...

    @property
    def band(self) -> Callable[..., tuple[float, float]]:
        """The compiled `band(row, params) -> (low, high)`: where a reading would score at most 1.0.

        `band(row, ts_us, params)` where that depends on when it comes. NaN if unknown, infinite for no limit.
        """
        ...

    @property
    def run(self) -> Callable[..., None]:
        """The step's loop over a batch, see `models.compiled.bank`."""
        ...


def run_of(model: Model) -> Callable[..., None]:
    """The model's loop for one partition: its own, where it keeps objects beside its rows."""
    begin: Callable[[], Callable[..., None]] | None = getattr(model, "begin", None)
    return model.run if begin is None else begin()

"""What recurs is usual: a boundary that gives way to what comes again and again.

A motor that starts, a tank that is emptied, a valve: moves far beyond the noise, too rare for the spread to know them,
and yet no fault. When an excursion beyond the boundary is over, it moves the boundary outwards, by half of what that
lacked and never by more than half of what it was, so about five of a kind are reported and few of the rest. It comes
back within some 100,000 readings, so what recurs for a while is not forgiven for ever.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from models.compiled import kernel

_OVER = 0.5  # an excursion is over when the score is below this
_SHARE = 0.5  # of what was lacking
_MARGIN = 1.4
_MOST = 0.5
_FADING = 1e-5

RECURRING = [
    ("extra", np.float64),  # how much wider the boundary is than it was set, as a share of it
    ("peak", np.float64),  # the excursion's highest score by the boundary as set; 0: there is none
]
"""State of it: fields of a model's row."""


@kernel
def give_way(row: Any, score: float) -> float:
    """The score by the boundary that has given way; learns from it. score: by the boundary as set."""
    width: float = 1.0 + row["extra"]
    found = score / width
    if found > 1.0:
        row["peak"] = max(row["peak"], score)
    elif row["peak"] == 0.0:
        row["extra"] -= _FADING * row["extra"]
    elif found < _OVER:
        lacking = max(_MARGIN * row["peak"] - width, 0.0)
        row["extra"] += min(_SHARE * lacking, _MOST * width)
        row["peak"] = 0.0
    return found

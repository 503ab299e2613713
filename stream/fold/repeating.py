"""Of whom a model hears that is about repeated values.

Who reports on change repeats a value only when it has to, as with each birth of its device: a network that flaps would
make all that rests look stuck. A class need not say how its sensors report, so it is asked of each of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import ORDERLY, kernel
from stream.fold.gate import MASKED
from stream.fold.plan import Plan, UsedModel
from stream.fold.state import PartitionState


def told_of_repeats(
    plan: Plan, state: PartitionState, used: UsedModel, slot: NDArray[np.int32], taught: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """The verdicts as a model sees them, shape (rows,): `taught` itself, but for models with `of_repeats`."""
    if not getattr(used.model, "of_repeats", False) or not plan.limits["on_change"][used.uses].any():
        return taught
    told = taught.copy()
    _mask_on_change(state.sensors, slot, told)
    return told


@kernel
def _mask_on_change(sensors: Any, slot: NDArray[np.int32], told: NDArray[np.uint8]) -> None:
    for i in range(slot.size):
        if told[i] == ORDERLY and sensors[slot[i]]["on_change"] != 0:
            told[i] = MASKED

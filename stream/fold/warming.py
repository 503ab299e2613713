"""Who is still warming up: a sensor whose scores say nothing yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.fold.plan import Plan
from stream.fold.state import PartitionState


def warming(plan: Plan, state: PartitionState, slots: Sequence[int] | None = None) -> NDArray[np.bool_]:
    """Whether each of some sensors is warming up, shape (slots,): for those who explain, not for every reading.

    It is until it has had as many readings as its class's `warm_up`, and one of its models expects something. Without
    models that expect anything there is nothing to warm. slots: default all in use.
    """
    chosen = range(state.slots.rows) if slots is None else slots
    found = np.zeros(len(chosen), np.bool_)
    for at, slot in enumerate(chosen):
        of = int(state.class_of[slot])
        banks = [
            (used, bank[slot])
            for used, bank in zip(plan.models, state.banks, strict=True)
            # To one that waits for repeats any other value is fine: it never expects one.
            if used.uses[of] and not getattr(used.model, "of_repeats", False)
        ]
        if state.levels[slot]["seen"] < plan.limits[of]["warm_up"]:
            found[at] = True
        elif banks:
            next_us = int(state.sensors[slot]["last_us"]) + 1
            bands = [used.model.band(row, *_when(used.model.band, next_us), used.params[of]) for used, row in banks]
            found[at] = bool(np.isnan(bands).all())
    return found


def _when(band: Any, ts_us: int) -> tuple[int, ...]:
    """The time, for a model whose band depends on it."""
    plain = getattr(band, "py_func", band)
    return (ts_us,) if plain.__code__.co_argcount == 3 else ()

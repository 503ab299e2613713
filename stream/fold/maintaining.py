"""Maintenance windows at work: nobody is told anything about a machine under repair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream.fold.alerts import Transition
from stream.fold.explaining import DataQuality, said
from stream.fold.levels import EVENT_OPEN, Stage
from stream.fold.plan import Plan
from stream.fold.relearning import end_alerts
from stream.fold.state import PartitionState

_TO_TELL = (int(Stage.STEADY), *EVENT_OPEN)


def in_maintenance(state: PartitionState, at_us: int) -> NDArray[np.bool_]:
    """Whether each slot's sensor is in maintenance at a time, shape (slots in use,). Changes nothing."""
    return state.masks.at(at_us)


def end_masked(plan: Plan, state: PartitionState) -> list[Transition]:
    """End the open alerts of sensors that are in maintenance by the partition's clock; forget windows that are over."""
    if not state.masks.windows:
        return []
    state.masks.forget(state.now_us)
    masked, used = state.masks.at(state.now_us), state.slots.rows
    if not masked.any():
        return []
    masked &= (state.episodes[:used]["phase"] != 0).any(axis=1) | np.isin(state.levels[:used]["stage"], _TO_TELL)
    ended = [one for slot in np.flatnonzero(masked).tolist() for one in end_alerts(plan, state, slot)]
    return [replace(one, quality=said(DataQuality.MAINTENANCE)) for one in ended]

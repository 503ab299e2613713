"""How good each sensor's data are at the moment, for those who look at all sensors at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.contract.readings import Quality
from stream.fold.explaining import DataQuality
from stream.fold.levels import Stage
from stream.fold.plan import Plan
from stream.fold.state import PartitionState

SHOWN = tuple(one for one in DataQuality if one not in (DataQuality.BACKLOG, DataQuality.HELD))
"""What a sensor can have here. The others are an alert's: a value in force is as good as its reading was."""


def data_quality(plan: Plan, state: PartitionState) -> NDArray[np.int8]:
    """`DataQuality` of each slot's sensor by the partition's clock, shape (slots in use,); -1: it was never heard of.

    Of several the first of: maintenance, refused (the reading that came last), silent (it was told, or is about to be),
    uncertain, warming, good. Changes nothing.
    """
    used = state.slots.rows
    sensors, levels, class_of = state.sensors[:used], state.levels[:used], state.class_of[:used]
    modelled = np.zeros(len(plan.classes), np.bool_)
    for model in plan.models:
        modelled |= model.uses
    warming = (levels["seen"] < plan.limits["warm_up"][class_of]) | (levels["stage"] == Stage.CHANGED)
    heard = (sensors["shown_us"] > 0) | (sensors["refused"] != 0)
    found = np.select(
        [
            ~heard,
            state.masks.at(state.now_us),
            sensors["refused"] != 0,
            state.silences["leader"][:used] > 0,
            sensors["shown_quality"] == Quality.UNCERTAIN,
            warming & modelled[class_of],
        ],
        [
            -1,
            DataQuality.MAINTENANCE,
            DataQuality.REFUSED,
            DataQuality.SILENT,
            DataQuality.UNCERTAIN,
            DataQuality.WARMING,
        ],
        DataQuality.GOOD,
    )
    return found.astype(np.int8)

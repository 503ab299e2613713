"""Slots of sensors that are gone are given to others.

What counts is time in which the log went on, and the owner of a partition sees to it that it does, second by second.
What the partition's clock leaps over does not count, so neither a standstill of everything nor anybody's wrong clock
makes a partition forget.
"""

from __future__ import annotations

import numpy as np

from stream.fold.alerts import Transition
from stream.fold.clock import AWAY_US
from stream.fold.closing import Ends
from stream.fold.levels import EVENT_OPEN
from stream.fold.plan import Plan
from stream.fold.slots import FREE
from stream.fold.state import PartitionState

HOUR_US = 3_600_000_000


def silent_us(state: PartitionState, slot: int) -> int:
    """How long nothing was heard of a sensor, in time that counts."""
    return state.alive_us - int(state.heard_us[slot])


def alive_us(state: PartitionState, step_us: int) -> int:
    """`state.alive_us` after a step of the clock."""
    return state.alive_us + (step_us if 0 < step_us <= AWAY_US else 0)


def forget(plan: Plan, state: PartitionState, before_us: int) -> tuple[int, tuple[Transition, ...]]:
    """The clock moved on from before_us: when it crosses an hour, free the slots of those that are gone; how many, and
    the ends of their alerts.

    Kept are sensors with an open episode, unless all that it tells is their silence, and those whose last value still
    holds.
    """
    before = state.alive_us
    state.alive_us = alive_us(state, state.now_us - before_us)
    if before // HOUR_US == state.alive_us // HOUR_US:
        return 0, ()
    used = state.slots.rows
    gone = state.heard_us[:used] < state.alive_us - plan.definitions.forget_us
    is_open = state.episodes[:used]["phase"] != 0
    of_silence = plan.rule_rows["on_silence"][state.class_of[:used]] != 0
    gone &= ~(is_open & ~of_silence).any(axis=1) & ~np.isin(state.levels[:used]["stage"], EVENT_OPEN)
    rows = state.sensors[:used]
    staleness_us = plan.limits["staleness_us"][state.class_of[:used]]
    gone &= (rows["holds"] == 0) | (state.now_us - rows["last_now_us"] > staleness_us)
    slots = [slot for slot in np.flatnonzero(gone).tolist() if state.names[slot] != FREE]
    ends = Ends()
    for slot in slots:
        for at in np.flatnonzero(is_open[slot]).tolist():
            ends.add(
                plan, int(state.class_of[slot]), state.names[slot], rows[slot], at, state.episodes[slot, at],
                state.now_us,
            )  # fmt: skip
        state.retire(slot)
    return len(slots), ends.told(state)

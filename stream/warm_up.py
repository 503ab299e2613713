"""Compiling every kernel before the group is joined: no record waits for the compiler."""

from __future__ import annotations

import numpy as np

from ingest.contract.readings import Readings, Words
from ingest.contract.wire import ARROW, Envelope, Kind, encode_readings, headers_of
from stream.fold.alerts import Phase
from stream.fold.carrying import join_panes
from stream.fold.masks import Maintenance
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.plan import Plan
from stream.fold.state import PartitionState

_SENSORS = 300


def warm_up(plan: Plan, partitions: int) -> None:
    """Compile every kernel (or load it from the cache) on a state that is thrown away."""
    fold = PartitionFold(plan, partitions)
    at_us = np.array([1_700_000_000_000_000, 1_700_000_001_000_000], np.int64)
    nothing = np.zeros(_SENSORS, np.uint8)
    # So many that the tables of names grow.
    names = Words(np.arange(_SENSORS, dtype=np.int32), [f"warm/up/{at}" for at in range(_SENSORS)])
    readings = Readings(names, np.full(_SENSORS, at_us[0]), np.zeros(_SENSORS), nothing, nothing)
    # So that there is somebody to mask, and somebody to hold back.
    fold.state.masks.add(Maintenance("warm-up", "warm/up/1", int(at_us[0]), int(at_us[0]) + 1), 0)
    fold.state.may_hold = True
    for offset, kind in enumerate((Kind.READINGS, Kind.TICK)):
        fold.state.episodes["phase"][:1] = Phase.FIRING  # so that the tick has an episode to look at
        fold.state.silences["leader"][:1] = 1  # and a silence to end
        envelope = Envelope(kind, ARROW, "warm-up", offset, int(at_us[1]) + offset * 2_000_000, partitions)
        value = encode_readings(readings) if kind is Kind.READINGS else b""
        fold.fold(LogRecord(offset, headers_of(envelope), value))
    for window_us in {window for one in plan.classes.classes for window in one.windows}:
        fold.statistics(window_us)
        fold.quantiles(window_us)
    fold.unchanged_s()
    PartitionState.thaw(plan, fold.state.freeze())
    fold.state.slots.free(0)
    join_panes(plan, fold.state.panes[:1], fold.state.panes[:1])

"""What the product says to a series: the worker's own fold, with the settings of a plant that set nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deploy.registries import model_registry
from ingest.contract.class_settings import ANOMALY, EVERYTHING_ELSE
from ingest.contract.readings import Flag, Quality, Readings, Words
from ingest.contract.wire import ARROW, Envelope, Kind, encode_readings, headers_of
from stream.fold.alerts import Phase
from stream.fold.definitions import Definitions
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.plan import Plan, make_plan
from stream.fold.scored import Scored
from tests.nab.corpus import Labelled

ROWS = 500
"""Of a record; the result does not depend on it."""
FUTURE_US = 300_000_000


def default_plan() -> Plan:
    """What settings without a word on classes mean."""
    return make_plan(Definitions([EVERYTHING_ELSE], 1_000, FUTURE_US), model_registry())


def judged(one: Labelled, plan: Plan | None = None) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    """(score before calibration, number of the model that set it) of each row, as of the moment when it came.

    A sensor that was never heard of before. Rows that the gate keeps from models (the corpus has times that come twice)
    have a score of 0.0 and no model, which is -1.
    """
    found: list[Scored] = []
    fold = PartitionFold(plan or default_plan(), 1, watch=found.append)
    for offset, begin in enumerate(range(0, one.value.size, ROWS)):
        rows = slice(begin, min(begin + ROWS, one.value.size))
        fold.fold(_record(offset, one, rows))
    return np.concatenate([each.score * each.width for each in found]), np.concatenate([each.model for each in found])


def alerts(one: Labelled, plan: Plan | None = None) -> NDArray[np.bool_]:
    """The rows at which people would have been told: where an alert on the score begins."""
    fold, opened = PartitionFold(plan or default_plan(), 1), set[int]()
    for offset, begin in enumerate(range(0, one.value.size, ROWS)):
        rows = slice(begin, min(begin + ROWS, one.value.size))
        told = fold.fold(_record(offset, one, rows)).transitions
        opened |= {each.at_us for each in told if each.phase is Phase.FIRING and each.rule == ANOMALY.name}
    # Of rows with the same time, the first was folded.
    _, first = np.unique(one.at_us, return_index=True)
    found = np.zeros(one.value.size, np.bool_)
    found[first] = np.isin(one.at_us[first], list(opened))
    return found


def _record(offset: int, one: Labelled, rows: slice) -> LogRecord:
    count = rows.stop - rows.start
    readings = Readings(
        sensor=Words(np.zeros(count, np.int32), ["nab/series/value"]),
        ts_us=one.at_us[rows],
        value=one.value[rows],
        quality=np.full(count, Quality.GOOD, np.uint8),
        flags=np.full(count, Flag(0), np.uint8),
        text=None,
    )
    arrival_us = int(one.at_us[: rows.stop].max())
    return LogRecord(
        offset, headers_of(Envelope(Kind.READINGS, ARROW, "nab", offset, arrival_us, 1)), encode_readings(readings)
    )

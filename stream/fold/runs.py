"""Runs: other producers' records that follow each other and arrived together, read as one batch.

A record of one reading costs no more to read than its share of the run. Each is refused or taken by itself: what makes
it bad does its neighbours no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.foreign import ForeignRun, decode_run
from ingest.contract.partition import partition_of
from ingest.contract.readings import Readings
from ingest.contract.sensors import check_path, machine_of
from stream.fold.slots import SlotTable

MAX_RUN_BYTES = 262_144
"""A run's values, but for a single one that is larger: what there is to gain is gained by then."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a partition is among the others. partition None: it is not known, and may hold any sensor."""

    partition: int | None
    partitions: int


@dataclass(frozen=True, slots=True, eq=False)
class ReadRun:
    """A run that has been read.

    readings: of the records that are not refused. known: the slot of each sensor's word, -1 if it has none. refused:
    why a record cannot be folded, by its number in the run.
    """

    readings: Readings
    known: NDArray[np.int32]
    refused: dict[int, QuarantineError]


def read_run(values: Sequence[bytes | None], timestamps_ms: Sequence[int], slots: SlotTable, home: Home) -> ReadRun:
    """Read records as if one by one. values, timestamps_ms: by record. Nothing changes.

    Refused are those that `decode_foreign` refuses, and those with a new sensor whose name none may have (NAME) or
    whose machine lives on another partition (RECORD).
    """
    run = decode_run(values, [one * 1_000 for one in timestamps_ms])
    known = slots.find(run.readings.sensor.words)
    if known.size and known.min() < 0 and (refused := _not_at_home(run, known, home)):
        run = run.without(refused)
        known = slots.find(run.readings.sensor.words)
    return ReadRun(run.readings, known, run.refused)


def _not_at_home(run: ForeignRun, known: NDArray[np.int32], home: Home) -> dict[int, QuarantineError]:
    """Why records are refused for their new sensors, by record: a name that none may have before a wrong partition."""
    sensor, refused = run.readings.sensor, dict[int, QuarantineError]()
    new = np.flatnonzero(known < 0).tolist()
    wrong = {at: error for at in new if (error := _nameless(sensor.words[at])) is not None}
    lost = {at: error for at in new if at not in wrong and (error := _astray(sensor.words[at], home)) is not None}
    for errors in (wrong, lost):
        for row in np.flatnonzero(np.isin(sensor.index, list(errors))).tolist():
            refused.setdefault(int(run.record[row]), errors[int(sensor.index[row])])
    return refused


def _nameless(path: str) -> QuarantineError | None:
    try:
        check_path(path)
    except QuarantineError as error:
        return error
    return None


def _astray(path: str, home: Home) -> QuarantineError | None:
    if home.partition is None or (place := partition_of(path, home.partitions)) == home.partition:
        return None
    return QuarantineError(
        Reason.RECORD,
        f"{path} belongs on partition {place} and came on {home.partition}: the record's key must be its machine, "
        f"{machine_of(path)}, and the partitioner murmur2 (librdkafka: murmur2_random)",
    )

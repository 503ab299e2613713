"""The truth about a plant's faults, as labels: `sensor,kind,start,end`."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Label:
    """A sensor's fault during `[start_us, end_us)`; a device's fault is one label for each of its sensors."""

    sensor: str
    kind: str
    start_us: int
    end_us: int


def write_truth_csv(labels: Iterable[Label], path: Path | str) -> None:
    """Write `sensor,kind,start,end`, one label a line, times in ISO 8601 UTC with microseconds.

    The file appears whole or not at all: a reader never meets half of it, and an earlier one stays
    if writing fails. Raises OSError if the folder does not exist or cannot be written.
    """
    target = Path(path)
    # In the same folder: a rename is atomic only within one file system.
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("sensor", "kind", "start", "end"))
            for label in labels:
                writer.writerow((label.sensor, label.kind, _iso(label.start_us), _iso(label.end_us)))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _iso(at_us: int) -> str:
    # Integers all the way: a float of seconds would lose microseconds.
    at = _EPOCH + timedelta(microseconds=at_us)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")

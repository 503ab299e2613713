"""`--out`: what the fold found, row by row, as CSV."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from deploy.backtest.replay import Found, Replay
from stream.fold.gate import FOLDED

SCHEMA = pa.schema(
    [
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("sensor", pa.utf8()),
        ("value", pa.float64()),
        ("score", pa.float64()),
        ("model", pa.utf8()),
        ("alert", pa.utf8()),
    ]
)


class ScoresFile:
    """A row for each reading: timestamp, sensor, value, score, model, alert; in the order in which they were folded.

    score, model: empty where no model saw the row. alert: the rule that fires for the sensor at that row, several with
    `;` between. The file appears whole at the end, or not at all.
    """

    def __init__(self, path: Path, paths: list[str], replay: Replay) -> None:
        """paths: of sensors by number; replay: names models and rules. Raises OSError."""
        self._path, self._paths, self._replay = path, paths, replay
        # In the same folder: a rename is atomic only within one file system.
        self._draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._writer = pacsv.CSVWriter(
            str(self._draft), SCHEMA, write_options=pacsv.WriteOptions(quoting_style="needed")
        )

    def __enter__(self) -> ScoresFile:
        return self

    def take(self, found: Found) -> None:
        """Write the rows of a record. Raises OSError."""
        rows = found.rows
        scored = found.verdict == FOLDED
        sensors, sensor = np.unique(rows.sensor, return_inverse=True)
        columns = [
            pa.array(rows.ts_us, pa.timestamp("us", tz="UTC")),
            _words([self._paths[at] for at in sensors.tolist()], sensor),
            pa.array(rows.value),
            pa.array(found.score, mask=~scored),
            _words([*self._replay.models, None], np.where(found.model < 0, len(self._replay.models), found.model)),
            _words([one or None for one in self._replay.alerting], found.alert),
        ]
        self._writer.write_batch(pa.record_batch(columns, schema=SCHEMA))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
            if kind is None:
                self._draft.replace(self._path)
        finally:
            self._draft.unlink(missing_ok=True)


def _words(words: Sequence[str | None], index: np.ndarray[tuple[int], np.dtype[np.signedinteger]]) -> pa.Array:
    return pa.array(words, pa.utf8()).take(pa.array(index))

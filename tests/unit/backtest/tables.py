"""Recorded files under test."""

from __future__ import annotations

from pathlib import Path

from deploy.backtest.names import Sensors
from deploy.backtest.rows import Recording, Rows
from deploy.backtest.shape import Columns, shape_of
from deploy.backtest.tables import Reading, open_table


def opened(path: Path, columns: Columns | None = None, reading: Reading | None = None) -> tuple[Recording, Sensors]:
    """A file, not yet looked through."""
    table, sensors = open_table(path, reading or Reading()), Sensors()
    columns = columns or Columns()
    return Recording(table, shape_of(table, columns), columns, sensors, path.stem), sensors


def rows_of(
    path: Path, columns: Columns | None = None, reading: Reading | None = None
) -> tuple[list[tuple[int, str, float]], Recording]:
    """(µs, sensor's path, value) of each reading, and what was met."""
    recording, sensors = opened(path, columns, reading)
    kept = recording.look(10_000_000)
    rows = Rows.join(kept or [])
    return [
        (at_us, sensors.paths[sensor], value)
        for at_us, sensor, value in zip(rows.ts_us.tolist(), rows.sensor.tolist(), rows.value.tolist(), strict=True)
    ], recording


def written(folder: Path, text: str | bytes, name: str = "data.csv") -> Path:
    """A file with this in it."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path

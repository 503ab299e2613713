"""A file's rows as readings in columns: which sensor, when, what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from deploy.backtest.names import Sensors
from deploy.backtest.shape import Columns, Shape, is_usual_value
from deploy.backtest.tables import Ragged, Table, UnreadCellError
from deploy.backtest.times import TimeReader, TimeTally
from deploy.backtest.values import ValueTally, read_values
from ingest.contract.errors import StopError
from ingest.contract.readings import MAX_TS_US

_TOLD = 5


class Rows(NamedTuple):
    """Readings, all of shape (rows,). ts_us: µs UTC. sensor: its number in `Sensors`. value: finite, or infinite."""

    ts_us: NDArray[np.int64]
    sensor: NDArray[np.int32]
    value: NDArray[np.float64]

    def take(self, which: NDArray[np.intp] | slice) -> Rows:
        """Some of them."""
        return Rows(self.ts_us[which], self.sensor[which], self.value[which])

    @classmethod
    def join(cls, parts: list[Rows]) -> Rows:
        """One after the other; at least one."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


@dataclass(slots=True)
class Met:
    """What was met in a file, from end to end.

    lines: rows of the file. readings: what they hold. unnamed: rows of a long file without a sensor's name. ordered:
    times never go back.
    """

    lines: int = 0
    readings: int = 0
    unnamed: int = 0
    first_us: int = 0
    last_us: int = 0
    ordered: bool = True
    times: TimeTally = field(default_factory=TimeTally)
    values: ValueTally = field(default_factory=ValueTally)
    ragged: Ragged = field(default_factory=Ragged)
    barren: list[str] = field(default_factory=list)
    """Columns of a wide file in which there is no reading."""


class Spans:
    """first_us, last_us: of each sensor, by number; first_us is the latest time there is where it has no reading."""

    def __init__(self) -> None:
        self.first_us = np.zeros(0, np.int64)
        self.last_us = np.zeros(0, np.int64)

    def take(self, rows: Rows) -> None:
        """Look at some rows."""
        self._grow(int(rows.sensor.max()) + 1)
        np.minimum.at(self.first_us, rows.sensor, rows.ts_us)
        np.maximum.at(self.last_us, rows.sensor, rows.ts_us)

    def join(self, others: list[Spans], sensors: int) -> None:
        """With those of others; sensors: how many there are."""
        self._grow(sensors)
        for one in others:
            some = slice(0, len(one.first_us))
            np.minimum(self.first_us[some], one.first_us, out=self.first_us[some])
            np.maximum(self.last_us[some], one.last_us, out=self.last_us[some])

    def _grow(self, sensors: int) -> None:
        if (more := sensors - len(self.first_us)) > 0:
            self.first_us = np.pad(self.first_us, (0, more), constant_values=MAX_TS_US)
            self.last_us = np.pad(self.last_us, (0, more))


class Recording:
    """A file, the shape of its rows, and what was met when it was read to its end."""

    def __init__(self, table: Table, shape: Shape, columns: Columns, sensors: Sensors, name: str) -> None:
        """name: of the only series in a file whose column's name says nothing."""
        self.table, self.shape = table, shape
        self.met = Met()
        self._columns, self._sensors = columns, sensors
        names = [table.columns[at] for at in shape.values]
        self.names = [name] if len(names) == 1 and is_usual_value(names[0]) else names
        """Of a wide file: its sensors."""
        self._numbers: NDArray[np.int32] | None = None
        self.spans = Spans()
        """Of its sensors."""

    def told(self) -> str:
        """What its columns are taken for."""
        names, shape = self.table.columns, self.shape
        values = [repr(names[at]) for at in shape.values[:_TOLD]]
        if shape.sensor is not None:
            return f"long: times in {names[shape.time]!r}, sensors in {names[shape.sensor]!r}, values in {values[0]}"
        if len(shape.values) == 1:
            return f"wide: times in {names[shape.time]!r}, one sensor in {values[0]}, called {self.names[0]!r}"
        more = f" and {len(shape.values) - _TOLD} more" if len(shape.values) > _TOLD else ""
        return f"wide: times in {names[shape.time]!r}, {len(shape.values)} sensors: {', '.join(values)}{more}"

    def look(self, keep: int) -> list[Rows] | None:
        """Read it to its end; what it holds, if that is at most `keep` readings. Raises StopError."""
        while True:
            kept: list[Rows] | None = []
            try:
                for rows in self.rows():
                    self.spans.take(rows)
                    if kept is not None and self.met.readings <= keep:
                        kept.append(rows)
                    else:
                        kept = None
            except UnreadCellError as error:
                text = self.shape.text | {error.column}
                # One after the other would take too long where many columns are like that.
                wide = frozenset(self.shape.values) if len(text) > 3 else text
                self.shape = Shape(self.shape.time, self.shape.sensor, self.shape.values, wide, self.shape.left_out)
                continue
            if not self.met.readings:
                raise self._without_readings()
            return kept

    def rows(self) -> Iterator[Rows]:
        """All of them, in the order of the file. What is met is in `met`."""
        met = self.met = Met()
        times = TimeReader(self._columns.zone, self._columns.time_format)
        met.times = times.tally
        if self.shape.sensor is None and self._numbers is None:
            self._numbers = np.array([self._sensors.number(_spelled(one)) for one in self._named_apart()], np.int32)
        filled = np.zeros(len(self.shape.values), np.bool_)
        for block in self.table.blocks(self.shape.types()):
            met.ragged = self.table.ragged
            met.lines += block.num_rows
            at_us, known = times.read(block.column(self.shape.time))
            rows = (
                self._wide(block, at_us, known, filled)
                if self._numbers is not None
                else self._long(block, at_us, known)
            )
            if not len(rows.ts_us):
                continue
            before_us = met.last_us if met.readings else int(rows.ts_us[0])
            met.ordered &= bool((np.diff(rows.ts_us, prepend=before_us) >= 0).all())
            first_us, last_us = int(rows.ts_us.min()), int(rows.ts_us.max())
            met.first_us = min(met.first_us, first_us) if met.readings else first_us
            met.last_us = max(met.last_us, last_us)
            met.readings += len(rows.ts_us)
            yield rows
        if self.shape.sensor is None:
            met.barren = [name for name, has in zip(self.names, filled.tolist(), strict=True) if not has]

    def _wide(
        self, block: pa.RecordBatch, at_us: NDArray[np.int64], known: NDArray[np.bool_], filled: NDArray[np.bool_]
    ) -> Rows:
        """Row by row, in a row column by column. filled: by column, becomes True where there is a reading."""
        assert self._numbers is not None
        value = np.empty((block.num_rows, len(self.shape.values)))
        there = np.empty(value.shape, np.bool_)
        for column, at in enumerate(self.shape.values):
            value[:, column], there[:, column] = read_values(block.column(at), self.met.values, self.table.decimal)
        there &= known[:, None]
        filled |= there.any(axis=0)
        row, column_of = np.nonzero(there)
        return Rows(at_us[row], self._numbers[column_of], value[there])

    def _long(self, block: pa.RecordBatch, at_us: NDArray[np.int64], known: NDArray[np.bool_]) -> Rows:
        assert self.shape.sensor is not None
        value, there = read_values(block.column(self.shape.values[0]), self.met.values, self.table.decimal)
        column = block.column(self.shape.sensor)
        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.utf8()).dictionary_encode()
        words = [("" if one is None else _spelled(str(one))) for one in column.dictionary.to_pylist()]
        # A last one, for those that are null.
        numbers = np.array([*(self._sensors.number(one) if one else -1 for one in words), -1], np.int32)
        sensor = numbers[column.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)]
        self.met.unnamed += int((sensor < 0).sum())
        rows = np.flatnonzero(there & known & (sensor >= 0))
        return Rows(at_us[rows], sensor[rows], value[rows])

    def _named_apart(self) -> list[str]:
        """Two columns of one name are two sensors."""
        seen: dict[str, int] = {}
        names = []
        for name in self.names:
            seen[name] = seen.get(name, 0) + 1
            names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
        return names

    def _without_readings(self) -> StopError:
        met, path = self.met, self.table.path
        if met.times.unread and met.times.unread >= met.lines:
            return StopError(
                f"{path}: none of its {met.lines:,} times in {self.table.columns[self.shape.time]!r} can be read, such "
                f"as {met.times.example!r}: say how they are written, --time-format '%d/%m/%Y %H:%M:%S'"
            )
        said = (
            f", {met.values.unread:,} cells are no numbers, such as {met.values.example!r}" if met.values.unread else ""
        )
        return StopError(f"{path}: no reading in {met.lines:,} rows{said}: nothing to fold")


def _spelled(name: str) -> str:
    return name.strip()

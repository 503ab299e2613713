"""What the columns of a file are: guessed where nobody says so, and told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pyarrow as pa

from deploy.backtest.tables import Table
from deploy.backtest.times import TimeReader
from deploy.backtest.values import is_number, mostly_numbers
from ingest.contract.errors import StopError
from ingest.contract.registry import did_you_mean

_TIMES = ("time", "timestamp", "ts", "datetime", "date", "date_time", "event_time", "zeit", "zeitstempel", "datum", "t")
_SENSORS = (
    "sensor", "sensor_id", "sensorid", "path", "tag", "tagname", "tag_name", "topic", "signal", "channel", "variable",
    "series", "point", "metric", "name", "id",
)  # fmt: skip
_VALUES = ("value", "val", "values", "reading", "measurement", "wert", "messwert", "v", "y")
_LISTED = 12


@dataclass(frozen=True, slots=True)
class Columns:
    """What a person said of them, by name; None: guess."""

    time: str | None = None
    sensor: str | None = None
    value: str | None = None
    zone: ZoneInfo | None = None
    time_format: str | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """Columns by place. sensor: of a long file; None: a wide one, and each of `values` is a sensor.

    text: those values that are read as text, in which some cells are no numbers. left_out: columns of no use.
    """

    time: int
    sensor: int | None
    values: tuple[int, ...]
    text: frozenset[int]
    left_out: tuple[int, ...]

    def types(self) -> dict[int, pa.DataType]:
        """What to read the columns as."""
        types = {at: pa.utf8() if at in self.text else pa.float64() for at in self.values}
        if self.sensor is not None:
            types[self.sensor] = pa.dictionary(pa.int32(), pa.utf8())
        return types | {self.time: pa.utf8()}


def shape_of(table: Table, said: Columns) -> Shape:
    """Find out. Raises StopError with the columns there are."""
    time = _said(table, "--time-column", said.time)
    if time is None:
        time = _time(table, said)
    rest = [at for at in range(len(table.columns)) if at != time]
    numbers = [at for at in rest if _holds_numbers(table, at)]
    sensor, value = _said(table, "--sensor-column", said.sensor), _said(table, "--value-column", said.value)
    if sensor is None:
        sensor = _sensor(table, [at for at in rest if at != value], numbers, value)
    if sensor is not None:
        value = _value(table, [at for at in rest if at != sensor], numbers) if value is None else value
        return Shape(time, sensor, (value,), _text(table, [value]), ())
    values = numbers if value is None else [value]
    if not values:
        raise StopError(
            f"{table.path}: no column has numbers in it besides the times in {table.columns[time]!r}; columns: "
            f"{_some(table.columns)}"
        )
    left_out = () if value is not None else tuple(at for at in rest if at not in values)
    return Shape(time, None, tuple(values), _text(table, values), left_out)


def _said(table: Table, option: str, name: str | None) -> int | None:
    if name is None:
        return None
    if name not in table.columns:
        hint = did_you_mean(name, table.columns) or f"; there are: {_some(table.columns)}"
        raise StopError(f"{option}: {table.path} has no column {name!r}{hint}")
    return table.columns.index(name)


def _usual(table: Table, places: list[int], names: tuple[str, ...]) -> int | None:
    plain = {at: re.sub(r"[\s-]+", "_", table.columns[at].strip().lower()) for at in places}
    return next((at for name in names for at in places if plain[at] == name), None)


def _time(table: Table, said: Columns) -> int:
    everywhere = list(range(len(table.columns)))
    usual = _usual(table, everywhere, _TIMES)
    typed = [at for at in everywhere if _is_time(table.head.column(at).type)]
    for at in [*([] if usual is None else [usual]), *typed, *everywhere]:
        column = table.head.column(at)
        # Numbers may be anything: only a name makes a time of them.
        if (at != usual and is_number(column.type)) or pa.types.is_null(column.type):
            continue
        try:
            known = TimeReader(said.zone, said.time_format).read(column.slice(0, 100))[1]
        except StopError:
            continue
        if 2 * int(known.sum()) > len(known):
            return at
    if usual is not None:
        cell = table.head.column(usual)[0].as_py()
        raise StopError(
            f"{table.path}: the times in {table.columns[usual]!r} cannot be read, such as {str(cell)[:40]!r}: say how "
            "they are written, --time-format '%d/%m/%Y %H:%M:%S', or which column has them, --time-column"
        )
    raise StopError(
        f"{table.path}: no column looks like times: say which, --time-column NAME; there are: {_some(table.columns)}"
    )


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _holds_numbers(table: Table, at: int) -> bool:
    column = table.head.column(at)
    kind = column.type
    return is_number(kind) or pa.types.is_null(kind) or mostly_numbers(column, table.decimal)


def _text(table: Table, values: list[int]) -> frozenset[int]:
    """Those in which the first rows have something that is no number already, or that only we take for one."""
    kinds = {at: table.head.column(at).type for at in values}
    return frozenset(
        at for at, kind in kinds.items() if pa.types.is_boolean(kind) or not (is_number(kind) or pa.types.is_null(kind))
    )


def _sensor(table: Table, places: list[int], numbers: list[int], value: int | None) -> int | None:
    usual = _usual(table, places, _SENSORS)
    has_value = value is not None or _usual(table, places, _VALUES) is not None
    one_number = len([at for at in numbers if at != usual]) == 1
    if usual is not None and (has_value or (one_number and usual not in numbers)):
        return usual
    text = [at for at in places if at not in numbers]
    return text[0] if len(text) == 1 and len(numbers) == 1 and value in (None, numbers[0]) else None


def _value(table: Table, places: list[int], numbers: list[int]) -> int:
    usual = _usual(table, places, _VALUES)
    if usual is not None:
        return usual
    found = [at for at in places if at in numbers]
    if len(found) != 1:
        raise StopError(
            f"{table.path}: which column has the values? Say so, --value-column NAME; there are: "
            f"{_some([table.columns[at] for at in places])}"
        )
    return found[0]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(repr(name[:60]) for name in names[:_LISTED]) + more


def is_usual_value(name: str) -> bool:
    """Whether a column's name says nothing of what it measures."""
    return name.strip().lower() in _VALUES

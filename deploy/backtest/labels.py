"""What is known of the recorded time: labels, and which sensors and readings they are about.

Read are: a CSV of sensor (none or `*`: all), start, end and kind, such as the simulator's truth.csv; and NAB's JSON,
windows by file. A label counts from its start until before its end; NAB's with it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from deploy.backtest.names import Sensors, path_of
from deploy.backtest.rows import Rows
from deploy.backtest.times import TimeReader
from ingest.contract.classes import glob
from ingest.contract.errors import StopError
from ingest.contract.registry import did_you_mean

_COLUMNS = {
    "sensor": ("sensor", "path", "tag", "series", "name"),
    "start": ("start", "begin", "from", "start_time", "time", "timestamp"),
    "end": ("end", "stop", "to", "until", "end_time"),
    "kind": ("kind", "fault", "label", "type", "class"),
}
_NEEDED = ("start", "end")
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Label:
    """[start_us, end_us) of a sensor; "" for all."""

    sensor: str
    kind: str
    start_us: int
    end_us: int


@dataclass(slots=True)
class Window:
    """A label, and what it is about. sensors: numbers; None: all. has_data: there was a reading in it.

    unknown: why it is about nothing; "" if it is about something.
    """

    label: Label
    sensors: frozenset[int] | None
    unknown: str = ""
    has_data: bool = False

    def is_about(self, sensor: int) -> bool:
        """Whether it is about this one."""
        return not self.unknown and (self.sensors is None or sensor in self.sensors)


def read_labels(path: Path, zone: ZoneInfo | None = None) -> list[Label]:
    """Every label of a file. zone: of times without one. Raises StopError with what is wrong, by line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StopError(f"{path}: labels cannot be read: {error}") from error
    if text.lstrip()[:1] == "{":
        return _from_json(path, text, zone)
    return _from_csv(path, text, zone)


def _from_csv(path: Path, text: str, zone: ZoneInfo | None) -> list[Label]:
    numbered = [(at, line) for at, line in enumerate(re.split(r"\r\n|\n|\r", text), 1) if line.strip()]
    lines = [line for _, line in numbered]
    if not lines:
        raise StopError(f"{path}: no labels: the file is empty; its header is sensor,start,end,kind")
    sep = max(",;\t", key=lines[0].count)
    try:
        header, *rows = csv.reader(io.StringIO("\n".join(lines)), delimiter=sep)
    except csv.Error as error:
        raise StopError(f"{path}: labels cannot be read as CSV: {error}") from error
    names = [name.strip().lower() for name in header]
    place = {
        what: next((names.index(name) for name in usual if name in names), None) for what, usual in _COLUMNS.items()
    }
    for what in _NEEDED:
        if place[what] is None:
            hint = did_you_mean(what, [name for name in names if name not in ("sensor", "kind")])
            raise StopError(
                f"{path}: labels without a column {what!r}{hint}: the header is {','.join(header)[:80]!r}, and "
                "should be sensor,start,end,kind"
            )

    def column(what: str) -> list[str]:
        at = place[what]
        return ["" if at is None or at >= len(row) else row[at].strip() for row in rows]

    labels = _made(
        path, column("sensor"), column("kind"), column("start"), column("end"), zone, [at for at, _ in numbered[1:]]
    )
    # A label that is a moment is that moment.
    return [
        Label(one.sensor, one.kind, one.start_us, one.end_us + 1) if one.start_us == one.end_us else one
        for one in labels
    ]


def _from_json(path: Path, text: str, zone: ZoneInfo | None) -> list[Label]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StopError(f"{path}: labels are no valid JSON: {error}") from error
    flat: list[tuple[str, str, str]] = []
    for name, windows in found.items():
        for window in windows if isinstance(windows, list) else [None]:
            match window:
                case [str(start), str(end)]:
                    flat.append((name, start, end))
                case str(at):
                    flat.append((name, at, at))
                case _:
                    raise StopError(f"{path}: labels of {name!r}: windows are [[start, end], …] by file")
    names, starts, ends = ([one[at] for one in flat] for at in range(3))
    made = _made(path, names, [""] * len(flat), starts, ends, zone)
    return [Label(one.sensor, one.kind, one.start_us, one.end_us + 1) for one in made]


def _made(
    path: Path,
    sensors: list[str],
    kinds: list[str],
    starts: list[str],
    ends: list[str],
    zone: ZoneInfo | None,
    lines_at: list[int] | None = None,
) -> list[Label]:
    (start_us, starts_known), (end_us, ends_known) = (
        TimeReader(zone).read(pa.array(column, pa.utf8())) for column in (starts, ends)
    )
    bad = np.flatnonzero(~(starts_known & ends_known) | (end_us < start_us)).tolist()
    if bad:
        lines = []
        for at in bad[:_SHOWN]:
            what = (
                "ends before it starts" if starts_known[at] and ends_known[at] else "is no time between 1990 and 2200"
            )
            where = f"{path}" if lines_at is None else f"{path}:{lines_at[at]}"
            lines.append(f"{where}: {starts[at]!r} to {ends[at]!r} {what}")
        more = [f"and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
        raise StopError("\n".join([*lines, *more]))
    return [
        Label(sensor, kind, start, end)
        for sensor, kind, start, end in zip(sensors, kinds, start_us.tolist(), end_us.tolist(), strict=True)
    ]


def windows_of(labels: list[Label], sensors: Sensors) -> list[Window]:
    """What each label is about."""
    found: dict[str, tuple[frozenset[int] | None, str]] = {}
    ends: dict[str, set[int]] = {}
    for number, path in enumerate(sensors.paths):
        ends.setdefault(path.rpartition("/")[2], set()).add(number)
    for label in labels:
        if label.sensor not in found:
            found[label.sensor] = _about(label.sensor, sensors, ends)
    return [Window(one, *found[one.sensor]) for one in labels]


def _about(name: str, sensors: Sensors, by_end: Mapping[str, set[int]]) -> tuple[frozenset[int] | None, str]:
    if name in ("", "*", "**"):
        return None, ""
    for spelled in (name, path_of(name)):
        if (number := sensors.find(spelled)) is not None:
            return frozenset([number]), ""
    if "*" in name:
        pattern = glob(name)
        members = frozenset(at for at, path in enumerate(sensors.paths) if pattern.fullmatch(path))
        return members, "" if members else "no sensor has such a path"
    # Whoever wrote the labels may have named sensors by more, or fewer, of the folders above.
    plain = path_of(re.sub(r"\.(csv|parquet)$", "", name, flags=re.I))
    same = [
        at
        for at in by_end.get(plain.rpartition("/")[2], ())
        if f"/{sensors.paths[at]}".endswith(f"/{plain}") or f"/{plain}".endswith(f"/{sensors.paths[at]}")
    ]
    if len(same) == 1:
        return frozenset(same), ""
    why = "several sensors' paths end in it" if same else f"no such sensor{did_you_mean(plain, sensors.paths[:10_000])}"
    return frozenset(), why


class Coverage:
    """Finds out which windows have readings in them."""

    def __init__(self, windows: list[Window]) -> None:
        self._open = [one for one in windows if not one.unknown]

    def take(self, rows: Rows) -> None:
        """Look at some rows, which may be in any order."""
        if not self._open:
            return
        first_us, last_us = int(rows.ts_us.min()), int(rows.ts_us.max())
        for one in self._open:
            if one.label.start_us <= last_us and first_us < one.label.end_us:
                one.has_data = self._has(one, rows)
        self._open = [one for one in self._open if not one.has_data]

    @staticmethod
    def _has(window: Window, rows: Rows) -> bool:
        within: NDArray[np.bool_] = (rows.ts_us >= window.label.start_us) & (rows.ts_us < window.label.end_us)
        if window.sensors is not None:
            within &= np.isin(rows.sensor, list(window.sensors))
        return bool(within.any())

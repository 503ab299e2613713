"""All files of a backtest, looked through once: their sensors, their span, and what people should know of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.backtest.names import Sensors, names_of_files
from deploy.backtest.rows import Met, Recording, Rows, Spans
from deploy.backtest.shape import Columns, shape_of
from deploy.backtest.tables import Reading, open_table

_KEPT_ROWS = 8_000_000
"""Readings that stay in memory from the first look, 160 MB; longer files are read again."""
_TOLD_FILES = 5
_TOLD_NOTES = 20
_TOLD_NAMES = 5


@dataclass(slots=True)
class Recorded:
    """files: with what is in memory of each. Times: of all readings; spans: of each sensor's. said: for people."""

    files: list[tuple[Recording, list[Rows] | None]]
    sensors: Sensors
    readings: int
    first_us: int
    last_us: int
    spans: Spans
    said: list[str] = field(default_factory=list)


def look_through(
    files: Sequence[Path],
    reading: Reading,
    columns: Columns,
    *,
    prefix: str = "",
    sort: bool | None = None,
    looked: Callable[[Path, int], None] = lambda path, readings: None,
) -> Recorded:
    """Read every file to its end. sort: as `log.in_order`. looked: is told of each file. Raises StopError."""
    sensors = Sensors(prefix)
    found: list[tuple[Recording, list[Rows] | None]] = []
    room = _KEPT_ROWS
    for path, name in zip(files, names_of_files(list(files)), strict=True):
        table = open_table(path, reading)
        recording = Recording(table, shape_of(table, columns), columns, sensors, name)
        kept = recording.look(room)
        room -= recording.met.readings if kept is not None else 0
        found.append((recording, kept))
        looked(path, recording.met.readings)
    mets = [recording.met for recording, _ in found]
    spans = Spans()
    spans.join([recording.spans for recording, _ in found], len(sensors))
    return Recorded(
        found,
        sensors,
        sum(met.readings for met in mets),
        min(met.first_us for met in mets),
        max(met.last_us for met in mets),
        spans,
        _told(found, columns, sort) + _renamed(sensors),
    )


def _told(found: Sequence[tuple[Recording, list[Rows] | None]], columns: Columns, sort: bool | None) -> list[str]:
    """What each of the first files is taken for, then what was met, each once."""
    lines = [f"{one.table.path.name}: {one.told()}" for one, _ in found[:_TOLD_FILES]]
    rest = [one for one, _ in found[_TOLD_FILES:]]
    if rest:
        long = sum(one.shape.sensor is not None for one in rest)
        lines.append(f"and {len(rest)} more files, {long} long and {len(rest) - long} wide")
    files: dict[str, list[str]] = {}
    for one, _ in found:
        for note in [*one.table.said, *_notes(one, columns, sort)]:
            files.setdefault(note, []).append(one.table.path.name)
    for note, names in list(files.items())[:_TOLD_NOTES]:
        where = "" if len(found) == 1 else f"{names[0]}: " if len(names) == 1 else f"{len(names)} files: "
        lines.append(f"  {where}{note}")
    if len(files) > _TOLD_NOTES:
        lines.append(f"  and {len(files) - _TOLD_NOTES} more notes")
    return lines


def _notes(recording: Recording, columns: Columns, sort: bool | None) -> list[str]:
    met, names = recording.met, recording.table.columns
    notes = [*_of_times(met, columns)]
    if met.ragged.lines:
        notes.append(f"lines that do not fit the header, left out: {met.ragged.lines:,}, such as {met.ragged.example}")
    if met.values.unread:
        notes.append(f"cells that are no numbers, not folded: {met.values.unread:,}, such as {met.values.example!r}")
    if met.unnamed:
        notes.append(f"rows that name no sensor, left out: {met.unnamed:,}")
    if recording.shape.left_out:
        notes.append(f"columns without numbers, left out: {_some([names[at] for at in recording.shape.left_out])}")
    if met.barren:
        notes.append(f"columns in which nothing is: {_some(met.barren)}")
    if not met.ordered:
        how = (
            "taken as they stand (--no-sort)"
            if sort is False
            else "sorted in memory; --no-sort takes them as they stand"
        )
        notes.append(f"times run backwards: {how}")
    return notes


def _of_times(met: Met, columns: Columns) -> list[str]:
    times, notes = met.times, []
    if times.units:
        units = ", ".join(
            f"{count:,} in {unit}" if len(times.units) > 1 else unit for unit, count in times.units.items()
        )
        notes.append(f"times are numbers, since 1970, by their size: {units}")
    if times.local and times.zoned:
        notes.append(f"{times.zoned:,} times have a zone of their own, {times.local:,} have none")
    if times.local and columns.zone is None:
        notes.append("times without a zone are taken as UTC; --tz Europe/Berlin says another")
    elif times.local:
        notes.append(f"times without a zone are taken as {columns.zone}")
    if times.skipped:
        notes.append(f"times that the clocks skipped in spring, moved on by what was skipped: {times.skipped:,}")
    if times.repeated:
        notes.append(
            f"times that the clocks showed twice in autumn: {times.repeated:,}, of which {times.second:,} are the "
            "second, as the file had stepped back; the others are the first"
        )
    if times.unread:
        notes.append(
            f"rows without a time between 1990 and 2200, left out: {times.unread:,}, such as {times.example!r}"
        )
    return notes


def _renamed(sensors: Sensors) -> list[str]:
    some = [f"{name[:60]!r} → {path}" for name, path in sensors.renamed[:_TOLD_NAMES]]
    if not some:
        return []
    more = f" and {len(sensors.renamed) - _TOLD_NAMES} more" if len(sensors.renamed) > _TOLD_NAMES else ""
    return [f"names that are no paths: {', '.join(some)}{more}"]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD_NAMES} more" if len(names) > _TOLD_NAMES else ""
    return ", ".join(repr(name[:60]) for name in names[:_TOLD_NAMES]) + more

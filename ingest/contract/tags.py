"""What a plant knows about its tags: a CSV with path (or dotted id), display name, unit, range and class.

Spreadsheets write such files in many ways: separators `,` `;` or tab, decimal commas, UTF-8 with or without a mark,
UTF-16, Windows-1252. What is read is normalised; what is wrong is reported with its line, all at once.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from ingest.contract.errors import QuarantineError, SettingsError
from ingest.contract.registry import did_you_mean
from ingest.contract.sensors import check_path

COLUMNS = ("path", "name", "unit", "low", "high", "class")
_ALSO_CALLED = {
    "path": ("path", "sensor", "id", "tag", "tagname", "topic"),
    "name": ("name", "display name", "display_name", "displayname", "description", "label"),
    "unit": ("unit", "units", "uom"),
    "low": ("low", "min", "range_low", "lo"),
    "high": ("high", "max", "range_high", "hi"),
    "class": ("class", "type"),
}
_MAX_BYTES = 64 * 1024 * 1024
_MAX_PROBLEMS = 50


@dataclass(frozen=True, slots=True)
class Tag:
    """One sensor, as the plant describes it; None and "" for what it does not say. `line`: where it stands."""

    path: str
    name: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    class_name: str = ""
    line: int = 0


def read_tags(path: Path, classes: Iterable[str] = ()) -> dict[str, Tag]:
    """Tags by sensor path.

    classes: the names that `class` may have; empty for any. Raises SettingsError with a line for each mistake: an
    unreadable encoding, unknown or missing columns, bad paths, the same path twice, numbers that are none, an unknown
    class.
    """
    text = _decoded(path)
    rows = csv.reader(io.StringIO(text), delimiter=_separator(text), strict=True)
    problems: list[str] = []
    tags: dict[str, Tag] = {}
    try:
        where = _columns(path, next(rows, []))
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            cells = {column: row[at].strip() if at < len(row) else "" for column, at in where.items()}
            try:
                tag = _tag(cells, set(classes), rows.line_num)
                if tag.path in tags:
                    raise ValueError(f"{tag.path} stands on line {tags[tag.path].line} already")
                tags[tag.path] = tag
            except ValueError as error:
                problems.append(f"{path}:{rows.line_num}: {error}")
    except csv.Error as error:
        problems.append(f"{path}:{rows.line_num}: not CSV: {error}")
    if len(problems) > _MAX_PROBLEMS:
        problems = [*problems[:_MAX_PROBLEMS], f"{path}: and {len(problems) - _MAX_PROBLEMS} more mistakes"]
    if problems:
        raise SettingsError(problems)
    return tags


def write_tags(tags: Iterable[Tag]) -> str:
    """The normal form: commas, decimal points, UTF-8, sorted by path."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for tag in sorted(tags, key=lambda one: one.path):
        low, high = ("" if number is None else repr(number) for number in (tag.low, tag.high))
        writer.writerow([tag.path, tag.name, tag.unit, low, high, tag.class_name])
    return out.getvalue()


def _decoded(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise SettingsError([f"{path}: over {_MAX_BYTES // 2**20} MiB"])
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror}"]) from error
    encodings = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise SettingsError([f"{path}: neither UTF-8, UTF-16 nor Windows-1252 text; save it as CSV UTF-8"])


def _separator(text: str) -> str:
    head = text.partition("\n")[0]
    return max(",;\t", key=head.count)


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    names = {alias: column for column, aliases in _ALSO_CALLED.items() for alias in aliases}
    found: dict[str, int] = {}
    problems = []
    for at, title in enumerate(header):
        plain = title.strip().lower()
        column = names.get(plain)
        if column is None:
            problems.append(f"{path}:1: unknown column {title.strip()!r}{did_you_mean(plain, names)}")
        elif column in found:
            problems.append(f"{path}:1: two columns for {column}")
        else:
            found[column] = at
    if "path" not in found:
        problems.append(f"{path}:1: no column `path` (the sensor's path, or its dotted id)")
    if problems:
        raise SettingsError([*problems, f"{path}: columns are {', '.join(COLUMNS)}; only path is needed"])
    return found


def _tag(cells: dict[str, str], classes: set[str], line: int) -> Tag:
    path = cells["path"]
    # Dotted ids (Kepware: Channel1.Press.Temp) become paths the same way as in payloads.
    path = path if "/" in path else path.replace(".", "/")
    try:
        check_path(path)
    except QuarantineError as error:
        raise ValueError(f"not a sensor path: {error.detail}") from error
    class_name = cells.get("class", "")
    if class_name and classes and class_name not in classes:
        raise ValueError(f"no class is called {class_name!r}{did_you_mean(class_name, classes)}")
    low, high = _number(cells.get("low", ""), "low"), _number(cells.get("high", ""), "high")
    if low is not None and high is not None and not low < high:
        raise ValueError("low must be less than high")
    return Tag(path, cells.get("name", ""), cells.get("unit", ""), low, high, class_name, line)


def _number(text: str, column: str) -> float | None:
    if not text:
        return None
    try:
        # 1.234,5 and 1234,5 are decimal commas; 1,234.5 is not.
        plain = text.replace(".", "").replace(",", ".") if text.rfind(",") > text.rfind(".") else text.replace(",", "")
        number = float(plain)
    except ValueError as error:
        raise ValueError(f"{column}: {text!r} is not a number") from error
    if not isfinite(number):
        raise ValueError(f"{column}: {text!r} is not finite")
    return number

"""What a plant knows about its tags: a CSV with path (or dotted id), display name, unit, range and class.

Spreadsheets write such files in many ways: separators `,` `;` or tab, decimal commas, UTF-8 with or without a mark,
UTF-16, Windows-1252. What is read is normalised; what is wrong is reported with its line, all at once.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from ingest.contract.errors import QuarantineError, SettingsError
from ingest.contract.registry import did_you_mean
from ingest.contract.sensors import check_path

COLUMNS = ("path", "name", "unit", "low", "high", "class")
_ALSO_CALLED = {
    "path": ("path", "sensor", "sensor path", "id", "tag", "tagname", "tag name", "topic"),
    "name": ("name", "display name", "displayname", "description", "label"),
    "unit": ("unit", "units", "uom"),
    "low": ("low", "lo", "min", "minimum", "range low"),
    "high": ("high", "hi", "max", "maximum", "range high"),
    "class": ("class", "type"),
}
_COLUMN_OF = {alias: column for column, aliases in _ALSO_CALLED.items() for alias in aliases}
_MAX_BYTES = 64 * 2**20
_MAX_PROBLEMS = 50
_LONGEST = {"name": 200, "unit": 64}


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


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    cells: dict[str, str]


def read_tags(path: Path, classes: Iterable[str] = ()) -> dict[str, Tag]:
    """Tags by sensor path.

    classes: the names that `class` may have; empty for any. Raises SettingsError with a line for each mistake: an
    unreadable encoding, unknown or missing columns, bad paths, the same path twice, numbers that are none or that
    could be two, an unknown class.
    """
    text, first_line, separator = _introduced(_decoded(path))
    problems: list[tuple[int, str]] = []
    rows = list(_rows(text, first_line, separator, problems))
    style = _Numbers(separator, (row.cells.get(column, "") for row in rows for column in ("low", "high")))
    known, tags = frozenset(classes), dict[str, Tag]()
    for row in rows:
        tag, wrong = _tag(row, known, style)
        problems += [(row.line, one) for one in wrong]
        if tag is None:
            continue
        if tag.path in tags:
            problems.append((row.line, f"{tag.path} stands on line {tags[tag.path].line} already"))
        else:
            tags[tag.path] = tag
    if problems:
        raise _mistakes(path, problems)
    return tags


def write_tags(tags: Iterable[Tag]) -> str:
    """The normal form: commas, decimal points, sorted by path. `read_tags` gives the same tags back."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for tag in sorted(tags, key=lambda one: one.path):
        low, high = ("" if number is None else f"{number!r}".removesuffix(".0") for number in (tag.low, tag.high))
        writer.writerow([tag.path, tag.name, tag.unit, low, high, tag.class_name])
    return out.getvalue()


def _mistakes(path: Path, problems: list[tuple[int, str]]) -> SettingsError:
    lines = [f"{path}:{line}: {said}" for line, said in sorted(problems, key=lambda one: one[0])]
    if len(lines) > _MAX_PROBLEMS:
        lines = [*lines[:_MAX_PROBLEMS], f"{path}: and {len(lines) - _MAX_PROBLEMS:,} more mistakes"]
    return SettingsError(lines)


# --- bytes → rows -----------------------------------------------------------------------------------------------


def _decoded(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    if len(data) > _MAX_BYTES:
        raise SettingsError([f"{path}: over {_MAX_BYTES // 2**20} MiB"])
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise SettingsError([f"{path}: a workbook, not CSV: save the sheet as CSV UTF-8"])
    encodings = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text.replace("\r\n", "\n").replace("\r", "\n")
    raise SettingsError([f"{path}: neither UTF-8, UTF-16 nor Windows-1252 text: save it as CSV UTF-8"])


def _introduced(text: str) -> tuple[str, int, str]:
    """The text from its header on, the header's line, and the separator (which Excel may write above it)."""
    line = 1
    while text and not (head := text.partition("\n")[0]).strip():
        text, line = text[len(head) + 1 :], line + 1
    head, _, rest = text.partition("\n")
    if said := re.fullmatch(r"sep=([,;\t])\s*", head, re.IGNORECASE):
        return rest, line + 1, said[1]
    return text, line, max(",;\t", key=head.count)


def _rows(text: str, first_line: int, separator: str, problems: list[tuple[int, str]]) -> Iterator[_Row]:
    """The rows, by column. What is wrong with the file's form goes to `problems`."""
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    line = first_line
    try:
        header = next(reader, [])
        where = _columns(header, line, problems)
        line = first_line + reader.line_num
        for row in reader:
            if "path" in where and any(cell.strip() for cell in row):
                if any(cell.strip() for cell in row[len(header) :]):
                    problems.append((line, f"{len(row)} cells, but the header has {len(header)}{_unquoted(separator)}"))
                else:
                    yield _Row(line, {what: row[at].strip() if at < len(row) else "" for what, at in where.items()})
            line = first_line + reader.line_num
    except csv.Error as error:
        problems.append((line, f"not CSV: {error}"))


def _unquoted(separator: str) -> str:
    return " (a comma in a cell needs quotes, or separate the cells by ;)" if separator == "," else ""


def _columns(header: list[str], line: int, problems: list[tuple[int, str]]) -> dict[str, int]:
    found: dict[str, int] = {}
    wrong: list[str] = []
    for at, title in enumerate(header):
        plain = " ".join(re.split(r"[\s_-]+", title.strip().lower()))
        column = _COLUMN_OF.get(plain)
        if column is None and not plain and at:
            continue  # a sheet's empty column
        if column is None:
            wrong.append(f"unknown column {title.strip()!r}{did_you_mean(plain, _COLUMN_OF)}")
        elif column in found:
            wrong.append(f"two columns for {column}: {header[found[column]].strip()!r} and {title.strip()!r}")
        else:
            found[column] = at
    if "path" not in found:
        wrong.append("no column `path` (the sensor's path, or its dotted id)")
    if wrong:
        wrong.append(f"the columns are {', '.join(COLUMNS)}; only path is needed")
    problems += [(line, one) for one in wrong]
    return found


# --- rows → tags ------------------------------------------------------------------------------------------------


def _tag(row: _Row, classes: frozenset[str], style: _Numbers) -> tuple[Tag | None, list[str]]:
    """The tag, None if it has no usable path; and everything that is wrong with it."""
    cells, wrong = row.cells, list[str]()
    # Dotted ids (Channel1.Press.Temp) become paths the same way as in payloads.
    path = cells["path"] if "/" in cells["path"] else cells["path"].replace(".", "/")
    usable = True
    try:
        check_path(path)
    except QuarantineError as error:
        wrong.append(f"{cells['path']!r} is not a sensor path: {error.detail}")
        usable = False
    class_name = cells.get("class", "")
    if class_name and classes and class_name not in classes:
        wrong.append(f"no class is called {class_name!r}{did_you_mean(class_name, classes)}")
    texts: dict[str, str] = {}
    for column, longest in _LONGEST.items():
        text = texts[column] = " ".join(cells.get(column, "").split())
        if len(text) > longest:
            wrong.append(f"{column}: over {longest} characters")
        elif not text.isprintable():
            wrong.append(f"{column}: {text!r} has control characters")
    limits: dict[str, float | None] = {}
    for column in ("low", "high"):
        try:
            limits[column] = style.number(cells.get(column, ""))
        except ValueError as error:
            wrong.append(f"{column}: {error}")
            limits[column] = None
    low, high = limits["low"], limits["high"]
    if low is not None and high is not None and not low < high:
        wrong.append(f"low must be less than high, not {low:g} and {high:g}")
    tag = Tag(path, texts["name"], texts["unit"], low, high, class_name, row.line) if usable else None
    return tag, wrong


_NUMBER = re.compile(r"([+-]?)((?:\d[\d.,]*)|[.,]\d+)((?:[eE][+-]?\d+)?)")
_GAP_IN_NUMBER = re.compile(r"(?<=\d)[ \u00a0\u2009\u202f'\u2019](?=\d{3}(?!\d))")


class _Numbers:
    """Numbers as one file writes them: a decimal comma anywhere says how `1.234` is meant elsewhere."""

    def __init__(self, separator: str, cells: Iterable[str]) -> None:
        self._comma_separates = separator == ","
        self._decimal_comma = any(self._surely_decimal_comma(cell) for cell in cells)

    def number(self, text: str) -> float | None:
        """None for an empty cell. Raises ValueError for what is no number, and for what could be two."""
        if not text:
            return None
        match = _NUMBER.fullmatch(_GAP_IN_NUMBER.sub("", text.replace("\u2212", "-")))
        if match is None:
            raise ValueError(f"{text!r} is not a number")
        sign, digits, exponent = match.groups()
        number = float(sign + self._with_point(digits, text) + exponent)
        if not isfinite(number):
            raise ValueError(f"{text!r} is not finite")
        return number

    def _with_point(self, digits: str, text: str) -> str:
        marks = [character for character in digits if character in ".,"]
        if not marks:
            return digits
        last = marks[-1]
        head, _, tail = digits.rpartition(last)
        if len(marks) > 1:
            only_groups = last == marks[0]
            whole = digits if only_groups else head
            if re.fullmatch(rf"\d{{1,3}}(?:\{marks[0]}\d{{3}})+", whole):
                return whole.replace(marks[0], "") + ("" if only_groups else f".{tail}")
            raise ValueError(f"{text!r} is not a number")
        if re.fullmatch(r"[1-9]\d{0,2}", head) and len(tail) == 3 and self._could_group(last):
            raise ValueError(f"{text!r} could be {head}.{tail} or {head}{tail}: write it without a thousands separator")
        return f"{head}.{tail}"

    def _could_group(self, mark: str) -> bool:
        """Whether three digits after this mark could also be thousands."""
        return self._decimal_comma if mark == "." else self._comma_separates and not self._decimal_comma

    @staticmethod
    def _surely_decimal_comma(text: str) -> bool:
        return re.search(r",\d*(?:[eE][+-]?\d+)?$", text) is not None and not re.search(r"\d,\d{3}$", text)

"""InfluxDB line protocol, as Telegraf's MQTT output writes it: one reading for each field of each line.

The usual line (ASCII, no quote, no backslash) is cut with `str.split`, and what its series and keys come to is kept
from line to line; any other is read by expressions that follow the escaping rules: a backslash just before a special
character escapes it, anywhere else it is itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, NamedTuple

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import MAX_TS_US, MIN_TS_US, Quality
from ingest.contract.times import to_us
from ingest.contract.values import value_of
from ingest.decoders.base import Decoded, Drop, Dropped, Messages, Rejected
from ingest.decoders.name_templates import split_template

_BOOLEANS = dict.fromkeys(("t", "T", "true", "True", "TRUE"), 1.0) | dict.fromkeys(
    ("f", "F", "false", "False", "FALSE"), 0.0
)
_FLOAT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?").fullmatch
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE).fullmatch
_INTEGER = re.compile(r"[+-]?[0-9]+").fullmatch
_LONGEST_NUMBER = 64
_LONGEST_INTEGER = 20  # -2^63 has as many characters
_MAX_KEPT_BYTES = 32 << 20
_STRING_BYTES = 64  # of a short string, beside its characters
# Possessive, so that a failed match takes no more than one pass.
_MEASUREMENT = re.compile(r"(?:\\[, ]|[^, ])++").match
_KEY = re.compile(r"(?:\\[,= ]|[^,= ])++").match
_STRING = re.compile(r'"((?:\\["\\]|[^"])*+)"', re.DOTALL).match
_BARE = re.compile(r"[^, ]++").match
_ESCAPED_IN_MEASUREMENT = re.compile(r"\\([, ])")
_ESCAPED = re.compile(r"\\([,= ])")
_ESCAPED_IN_STRING = re.compile(r'\\(["\\])')
# A line ends where a newline is in no string, and only among the fields a quote opens one, after an "=".
_LINE = re.compile(r'(?:\\[,= ]|[^ \n])*+(?:\\[,= ]|=(?:"(?:\\["\\]|[^"])*+")?|[^\n=])*+', re.DOTALL).match


@dataclass(slots=True)
class _Line:
    """A line cut apart. fields: (key, value as written, or the text of a string)."""

    measurement: str
    tags: dict[str, str]
    fields: list[tuple[str, str | None, str | None]]
    time: str | None


class _Layout(NamedTuple):
    """What the lines of a series with the same keys have in common. odd: which fields are written as no float."""

    names: list[str]
    odd: list[int]


class _Layouts(dict[str, _Layout]):
    """Head and keys of a line → its layout, all begun anew when they take too much room.

    Nothing but speed depends on what is in here: it follows from the line and the options alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0

    def __setitem__(self, shape: str, layout: _Layout) -> None:
        self._bytes += len(shape) + sum(map(len, layout.names)) + _STRING_BYTES * (len(layout.names) + 4)
        if self._bytes > _MAX_KEPT_BYTES:
            self.clear()
            self._bytes = 0
        super().__setitem__(shape, layout)


@dataclass(frozen=True, slots=True)
class Influx:
    """Lines of measurement, tags, fields and time.

    name:      what a field is called: {measurement}, {field} and {tag.KEY} stand for what the line has; `field` of
               the row, so that the route's path needs `{field}` or `{id}`.
    time_unit: s, ms, us, ns, or auto (by its size).
    max_lines, max_fields: of a payload; with more lines it is refused as a whole, of more fields the rest is.
    max_name:  characters of a name.
    """

    name: str = "{measurement}/{field}"
    time_unit: Literal["auto", "s", "ms", "us", "ns"] = "ns"
    max_lines: int = 10_000
    max_fields: int = 10_000
    max_name: int = 256
    _parts: tuple[tuple[str, str], ...] = field(init=False, repr=False, compare=False)
    # Any: settings are read into this class, and a schema of this field is of no use.
    _layouts: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts: list[tuple[str, str]] = []
        for part, is_placeholder in split_template(self.name):
            if not is_placeholder:
                parts.append(("text", part))
            elif part in ("measurement", "field") or part.startswith("tag."):
                parts.append(("tag", part[4:]) if part.startswith("tag.") else (part, ""))
            else:
                raise ValueError(f"name: {{{part}}} is none of {{measurement}}, {{field}}, {{tag.KEY}}")
        if ("field", "") not in parts:
            raise ValueError("name: without {field} the fields of a line have one name")
        if min(self.max_lines, self.max_fields, self.max_name) < 1:
            raise ValueError("max_lines, max_fields and max_name are at least 1")
        object.__setattr__(self, "_parts", tuple(parts))
        object.__setattr__(self, "_layouts", _Layouts())

    @property
    def names_fields(self) -> bool:
        """Fields have names."""
        return True

    def decode(self, messages: Messages) -> Decoded:
        """Rows for each field that can be read."""
        out = Decoded()
        for at, payload in enumerate(messages.payloads):
            rows, rejected = len(out.message), len(out.rejected)
            try:
                self._payload(out, at, payload)
            except QuarantineError as error:
                out.rejected.append(Rejected(at, error.reason, error.detail))
            if len(out.message) == rows and len(out.rejected) == rejected:
                out.dropped.append(Dropped(at, Drop.NO_READINGS))
        rows = len(out.message)
        out.code, out.quality = [None] * rows, [int(Quality.GOOD)] * rows
        return out

    def _payload(self, out: Decoded, at: int, payload: bytes) -> None:
        if not payload or payload.isspace():
            raise QuarantineError(Reason.EMPTY, "no line")
        if len(payload) > self.max_lines and payload.count(b"\n") > self.max_lines:
            raise QuarantineError(Reason.TOO_LARGE, f"over {self.max_lines} lines")
        try:
            text = payload.decode()
        except UnicodeDecodeError as error:
            raise QuarantineError(Reason.ENCODING, "not UTF-8") from error
        most = len(out.message) + len(out.rejected) + self.max_fields
        quoted = '"' in text
        plain = not quoted and text.isascii() and "\\" not in text
        lines: Iterable[str] = _lines(text) if quoted else text.split("\n")
        for number, line in enumerate(lines, 1):
            line = line.strip(" \r")
            if not line or line[0] == "#" or line.isspace():
                continue
            try:
                if not (plain and self._usual(out, at, line, most)):
                    self._line(out, at, _parse(line), most)
            except QuarantineError as error:
                out.rejected.append(Rejected(at, error.reason, f"line {number}: {error.detail}"))
                if len(out.message) + len(out.rejected) > most:
                    return

    def _usual(self, out: Decoded, at: int, line: str, most: int) -> bool:
        """A line of numbers and booleans, without escapes; False, and nothing done, where it is more than that."""
        parts = line.split(" ")
        if not 2 <= len(parts) <= 3:
            return False
        head = parts[0]
        # Every other piece is a value if the pieces are even in number and every comma begins a key.
        pieces = parts[1].replace(",", "=,").split("=")
        keys = pieces[::2]
        written: list[Any] = pieces[1::2]
        count = len(written)
        if len(keys) != count or len(out.message) + len(out.rejected) + count > most:
            return False
        # No key has a blank, and no key a comma but its first character: it can be told what is whose.
        shape = f"{head} {''.join(keys)}"
        layout: _Layout | None = self._layouts.get(shape)
        if layout is None:
            layout = self._layout(head, keys, written)
            if layout is None:
                return False
            self._layouts[shape] = layout
        if len(layout.names) != count:
            return False
        together = "".join(written)
        # float() and int() take 1_000, and control characters that pass for blanks.
        if (
            "_" in together
            or not together.isprintable()
            or (len(together) > _LONGEST_NUMBER and max(map(len, written)) > _LONGEST_NUMBER)
        ):
            return False
        try:
            for odd in layout.odd:
                value = written[odd]
                written[odd] = int(value[:-1]) if value[-1:] in "iu" else _BOOLEANS[value]
            values = list(map(float, written))
        except (ValueError, KeyError):
            del self._layouts[shape]  # may be that the line it was made of was the unusual one
            return False
        # With a nan, an inf or 1e400 the sum is not finite. (It may be so without: the careful way finds out.)
        if not isfinite(sum(values)):
            return False
        ts_us = 0
        if len(parts) == 3:
            if not parts[2].isdigit() or len(parts[2]) > _LONGEST_INTEGER:
                return False
            ts_us = self._ts_us(int(parts[2]))
        out.message += [at] * count
        out.field += layout.names
        out.ts_us += [ts_us] * count
        out.value += values
        out.text += [None] * count
        return True

    def _layout(self, head: str, keys: list[str], written: list[str]) -> _Layout | None:
        """Of a line cut apart; keys: with the comma before them. None where it is not as usual."""
        measurement, *tags = head.split(",")
        pairs = [tag.split("=") for tag in tags]
        if not measurement or any(len(pair) != 2 or not all(pair) for pair in pairs):
            return None
        if not all(key.startswith(",") for key in keys[1:]):
            return None
        try:
            names = [self.name_of(measurement, dict(pairs), key.removeprefix(",")) for key in keys]
        except QuarantineError:
            return None
        return _Layout(names, [at for at, value in enumerate(written) if not value[-1:].isdigit()])

    def _line(self, out: Decoded, at: int, line: _Line, most: int) -> None:
        """Any line, field by field. Raises QuarantineError for what is wrong with all of it."""
        named = _Named(self, line.measurement, line.tags)
        ts_us = 0
        if line.time is not None:
            if not _INTEGER(line.time) or len(line.time) > _LONGEST_INTEGER:
                raise QuarantineError(Reason.TIMESTAMP, "not an integer")
            ts_us = self._ts_us(int(line.time))
        for key, written, string in line.fields:
            if len(out.message) + len(out.rejected) >= most:
                raise QuarantineError(Reason.TOO_LARGE, f"over {self.max_fields} fields")
            try:
                value, text, _ = value_of(string) if written is None else (_number(written), None, None)
                name = named[key]
            except QuarantineError as error:
                out.rejected.append(Rejected(at, error.reason, f"{key[:64]}: {error.detail}"))
                continue
            out.message.append(at)
            out.field.append(name)
            out.ts_us.append(ts_us)
            out.value.append(value)
            out.text.append(text)

    def _ts_us(self, time: int) -> int:
        if self.time_unit != "ns":
            return to_us(time, self.time_unit)
        ts_us = time // 1_000
        if not MIN_TS_US <= ts_us < MAX_TS_US:
            raise QuarantineError(Reason.TIMESTAMP, "not between 1990 and 2200")
        return ts_us

    def name_of(self, measurement: str, tags: dict[str, str], key: str) -> str:
        """The name of a field. Raises QuarantineError(NAME).

        >>> Influx(name="{tag.host}/{measurement}.{field}").name_of("cpu", {"host": "gw1"}, "load")
        'gw1/cpu.load'
        """
        name = ""
        for what, text in self._parts:
            if what == "tag":
                if text not in tags:
                    raise QuarantineError(Reason.NAME, f"no tag {text[:64]!r}")
                text = tags[text]
            name += measurement if what == "measurement" else key if what == "field" else text
        if not key or len(name) > self.max_name:
            raise QuarantineError(Reason.NAME, f"empty, or over {self.max_name} characters")
        return name


class _Named(dict[str, str]):
    """Key of a field → its name, for lines with the same measurement and tags."""

    def __init__(self, decoder: Influx, measurement: str, tags: dict[str, str]) -> None:
        super().__init__()
        self._line = (decoder, measurement, tags)

    def __missing__(self, key: str) -> str:
        decoder, measurement, tags = self._line
        self[key] = name = decoder.name_of(measurement, tags, key)
        return name


# --- any line -------------------------------------------------------------------------------------------------------


def _lines(text: str) -> Iterator[str]:
    """The lines of a payload with strings, in which a newline may be."""
    at = 0
    while at < len(text):
        if text[at] in " \r\n":
            at += 1
            continue
        if text[at] == "#":  # quotes in a comment are none
            end = text.find("\n", at)
        else:
            found = _LINE(text, at)
            end = -1 if found is None else found.end()
        if end < 0:
            yield text[at:]
            return
        yield text[at:end]
        at = end


def _parse(line: str) -> _Line:
    """Cut a line apart. Raises QuarantineError(SYNTAX).

    >>> _parse(r'a\\ b,c=d e=1i,f="g \\"h\\"" 10').fields
    [('e', '1i', None), ('f', None, 'g "h"')]
    """
    found = _MEASUREMENT(line)
    if found is None:
        raise QuarantineError(Reason.SYNTAX, "no measurement")
    measurement, at = _ESCAPED_IN_MEASUREMENT.sub(r"\1", found[0]), found.end()
    tags: dict[str, str] = {}
    while line.startswith(",", at):
        key, at = _key(line, at + 1)
        value = _KEY(line, at)
        if value is None:
            raise QuarantineError(Reason.SYNTAX, "a tag without a value")
        tags[key], at = _unescaped(value[0]), value.end()
    fields: list[tuple[str, str | None, str | None]] = []
    at = _blanks(line, at)
    while True:
        key, at = _key(line, at)
        if (string := _STRING(line, at)) is not None:
            fields.append((key, None, _ESCAPED_IN_STRING.sub(r"\1", string[1])))
            at = string.end()
        elif (bare := _BARE(line, at)) is not None:
            fields.append((key, bare[0], None))
            at = bare.end()
        else:
            raise QuarantineError(Reason.SYNTAX, "a field without a value")
        if not line.startswith(",", at):
            break
        at += 1
    if at == len(line):
        return _Line(measurement, tags, fields, None)
    return _Line(measurement, tags, fields, line[_blanks(line, at) :])


def _key(line: str, at: int) -> tuple[str, int]:
    """(key, where its value begins)."""
    found = _KEY(line, at)
    if found is None or not line.startswith("=", found.end()):
        raise QuarantineError(Reason.SYNTAX, "a key without a value")
    return _unescaped(found[0]), found.end() + 1


def _blanks(line: str, at: int) -> int:
    if not line.startswith(" ", at):
        raise QuarantineError(Reason.SYNTAX, "no blank where one was expected")
    while line.startswith(" ", at):
        at += 1
    return at


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def _number(written: str) -> float:
    """A field's value that is no string. Raises QuarantineError(TYPE or NUMBER)."""
    if written in _BOOLEANS:
        return _BOOLEANS[written]
    if _NOT_FINITE(written):
        raise QuarantineError(Reason.NUMBER, "not finite")
    whole = written[-1] in "iu"
    if not (_INTEGER(written[:-1]) if whole else _FLOAT(written)):
        raise QuarantineError(Reason.TYPE, "neither a number, a boolean nor a string")
    if len(written) > _LONGEST_NUMBER:
        raise QuarantineError(Reason.NUMBER, f"a number of over {_LONGEST_NUMBER} characters")
    value = float(int(written[:-1])) if whole else float(written)
    if not isfinite(value):
        raise QuarantineError(Reason.NUMBER, "a number beyond 1.8e308")
    return value

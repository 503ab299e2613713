"""The payloads of one topic → what format they are in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ingest.contract.errors import QuarantineError
from ingest.contract.readings import Quality
from ingest.contract.sensors import check_path
from ingest.decoders.base import Messages
from ingest.decoders.plain import Plain
from ingest.decoders.times import TimeUnit, to_us
from ingest.decoders.values import quality_of, value_of
from ingest.discover.words import BOOLEAN_QUALITIES, QUALITIES, TIMES, UNITS, VALUES, WEAK_VALUES, is_about, plain_name

_JSON = msgspec.json.Decoder()
_LOOKED_AT = 6
_MAX_TEXT = 256
_NEAR_US = 2 * 86_400 * 1_000_000
_LAST_CLASSIC_CODE, _FIRST_STATUS_CODE = 255, 65_536
_TIME_UNITS: tuple[TimeUnit, ...] = ("s", "ms", "us", "ns")
_COMMA = re.compile(r"[-+]?\d+,\d+")
_COMMA_OR_WHOLE = re.compile(r"[-+]?\d+(,\d+)?")


@dataclass(frozen=True, slots=True)
class Format:
    """How a topic's payloads are read.

    value: the JSON field with the value; None for plain text, or where every field is one (`several`).
    """

    decoder: str
    value: str | None = None
    several: bool = False
    time: str | None = None
    quality: str | None = None


@dataclass(slots=True)
class Facts:
    """What one topic's payloads say. format: None for what cannot be read; then `why` says so.

    fields: names of the values, in order; left_out: those that are none (texts about the sensor, objects, arrays).
    odd: fields called like a time or a quality that are neither.
    """

    format: Format | None
    why: str = ""
    fields: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    odd: frozenset[str] = frozenset()
    time_units: frozenset[TimeUnit] = frozenset()
    unit: str | None = None
    decimal_comma: bool = False


@dataclass(slots=True)
class _Columns:
    """The fields of a few objects."""

    values: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, document: dict[str, Any]) -> None:
        for name, value in document.items():
            self.values.setdefault(name, []).append(value)

    def named(self, words: Sequence[str]) -> list[str]:
        """Fields with one of these names, the best first."""
        ranked = [(words.index(plain), name) for name in self.values if (plain := plain_name(name)) in words]
        return [name for _, name in sorted(ranked)]


def inspect(payloads: Sequence[bytes], arrival_us: int) -> Facts:
    """Look at a topic's payloads; `arrival_us`: when one of them came, to know a time when it is seen."""
    columns, texts, reasons = _Columns(), list[str](), Counter[str]()
    objects = 0
    # A retained message is cleared with an empty payload: that says nothing about the others.
    looked_at = [payload for payload in payloads if payload][:_LOOKED_AT] or list(payloads[:1])
    for payload in looked_at:
        found = parse(payload)
        if isinstance(found, dict):
            columns.add(found)
            objects += 1
        elif isinstance(found, str):
            texts.append(found)
        else:
            reasons[found.why] += 1
    if objects and objects >= len(texts) and objects >= reasons.total():
        return _json(columns, arrival_us)
    if texts and len(texts) >= reasons.total():
        comma = all(map(_COMMA_OR_WHOLE.fullmatch, texts)) and any(map(_COMMA.fullmatch, texts))
        return Facts(Format("plain"), decimal_comma=comma)
    return Facts(None, reasons.most_common(1)[0][0] if reasons else "no payload was kept")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Neither an object nor a plain value."""

    why: str


def parse(payload: bytes) -> dict[str, Any] | str | Unreadable:
    """A JSON object, a plain value as text, or why it is neither."""
    start = payload.lstrip()[:1]
    if not start:
        return Unreadable("empty")
    if start == b"{":
        try:
            found: dict[str, Any] = _JSON.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Unreadable("broken JSON")
        return found
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        return Unreadable("binary")
    if start == b"[":
        return Unreadable("a JSON array")
    if start == b"<":
        return Unreadable("markup")
    if len(text) > _MAX_TEXT:
        return Unreadable("a long text")
    if not text.isprintable():
        return Unreadable("binary" if "\0" in text else "several lines of text")
    rejected = Plain().decode(Messages([b""], [payload], [0])).rejected
    return Unreadable(rejected[0].detail) if rejected else text


def _json(columns: _Columns, arrival_us: int) -> Facts:
    values = columns.values
    time = _time(columns, arrival_us)
    quality = next(
        (name for name in columns.named(QUALITIES) if name != time and _is_quality(name, values[name])), None
    )
    rest = [name for name in values if name not in (time, quality)]
    single = [name for name in rest if all(map(_is_value, values[name])) and _can_be_named(name)]
    # A second time is no measurement.
    about = {name for name in single if is_about(name, values[name]) or plain_name(name) in TIMES}
    about = {name for name in about if plain_name(name) not in TIMES or _are_times(values[name])}
    measured = [name for name in single if name not in about]
    value = next((name for name in columns.named(VALUES) if name in measured), None)
    if value is None and len(measured) == 1:
        value = next((name for name in columns.named(WEAK_VALUES) if name in measured), None)
    if not measured:
        return Facts(None, "JSON without a value of its own" if about else "nested JSON")
    return Facts(
        Format("json", value, value is None, time, quality),
        fields=tuple(measured) if value is None else (value,),
        left_out=tuple(name for name in rest if name != value and (value is not None or name not in measured)),
        odd=frozenset(rest) & {"ts", "quality"},
        time_units=frozenset(map(_time_unit, _present(values[time]))) if time else frozenset(),
        unit=_unit(columns),
    )


def _time(columns: _Columns, arrival_us: int) -> str | None:
    for name in columns.named(TIMES):
        if _are_times(columns.values[name]):
            return name
    # Any other field whose every value is about now: chance does not do that.
    for name, values in columns.values.items():
        if _are_times(values) and all(abs(to_us(value, "auto") - arrival_us) < _NEAR_US for value in _present(values)):
            return name
    return None


def _present(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def _are_times(values: list[Any]) -> bool:
    present = _present(values)
    return bool(present) and all(map(_is_time, present))


def _is_time(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        to_us(value, "auto")
    except QuarantineError:
        return False
    return True


def _time_unit(value: float | str) -> TimeUnit:
    if isinstance(value, str):
        return "iso"
    meant = to_us(value, "auto")
    for unit in _TIME_UNITS:
        try:
            if to_us(value, unit) == meant:
                return unit
        except QuarantineError:
            continue
    return "auto"


def _is_quality(name: str, values: list[Any]) -> bool:
    """Whether these are codes of quality, most of them good: a state of 0 or 1 must not be taken for one."""
    good = 0
    for value in _present(values):
        try:
            quality, _ = quality_of(value)
        except QuarantineError:
            return False
        if isinstance(value, bool):
            if plain_name(name) not in BOOLEAN_QUALITIES:
                return False
        elif not isinstance(value, str) and _LAST_CLASSIC_CODE < value < _FIRST_STATUS_CODE:
            return False
        good += quality is Quality.GOOD
    return good > 0 and 2 * good >= len(values)


def _is_value(value: Any) -> bool:
    try:
        value_of(value)
    except QuarantineError:
        return False
    return True


def _can_be_named(field_name: str) -> bool:
    try:
        check_path(field_name)
    except QuarantineError:
        return False
    return True


def _unit(columns: _Columns) -> str | None:
    for name in columns.named(UNITS):
        said = {value for value in columns.values[name] if isinstance(value, str) and value.strip()}
        if len(said) == 1:
            return said.pop()
    return None

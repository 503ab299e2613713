"""JSON objects, one value or several per payload.

The fast way decodes a whole burst with one call: the payloads joined by newlines, each of which must be exactly
one object. It is taken only where that is provably the same as decoding one by one; anything else goes the slow
way, message by message, and tells what is wrong with which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import Quality
from ingest.decoders.base import Decoded, Messages, Rejected
from ingest.decoders.times import TimeUnit, many_to_us, to_us
from ingest.decoders.values import quality_of, value_of

_ANY = msgspec.json.Decoder()
_GOOD = int(Quality.GOOD)
_GOOD_WORDS = {None, "good"}
_NO_TIME = type(None)
_NUMBERS = {int, float}


@dataclass(frozen=True, slots=True)
class Json:
    """Fields of a JSON object.

    value:     name of the field with the value; ignored with `values`.
    values:    several values per payload: their field names, or `["*"]` for all but time and quality. Then the
               route's path needs `{field}` or `{id}`.
    time:      name of the field with the time; where it is absent, the arrival time is taken.
    time_unit: s, ms, us, ns, iso, or auto (by its size).
    quality:   name of the field with the quality; where it is absent, good.
    """

    value: str = "value"
    values: list[str] | None = None
    time: str = "ts"
    time_unit: TimeUnit = "auto"
    quality: str = "quality"
    _rows: msgspec.json.Decoder[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [self.time, self.quality] if self.values is not None else [self.time, self.quality, self.value]
        if len(set(names)) < len(names):
            raise ValueError("value, time and quality must be different fields")
        if self.values is not None:
            if not self.values:
                raise ValueError('values: name at least one field, or ["*"] for all')
            return
        row = msgspec.defstruct(
            "Row",
            [
                ("value", float | bool | str | None | msgspec.UnsetType, msgspec.UNSET),
                ("time", int | float | str | None, None),
                ("quality", float | bool | str | None, None),
            ],
            rename={"value": self.value, "time": self.time, "quality": self.quality},
            gc=False,
        )
        object.__setattr__(self, "_rows", msgspec.json.Decoder(row))

    @property
    def names_fields(self) -> bool:
        """Several values need names."""
        return self.values is not None

    def decode(self, messages: Messages) -> Decoded:
        """Rows for each payload that can be read."""
        out, payloads = Decoded(), messages.payloads
        if self.values is None:
            rows = self._burst(payloads)
            if rows is not None:
                if not self._fill_numbers(out, rows):
                    self._fill(out, rows, 0)
                return out
        for at, payload in enumerate(payloads):
            # A payload gives the same whatever came with it, also where the fast way is more lenient.
            if self.values is None and (row := self._burst([payload])) is not None:
                self._fill(out, row, at)
                continue
            try:
                self._one(out, at, _parse(payload))
            except QuarantineError as error:
                out.rejected.append(Rejected(at, error.reason, error.detail))
        return out

    def _burst(self, payloads: Sequence[bytes]) -> list[Any] | None:
        """All rows at once, or None where one of them is unusual."""
        joined = b"\n".join(payloads)
        gaps = len(payloads) - 1
        # Every boundary reads "}\n{", and there is no other newline: a value cannot span it, as JSON allows
        # neither an object directly after another nor a newline in a string. Then as many values as payloads
        # means one value each.
        if joined.count(b"\n") != gaps or joined.count(b"}\n{") != gaps or joined[:1] != b"{" or joined[-1:] != b"}":
            return None
        try:
            rows: list[Any] = self._rows.decode_lines(joined)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return rows if len(rows) == len(payloads) else None

    def _fill_numbers(self, out: Decoded, rows: list[Any]) -> bool:
        """The usual burst, column by column: only numbers, of good quality, all times of one sort."""
        values = [row.value for row in rows]
        if set(map(type, values)) != {float} or not {row.quality for row in rows} <= _GOOD_WORDS:
            return False
        times = [row.time for row in rows]
        sorts = set(map(type, times))
        ts_us: list[int] | None = None
        if sorts == {_NO_TIME}:
            ts_us = [0] * len(rows)
        elif len(sorts) == 1 and sorts <= _NUMBERS:
            ts_us = many_to_us(times, self.time_unit)
        if ts_us is None:
            return False
        count = len(rows)
        out.message, out.value, out.ts_us = list(range(count)), values, ts_us
        out.field, out.text, out.code = [None] * count, [None] * count, [None] * count
        out.quality = [_GOOD] * count
        return True

    def _fill(self, out: Decoded, rows: list[Any], first: int) -> None:
        """Any burst, row by row."""
        for at, row in enumerate(rows, first):
            try:
                raw = row.value
                if raw is msgspec.UNSET:
                    raise QuarantineError(Reason.NO_VALUE, f"no field {self.value!r}")
                value, text, quality = value_of(raw)
                ts_us = 0 if row.time is None else to_us(row.time, self.time_unit)
                code = None
                if row.quality is not None and row.quality != "good":
                    said, code = quality_of(row.quality)
                    quality = max(quality, said)
            except QuarantineError as error:
                out.rejected.append(Rejected(at, error.reason, error.detail))
                continue
            out.message.append(at)
            out.ts_us.append(ts_us)
            out.value.append(value)
            out.text.append(text)
            out.quality.append(quality)
            out.code.append(code)
        out.field += [None] * (len(out.message) - len(out.field))

    def _one(self, out: Decoded, at: int, document: dict[str, Any]) -> None:
        time, said = document.get(self.time), document.get(self.quality)
        if not (time is None or isinstance(time, float | int | str)) or isinstance(time, bool):
            raise QuarantineError(Reason.TIMESTAMP, f"a time of type {type(time).__name__}")
        ts_us = 0 if time is None else to_us(time, self.time_unit)
        worst, code = (Quality.GOOD, None) if said is None or said == "good" else quality_of(said)
        found = 0
        for name in self._names(document):
            if name not in document:
                continue
            found += 1
            try:
                value, text, quality = value_of(document[name])
            except QuarantineError as error:
                out.rejected.append(Rejected(at, error.reason, f"{name[:64]}: {error.detail}"))
                continue
            out.message.append(at)
            out.field.append(name if self.names_fields else None)
            out.ts_us.append(ts_us)
            out.value.append(value)
            out.text.append(text)
            out.quality.append(max(quality, worst))
            out.code.append(code)
        if not found:
            raise QuarantineError(Reason.NO_VALUE, "none of the configured fields")

    def _names(self, document: dict[str, Any]) -> list[str]:
        if self.values is None:
            return [self.value]
        if self.values == ["*"]:
            return [name for name in document if name not in (self.time, self.quality)]
        return self.values


def _parse(payload: bytes) -> dict[str, Any]:
    if not payload.strip():
        raise QuarantineError(Reason.EMPTY, "no bytes")
    try:
        document = _ANY.decode(payload)
    except RecursionError as error:
        raise QuarantineError(Reason.TOO_DEEP, "nested too deep") from error
    except UnicodeDecodeError as error:
        raise QuarantineError(Reason.ENCODING, "not UTF-8") from error
    except msgspec.DecodeError as error:
        reason = Reason.NUMBER if "out of range" in str(error) else Reason.SYNTAX
        raise QuarantineError(reason, str(error)) from error
    if not isinstance(document, dict):
        raise QuarantineError(Reason.TYPE, f"a {type(document).__name__} where an object was expected")
    return document

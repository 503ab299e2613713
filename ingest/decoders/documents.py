"""From a parsed document (objects, arrays, numbers, texts) to rows: what JSON, CBOR and MessagePack have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat
from math import isfinite, nan
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import Quality
from ingest.contract.times import TimeUnit, time_of
from ingest.contract.values import quality_of, rate_of, samples_of, unit_of, value_of
from ingest.decoders.base import Decoded, Drop, Dropped, Messages, Rejected, Waveform
from ingest.decoders.columns import Columns, Keys, fill_numbers
from ingest.decoders.pointers import MISSING, Path, find, path_of

_IN_DETAIL = 64
_MAX_ID = 2**63
_NUMBERS = {int, float}


class _Paths(NamedTuple):
    """The options that name places, as paths; those that are not set as None."""

    value: Path
    values: list[tuple[str, Path]] | None
    rows: Path | None
    name: Path | None
    time: Path
    document_time: Path
    quality: Path
    unit: Path | None
    rate_hz: Path | None
    apart: frozenset[Path]
    """What `*` leaves out."""
    apart_keys: frozenset[str]


class _About(NamedTuple):
    """What applies to every value of a row."""

    ts_us: int
    quality: int
    code: str | None
    unit: str | None
    rate_hz: float | None


@dataclass(frozen=True, slots=True)
class Documents(ABC):
    """The options and the reading of documents; each format says how its bytes become one."""

    value: str = "value"
    values: list[str] | None = None
    flatten: bool = False
    rows: str | None = None
    name: str | None = None
    time: str = "ts"
    document_time: str | None = None
    time_unit: TimeUnit = "auto"
    quality: str = "quality"
    unit: str | None = None
    rate_hz: str | None = None
    max_rows: int = 10_000
    max_depth: int = 16
    max_name: int = 256
    max_samples: int = 65_536
    _paths: _Paths = field(init=False, repr=False, compare=False)
    _keys: Keys | None = field(init=False, repr=False, compare=False)
    _usual: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for option in ("max_rows", "max_depth", "max_name", "max_samples"):
            if getattr(self, option) < 1:
                raise ValueError(f"{option}: at least 1")
        values = self.values
        if values is not None:
            if not values:
                raise ValueError('values: name at least one field, or ["*"] for all')
            if len(set(values)) < len(values) or ("*" in values and len(values) > 1):
                raise ValueError('values: name each field once, or only "*"')
        if self.document_time is not None and self.rows is None:
            raise ValueError("document_time: only with rows")
        if self.flatten and values != ["*"]:
            raise ValueError('flatten: only with values = ["*"]')
        apart = [
            path_of(name) for name in (self.time, self.quality, self.unit, self.rate_hz, self.name) if name is not None
        ]
        different = apart if values is not None else [*apart, path_of(self.value)]
        if len(set(different)) < len(different):
            raise ValueError("value, time and quality (and unit, rate_hz, name) must be different fields")
        named = None if values is None or values == ["*"] else [path_of(name) for name in values]
        paths = _Paths(
            path_of(self.value),
            None if named is None else [("/".join(path), path) for path in named],
            None if self.rows is None else path_of(self.rows) if self.rows else (),
            None if self.name is None else path_of(self.name),
            path_of(self.time),
            path_of(self.time if self.document_time is None else self.document_time),
            path_of(self.quality),
            None if self.unit is None else path_of(self.unit),
            None if self.rate_hz is None else path_of(self.rate_hz),
            frozenset(apart),
            frozenset(path[0] for path in apart if len(path) == 1),
        )
        keys = self._plain_keys(paths)
        object.__setattr__(self, "_paths", paths)
        object.__setattr__(self, "_keys", keys)
        object.__setattr__(self, "_usual", None if keys is None else self._usual_decoder(keys))

    @property
    def names_fields(self) -> bool:
        """Several values need names, and what is named has one."""
        return self.values is not None or self.name is not None

    def decode(self, messages: Messages) -> Decoded:
        """Rows for each payload that can be read."""
        out, payloads = Decoded(), messages.payloads
        columns = None if self._keys is None or not payloads else self._columns(payloads, self._keys)
        if columns is not None and fill_numbers(out, columns, self.time_unit, self.max_name):
            return out
        if self.unit is not None:
            out.unit = []
        if columns is not None:
            self._fill(out, columns, 0)
        else:
            self._one_by_one(out, payloads)
        if out.unit is not None and out.unit.count(None) == len(out.unit):
            out.unit = None
        return out

    # --- what a format says ---------------------------------------------------------------------------------------

    def _usual_decoder(self, _keys: Keys) -> Any:
        """What `_columns` needs beyond the keys, made once."""
        return None

    @abstractmethod
    def _columns(self, payloads: Sequence[bytes], keys: Keys) -> Columns | None:
        """A burst whose documents are as `keys` say, where it reads as one by one; None where one is unusual."""

    @abstractmethod
    def _parse(self, payload: bytes) -> Any:
        """One document. Raises QuarantineError."""

    # --- documents → rows -----------------------------------------------------------------------------------------

    def _plain_keys(self, paths: _Paths) -> Keys | None:
        """The keys of one reading a row, none of them a pointer further down; else None."""
        read = [paths.value, paths.time, paths.quality, paths.rows, paths.unit, paths.name]
        if self.values is not None or self.rate_hz is not None or any(path and len(path) > 1 for path in read):
            return None
        above = [paths.document_time, paths.quality, paths.unit, paths.rows]
        if self.rows and (len(paths.document_time) > 1 or len(set(above)) < len(above)):
            return None
        unit, name, rows = (
            "".join(path) if path is not None else None for path in (paths.unit, paths.name, paths.rows)
        )
        return Keys(paths.value[0], paths.time[0], paths.quality[0], unit, name, rows, paths.document_time[0])

    def _one_by_one(self, out: Decoded, payloads: Sequence[bytes]) -> None:
        for at, payload in enumerate(payloads):
            # A payload gives the same whatever came with it, also where the fast way is more lenient.
            if self._keys is not None and (columns := self._columns([payload], self._keys)) is not None:
                self._fill(out, columns, at)
                continue
            rows, rejected = len(out.message), len(out.rejected)
            try:
                self._document(out, at, self._parse(payload), rows + rejected + self.max_rows)
            except QuarantineError as error:
                # All or nothing: what is refused as a whole leaves no rows behind.
                _forget(out, rows, rejected)
                out.rejected.append(Rejected(at, error.reason, error.detail))

    def _fill(self, out: Decoded, columns: Columns, first: int) -> None:
        """Rows as they came, one by one."""
        count = len(columns.value)
        message = range(count) if columns.message is None else columns.message
        units, names = columns.unit or [None] * count, columns.name or [None] * count
        rows = zip(message, columns.value, columns.time, columns.quality, units, names, strict=True)
        for at, raw, time, quality, unit, name in rows:
            try:
                named = None if columns.name is None else self._name_of(name)
                about = self._about(time, quality, unit, None)
                if raw is msgspec.UNSET:
                    raise QuarantineError(Reason.NO_VALUE, f"no field {self.value!r}")
                self._add(out, first + at, named, raw, about)
            except QuarantineError as error:
                out.rejected.append(Rejected(first + at, error.reason, error.detail))

    def _document(self, out: Decoded, at: int, document: Any, most: int) -> None:
        """All rows of a document. most: rows and rejected parts in `out` by its end; beyond them it is refused."""
        where = self._paths.rows
        if where is None:
            if type(document) is not dict:
                raise QuarantineError(Reason.TYPE, f"a {type(document).__name__} where an object was expected")
            self._row(out, at, document, document, most)
            return
        found = find(document, where)
        if found is MISSING:
            raise QuarantineError(Reason.NO_VALUE, f"no rows at {self.rows!r}")
        rows = found if type(found) is list else [found]
        if not rows:
            out.dropped.append(Dropped(at, Drop.NO_READINGS))
        for row in rows:
            self._within(out, most)
            try:
                if type(row) is not dict:
                    raise QuarantineError(Reason.TYPE, f"a row of type {type(row).__name__}")
                self._row(out, at, row, document, most)
            except _TooManyError:
                raise
            except QuarantineError as error:
                out.rejected.append(Rejected(at, error.reason, error.detail))

    def _row(self, out: Decoded, at: int, row: dict[Any, Any], document: Any, most: int) -> None:
        paths = self._paths
        name = None if paths.name is None else self._name_of(find(row, paths.name))
        time = _get(row, paths.time)
        if time is None and document is not row:
            time = _get(document, paths.document_time)
        about = self._about(
            time,
            self._either(row, document, paths.quality),
            self._either(row, document, paths.unit),
            self._either(row, document, paths.rate_hz),
        )
        if self.values is None:
            raw = find(row, paths.value)
            if raw is MISSING:
                raise QuarantineError(Reason.NO_VALUE, f"no field {self.value!r}")
            self._add(out, at, name, raw, about)
            return
        named = self._named(row)
        if not named:
            raise QuarantineError(Reason.NO_VALUE, "none of the configured fields")
        if self._add_numbers(out, at, name, named, about, most):
            return
        for key, raw in named:
            self._within(out, most)
            try:
                self._add(out, at, self._field(name, key), raw, about)
            except QuarantineError as error:
                where = f"{key[:_IN_DETAIL]}: " if type(key) is str else ""
                out.rejected.append(Rejected(at, error.reason, where + error.detail))

    def _add_numbers(
        self, out: Decoded, at: int, above: str | None, named: list[tuple[Any, Any]], about: _About, most: int
    ) -> bool:
        """A row's values together, if all are usual numbers and names; else `out` is as it was."""
        names, raws = zip(*named, strict=True)
        count = len(names)
        if not set(map(type, raws)) <= _NUMBERS or set(map(type, names)) != {str}:
            return False
        try:
            values = list(map(float, raws))
        except OverflowError:
            return False
        if not isfinite(sum(values)):  # one that is not finite makes the sum so
            return False
        longest = max(map(len, names)) + (0 if above is None else len(above) + 1)
        if longest > self.max_name or len(out.message) + len(out.rejected) + count > most:
            return False
        out.message += repeat(at, count)
        out.field += names if above is None else [f"{above}/{name}" for name in names]
        out.ts_us += repeat(about.ts_us, count)
        out.value += values
        out.text += repeat(None, count)
        out.quality += repeat(about.quality, count)
        out.code += repeat(about.code, count)
        if out.unit is not None:
            out.unit += repeat(about.unit, count)
        return True

    def _named(self, row: dict[Any, Any]) -> list[tuple[Any, Any]]:
        """(name, value) of a row's several values; a name may be anything that can be a key."""
        paths = self._paths
        if paths.values is not None:
            return [(name, raw) for name, path in paths.values if (raw := find(row, path)) is not MISSING]
        if self.flatten:
            return list(islice(self._leaves(row, ()), self.max_rows + 1))
        apart = paths.apart_keys
        return [one for one in row.items() if one[0] not in apart]

    def _leaves(self, node: dict[Any, Any], above: Path) -> Iterator[tuple[Any, Any]]:
        """What is not an object, with its way; an object only where it is too deep to follow or has no name."""
        for key, raw in node.items():
            if type(key) is not str:
                yield key, raw
                continue
            path = (*above, key)
            if path in self._paths.apart:
                continue
            name = "/".join(path)
            if type(raw) is dict and len(path) < self.max_depth and len(name) <= self.max_name:
                yield from self._leaves(raw, path)
            else:
                yield name, raw

    def _about(self, time: Any, quality: Any, unit: Any, rate_hz: Any) -> _About:
        said, code = int(Quality.GOOD), None
        if quality is not None and not (type(quality) is str and quality == "good"):
            quality_, code = quality_of(quality)
            said = int(quality_)
        ts_us = 0 if time is None else time_of(time, self.time_unit)
        return _About(ts_us, said, code, unit_of(unit), rate_of(rate_hz))

    def _add(self, out: Decoded, at: int, field_: str | None, raw: Any, about: _About) -> None:
        """One reading, or QuarantineError and `out` as it was."""
        if isinstance(raw, list | np.ndarray):
            out.waveforms[len(out.message)] = Waveform(samples_of(raw, self.max_samples), about.rate_hz)
            value, text, quality = nan, None, Quality.GOOD
        elif self.flatten and type(raw) is dict:
            raise QuarantineError(Reason.TOO_DEEP, f"nested over {self.max_depth} levels")
        else:
            value, text, quality = value_of(raw)
        out.message.append(at)
        out.field.append(field_)
        out.ts_us.append(about.ts_us)
        out.value.append(value)
        out.text.append(text)
        out.quality.append(max(quality, about.quality))
        out.code.append(about.code)
        if out.unit is not None:
            out.unit.append(about.unit)

    # --- names and limits -----------------------------------------------------------------------------------------

    def _either(self, row: dict[Any, Any], document: Any, path: Path | None) -> Any:
        """What a row says itself, else its document; None where neither does."""
        if path is None:
            return None
        found = _get(row, path)
        return found if found is not None or document is row else _get(document, path)

    def _name_of(self, raw: Any) -> str:
        if raw is MISSING or raw is None:
            raise QuarantineError(Reason.NAME, f"no field {self.name!r}")
        if isinstance(raw, int) and not isinstance(raw, bool) and -_MAX_ID <= raw < _MAX_ID:
            return str(raw)
        return self._field(None, raw)

    def _field(self, above: str | None, name: Any) -> str:
        if type(name) is not str:
            raise QuarantineError(Reason.NAME, f"a name of type {type(name).__name__}")
        if len(name) + (0 if above is None else len(above) + 1) > self.max_name:
            raise QuarantineError(Reason.NAME, f"over {self.max_name} characters")
        return name if above is None else f"{above}/{name}"

    def _within(self, out: Decoded, most: int) -> None:
        if len(out.message) + len(out.rejected) >= most:
            raise _TooManyError(Reason.TOO_LARGE, f"over {self.max_rows} values")


class _TooManyError(QuarantineError):
    """The whole payload is refused."""


def _get(document: Any, path: Path) -> Any:
    """As `find`, but None also for what is not there."""
    found = find(document, path)
    return None if found is MISSING else found


def _forget(out: Decoded, rows: int, rejected: int) -> None:
    del out.rejected[rejected:]
    for row in range(rows, len(out.message)):
        out.waveforms.pop(row, None)
    for column in (out.message, out.field, out.ts_us, out.value, out.text, out.quality, out.code, out.unit or []):
        del column[rows:]

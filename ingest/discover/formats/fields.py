"""The fields of a few documents → what each is: a value, a time, a quality, a unit, or none of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from ingest.contract.errors import QuarantineError
from ingest.contract.readings import Quality
from ingest.contract.times import TimeUnit, time_of, to_us
from ingest.contract.values import MAX_UNIT, quality_of, value_of
from ingest.discover.formats.base import can_be_named
from ingest.discover.words import (
    BOOLEAN_QUALITIES,
    QUALITIES,
    RATES,
    TIMES,
    UNITS,
    VALUES,
    WEAK_VALUES,
    is_about,
    plain_name,
)

Path = tuple[str, ...]

SHORTEST_WAVEFORM = 64
"""What the gateway takes by default. Shorter arrays are places, colours, versions."""
_MAX_DEPTH = 8
_MAX_LEAVES = 2_000
_NEAR_US = 2 * 86_400 * 1_000_000
_LAST_CLASSIC_CODE, _FIRST_STATUS_CODE = 255, 65_536
_TIME_UNITS: tuple[TimeUnit, ...] = ("s", "ms", "us", "ns")


def place(path: Path) -> str:
    """A way down as the decoders' options have it: a key, or a JSON Pointer.

    >>> place(("oil.temp",)), place(("motor", "a/b"))
    ('oil.temp', '/motor/a~1b')
    """
    if len(path) == 1 and not path[0].startswith("/"):
        return path[0]
    return "".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in path)


def leaves(document: dict[Any, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """What is no object, with its way; an object only where it is empty or too deep."""
    for key, raw in document.items():
        if not isinstance(key, str):
            continue
        path = (*above, key)
        if isinstance(raw, dict) and raw and len(path) < _MAX_DEPTH:
            yield from leaves(raw, path)
        else:
            yield path, raw


@dataclass(slots=True)
class Columns:
    """The fields of a few objects, by their way down."""

    values: dict[Path, list[Any]] = field(default_factory=dict)
    _words: dict[str, list[Path]] = field(default_factory=dict)

    def add(self, document: dict[Any, Any]) -> None:
        """One more object."""
        for path, value in leaves(document):
            column = self.values.get(path)
            if column is not None:
                column.append(value)
            elif len(self.values) < _MAX_LEAVES:
                self.values[path] = [value]
                self._words.setdefault(self.plain(path), []).append(path)

    def named(self, words: Sequence[str]) -> list[Path]:
        """Fields with one of these names, the best first; not those that every part of a document has its own of."""
        ranked = [
            (len(path), words.index(plain), path)
            for plain, paths in self._words.items()
            if plain in words
            for path in paths
            if len(path) == 1 or len(paths) == 1
        ]
        return [path for _, _, path in sorted(ranked, key=lambda one: one[:2])]

    @staticmethod
    def plain(path: Path) -> str:
        """The last key, for comparing."""
        return plain_name(path[-1])

    @staticmethod
    def find(document: Any, path: Path) -> Any:
        """What is there; None for nothing."""
        for key in path:
            document = document.get(key) if isinstance(document, dict) else None
        return document

    def could_be_name(self, path: Path) -> bool:
        """Whether a field is neither a time nor a unit nor a quality."""
        plain = self.plain(path)
        return plain not in UNITS and plain not in QUALITIES and not are_times(self.values[path])


@dataclass(slots=True)
class Roles:
    """Which field is what. value: None where there are several. measured: all that could be one.

    rest: all but time, quality, unit and rate. units_beside: units next to one of several nested values.
    """

    columns: Columns
    time: Path | None
    quality: Path | None
    unit: Path | None
    rate_hz: Path | None
    value: Path | None
    measured: list[Path]
    rest: list[Path]
    about: bool
    units_beside: dict[Path, str]

    @classmethod
    def of(cls, columns: Columns, arrival_us: int, apart: Path | None = None) -> Roles:
        """apart: a field that is known to be something else."""
        values = columns.values
        time = _time(columns, arrival_us, apart)
        taken = (time, apart)
        quality = next(
            (path for path in columns.named(QUALITIES) if path not in taken and _is_quality(columns, path)), None
        )
        rest = [path for path in values if path not in (time, quality, apart)]
        single = [path for path in rest if _are_values(values[path]) and can_be_named("/".join(path))]
        waves = [path for path in single if _is_wave_column(values[path])]
        rate_hz = next(
            (path for path in columns.named(RATES) if waves and path in single and _is_rate(values[path])), None
        )
        # A second time is no measurement.
        about = {path for path in single if is_about(path[-1], values[path]) or columns.plain(path) in TIMES}
        about = {path for path in about if columns.plain(path) not in TIMES or are_times(values[path])}
        measured = [path for path in single if path not in about and path != rate_hz]
        tops = [path for path in columns.named(VALUES) if len(path) == 1]
        value: Path | None = next((path for path in tops if path in measured), None)
        if value is None and len(measured) == 1:
            words = (*VALUES, *WEAK_VALUES)
            value = next((path for path in columns.named(words) if path in measured), None)
        if value is None and waves and measured == waves[:1]:
            value = waves[0]
        unit = next((path for path in columns.named(UNITS) if path in rest and _are_units(values[path])), None)
        rest = [path for path in rest if path not in (rate_hz, unit)]
        return cls(columns, time, quality, unit, rate_hz, value, measured, rest, bool(about), _units_beside(columns))

    @property
    def odd(self) -> frozenset[str]:
        """Fields that the decoder would take for a time or a quality if it were not told otherwise."""
        return frozenset(path[0] for path in self.rest if path in (("ts",), ("quality",)))

    @property
    def time_units(self) -> frozenset[TimeUnit]:
        """How the times are written."""
        present = _present(self.columns.values[self.time]) if self.time else []
        return frozenset(_time_unit(value) for value in present if not isinstance(value, datetime))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not certain."""
        beside = Counter(self.columns.plain(path) for path in self.columns.values if len(path) > 1)
        own = sorted(word for word, count in beside.items() if count > 1 and word in (*TIMES, *QUALITIES))
        if self.value is not None or not own:
            return ()
        return (f"? several values have their own {', '.join(own[:3])}, which cannot be read",)

    def is_switch(self, path: Path) -> bool:
        """Whether all that is there is a boolean."""
        present = _present(self.columns.values[path])
        return bool(present) and all(isinstance(value, bool) for value in present)


def is_row_name(values: Sequence[Any]) -> bool:
    """Whether all of these can be a name of a row: texts, or whole numbers as ids."""
    kinds = set(map(type, values))
    return kinds in ({str}, {int}) and all(can_be_named(str(value)) for value in values)


def are_times(values: list[Any]) -> bool:
    """Whether all that is there is a time, and something is."""
    present = _present(values)
    return bool(present) and all(map(_is_time, present))


def _time(columns: Columns, arrival_us: int, apart: Path | None) -> Path | None:
    for path in columns.named(TIMES):
        if path != apart and are_times(columns.values[path]):
            return path
    # Any other field whose every value is about now: chance does not do that.
    for path, values in columns.values.items():
        if path == apart or not are_times(values) or len(path) > 1:
            continue
        if all(abs(time_of(value, "auto") - arrival_us) < _NEAR_US for value in _present(values)):
            return path
    return None


def _present(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def _is_time(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str | datetime):
        return False
    try:
        time_of(value, "auto")
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


def _is_quality(columns: Columns, path: Path) -> bool:
    """Whether these are codes of quality, most of them good: a state of 0 or 1 must not be taken for one."""
    values, good = columns.values[path], 0
    for value in _present(values):
        try:
            quality, _ = quality_of(value)
        except QuarantineError:
            return False
        if isinstance(value, bool):
            if columns.plain(path) not in BOOLEAN_QUALITIES:
                return False
        elif not isinstance(value, str) and _LAST_CLASSIC_CODE < value < _FIRST_STATUS_CODE:
            return False
        good += quality is Quality.GOOD
    return good > 0 and 2 * good >= len(values)


def _are_values(values: list[Any]) -> bool:
    return _is_wave_column(values) or all(map(_is_value, values))


def _is_value(value: Any) -> bool:
    try:
        value_of(value)
    except QuarantineError:
        return False
    return True


def _is_wave_column(values: list[Any]) -> bool:
    present = _present(values)
    return bool(present) and all(map(_is_wave, present))


def _is_wave(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return len(value) >= SHORTEST_WAVEFORM
    return isinstance(value, list) and len(value) >= SHORTEST_WAVEFORM and set(map(type, value)) <= {int, float}


def _is_rate(values: list[Any]) -> bool:
    present = _present(values)
    return bool(present) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and value > 0 for value in present
    )


def _are_units(values: list[Any]) -> bool:
    present = _present(values)
    texts = [value for value in present if isinstance(value, str) and len(value) <= MAX_UNIT]
    return len(texts) == len(present) and any(text.strip() for text in texts)


def _units_beside(columns: Columns) -> dict[Path, str]:
    """Units that stand in one object with a value, `{"temp": {"value": 21.5, "unit": "°C"}}`, by the value's way."""
    found: dict[Path, str] = {}
    for path, values in columns.values.items():
        said = set(values) if len(path) > 1 and columns.plain(path) in UNITS and _are_units(values) else set()
        if len(said) == 1:
            beside = [one for one in columns.values if one[:-1] == path[:-1] and one != path]
            found |= {one: str(next(iter(said))) for one in beside}
    return found

"""Classes: sensors that share settings, matched by path, so that 20,000 sensors need a few lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest.contract.class_settings import ClassSettings
    from ingest.contract.tags import Tag

Range = tuple[float | None, float | None]


class Kind(StrEnum):
    """What a sensor measures."""

    GAUGE = "gauge"
    """A number that goes up and down."""
    COUNTER = "counter"
    """A number that only grows, until it starts again."""
    BOOL = "bool"
    """On or off: 1 or 0."""
    ENUM = "enum"
    """One of a few named states."""
    TEXT = "text"
    """Free text: an order number, a message."""
    WAVEFORM = "waveform"
    """An array in one message (vibration). Its features, not its samples, become readings."""

    @property
    def numeric(self) -> bool:
        """Whether windows and models make sense for it."""
        return self in (Kind.GAUGE, Kind.COUNTER, Kind.BOOL)


class Reporting(StrEnum):
    """When a sensor sends."""

    PERIODIC = "periodic"
    """Every so often, whatever the value: statistics are over readings."""
    ON_CHANGE = "on-change"
    """When the value changes: the last one holds, and statistics are weighted by time."""


_GLOB = {"**/": "(?:.*/)?", "/**": "(?:/.*)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


@lru_cache(maxsize=1024)
def glob(pattern: str) -> re.Pattern[str]:
    """A path pattern as a regular expression: `*` within a level, `**` over any number of levels.

    >>> bool(glob("**/temperature").fullmatch("demo/line-01/press/temperature"))
    True
    >>> bool(glob("demo/*/temperature").fullmatch("demo/line-01/press/temperature"))
    False
    """
    parts = re.split(r"(\*\*/|/\*\*|\*\*|\*|\?)", pattern)
    return re.compile("".join(_GLOB.get(part, re.escape(part)) for part in parts))


class ClassTable:
    """Which settings a sensor has: those of its class, with what its tag says laid over them.

    A sensor's class is the one its tag names, else the first whose `match` fits; the last one fits everything.
    `classes` are the configured ones, then one for each unit and range that tags give to a class.
    """

    def __init__(self, classes: Sequence[ClassSettings], tags: Mapping[str, Tag] | None = None) -> None:
        self._patterns = [[glob(pattern) for pattern in one.match] for one in classes]
        self._tags = dict(tags or {})
        self._tagged: dict[str, int] = {}
        self.classes = tuple(classes)
        if self._tags:
            self.classes += tuple(self._laid_over())

    def __len__(self) -> int:
        return len(self.classes)

    def index_of(self, sensor: str) -> int:
        """The class's place in `classes`."""
        tagged = self._tagged.get(sensor)
        return self._matching(sensor) if tagged is None else tagged

    def display_name(self, sensor: str) -> str:
        """What the plant calls it; "" where no tag says so."""
        tag = self._tags.get(sensor)
        return "" if tag is None else tag.name

    def base_of(self, sensor: str) -> int:
        """The place of the configured class, before its tag's unit and range."""
        tag = self._tags.get(sensor)
        if tag is None or not tag.class_name:
            return self._matching(sensor)
        named = [at for at in range(len(self._patterns)) if self.classes[at].name == tag.class_name]
        if not named:
            raise LookupError(f"the tag of {sensor!r} names a class that there is not: {tag.class_name!r}")
        return named[0]

    def _matching(self, sensor: str) -> int:
        for index, patterns in enumerate(self._patterns):
            if any(pattern.fullmatch(sensor) for pattern in patterns):
                return index
        raise LookupError(f"no class matches {sensor!r}: the last class must match everything")

    def _laid_over(self) -> list[ClassSettings]:
        """The classes that tags make, each once; `_tagged` gets every tag's place."""
        configured = list(self.classes)
        made: list[ClassSettings] = []
        places: dict[tuple[int, str, Range], int] = {(at, one.unit, one.range): at for at, one in enumerate(configured)}
        # In order of their paths: the same tags in another order make the same classes in the same places.
        for sensor, tag in sorted(self._tags.items()):
            base = self.base_of(sensor)
            one = configured[base]
            unit, limits = tag.unit or one.unit, range_with(tag, one)
            place = places.setdefault((base, unit, limits), len(configured) + len(made))
            if place == len(configured) + len(made):
                made.append(one.model_copy(update={"unit": unit, "range": limits}))
            self._tagged[sensor] = place
        return made


def range_with(tag: Tag, one: ClassSettings) -> Range:
    """A class's range, each side replaced by the tag's where the tag has one. Raises ValueError if nothing fits it."""
    low, high = one.range
    low, high = low if tag.low is None else tag.low, high if tag.high is None else tag.high
    if low is not None and high is not None and not low < high:
        raise ValueError(f"{tag.path}: with the range of class {one.name}, low {low:g} is not less than high {high:g}")
    return low, high

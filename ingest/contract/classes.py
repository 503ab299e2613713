"""Classes: sensors that share settings, matched by path, so that 20,000 sensors need a few lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest.contract.settings import ClassSettings


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
    """Which class a sensor belongs to: the first whose `match` fits; the last one fits everything."""

    def __init__(self, classes: Sequence[ClassSettings]) -> None:
        self.classes = tuple(classes)
        self._patterns = [[glob(pattern) for pattern in one.match] for one in self.classes]

    def __len__(self) -> int:
        return len(self.classes)

    def index_of(self, sensor: str) -> int:
        """The class's place in `classes`."""
        for index, patterns in enumerate(self._patterns):
            if any(pattern.fullmatch(sensor) for pattern in patterns):
                return index
        raise LookupError(f"no class matches {sensor!r}: the last class must match everything")

"""Durations and sizes as people write them: "200ms", "1m 30s", "7d"; "64KiB"."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_UNITS_US = {
    "us": 1,
    "µs": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_LONGEST_US = 36_500 * _UNITS_US["d"]  # what follows fits into 64 bits, also as a point in time
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(us|µs|ms|min|s|m|h|d|w)")


def parse_duration_us(text: object) -> int:
    """A duration in µs. A bare number is refused: nobody can tell whether it means seconds.

    >>> parse_duration_us("1m 30s")
    90000000
    """
    if isinstance(text, str):
        total, at = 0.0, 0
        while match := _PART.match(text, at):
            total += float(match[1]) * _UNITS_US[match[2]]
            at = match.end()
        if at and not text[at:].strip():
            if total > _LONGEST_US:
                raise ValueError("a duration is at most 36500d")
            return round(total)
    raise ValueError('a duration is a number with a unit, like "200ms", "10s", "5m", "1h 30m" or "7d"')


def format_duration(duration_us: int) -> str:
    """The shortest exact way to write a duration, in one unit.

    >>> format_duration(60_000_000), format_duration(90_000_000), format_duration(200_000)
    ('1m', '90s', '200ms')
    """
    for unit in ("d", "h", "m", "s", "ms"):
        if duration_us and duration_us % _UNITS_US[unit] == 0:
            return f"{duration_us // _UNITS_US[unit]}{unit}"
    return f"{duration_us}us"


DurationUs = Annotated[int, BeforeValidator(parse_duration_us), PlainSerializer(format_duration)]
"""A settings field in µs, written as text."""

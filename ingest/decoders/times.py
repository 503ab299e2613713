"""Timestamps as they come in payloads → µs UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import MAX_TS_US, MIN_TS_US

TimeUnit = Literal["auto", "s", "ms", "us", "ns", "iso"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US_PER = {"s": 1_000_000, "ms": 1_000, "us": 1}


def to_us(time: float | str, unit: TimeUnit) -> int:
    """µs since 1970-01-01 UTC.

    `auto`: a string is ISO 8601; a number is taken for s, ms, µs or ns by its size, which is unambiguous between
    1990 and 2200. ISO 8601 without a zone is UTC. Raises QuarantineError(TIMESTAMP).

    >>> to_us(1_700_000_000, "auto") == to_us(1_700_000_000_000, "auto") == to_us("2023-11-14T22:13:20Z", "auto")
    True
    """
    if isinstance(time, str):
        if unit not in ("auto", "iso"):
            raise QuarantineError(Reason.TIMESTAMP, "text where a number was expected")
        us = _from_iso(time)
    elif unit == "iso":
        raise QuarantineError(Reason.TIMESTAMP, "a number where ISO 8601 was expected")
    else:
        us = _from_number(time, unit)
    if not MIN_TS_US <= us < MAX_TS_US:
        raise QuarantineError(Reason.TIMESTAMP, "not between 1990 and 2200")
    return us


def _from_number(time: float, unit: TimeUnit) -> int:
    if unit == "auto":
        # 2200-01-01 is 7.26e9 s; 1990-01-01 is 6.3e11 ms: the ranges do not touch.
        unit = "s" if time < 1e11 else "ms" if time < 1e14 else "us" if time < 1e17 else "ns"
    if unit == "ns":
        return int(time // 1_000)
    return round(time * _US_PER[unit])


def _from_iso(text: str) -> int:
    try:
        when = datetime.fromisoformat(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        # A difference of dates is exact; .timestamp() goes through a float.
        return (when - _EPOCH) // _US
    except (ValueError, OverflowError) as error:
        raise QuarantineError(Reason.TIMESTAMP, "not ISO 8601") from error


_US = datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC) - _EPOCH

"""Timestamps as they come in payloads → µs UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import MAX_TS_US, MIN_TS_US

TimeUnit = Literal["auto", "s", "ms", "us", "ns", "iso"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEYOND = 1e19  # 2200-01-01 is 7.26e18 ns
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


def time_of(raw: Any, unit: TimeUnit) -> int:
    """µs since 1970-01-01 UTC of a document's field: what `to_us` takes, or a date-time that the format itself types.

    Such a date-time says what it is, whatever `unit` is; without a zone it is UTC. Raises QuarantineError(TIMESTAMP).

    >>> time_of(datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), "ms")
    1700000000000000
    """
    if isinstance(raw, datetime):
        us = _from_datetime(raw)
        if not MIN_TS_US <= us < MAX_TS_US:
            raise QuarantineError(Reason.TIMESTAMP, "not between 1990 and 2200")
        return us
    if not isinstance(raw, int | float | str) or isinstance(raw, bool):
        raise QuarantineError(Reason.TIMESTAMP, f"a time of type {type(raw).__name__}")
    return to_us(raw, unit)


def many_to_us(times: Sequence[float], unit: TimeUnit) -> list[int] | None:
    """`to_us` of many numbers of one type at once; None where they have to be looked at one by one.

    >>> many_to_us([1_700_000_000_000, 1_700_000_000_250], "auto")
    [1700000000000000, 1700000000250000]
    """
    low, high = min(times), max(times)
    if unit == "iso" or not 0 < low <= high < 2**63:
        return None
    found = _unit_of(low) if unit == "auto" else unit
    if (unit == "auto" and _unit_of(high) != found) or not _from_number(low, found) >= MIN_TS_US:
        return None
    if _from_number(high, found) >= MAX_TS_US:
        return None
    column = np.array(times)
    if column.dtype.kind == "f" and not np.isfinite(column).all():  # NaN hides from min and max
        return None
    scaled = column // 1_000 if found == "ns" else np.rint(column * _US_PER[found])
    us: list[int] = scaled.astype(np.int64).tolist()
    return us


def _unit_of(time: float) -> TimeUnit:
    # 2200-01-01 is 7.26e9 s; 1990-01-01 is 6.3e11 ms: the ranges do not touch.
    return "s" if time < 1e11 else "ms" if time < 1e14 else "us" if time < 1e17 else "ns"


def _from_number(time: float, unit: TimeUnit) -> int:
    # No unit makes a time of it, and what follows must not overflow.
    if not -_BEYOND < time < _BEYOND:
        raise QuarantineError(Reason.TIMESTAMP, "not between 1990 and 2200")
    if unit == "auto":
        unit = _unit_of(time)
    if unit == "ns":
        return int(time // 1_000)
    return round(time * _US_PER[unit])


def _from_iso(text: str) -> int:
    try:
        return _from_datetime(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise QuarantineError(Reason.TIMESTAMP, "not ISO 8601") from error


def _from_datetime(when: datetime) -> int:
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    # A difference of dates is exact; .timestamp() goes through a float.
    return (when - _EPOCH) // _US


_US = datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC) - _EPOCH

"""A site's clock: what a zone is ahead of UTC, daylight saving included, as numbers that a step can look up.

The changes from 2000 to 2060 are in the parameters; what comes after them is as after the last one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

_CHANGES = 128
_SEARCHES = 7  # halvings of so many
_NEVER = 1e18
SIZE = 1 + 2 * _CHANGES
"""Numbers in a table of offsets."""
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2060, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


@lru_cache(maxsize=64)
def offsets_of(zone: str) -> tuple[float, ...]:
    """Of an IANA zone: its offset from UTC in µs before the first change; when each comes, µs UTC; the offset then.

    SIZE numbers: 1, 128 and 128. Raises ValueError for a zone that there is not, or that changes too often.

    >>> table = offsets_of("Europe/Berlin")
    >>> [offset / 3.6e9 for offset in (table[0], table[129], table[130])]
    [1.0, 2.0, 1.0]
    """
    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"zone: there is no time zone {zone!r}; they are called like Europe/Berlin") from error

    def ahead(at: datetime) -> timedelta:
        return at.astimezone(place).utcoffset() or timedelta(0)

    times, offsets = list[float](), list[float]()
    day, before = _FIRST, ahead(_FIRST)
    while day < _LAST:
        after = ahead(day + timedelta(days=1))
        if after != before:
            low, high = day, day + timedelta(days=1)
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) / 2
                low, high = (low, middle) if ahead(middle) == after else (middle, high)
            minute = round(high.timestamp() / 60) * 60
            times.append(minute * 1e6)
            offsets.append(after / _US)
        day, before = day + timedelta(days=1), after
    if len(times) > _CHANGES:
        raise ValueError(f"zone: {zone} changes its clocks too often")
    missing = _CHANGES - len(times)
    return (ahead(_FIRST) / _US, *times, *[_NEVER] * missing, *offsets, *[0.0] * missing)


@kernel
def site_us(ts_us: int, params: NDArray[np.float64], table: int) -> int:
    """A time by the site's clock. table: where the zone's begins in the parameters."""
    if ts_us < params[table + 1]:
        return ts_us + int(params[table])
    low, high = 0, _CHANGES  # the change before is at `low` or after
    for _ in range(_SEARCHES):
        middle = (low + high) // 2
        if ts_us >= params[table + 1 + middle]:
            low = middle
        else:
            high = middle
    return ts_us + int(params[table + 1 + _CHANGES + low])

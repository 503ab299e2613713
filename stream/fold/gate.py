"""The gate: what may enter windows and models, and why the rest may not. Each reading gets one verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any

import numpy as np

from ingest.contract.readings import Flag, Quality
from models.compiled import ORDERLY, borrowing_kernel, inlined_kernel, kernel
from stream.fold.windows import NO_PANE

RING = 16
"""Recent timestamps kept per sensor, a power of two. What is older than all of them is late, never folded again."""
_RING_MASK = RING - 1


class Verdict(IntEnum):
    """What became of a reading. Its lower-case name labels the worker's counter."""

    FOLDED = ORDERLY
    """In order: windows and models have it."""
    OUT_OF_ORDER = 1
    """Older than the newest that was folded: its pane has it, models do not."""
    STATE = 2
    """Of an enum or text sensor: shown; there is nothing to average."""
    DUPLICATE = 3
    """A reading of this sensor with this timestamp was here before."""
    LATE = 4
    """Older than the sensor's ring of timestamps, and not newer than all that was folded: cannot be told from a
    duplicate. Or older than its panes."""
    FUTURE = 5
    """Its time is too far ahead of its arrival."""
    RETAINED = 6
    """The broker's stored message: old news."""
    BAD_QUALITY = 7
    """Marked bad by its source: shown, neither folded nor learned."""
    NON_FINITE = 8
    """NaN or infinite."""
    OUT_OF_RANGE = 9
    """Outside what is physically possible for its class."""
    NOT_NUMERIC = 10
    """Text from a sensor whose class says that it is a number."""
    OVER_BUDGET = 11
    """A new sensor beyond `plant.max_sensors`."""
    REPLAYED = 12
    """Read anew from quarantine, long after it happened: shown and in the log, in no window and no model."""
    SENTINEL = 13
    """A number that stands for "no value"."""
    TOO_FAST = 14
    """Farther from the last folded value than the class's `max_rate` lets it come in the time."""
    MASKED = 15
    """In maintenance: shown and in windows; models neither score nor learn it, and no rule judges it."""

    @property
    def accepted(self) -> bool:
        """Whether the reading was all right; what is not has a reason, which is shown."""
        return self <= Verdict.STATE or self == Verdict.MASKED


FOLDED = int(Verdict.FOLDED)
OUT_OF_ORDER = int(Verdict.OUT_OF_ORDER)
STATE = int(Verdict.STATE)
DUPLICATE = int(Verdict.DUPLICATE)
LATE = int(Verdict.LATE)
_FUTURE = int(Verdict.FUTURE)
_RETAINED = int(Verdict.RETAINED)
BAD_QUALITY = int(Verdict.BAD_QUALITY)
_NON_FINITE = int(Verdict.NON_FINITE)
_OUT_OF_RANGE = int(Verdict.OUT_OF_RANGE)
_NOT_NUMERIC = int(Verdict.NOT_NUMERIC)
OVER_BUDGET = int(Verdict.OVER_BUDGET)
_REPLAYED = int(Verdict.REPLAYED)
SENTINEL = int(Verdict.SENTINEL)
_TOO_FAST = int(Verdict.TOO_FAST)
MASKED = int(Verdict.MASKED)

_RETAINED_FLAG = int(Flag.RETAINED)
_REPLAYED_FLAG = int(Flag.REPLAYED)
_BEYOND_RANGE = int(Flag.BEYOND_RANGE)
BAD = int(Quality.BAD)

DEFAULT_SENTINELS = (
    65_535.0, 32_767.0, -32_768.0, -9_999.0, 4_294_967_295.0, 2_147_483_647.0, -2_147_483_648.0, 3.4028234663852886e38
)  # fmt: skip
"""What gauges are believed to mean no value by, if it is `_FAR` times as large as all that they have said before: the
ends of 16 and 32 bits, the largest float of 32 bits, and what loggers write into gaps."""
_FAR = 10.0
CLOSE = 2.0**-23
"""Relative: what went through a float of 32 bits is still the same number."""


@kernel
def remember(row: Any, ts_us: int) -> int:
    """Put a timestamp into the sensor's ring; FOLDED (newest), OUT_OF_ORDER, DUPLICATE or LATE.

    The ring holds the largest timestamps seen, ascending from `ring_at`, so everything above its smallest is known
    exactly: it is in the ring or was never here.
    """
    ring = row["ring"]
    # Masked at once, as what would be written to otherwise is not the row's.
    used, at = row["ring_used"], row["ring_at"] & _RING_MASK
    if used == 0 or ts_us > ring[(at + used - 1) & _RING_MASK]:
        if used < RING:
            ring[(at + used) & _RING_MASK] = ts_us
            row["ring_used"] = used + 1
        else:
            ring[at] = ts_us
            row["ring_at"] = (at + 1) & _RING_MASK
        return FOLDED
    if used == RING and ts_us < ring[at]:
        return LATE
    # Find its place from the newest back.
    place = used
    while place > 0 and ring[(at + place - 1) & _RING_MASK] > ts_us:
        place -= 1
    if place > 0 and ring[(at + place - 1) & _RING_MASK] == ts_us:
        return DUPLICATE
    if used < RING:
        for k in range(used, place, -1):
            ring[(at + k) & _RING_MASK] = ring[(at + k - 1) & _RING_MASK]
        ring[(at + place) & _RING_MASK] = ts_us
        row["ring_used"] = used + 1
    else:
        # The smallest makes room: everything below the new one moves down by one.
        for k in range(place - 1):
            ring[(at + k) & _RING_MASK] = ring[(at + k + 1) & _RING_MASK]
        ring[(at + place - 1) & _RING_MASK] = ts_us
    return OUT_OF_ORDER


def times_of(sensors: Any) -> Callable[[int, Iterable[int]], list[int]]:
    """What a slot's ring would hold, ascending, if it had seen some more: a function of slot and these."""

    def held(slot: int, also: Iterable[int]) -> list[int]:
        row = sensors[slot]
        ring = np.roll(row["ring"], -row["ring_at"])[: row["ring_used"]]
        return sorted({*ring.tolist(), *also})[-RING:]

    return held


@inlined_kernel
def judge(
    row: Any, ts_us: int, value: float, is_text: bool, quality: int, flags: int, latest_us: int, limits: Any
) -> int:
    """The verdict of one reading; `row` learns its timestamp. What is good is in order if it is newer than all that
    was folded: one that was refused puts none after it out of order, however far ahead it was.

    latest_us: the latest time that is not yet the future. limits: the class's row of `plan.LIMITS`. SENTINEL is the
    last word only where the class names its sentinels: else `is_far` has it, and after that `believe`.
    """
    if ts_us > latest_us:
        return _FUTURE
    if flags & _RETAINED_FLAG:
        return _RETAINED
    order = remember(row, ts_us)
    if order == DUPLICATE:
        return order
    # What is newer than all that was folded was not folded before, whatever fills the ring.
    newer = ts_us > row["last_us"]
    if order == LATE and (not newer or limits["numeric"] == 0):
        return order
    if flags & _REPLAYED_FLAG:
        return _REPLAYED
    if quality == BAD:
        return BAD_QUALITY
    if limits["numeric"] == 0:
        return STATE
    if is_text:
        return _NOT_NUMERIC
    # One comparison for nearly all: what is not even unusual is neither a sentinel nor out of range, nor infinite.
    if limits["plain"] != 0 and limits["usual_low"] <= value <= limits["usual_high"] and flags & _BEYOND_RANGE == 0:
        return FOLDED if newer else OUT_OF_ORDER
    if not np.isfinite(value):
        return _NON_FINITE
    return SENTINEL if is_sentinel(value, limits) else believe(row, ts_us, value, flags, limits)


@borrowing_kernel
def believe(row: Any, ts_us: int, value: float, flags: int, limits: Any) -> int:
    """The verdict of a finite number that is no sentinel."""
    if value < limits["low"] or value > limits["high"]:
        return _OUT_OF_RANGE
    if flags & _BEYOND_RANGE and limits["described"] != 0:
        return _OUT_OF_RANGE
    if limits["max_rate"] < np.inf and _too_fast(row, ts_us, value, limits):
        return _TOO_FAST
    return FOLDED if ts_us > row["last_us"] else OUT_OF_ORDER


@borrowing_kernel
def is_sentinel(value: float, limits: Any) -> bool:
    """Whether a value is one of the class's sentinels."""
    for at in range(limits["sentinels_used"]):
        code = limits["sentinels"][at]
        if abs(value - code) <= CLOSE * abs(code):
            return True
    return False


@borrowing_kernel
def is_far(panes: Any, slot: int, value: float) -> bool:
    """Whether a value is out of all proportion to what the panes of a sensor hold."""
    largest = 0.0
    for at in range(panes.shape[1]):
        pane = panes[slot, at]
        if pane["id"] != NO_PANE and pane["min"] <= pane["max"]:
            largest = max(largest, abs(pane["min"]), abs(pane["max"]))
    return abs(value) > _FAR * largest


@borrowing_kernel
def _too_fast(row: Any, ts_us: int, value: float, limits: Any) -> bool:
    """Whether a value is too far from the last folded one. The longer ago that was, the farther it may be, and when it
    is stale it says nothing any more: so a real step blinds nobody for ever.
    """
    passed_us: int = ts_us - row["last_us"]
    if row["last_us"] == 0 or abs(passed_us) >= limits["staleness_us"]:
        return False
    way: float = value - row["last_value"]
    most: float = limits["max_rate"] * (abs(passed_us) / 1e6)
    if limits["counter"] != 0:
        # A fall is a turn, and before it there were other counts.
        return passed_us > 0 and way > most
    return abs(way) > most

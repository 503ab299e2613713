"""What the properties of a metric say: its unit and range in a birth, its quality in any message.

The specification (3.0.0, 6.4.7) names only `Quality`. Units and ranges are written as Ignition does, whose names most
other edge nodes took over (`engUnit`, `engLow`, `engHigh`), or in words; case, blanks and underscores do not matter.
"""

from __future__ import annotations

from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import Quality
from ingest.contract.values import quality_of
from ingest.decoders.sparkplug.schema import PropertySet

MAX_PROPERTIES_BYTES = 16_384
_MAX_UNIT = 64

_MEANINGS = {
    "quality": "quality",
    **dict.fromkeys(("engunit", "engunits", "engineeringunit", "engineeringunits", "unit", "units"), "unit"),
    **dict.fromkeys(("englow", "englowlimit", "engineeringlow", "rangelow", "lowrange"), "low"),
    **dict.fromkeys(("enghigh", "enghighlimit", "engineeringhigh", "rangehigh", "highrange"), "high"),
}

_GOOD = 192
_STALE = 500
_FIRST_UA_CODE = 1 << 16  # below it, the half with the severity would be empty: no code of OPC UA


class Properties(NamedTuple):
    """quality: None for plain good; code: as it came. problem: why the quality cannot be read.

    low, high: None where there is no sensible range.
    """

    quality: Quality | None = None
    code: str | None = None
    problem: str | None = None
    unit: str | None = None
    low: float | None = None
    high: float | None = None


@lru_cache(1024)  # the same few sets come again and again; a key is 16 kB at the most
def properties_of(raw: bytes) -> Properties:
    """Read a PropertySet. Raises QuarantineError(SYNTAX, TOO_LARGE or UNIT)."""
    if len(raw) > MAX_PROPERTIES_BYTES:
        raise QuarantineError(Reason.TOO_LARGE, f"properties of over {MAX_PROPERTIES_BYTES} bytes")
    try:
        said = PropertySet.FromString(raw)
    except DecodeError as error:
        raise QuarantineError(Reason.SYNTAX, "properties that are no property set") from error
    if len(said.keys) != len(said.values):
        raise QuarantineError(Reason.SYNTAX, "properties with more names than values, or fewer")
    found: dict[str, Any] = {}
    for key, value in zip(said.keys, said.values, strict=True):
        meaning = _MEANINGS.get(key.lower().replace(" ", "").replace("_", "")) if isinstance(key, str) else None
        which = value.WhichOneof("value")
        if meaning is not None and which is not None and not value.is_null:
            # The first name of several for one thing counts, whatever the others are.
            found.setdefault(meaning, getattr(value, which))
    quality: Quality | None = None
    code = problem = None
    try:
        if "quality" in found:
            quality, code = quality_of_property(found["quality"])
    except QuarantineError as error:
        problem = error.detail  # of this reading only: the unit and the range still hold
    low, high = _number(found.get("low")), _number(found.get("high"))
    if low is not None and high is not None and not low < high:
        low = high = None  # Ignition writes 0 and 0, or 100 and 0, for a range that nobody set
    return Properties(quality, code, problem, _unit(found.get("unit")), low, high)


def quality_of_property(raw: Any) -> tuple[Quality | None, str | None]:
    """(quality, code) of the property `Quality`; (None, None) for 192, plain good. Raises QuarantineError(QUALITY).

    Known are the specification's 0, 192 and 500 (bad, good, stale), OPC classic codes, and Ignition's with the severity
    in the top bits, which are those of OPC UA. What is between them is some vendor's code for an error: bad.

    >>> quality_of_property(192), quality_of_property(500), quality_of_property(0x80000204)
    ((None, None), (<Quality.BAD: 2>, '500'), (<Quality.BAD: 2>, '2147484164'))
    """
    if type(raw) is int:
        raw &= 0xFFFFFFFF  # an Int32 below zero may come with its sign in 64 bits
        if raw == _GOOD:
            return None, None
        if raw == _STALE or 255 < raw < _FIRST_UA_CODE:
            return Quality.BAD, str(raw)
    return quality_of(raw)


def _unit(raw: Any) -> str | None:
    if raw is None:
        return None
    # A unit that cannot be read must not be taken for none.
    if not isinstance(raw, str) or len(raw) > _MAX_UNIT:
        raise QuarantineError(Reason.UNIT, f"a unit that is no text, or of over {_MAX_UNIT} characters")
    return raw.strip() or None


def _number(raw: Any) -> float | None:
    if isinstance(raw, str):
        try:
            raw = float(raw[:32])
        except ValueError:
            return None
    return float(raw) if isinstance(raw, int | float) and isfinite(raw) else None

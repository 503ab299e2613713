"""One value of a document → the columns of a reading. Shared by the formats with typed values."""

from __future__ import annotations

from math import isfinite, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import Quality

MAX_TEXT = 4_096
MAX_UNIT = 64
_MAX_QUALITY = 64

_QUALITIES = {
    "good": Quality.GOOD,
    "ok": Quality.GOOD,
    "true": Quality.GOOD,
    "uncertain": Quality.UNCERTAIN,
    "bad": Quality.BAD,
    "false": Quality.BAD,
}


def value_of(raw: Any) -> tuple[float, str | None, Quality]:
    """(value, text, quality) of a number, bool, string or null.

    A null is a reading too: the sensor says that it has no value, so it is kept with quality bad. A string of a
    number stays a string: only settings may say otherwise. Raises QuarantineError(TYPE or NUMBER).
    """
    if raw is None:
        return nan, None, Quality.BAD
    if isinstance(raw, str):
        if len(raw) > MAX_TEXT:
            raise QuarantineError(Reason.TOO_LARGE, f"a text of over {MAX_TEXT} characters")
        return nan, raw, Quality.GOOD
    if isinstance(raw, int | float):
        try:
            value = float(raw)
        except OverflowError as error:
            raise QuarantineError(Reason.NUMBER, "a number beyond 1.8e308") from error
        if not isfinite(value):
            raise QuarantineError(Reason.NUMBER, "not finite")
        return value, None, Quality.GOOD
    raise QuarantineError(Reason.TYPE, f"a value of type {type(raw).__name__}")


def quality_of(raw: Any) -> tuple[Quality, str]:
    """(quality, original code) of a quality field.

    Understood are good, ok, uncertain, bad in any case, true and false, OPC UA status codes (their two top bits
    are the severity) and OPC classic codes (0–255: the two top bits of the byte). Raises QuarantineError(QUALITY).

    >>> quality_of(192), quality_of("BAD"), quality_of(0x80000000)
    ((<Quality.GOOD: 0>, '192'), (<Quality.BAD: 2>, 'BAD'), (<Quality.BAD: 2>, '2147483648'))
    """
    if isinstance(raw, bool):
        return (Quality.GOOD if raw else Quality.BAD), str(raw).lower()
    if isinstance(raw, str):
        # A word, not a page of blanks around one: it is kept as it came.
        quality = _QUALITIES.get(raw.strip().lower()) if len(raw) <= _MAX_QUALITY else None
        if quality is None:
            raise QuarantineError(Reason.QUALITY, "an unknown word for quality")
        return quality, raw
    if isinstance(raw, int | float) and raw == raw and 0 <= raw < 2**32 and raw == int(raw):
        code = int(raw)
        if code > 255:  # OPC UA Part 4, 7.39: severity 00 good, 01 uncertain, 10 bad
            return (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD, Quality.BAD)[code >> 30], str(code)
        if code == 0:
            return Quality.BAD, "0"
        # OPC DA 3.00, 6.8: quality bits 00 bad, 01 uncertain, 11 good
        return (Quality.BAD, Quality.UNCERTAIN, Quality.BAD, Quality.GOOD)[code >> 6], str(code)
    raise QuarantineError(Reason.QUALITY, "not a quality")


def unit_of(raw: Any) -> str | None:
    """A unit as it is written, None for a null or an empty text. Raises QuarantineError(UNIT)."""
    if raw is None:
        return None
    if not isinstance(raw, str) or len(raw) > MAX_UNIT:
        raise QuarantineError(Reason.UNIT, f"not a text of at most {MAX_UNIT} characters")
    return raw or None


def rate_of(raw: Any) -> float | None:
    """Samples a second, None for a null. Raises QuarantineError(TYPE or NUMBER)."""
    if raw is None:
        return None
    if not isinstance(raw, int | float) or isinstance(raw, bool):
        raise QuarantineError(Reason.TYPE, f"a sampling rate of type {type(raw).__name__}")
    rate_hz, _, _ = value_of(raw)
    if rate_hz <= 0:
        raise QuarantineError(Reason.NUMBER, "a sampling rate that is not positive")
    return rate_hz


def samples_of(raw: list[Any] | NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """A waveform's samples, shape (samples,), of an array of at least one and at most `most` numbers.

    Raises QuarantineError: TYPE for anything but numbers or for none, NUMBER for what is not finite, TOO_LARGE.

    >>> samples_of([1, 2.5], most=10)
    array([1. , 2.5])
    """
    if len(raw) > most:
        raise QuarantineError(Reason.TOO_LARGE, f"an array of {len(raw)}, at most {most}")
    if isinstance(raw, list) and not set(map(type, raw)) <= {int, float}:
        raise QuarantineError(Reason.TYPE, "an array of other things than numbers")
    if not len(raw):
        raise QuarantineError(Reason.TYPE, "an empty array")
    try:
        samples = np.array(raw, np.float64)
    except OverflowError as error:
        raise QuarantineError(Reason.NUMBER, "a number beyond 1.8e308") from error
    if not np.isfinite(samples).all():
        raise QuarantineError(Reason.NUMBER, "not finite")
    return samples

"""Values of metrics by datatype (specification 3.0.0, 6.4.16).

Signed integers travel in unsigned fields, as two's complement of the type's own width (pysparkplug) or of the field's
(Tahu); types of 32 and 64 bits are found in either field. So the datatype, which only the birth needs to tell, decides
what a number means.
"""

from __future__ import annotations

from enum import IntEnum
from math import inf, isfinite, nan
from typing import Any, Final, NamedTuple

import numpy as np

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.values import MAX_TEXT
from ingest.decoders.base import Waveform


class Shape(IntEnum):
    """How a value is read."""

    NONE = 0
    DOUBLE = 1
    FLOAT = 2
    UNSIGNED = 3
    SIGNED = 4
    BOOLEAN = 5
    TEXT = 6
    ARRAY = 7


class DataType(NamedTuple):
    """One of the specification's. bits: of an integer. element: NumPy's name for what an array is made of.

    attribute, above, below: where the value usually is, and between what it can be taken as it is; anything else goes
    through `value_of_metric`.
    """

    number: int
    name: str
    shape: Shape = Shape.NONE
    bits: int = 0
    element: str = ""
    attribute: str = "alias"  # with nothing between the limits: never taken as it is
    above: float = 0.0
    below: float = 0.0


def _signed(number: int, bits: int) -> DataType:
    attribute = "long_value" if bits == 64 else "int_value"
    return DataType(number, f"Int{bits}", Shape.SIGNED, bits, "", attribute, -1.0, 2.0 ** (bits - 1))


def _unsigned(number: int, bits: int, name: str = "") -> DataType:
    attribute = "long_value" if bits == 64 else "int_value"
    return DataType(number, name or f"UInt{bits}", Shape.UNSIGNED, bits, "", attribute, -1.0, 2.0**bits)


def _array(number: int, name: str, element: str) -> DataType:
    return DataType(number, f"{name}Array", Shape.ARRAY, element=element)


DATATYPES: Final = {
    one.number: one
    for one in (
        _signed(1, 8),
        _signed(2, 16),
        _signed(3, 32),
        _signed(4, 64),
        _unsigned(5, 8),
        _unsigned(6, 16),
        _unsigned(7, 32),
        _unsigned(8, 64),
        DataType(9, "Float", Shape.FLOAT, 0, "", "float_value", -inf, inf),
        DataType(10, "Double", Shape.DOUBLE, 0, "", "double_value", -inf, inf),
        DataType(11, "Boolean", Shape.BOOLEAN, 0, "", "boolean_value", -1.0, 2.0),
        DataType(12, "String", Shape.TEXT),
        _unsigned(13, 64, "DateTime"),  # ms since 1970: a number like any other
        DataType(14, "Text", Shape.TEXT),
        DataType(15, "UUID", Shape.TEXT),
        DataType(16, "DataSet"),
        DataType(17, "Bytes"),
        DataType(18, "File"),
        DataType(19, "Template"),
        DataType(20, "PropertySet"),
        DataType(21, "PropertySetList"),
        _array(22, "Int8", "<i1"),
        _array(23, "Int16", "<i2"),
        _array(24, "Int32", "<i4"),
        _array(25, "Int64", "<i8"),
        _array(26, "UInt8", "<u1"),
        _array(27, "UInt16", "<u2"),
        _array(28, "UInt32", "<u4"),
        _array(29, "UInt64", "<u8"),
        _array(30, "Float", "<f4"),
        _array(31, "Double", "<f8"),
        DataType(32, "BooleanArray"),
        DataType(33, "StringArray"),
        DataType(34, "DateTimeArray"),
    )
}
"""By the number in `datatype`. Those without a shape cannot be a reading."""

UNKNOWN: Final = DataType(0, "Unknown")


def value_of_metric(metric: Any, datatype: DataType) -> tuple[float, str | None, Waveform | None]:
    """(value, text, samples) of a metric that is not null.

    Raises QuarantineError: NO_VALUE, TYPE (the value of another type), NUMBER (not finite, or beyond its type),
    ENCODING, TOO_LARGE (a text), SYNTAX (an array cut short).
    """
    which = metric.WhichOneof("value")
    if which is None:
        raise QuarantineError(Reason.NO_VALUE, "no value, and not null")
    raw = getattr(metric, which)
    shape = datatype.shape
    if shape is Shape.UNSIGNED or shape is Shape.SIGNED:
        if which in ("int_value", "long_value"):
            return float(_integer(raw, datatype.bits, shape is Shape.SIGNED, which == "int_value")), None, None
    elif shape is Shape.DOUBLE or shape is Shape.FLOAT:
        if which in ("float_value", "double_value"):
            if not isfinite(raw):
                raise QuarantineError(Reason.NUMBER, "not finite")
            return raw, None, None
    elif shape is Shape.BOOLEAN:
        if which == "boolean_value":
            return float(raw), None, None
    elif shape is Shape.TEXT:
        if which == "string_value":
            return nan, _text(raw), None
    elif shape is Shape.ARRAY and which == "bytes_value":
        return nan, None, _samples(raw, datatype)
    raise QuarantineError(Reason.TYPE, f"{which} for a {datatype.name}")


def _integer(raw: int, bits: int, signed: bool, narrow: bool) -> int:
    """A number of `bits` out of an unsigned field of 32 (`narrow`) or 64."""
    whole = 1 << bits
    if not signed:
        if raw >= whole:
            raise QuarantineError(Reason.NUMBER, f"more than {bits} bits")
        return raw
    half = whole >> 1
    if raw >= whole:  # then it can only be a negative number, its sign drawn out to the field's width
        raw -= (1 << 32) if narrow else (1 << 64)
        if not -half <= raw < 0:
            raise QuarantineError(Reason.NUMBER, f"more than {bits} bits")
        return raw
    return raw - whole if raw >= half else raw


def _text(raw: str | bytes) -> str:
    if isinstance(raw, bytes):
        raise QuarantineError(Reason.ENCODING, "a text that is not UTF-8")
    if len(raw) > MAX_TEXT:
        raise QuarantineError(Reason.TOO_LARGE, f"a text of over {MAX_TEXT} characters")
    return raw


def _samples(raw: bytes, datatype: DataType) -> Waveform:
    element = np.dtype(datatype.element)
    if not raw:
        raise QuarantineError(Reason.NO_VALUE, "an empty array")
    if len(raw) % element.itemsize:
        raise QuarantineError(Reason.SYNTAX, f"{len(raw)} bytes of a {datatype.name}")
    with np.errstate(invalid="ignore"):  # a signalling NaN is refused below, without a warning
        samples = np.frombuffer(raw, element).astype(np.float64)
    if element.kind == "f" and not np.isfinite(samples).all():
        raise QuarantineError(Reason.NUMBER, "not finite")
    return Waveform(samples)

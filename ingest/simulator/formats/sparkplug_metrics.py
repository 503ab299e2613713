"""Values and properties of Sparkplug metrics (specification 3.0.0, 6.4)."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np

from ingest.decoders.sparkplug.schema import PropertySet

DATATYPES: Final = {"gauge": 10, "counter": 4, "bool": 11, "enum": 12, "waveform": 31}
"""By the kind of sensor: Double, Int64, Boolean, String, DoubleArray."""

_STRING: Final = 12
_DOUBLE: Final = 10
_TYPE_FIELD: Final = b"\x08"


def put_value(metric: Any, kind: str, value: Any) -> None:
    """Set the field of a metric that its datatype calls for."""
    if kind == "gauge":
        metric.double_value = value
    elif kind == "counter":
        metric.long_value = value
    elif kind == "bool":
        metric.boolean_value = value
    elif kind == "enum":
        metric.string_value = value
    else:
        metric.bytes_value = np.asarray(value, "<f8").tobytes()


def properties(unit: str, limits: tuple[float | None, float | None]) -> bytes:
    """A PropertySet of `engUnit`, `engLow` and `engHigh`, as far as they are known; nothing if none is.

    Each value begins with its type, which hosts need not read and the messages' schema here leaves out.
    """
    values: list[tuple[str, bytes]] = []
    if unit:
        text = unit.encode()
        values.append(("engUnit", _TYPE_FIELD + bytes([_STRING]) + b"\x42" + _varint(len(text)) + text))
    for name, limit in zip(("engLow", "engHigh"), limits, strict=True):
        if limit is not None:
            values.append((name, _TYPE_FIELD + bytes([_DOUBLE]) + b"\x31" + struct.pack("<d", limit)))
    keys: bytes = PropertySet(keys=[name for name, _ in values]).SerializeToString()
    return keys + b"".join(b"\x12" + _varint(len(value)) + value for _, value in values)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])

"""A reading as the JSON payload of an MQTT message."""

import math
from typing import Final

import msgspec

from ingest.simulator.layout import Kind

_ENCODER: Final = msgspec.json.Encoder()


class _Payload(msgspec.Struct):
    ts: int
    value: float | bool | str
    quality: str = "good"


def encode_json(ts_us: int, value: float, text: str | None, kind: Kind) -> bytes:
    """Compact JSON: `ts` in whole milliseconds (rounded down), `value`, and `quality` always good.

    Counters become integers, bools true or false, enums their text. Raises ValueError for a number
    that JSON has no word for, an enum without a text, and an unknown kind.

    >>> encode_json(1_700_000_000_250_000, 54.25, None, "gauge")
    b'{"ts":1700000000250,"value":54.25,"quality":"good"}'
    >>> encode_json(1_700_000_000_250_000, 1.0, None, "bool")
    b'{"ts":1700000000250,"value":true,"quality":"good"}'
    >>> encode_json(1_700_000_000_250_000, float("nan"), "run", "enum")
    b'{"ts":1700000000250,"value":"run","quality":"good"}'
    """
    # Plain Python numbers: the columns hand out NumPy's, which the encoder does not know.
    return _ENCODER.encode(_Payload(int(ts_us) // 1000, _json_value(float(value), text, kind)))


def _json_value(value: float, text: str | None, kind: Kind) -> float | bool | str:
    if kind == "enum":
        if text is None:
            raise ValueError("an enum reading needs a text")
        return text
    if not math.isfinite(value):
        raise ValueError(f"JSON has no word for {value}")
    if kind == "gauge":
        return value
    if kind == "counter":
        return int(value)
    if kind == "bool":
        return value != 0.0
    raise ValueError(f"unknown kind {kind!r}")

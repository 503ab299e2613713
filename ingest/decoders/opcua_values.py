"""Values of OPC UA as its JSON encodings write them (Part 6, 5.4.2) → the columns of a reading."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite, nan
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.readings import MAX_TS_US, MIN_TS_US, Quality
from ingest.contract.times import to_us
from ingest.contract.values import samples_of, value_of

# Built-in types (Part 6, 5.1.2).
_INT64, _UINT64 = 8, 9
_TEXTS = frozenset({12, 13, 14, 16})  # String, DateTime, Guid, XmlElement
_FLOATS = frozenset({10, 11})
_BYTE_STRING = 15

NUMBERS = frozenset({float, int})
"""Types of the values that are read as they stand; of which True and False are none."""
LARGEST = sys.float_info.max
"""A number from -LARGEST to LARGEST is finite, as a float too."""

_WRAPPED = frozenset({"Value", "Body", "Type", "UaType", "Status", "StatusCode", "SourceTimestamp", "ServerTimestamp"})
_USUAL = frozenset({"Value", "SourceTimestamp", "ServerTimestamp"})
_MAX_WRAPS = 4
_SPECIAL = frozenset({"NaN", "Infinity", "-Infinity"})
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}").fullmatch
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NULL_TIME = "0001-01-01"
_MAX_TIME = 64
_MAX_CODE = 64

# `nsu=http://plant/;s=Oil.Temp`, `ns=2;i=7`, with a server's index or URI before it; and OPC Publisher's `URI#s=Oil`.
_NODE_ID = re.compile(r"(?:sv[ru]=[^;]*;)?(?:nsu?=[^;]*;)?([isgb])=(.+)", re.DOTALL).fullmatch
_URI_NODE_ID = re.compile(r"[a-z][a-z0-9+.-]*:[^#]*#[isgb]=(.+)", re.DOTALL).fullmatch


class Value(NamedTuple):
    """A reading without name. value: NaN where text or samples (of an array) have it; ts_us: 0 for none."""

    value: float
    text: str | None = None
    quality: Quality = Quality.GOOD
    code: str | None = None
    ts_us: int = 0
    samples: NDArray[np.float64] | None = None


def identifier_of(name: str) -> str:
    """A node id without its namespace; any other name as it is.

    >>> identifier_of("nsu=http://plant/;s=Oil.Temp"), identifier_of("ns=2;i=7"), identifier_of("Oil")
    ('Oil.Temp', '7', 'Oil')
    >>> identifier_of("http://plant/#s=Oil%20Temp")
    'Oil Temp'
    """
    if "=" not in name:
        return name
    if found := _NODE_ID(name):
        return found[2]
    if found := _URI_NODE_ID(name):
        return unquote(found[1])
    return name


def time_of(raw: Any) -> int:
    """µs UTC of a DateTime; 0 for none, of which the year 1 is one (Part 6, 5.4.2.6).

    Raises QuarantineError(TIMESTAMP).

    >>> time_of("2023-11-14T22:13:20.1234567Z"), time_of("0001-01-01T00:00:00Z")
    (1700000000123456, 0)
    """
    if raw is None:
        return 0
    if not isinstance(raw, str) or len(raw) > _MAX_TIME:
        raise QuarantineError(Reason.TIMESTAMP, "not a date and time")
    if raw.startswith(_NULL_TIME):
        return 0
    return _iso_to_us(raw)


@lru_cache(maxsize=1_024)
def _iso_to_us(text: str) -> int:
    # The values of a moment mostly have one time. Most are written so; anything else is looked at with care.
    if text.endswith("Z"):
        try:
            since = datetime.fromisoformat(text) - _EPOCH
        except ValueError:
            return to_us(text, "iso")
        us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        if MIN_TS_US <= us < MAX_TS_US:
            return us
    return to_us(text, "iso")


def status_of(raw: Any) -> tuple[Quality, str | None]:
    """(quality, code) of a StatusCode: a number, `{"Code": …, "Symbol": …}`, or the symbol alone.

    The two top bits of the number are the severity (Part 4, 7.39). Raises QuarantineError(QUALITY).

    >>> status_of({"Code": 2150694912, "Symbol": "BadNoCommunication"})
    (<Quality.BAD: 2>, '2150694912')
    """
    if isinstance(raw, dict):
        code = raw.get("Code")
        raw = raw.get("Symbol") if code is None else code
    if raw is None:
        return Quality.GOOD, None
    if type(raw) is int and 0 <= raw < 2**32:
        # Part 4 reserves the fourth severity; what is not known to be good is bad.
        return (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD, Quality.BAD)[raw >> 30], str(raw) if raw else None
    if isinstance(raw, str) and len(raw) <= _MAX_CODE:
        for word, quality in (("Good", Quality.GOOD), ("Uncertain", Quality.UNCERTAIN), ("Bad", Quality.BAD)):
            if raw.startswith(word):
                return quality, None if raw == "Good" else raw
    raise QuarantineError(Reason.QUALITY, "not a status code")


def value_of_field(raw: Any, integer_text: bool, max_samples: int) -> Value:
    """A field of a data set message in any encoding. Raises QuarantineError.

    >>> value_of_field({"Type": 8, "Body": "-12"}, False, 10).value
    -12.0
    """
    # What most values are: a number, or a number with its time.
    found: Any = raw.get("Value") if type(raw) is dict and raw.keys() <= _USUAL else raw
    if type(found) in NUMBERS and -LARGEST <= found <= LARGEST:
        if found is raw:
            return Value(float(found))
        ts_us = time_of(raw.get("SourceTimestamp")) or time_of(raw.get("ServerTimestamp"))
        return Value(float(found), None, Quality.GOOD, None, ts_us)
    quality, code, ts_us, server_us, ua_type = Quality.GOOD, None, 0, 0, 0
    for _ in range(_MAX_WRAPS):
        if not isinstance(raw, dict) or not raw.keys() & _WRAPPED:
            break
        said, said_code = status_of(raw.get("StatusCode") if "Status" not in raw else raw["Status"])
        quality, code = max(quality, said), code or said_code
        ts_us = ts_us or time_of(raw.get("SourceTimestamp"))
        if not ts_us and not server_us:
            server_us = time_of(raw.get("ServerTimestamp"))
        said_type = raw.get("UaType", raw.get("Type"))
        ua_type = said_type if type(said_type) is int else ua_type
        if _dimensions(raw) > 1:
            raise QuarantineError(Reason.TYPE, "an array of more than one dimension")
        raw = raw.get("Body") if "Body" in raw and "Value" not in raw else raw.get("Value")
    value, text, known, samples = _plain(raw, ua_type, integer_text, max_samples)
    return Value(value, text, max(quality, known), code, ts_us or server_us, samples)


def _dimensions(raw: dict[str, Any]) -> int:
    dimensions = raw.get("Dimensions")
    return len(dimensions) if isinstance(dimensions, list) else 0


def _plain(
    raw: Any, ua_type: int, integer_text: bool, max_samples: int
) -> tuple[float, str | None, Quality, NDArray[np.float64] | None]:
    if isinstance(raw, list):
        numbers = [_number(one, ua_type, integer_text) for one in raw[: max_samples + 1]]
        return nan, None, Quality.GOOD, samples_of(numbers, max_samples)
    if isinstance(raw, dict) and isinstance(raw.get("Text"), str):  # LocalizedText
        raw = raw["Text"]
    if ua_type == _BYTE_STRING and raw is not None:
        raise QuarantineError(Reason.TYPE, "octets are not a reading")
    value, text, quality = value_of(_number(raw, ua_type, integer_text))
    return value, text, quality, None


def _number(raw: Any, ua_type: int, integer_text: bool) -> Any:
    """A number that is written as text, as the number; anything else as it is."""
    if not isinstance(raw, str) or ua_type in _TEXTS:
        return raw
    if raw in _SPECIAL:
        raise QuarantineError(Reason.NUMBER, "not finite")
    if ua_type in _FLOATS or ua_type in (_INT64, _UINT64) or integer_text:
        if _INTEGER(raw):
            return int(raw)
        if ua_type:
            raise QuarantineError(Reason.NUMBER, "text that is not a number")
    return raw


# --- the usual burst --------------------------------------------------------------------------------------------------
# Every key there may be is named, as what msgspec skips it does not check.


class _Field(msgspec.Struct, rename="pascal", forbid_unknown_fields=True, gc=False):
    value: int | float
    source_timestamp: str | None = None


class _Version(msgspec.Struct, rename="pascal", forbid_unknown_fields=True, gc=False):
    major_version: int | None = None
    minor_version: int | None = None


class DataSet(msgspec.Struct, rename="pascal", forbid_unknown_fields=True, gc=False):
    """A data set message of numbers, and numbers with a time."""

    payload: dict[str, _Field | int | float]
    timestamp: str | None = None
    data_set_writer_id: int | str | None = None
    data_set_writer_name: str | None = None
    sequence_number: int | None = None
    meta_data_version: _Version | None = None
    minor_version: int | None = None
    message_type: Literal["ua-keyframe", "ua-deltaframe", "ua-event"] | None = None


class Network(msgspec.Struct, rename="pascal", forbid_unknown_fields=True, gc=False):
    """A network message of such data set messages."""

    messages: list[DataSet]
    message_type: Literal["ua-data"] | None = None
    message_id: str | None = None
    publisher_id: int | str | None = None
    writer_group_name: str | None = None
    data_set_class_id: str | None = None
    timestamp: str | None = None


_NETWORK = msgspec.json.Decoder(Network)


class UsualColumns(NamedTuple):
    """The columns of usual messages. data_sets: what rows are of, in order: a row for each field of the payload."""

    data_sets: list[tuple[Network, DataSet]]
    message: list[int]
    ts_us: list[int]
    value: list[float]


def usual_columns(payloads: Sequence[bytes], max_messages: int, max_fields: int) -> UsualColumns | None:
    """Columns of a burst; None where a message has to be looked at by itself: is unusual, wrong, or without rows.

    >>> found = usual_columns([b'{"Messages": [{"Payload": {"Oil": 61, "Air": {"Value": 21.5}}}]}'], 10, 10)
    >>> found.value, found.message
    ([61.0, 21.5], [0, 0])
    """
    decode = _NETWORK.decode
    data_sets: list[tuple[Network, DataSet]] = []
    message: list[int] = []
    ts_us: list[int] = []
    fields: list[Any] = []
    times: dict[str | None, int] = {None: 0}
    try:
        for at, payload in enumerate(payloads):
            network = decode(payload)
            before, above_us = len(fields), time_of(network.timestamp)
            for one in network.messages:
                data_sets.append((network, one))
                said_us = times.get(one.timestamp)
                if said_us is None:
                    times[one.timestamp] = said_us = time_of(one.timestamp)
                fields += one.payload.values()
                ts_us += [said_us or above_us] * len(one.payload)
            rows = len(fields) - before
            if not 0 < rows <= max_fields or len(network.messages) > max_messages:
                return None
            message += [at] * rows
        numbers = fields
        sorts = set(map(type, fields))
        if _Field in sorts:
            if len(sorts) > 1:
                fields = [field if type(field) is _Field else _Field(field) for field in fields]
            numbers, texts = [field.value for field in fields], [field.source_timestamp for field in fields]
            for text in set(texts).difference(times):
                times[text] = time_of(text)
            ts_us = [times[text] or us for text, us in zip(texts, ts_us, strict=True)]
        value = list(map(float, numbers))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError, QuarantineError):
        return None
    # A number that is not finite makes the sum so.
    return UsualColumns(data_sets, message, ts_us, value) if isfinite(sum(value)) else None

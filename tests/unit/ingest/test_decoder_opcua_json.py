"""OPC UA PubSub: one reading is the same in every encoding and in every sort of message."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.contract.readings import Quality
from ingest.decoders import Decoded, Messages
from ingest.decoders.opcua_json import OpcUaJson
from ingest.decoders.opcua_values import status_of, time_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode(document: Any, **options: Any) -> Decoded:
    return OpcUaJson(**options).decode(Messages([b"t"], [json.dumps(document).encode()], [0]))


def rows(decoded: Decoded) -> list[tuple[Any, ...]]:
    assert decoded.rejected == []
    columns = (decoded.field, decoded.ts_us, map(repr, decoded.value), decoded.text, decoded.quality, decoded.code)
    samples = [
        list(decoded.waveforms[row].samples) if row in decoded.waveforms else None
        for row in range(len(decoded.message))
    ]
    return list(zip(*columns, samples, strict=True))


TIMES_US = st.integers(10**15, 4 * 10**15)


def iso(us: int, digits: int = 6) -> str:
    fraction = f".{us % 1_000_000:06d}0000"[: digits + 1] if digits else ""
    return (EPOCH + timedelta(seconds=us // 1_000_000)).strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"


# A value, its built-in type, and how Part 6 writes it in JSON.
INT64 = st.integers(-(2**63), 2**63 - 1).map(lambda one: (float(one), 8, str(one)))
UINT64 = st.integers(0, 2**64 - 1).map(lambda one: (float(one), 9, str(one)))
INT32 = st.integers(-(2**31), 2**31 - 1).map(lambda one: (float(one), 6, one))
DOUBLE = st.floats(allow_nan=False, allow_infinity=False).map(lambda one: (one, 11, one))
BOOLEAN = st.booleans().map(lambda one: (float(one), 1, one))
STRING = st.sampled_from(["RUN", "12", "NaN", ""]).map(lambda one: (one, 12, one))
TYPED = INT64 | UINT64 | INT32 | DOUBLE | BOOLEAN | STRING
CODES = st.none() | st.integers(1, 2**32 - 1)


def framings(fields: dict[str, Any]) -> list[Any]:
    """A data set in every sort of message."""
    data_set = {"DataSetWriterId": 1, "Payload": fields}
    network = {"MessageId": "1", "MessageType": "ua-data", "Messages": [data_set]}
    return [
        fields,
        [fields],
        {"Payload": fields},
        data_set,
        [data_set],
        network,
        [network],
        {**network, "Messages": data_set},
        {**network, "Messages": [fields]},
        {**network, "Messages": [data_set | {"MessageType": "ua-keyframe"}]},
    ]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(typed=TYPED, us=TIMES_US, code=CODES)
def test_a_value_is_the_same_in_every_encoding_and_every_message(typed: Any, us: int, code: int | None) -> None:
    value, ua_type, written = typed
    about = {"SourceTimestamp": iso(us, 7)} | ({} if code is None else {"StatusCode": code})
    new_about = {"SourceTimestamp": iso(us, 7)} | ({} if code is None else {"Status": {"Code": code, "Symbol": "x"}})
    variant = {"Type": ua_type, "Body": written}
    encodings = [
        {"Value": variant, **about},
        {"UaType": ua_type, "Value": written, **new_about},
        {"Type": 23, "Body": {"Value": variant, **new_about}},
        {"Value": {"UaType": ua_type, "Value": written}, **new_about},
    ]
    is_text = isinstance(value, str)
    quality = Quality.GOOD if code is None else (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD, Quality.BAD)[code >> 30]
    expected = (
        "Oil",
        us,
        "nan" if is_text else repr(value),
        value if is_text else None,
        quality,
        None if code is None else str(code),
        None,
    )
    for encoding in encodings:
        for document in framings({"Oil": encoding}):
            assert rows(decode(document)) == [expected]


@settings(max_examples=100, deadline=None)
@given(us=TIMES_US, digits=st.integers(0, 9))
def test_times_of_any_precision_are_cut_to_microseconds(us: int, digits: int) -> None:
    kept = us - us % 10 ** max(6 - digits, 0)
    assert time_of(iso(us, digits)) == kept


@given(code=st.integers(0, 2**32 - 1))
def test_the_two_top_bits_of_a_status_are_the_quality(code: int) -> None:
    quality, kept = status_of(code)
    assert quality == min(code >> 30, Quality.BAD)
    assert kept == (str(code) if code else None)
    assert status_of({"Code": code, "Symbol": "whatever"}) == (quality, kept)


def test_the_nearest_time_and_the_worst_status_win() -> None:
    network = {
        "MessageType": "ua-data",
        "Timestamp": iso(1_000_000_000_000_000),
        "Messages": [
            {
                "Timestamp": iso(1_000_000_001_000_000),
                "Status": 0x40000000,
                "Payload": {
                    "own": {"Value": 1, "SourceTimestamp": iso(1_000_000_002_000_000), "Status": 0x80000000},
                    "none": 2,
                },
            },
            {"Payload": {"above": 3}},
        ],
    }
    assert rows(decode(network)) == [
        ("own", 1_000_000_002_000_000, "1.0", None, Quality.BAD, str(0x80000000), None),
        ("none", 1_000_000_001_000_000, "2.0", None, Quality.UNCERTAIN, str(0x40000000), None),
        ("above", 1_000_000_000_000_000, "3.0", None, Quality.GOOD, None, None),
    ]


@pytest.mark.parametrize("special", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("encoding", ["raw", "typed", "array"])
def test_no_number_that_is_not_finite_gets_through(special: str, encoding: str) -> None:
    field = {"raw": special, "typed": {"Type": 11, "Body": special}, "array": {"Type": 10, "Body": [1, special]}}[
        encoding
    ]
    decoded = decode({"Oil": field})
    assert decoded.message == []
    assert [one.reason for one in decoded.rejected] == ["number"]


@pytest.mark.parametrize(
    "options",
    [
        {"name": "{writer}"},
        {"name": "{field}/{node}"},
        {"name": "{field"},
        {"max_fields": 0},
        {"max_messages": 0},
        {"max_name": 0},
        {"max_samples": 0},
    ],
    ids=str,
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        OpcUaJson(**options)

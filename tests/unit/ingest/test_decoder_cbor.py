"""CBOR: what of cbor2 is let in."""

import struct
import tracemalloc
from datetime import datetime
from typing import Any

import cbor2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.errors import QuarantineError, Reason
from ingest.decoders.cbor import Cbor
from tests.conformance.test_decoders import messages

TOPIC = b"factory/press"
PLAIN = {dict, list, str, int, float, bool, type(None), bytes, datetime, np.ndarray, cbor2.CBORTag}


def types_in(node: Any) -> set[type]:
    below = [*node.values()] if isinstance(node, dict) else node if isinstance(node, list) else []
    return {type(node)}.union(*map(types_in, below))


@pytest.mark.parametrize(
    "content", [b"\x01", b"\x61(", b"\x41a", b"\x82\x01\x02", b"\xa1\x61a\x01", b"\xf6"], ids=bytes.hex
)
def test_no_tag_makes_anything_but_plain_data(content: bytes) -> None:
    # Up to the highest that cbor2 knows by itself, so that a version that knows more is noticed.
    tags = [*range(1_100), *range(43_000, 43_010), *range(55_790, 55_805)]
    refused = set()
    for tag in tags:
        payload = b"\xa1\x61x\xda" + struct.pack(">I", tag) + content
        try:
            assert types_in(Cbor()._parse(payload)) <= PLAIN
        except QuarantineError:
            refused.add(tag)
    # A bignum of anything but bytes is no CBOR at all (RFC 8949, 3.4.3).
    assert refused == (set() if content == b"\x41a" else {2, 3})


@pytest.mark.parametrize("head", [0x5A, 0x7A, 0x9A, 0xBA], ids=hex)
def test_a_declared_length_allocates_nothing(head: int) -> None:
    payload = b"\xa1\x65value" + struct.pack(">BI", head, 0x0FFFFFFF) + b"\x61a" * 4
    decoder = Cbor()
    tracemalloc.start()
    try:
        decoded = decoder.decode(messages([(TOPIC, payload)]))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [one.reason for one in decoded.rejected] == [Reason.SYNTAX]
    assert peak_bytes < 1_000_000


@given(st.integers(631_152_000_000_000, 7_258_118_399_999_999))
def test_a_time_of_tag_1_is_exact_to_what_its_float_holds(ts_us: int) -> None:
    payload = b"\xa2\x65value\x01\x62ts\xc1\xfb" + struct.pack(">d", ts_us / 1e6)
    (read_us,) = Cbor().decode(messages([(TOPIC, payload)])).ts_us
    assert abs(read_us - ts_us) <= 1


@given(st.integers(-400, 400), st.integers(-(2**63), 2**63))
def test_decimal_fractions_and_bigfloats_are_the_nearest_float(exponent: int, mantissa: int) -> None:
    parts = cbor2.dumps([exponent, mantissa])
    decoded = Cbor().decode(messages([(TOPIC, b"\xa1\x65value" + tag + parts) for tag in (b"\xc4", b"\xc5")]))
    expected = {0: float(f"{mantissa}e{exponent}"), 1: float(mantissa) * 2.0**exponent}
    finite = {at: value for at, value in expected.items() if abs(value) != float("inf")}
    assert dict(zip(decoded.message, decoded.value, strict=True)) == finite
    assert {one.reason for one in decoded.rejected} <= {Reason.NUMBER}


@pytest.mark.parametrize(
    ("tag", "sort"), [(69, "<u2"), (77, "<i2"), (78, "<i4"), (81, ">f4"), (85, "<f4"), (86, "<f8")]
)
def test_a_typed_array_is_a_waveform(tag: int, sort: str) -> None:
    samples = np.arange(5).astype(sort)
    payload = cbor2.dumps({"value": cbor2.CBORTag(tag, samples.tobytes()), "hz": 25_600})
    decoded = Cbor(rate_hz="hz").decode(messages([(TOPIC, payload)]))
    assert decoded.waveforms[0].samples.tolist() == [0, 1, 2, 3, 4]
    assert decoded.waveforms[0].rate_hz == 25_600

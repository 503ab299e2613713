"""MessagePack: keys, and declared lengths."""

import struct
import tracemalloc

import pytest

from ingest.contract.errors import Reason
from ingest.decoders.msgpack import Msgpack
from tests.conformance.test_decoders import messages

TOPIC = b"factory/press"
VALUE = b"\xa5value"
KEYS = [b"\x01", b"\xc0", b"\xcb" + b"\0" * 8, b"\x92\xff\xfe", b"\x80", b"\xc4\x01a", b"\xd6\xff\0\0\0\0"]


@pytest.mark.parametrize("key", KEYS, ids=bytes.hex)
@pytest.mark.parametrize("where", [b"%b", b"\x81\xa1a%b", b"\x81\xa1a\x91%b", b"\x91%b"], ids=bytes.hex)
def test_keys_that_are_no_texts_are_refused_before_they_can_collide(key: bytes, where: bytes) -> None:
    payload = where % (b"\x81" + key + b"\x01")
    decoded = Msgpack(rows="", values=["*"], flatten=True).decode(messages([(TOPIC, payload)]))
    assert [one.reason for one in decoded.rejected] == [Reason.SYNTAX]


@pytest.mark.parametrize("options", [{}, {"rows": "value"}, {"rows": ""}, {"values": ["*"]}], ids=str)
@pytest.mark.parametrize("head", [0xC6, 0xDB, 0xDD, 0xDF], ids=hex)
def test_a_declared_length_allocates_nothing(head: int, options: dict[str, str]) -> None:
    long = struct.pack(">BI", head, 0x0FFFFFFF) + b"\xa1a\xc0" * 4
    decoder = Msgpack(**options)  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        decoded = decoder.decode(messages([(TOPIC, payload) for payload in (long, b"\x81" + VALUE + long)]))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [one.reason for one in decoded.rejected] == [Reason.SYNTAX] * 2
    assert peak_bytes < 1_000_000


def test_nesting_is_bounded_where_it_is_looked_at() -> None:
    deep = b"\x81" + VALUE + b"\x91" * 70 + b"\x80"
    beside = b"\x82" + VALUE + b"\x01\xa1x" + b"\x91" * 70 + b"\x80"
    decoded = Msgpack().decode(messages([(TOPIC, deep), (TOPIC, beside)]))
    assert [(one.message, one.reason) for one in decoded.rejected] == [(0, Reason.TOO_DEEP)]
    assert decoded.message == [1]

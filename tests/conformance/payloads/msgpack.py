"""MessagePack: the same documents as in JSON, and what only MessagePack can say."""

import msgspec
from hypothesis import strategies as st

from tests.conformance.payloads import Payloads
from tests.conformance.payloads.documents import DOCUMENTS, OPTIONS, TOPIC

USUAL = msgspec.msgpack.encode({"value": 2})
_VALUE = b"\xa5value"

KNOWN = Payloads(
    options=OPTIONS,
    topics=[TOPIC],
    usual=USUAL,
    hostile=[
        USUAL + USUAL,
        USUAL[:-1],
        *(bytes([code]) for code in (0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, *range(0xC0, 0xE0))),
        b"\xdd\xff\xff\xff\xff",  # an array, a map, a text, bytes, of 4 Gi
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdd\x00\x0f\xff\xff" + b"\x01" * 8,
        b"\x91" * 100_000,
        b"\x91" * 100_000 + b"\x01",
        (b"\x81" + _VALUE) * 100_000,
        b"\x82" + _VALUE + b"\x01\xa1x" + b"\x91" * 100_000 + b"\xc0",
        b"\x81" + _VALUE + b"\xcb\x7f\xf8" + b"\0" * 6,  # NaN, infinity
        b"\x81" + _VALUE + b"\xca\x7f\x80\0\0",
        b"\x82" + _VALUE + b"\x01\xa2ts\xcb\x7f\xf8" + b"\0" * 6,
        b"\x82" + _VALUE + b"\x01\xa7quality\xcb\x7f\xf8" + b"\0" * 6,
        b"\x81" + _VALUE + b"\xcf" + b"\xff" * 8,
        b"\x81" + _VALUE + b"\xc4\x01a",  # bytes, an extension
        b"\x81" + _VALUE + b"\xd4\x05a",
        b"\x81" + _VALUE + b"\xa1\xff",  # not UTF-8
        b"\x82" + _VALUE + b"\x01\xa1\xff\x01",
        b"\x81\xa3\xed\xa0\x80\x01",  # a lone surrogate as a key
        b"\x82\x01\x02" + _VALUE + b"\x01",  # keys that are no texts
        b"\x81\x91\x01\x02",
        b"\x81\x80\x02",
        b"\x81\xc0\x02",
        b"\x82" + _VALUE + b"\x01\xa2ts\xd6\xff\x65\x53\xf1\x00",  # timestamps of 32, 64 and 96 bits; one of the year 0
        b"\x82" + _VALUE + b"\x01\xa2ts\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x82" + _VALUE + b"\x01\xa2ts\xc7\x0c\xff\0\0\0\0\xff\xff\xff\xf1\x88\x6e\x09\x00",
        b"\x82" + _VALUE + b"\x01\xa2ts\xd4\xff\x01",
        b"\x81" + _VALUE + b"\xd6\xff\x65\x53\xf1\x00",
    ],
    drawn=(DOCUMENTS | st.recursive(st.none() | st.binary(max_size=3), lambda one: st.lists(one, max_size=2))).map(
        lambda one: (TOPIC, msgspec.msgpack.encode(one))
    ),
)

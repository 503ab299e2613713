"""CBOR: the same documents as in JSON, and what only CBOR can say."""

import cbor2
from hypothesis import strategies as st

from tests.conformance.payloads import Payloads
from tests.conformance.payloads.documents import DOCUMENTS, OPTIONS, TOPIC

USUAL = cbor2.dumps({"value": 2})
_VALUE = b"\x65value"
_TAGS = (0, 1, 2, 4, 5, 28, 29, 35, 85, 55799)

KNOWN = Payloads(
    options=OPTIONS,
    topics=[TOPIC],
    usual=USUAL,
    hostile=[
        USUAL + USUAL,
        USUAL[:-1],
        b"\xd9\xd9\xf7" + USUAL,
        b"\xd9\xd9\xf7" * 2 + USUAL,
        *(bytes([code]) for code in (0x80, 0x9F, 0xA0, 0xBF, 0xC0, 0xDF, 0xF4, 0xF7, 0xF8, 0xFC, 0xFF)),
        *(bytes([major + 27]) + b"\xff" * 8 for major in range(0x00, 0x100, 0x20)),
        *(bytes([major + 26]) + b"\x0f\xff\xff\xff" + b"\x01" * 8 for major in range(0x00, 0x100, 0x20)),
        b"\x81" * 100_000,
        b"\x9f" * 100_000,
        b"\xc1" * 100_000 + b"\x01",
        (b"\xa1" + _VALUE) * 100_000,
        b"\xa2" + _VALUE + b"\x01\x61x" + b"\x81" * 50 + b"\x01",
        *(b"\xa1" + _VALUE + value for value in (b"\xf9\x7e\x00", b"\xf9\x7c\x00", b"\xf7", b"\xf8\x20", b"\x41a")),
        b"\xa1" + _VALUE + b"\xc2\x59\x01\x00" + b"\xff" * 256,
        b"\xa1" + _VALUE + b"\xc2\x5a\x00\x01\x00\x00" + b"\xff" * 65_536,
        b"\xa2" + _VALUE + b"\x01\x62ts\xc2\x59\x01\x00" + b"\xff" * 256,
        b"\xa2" + _VALUE + b"\x01\x67quality\xc2\x59\x01\x00" + b"\xff" * 256,
        b"\xa2" + _VALUE + b"\x01\x62ts\xf9\x7e\x00",
        b"\xa2" + _VALUE + b"\x01\x67quality\xf9\x7e\x00",
        b"\xa1" + _VALUE + b"\xc4\x82\x1b" + b"\x7f" * 8 + b"\x03",  # 3e9187201950435737471
        b"\xa1" + _VALUE + b"\xc5\x82\x1b" + b"\x7f" * 8 + b"\x03",
        b"\xa1" + _VALUE + b"\x61\xff",  # not UTF-8
        b"\xa1\x63\xed\xa0\x80\x01",
        b"\xa2\x01\x02" + _VALUE + b"\x01",  # keys that are no texts
        b"\xa1\x41a\x01",
        b"\xa1\x81\x01\x02",
        b"\xa1" + _VALUE + b"\xd8\x55\x43abc",  # 32-bit floats of three bytes
        b"\xa1" + _VALUE + b"\xd8\x55\x40",
        b"\xa3" + _VALUE + b"\x01\x67quality\xd8\x40\x42ab\x62ts\xd8\x40\x42ab",
        b"\xa2" + _VALUE + b"\x01\x61u\xd8\x40\x42ab",
        b"\xd8\x1c\x81\xd8\x1d\x00",  # an array of itself
        b"\xa1" + _VALUE + b"\xd8\x1c\xa1\x61a\xd8\x1d\x00",
        *(
            b"\xa2" + _VALUE + b"\x01\x62ts" + bytes([0xDA]) + tag.to_bytes(4) + content
            for tag in _TAGS
            for content in (b"\x01", b"\xf9\x7e\x00", b"\x1b" + b"\x7f" * 8, b"\x61a")
        ),
        *(
            b"\xa1" + _VALUE + bytes([0xDA]) + tag.to_bytes(4) + content
            for tag in _TAGS
            for content in (b"\x62((", b"\x41a", b"\x82\x01\x02")
        ),
    ],
    drawn=(DOCUMENTS | st.recursive(st.none() | st.binary(max_size=3), lambda one: st.lists(one, max_size=2))).map(
        lambda one: (TOPIC, cbor2.dumps(one))
    ),
)

"""One document in three syntaxes is one set of rows."""

import json
import struct
from typing import Any

import cbor2
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders.cbor import Cbor
from ingest.decoders.json import Json
from ingest.decoders.msgpack import Msgpack
from tests.conformance.payloads.documents import DOCUMENTS, OPTIONS
from tests.conformance.test_decoders import described, messages

SHAPES: list[dict[str, Any]] = [
    *OPTIONS,
    {"unit": "u", "rate_hz": "hz"},
    {"values": ["value", "/a/b", "/a/0"]},
    {"rows": "/a/rows", "document_time": "t"},
    {"rows": "rows", "name": "id", "values": ["*"], "flatten": True},
]


def packed(node: Any) -> bytes:
    """MessagePack by its specification, in the widest form of each type."""
    match node:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if node else b"\xc2"
        case int():
            return struct.pack(">Bq", 0xD3, node)
        case float():
            return struct.pack(">Bd", 0xCB, node)
        case str():
            return struct.pack(">BI", 0xDB, len(node.encode())) + node.encode()
        case list():
            return struct.pack(">BI", 0xDD, len(node)) + b"".join(map(packed, node))
        case dict():
            return struct.pack(">BI", 0xDF, len(node)) + b"".join(packed(k) + packed(v) for k, v in node.items())
    raise AssertionError(node)


@settings(deadline=None)
@given(st.sampled_from(SHAPES), st.lists(DOCUMENTS, min_size=1, max_size=4))
def test_a_document_gives_the_same_rows_in_every_syntax(options: dict[str, Any], documents: list[Any]) -> None:
    read = [
        described(decoder(**options).decode(messages([(b"t", written(one)) for one in documents])))
        for decoder, written in (
            (Json, lambda one: json.dumps(one).encode()),
            (Cbor, cbor2.dumps),
            (Msgpack, msgspec.msgpack.encode),
            (Msgpack, packed),
        )
    ]
    assert all(rows == read[0] for rows in read[1:])

"""SenML: packs in both encodings, base fields at every place, times at the edge between relative and absolute."""

import json
from typing import Any

import cbor2
from hypothesis import strategies as st

from tests.conformance.payloads import Payloads, Sent

_TOPIC = b"factory/press/senml"
_LABELS = {"bver": -1, "bn": -2, "bt": -3, "bu": -4, "bv": -5, "bs": -6} | {
    label: number for number, label in enumerate(["n", "u", "v", "vs", "vb", "s", "t", "ut", "vd"])
}
_NUMBERS = st.integers(-1_000, 1_000) | st.floats(-1e9, 1e9)
_TIMES = st.sampled_from([0, 5, -5.5, 2**28 - 1, 2**28, 631_152_000, 1.7e9, 1_700_000_000.125, 7_258_118_400])
_NAMES = st.sampled_from(["temp", "urn:dev:ow:10e2:", "a/b", "_", "", "ä", "x" * 300])
_UNITS = st.sampled_from(["Cel", "%RH", "W", "km/h", "", "x" * 65])


def _fields(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    sort = {"t": _TIMES, "bt": _TIMES, "n": _NAMES, "bn": _NAMES, "u": _UNITS, "bu": _UNITS}
    sort |= {
        "vs": st.text(max_size=4),
        "vb": st.booleans(),
        "vd": st.just("aGk"),
        "bver": st.sampled_from([5, 10, 26, 11]),
    }
    sort |= {"x_": st.none(), "x": st.none(), "ut": _NUMBERS}
    return st.fixed_dictionaries({}, optional={name: sort.get(name, _NUMBERS) for name in names})


def _labelled(pack: list[dict[str, Any]]) -> bytes:
    return cbor2.dumps([{_LABELS.get(key, key): value for key, value in record.items()} for record in pack])


_RECORD = st.builds(
    lambda usual, more: usual | more,
    st.fixed_dictionaries({"n": _NAMES, "v": _NUMBERS}),
    _fields(["u", "t", "s"]) | _fields(["bn", "bt", "bu"]) | _fields([*_LABELS, "x_", "x"]),
)
_PACKS = st.lists(_RECORD | _fields(["bn", "bt", "bu", "bv", "bs", "bver"]), max_size=4)
_MESSAGES: st.SearchStrategy[Sent] = st.builds(
    lambda pack, encode: (_TOPIC, encode(pack)),
    _PACKS,
    st.sampled_from([lambda pack: json.dumps(pack).encode(), _labelled]),
)

_HOSTILE = [
    b"[]",
    b"[{}]",
    b"[1]",
    b"[null]",
    b'[{"n":"a","v":1},[]]',
    b'[{"n":"a"}]',
    b'[{"n":"a","v":null}]',
    b'[{"n":"a","v":true}]',
    b'[{"n":"a","v":"1"}]',
    b'[{"n":"a","v":1e400}]',
    b'[{"n":"a","v":%b}]' % (b"9" * 400),
    b'[{"n":"a","v":1,"vs":"b"}]',
    b'[{"n":"a","vs":"%b"}]' % (b"x" * 5_000),
    b'[{"n":"a","vs":"\\ud800"}]',
    b'[{"n":"a","v":1,"t":1e308,"bt":1e308}]',
    b'[{"n":"a","v":1,"bt":"now"},{"n":"b","v":2}]',
    b'[{"n":"a","v":1,"bt":null,"u":null}]',
    b'[{"n":"a","v":1e308,"bv":1e308,"s":1e308,"bs":1e308}]',
    b'[{"n":"a","v":1,"later_":0},{"n":"b","v":2}]',
    b'[{"n":"a","v":1,"later\\u005f":0}]',
    b'[{"n":"a","v":1},{"\\u0062ver":11}]',
    b'[{"n":"a","v":1},{"n":"b","v":2,"bver":11}]',
    b'[{"n":"a","v":1}][{"n":"a","v":1}]',
    b'[{"n":"a","v":1}]\n[{"n":"a","v":1}]',
    b'[{"n":"a}]',
    b'[\n{"n":"a","v":1}\n]',
    b'{"n":"a","v":1}',
    b"[" + b'{"n":"a","v":1},' * 10_000 + b'{"n":"a","v":1}]',
    # CBOR
    b"\x80",
    b"\x81",
    b"\x81\xa0",
    b"\x81\x01",
    b"\x9f",
    b"\x9f" * 100_000,
    b"\x81" * 100_000,
    b"\xc4" * 100_000,
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x81\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x81\xa1\x00\x7b\x7f\xff\xff\xff\xff\xff\xff\xff",
    *(
        bytes.fromhex("81a200616102") + value  # a record of the name "a" with this value
        for value in (
            b"",
            b"\x01",
            b"\x01\x01",  # and bytes after the pack
            b"\xf6",
            b"\xf7",
            b"\xf5",
            b"\xe0",
            b"\xff",
            b"\xf9\x7e\x00",
            b"\xf9\x7c\x00",
            b"\xfb\x7f\xef\xff\xff\xff\xff\xff\xff",
            b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xc2\x42\x01\x00",
            b"\xc4\x82\x20\x19\x01\x00",
            b"\xc4\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\xc4\x82\x3b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\xc4\x81\x01",
            b"\xc4\x82\x61a\x01",
            b"\xc5\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\xd8\x23\x65(a+)+",
            b"\xd8\x1d\x00",
            b"\xd9\xd9\xf7\x01",
            b"\xd8\xc8\x01",
            b"\x61\xff",
        )
    ),
    bytes.fromhex("d81c81d81d00"),  # a circle
    bytes.fromhex("81a2000102016161"),
    bytes.fromhex("81a30061612f0102"),  # a label that the table does not have
    bytes.fromhex("81a2a00100"),
    bytes.fromhex("81a280010001"),
    bytes.fromhex("d9d9f781a20061610201"),
]

KNOWN = Payloads(
    options=[
        {},
        {"encoding": "cbor"},
        {"encoding": "json", "sum_suffix": "", "max_records": 2, "max_name": 4},
    ],
    topics=[_TOPIC],
    usual=b'[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1}]',
    hostile=_HOSTILE,
    drawn=_MESSAGES,
)

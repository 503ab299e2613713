"""Sparkplug B: sessions of a small plant, broken protobuf, bombs; and how a test writes a payload."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ingest.decoders.sparkplug.schema import Payload, PropertySet
from ingest.decoders.sparkplug.values import DATATYPES
from tests.conformance.payloads import Payloads

NUMBERS = {one.name: one.number for one in DATATYPES.values()}
_FIELDS = {
    "DOUBLE": "double_value",
    "FLOAT": "float_value",
    "BOOLEAN": "boolean_value",
    "TEXT": "string_value",
    "ARRAY": "bytes_value",
    "NONE": "bytes_value",
}


def properties(**said: float | str) -> bytes:
    """A property set; blanks in names are written as underscores."""
    out = PropertySet()
    for key, value in said.items():
        out.keys.append(key)
        one = out.values.add()
        if isinstance(value, str):
            one.string_value = value
        elif isinstance(value, float):
            one.double_value = value
        else:
            one.int_value = value & 0xFFFFFFFF
    written: bytes = out.SerializeToString(deterministic=True)
    return written


def metric(name: str | None = None, value: Any = None, datatype: str = "Double", **said: Any) -> Any:
    """A metric, as an edge node would write it. `born=False` leaves the datatype out; `is_null` is for None."""
    kind = DATATYPES[NUMBERS[datatype]]
    born = said.pop("born", True)
    if born:
        said["datatype"] = kind.number
    if name is not None:
        said["name"] = name
    if value is not None:
        field = _FIELDS.get(kind.shape.name) or ("long_value" if kind.bits == 64 else "int_value")
        said[field] = value % (1 << kind.bits) if kind.bits else value
    elif not {"int_value", "long_value", "float_value", "double_value"} & set(said):
        said.setdefault("is_null", True)
    return said


def payload(*metrics: Any, seq: int | None = None, ms: int | None = 1_700_000_000_000) -> bytes:
    """A payload of metrics."""
    out = Payload()
    if ms is not None:
        out.timestamp = ms
    for one in metrics:
        out.metrics.add(**one)
    if seq is not None:
        out.seq = seq
    written: bytes = out.SerializeToString(deterministic=True)
    return written


def bd_seq(number: int) -> Any:
    """The metric with a session's number."""
    return metric("bdSeq", number, "Int64")


NBIRTH, NDATA, NDEATH = (b"spBv1.0/G/%b/N" % kind for kind in (b"NBIRTH", b"NDATA", b"NDEATH"))
DBIRTH, DDATA, DDEATH = (b"spBv1.0/G/%b/N/D" % kind for kind in (b"DBIRTH", b"DDATA", b"DDEATH"))


def _nested(depth: int, tag: int) -> bytes:
    out = b""
    for _ in range(depth):
        out = bytes([tag]) + _varint(len(out)) + out
    return out


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


_BIRTH = payload(
    bd_seq(0),
    metric("temp", 21.5, alias=1, properties=properties(engUnit="Cel", engLow=0.0, engHigh=100.0)),
    metric("count", -1, "Int32", alias=2),
    metric("name", "x", "String", alias=3),
    seq=0,
)
_BYTES = [metric("a", b"\0" * 8, name) for name, number in NUMBERS.items() if number >= 16 and number not in (20, 21)]
_HOSTILE = [
    _BIRTH[:-1],
    _BIRTH[:20],
    b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length beyond 64 bits
    b"\x12\x7f\x00",
    b"\x18" + b"\xff" * 20,
    b"\x1b" * 100_000,  # groups in groups
    b"\x12\x00" * 100_000,  # metrics of nothing
    b"\x08\x00" * 100_000,
    b"\x12\x04\x08\x01\x50\x01",  # a name that is a number
    b"\x12\x05\x0a\x01\xff\x20\x0a",  # a name that is not UTF-8
    _nested(5_000, 0x12),
    payload({"name": "t", "datatype": 19, "template_value": _nested(5_000, 0x12)}),
    payload({"name": "p", "datatype": 10, "double_value": 1.0, "properties": _nested(5_000, 0x12)}),
    payload({"name": "p", "datatype": 10, "double_value": 1.0, "properties": b"\x0a\x00" * 10_000}),
    payload({"name": "p", "datatype": 10, "double_value": 1.0, "properties": b"\xff"}),
    payload(metric("temp", float("nan")), metric("temp", float("inf"), "Float")),
    payload(metric("", 1.0), metric("x" * 10_000, 1.0), metric("a/../b", 1.0), {"double_value": 1.0}, seq=1),
    payload(metric("u", 1.0, properties=properties(engUnit="x" * 1_000))),
    payload(metric("q", 1.0, properties=properties(Quality="?")), metric("r", 1.0, properties=properties(Quality=-1))),
    payload(metric("t", 1.0, timestamp=2**64 - 1), metric("u", 1.0, timestamp=1), ms=2**64 - 1, seq=2**64 - 1),
    payload({"name": "i", "datatype": 1, "int_value": 300}, {"name": "j", "datatype": 99, "int_value": 300}),
    payload({"name": "s", "datatype": 12, "string_value": "x" * 5_000}, {"name": "v", "datatype": 10}),
    payload(*_BYTES, ms=None),
    payload(metric("a", 1.0, alias=2**64 - 1), metric("b", 1.0, alias=2**64 - 1), metric("a", 1, "Int8", alias=0)),
]

_TYPES = st.sampled_from(["Int8", "UInt64", "Double", "Boolean", "String", "FloatArray", "DataSet"])
_VALUES = {"Double": 2.5, "Boolean": True, "String": "x", "FloatArray": b"\0\0\x80\x3f", "DataSet": b""}
_METRICS = st.builds(
    lambda name, kind, null, by_alias, alias, said: metric(
        None if by_alias else name,
        None if null else _VALUES.get(kind, 200),
        kind,
        **({"alias": alias} if by_alias or alias else {}),
        **said,
    ),
    st.sampled_from(["temp", "count", "a/b", "bdSeq", "D/temp", ""]),
    _TYPES,
    st.integers(0, 5).map(lambda one: one == 0),
    st.booleans(),
    st.integers(0, 4),
    st.sampled_from(
        [
            {},
            {},
            {"is_historical": True},
            {"timestamp": 1_700_000_000_001},
            {"properties": properties(Quality=500, engUnit="bar", engLow=1)},
        ]
    ),
)
_TOPICS = [NBIRTH, DBIRTH, NDATA, DDATA, NDATA, DDATA, NDEATH, DDEATH]
_MESSAGES = st.tuples(
    st.sampled_from([*_TOPICS, b"spBv1.0/G/NBIRTH/M", b"spBv1.0/G/DDATA/M/E", b"spBv1.0/G/NCMD/N"]),
    st.builds(
        lambda metrics, session, seq, ms: payload(
            *([bd_seq(session)] if session < 3 else []), *metrics, seq=seq, ms=ms
        ),
        st.lists(_METRICS, max_size=4),
        st.integers(0, 6),
        st.none() | st.integers(0, 6),
        st.none() | st.integers(1_700_000_000_000, 1_700_000_000_003),
    ),
)

KNOWN = Payloads(
    options=[{}, {"max_metrics": 2, "max_nodes": 1, "max_devices": 1, "max_known": 3}, {"rebirth": False}],
    topics=[
        NBIRTH,
        *_TOPICS[1:4],
        NDEATH,
        DDEATH,
        b"spBv1.0/STATE/host",
        b"spBv1.0/G/NBIRTH/N/D",
        b"",
    ],
    usual=_BIRTH,
    hostile=_HOSTILE,
    drawn=_MESSAGES,
)

"""JSON: numbers with times of one sort, at the edges of what is a time and of what unit it is in."""

import json

from hypothesis import strategies as st

from ingest.contract.readings import MAX_TS_US, MIN_TS_US
from tests.conformance.payloads import Payloads
from tests.conformance.payloads.documents import DOCUMENTS, OPTIONS, TOPIC

_EDGES = [edge // unit for edge in (MIN_TS_US, 1_700_000_000_123_456, MAX_TS_US) for unit in (10**6, 1000, 1)]
_TIMES = st.builds(
    lambda edge, more, scale: (edge + more) * scale,
    st.sampled_from([*_EDGES, 10**11, 10**14, 10**17]),
    st.integers(-1_000, 1_000) | st.floats(-1, 1),
    st.sampled_from([1, 1, 1000]),
)
_MESSAGES = st.builds(
    lambda value, ts: (TOPIC, b'{"value":%r,"ts":%r}' % (value, ts)),
    st.floats(-1e9, 1e9) | st.integers(),
    _TIMES,
)

KNOWN = Payloads(
    options=[
        *OPTIONS,
        {"value": "/a/b", "unit": "u", "rate_hz": "hz"},
        {"values": ["*"]},
        {"values": ["value", "b", "/a/0"]},
        {"value": "v", "time": "t", "quality": "q", "time_unit": "ms"},
        *({"time_unit": unit} for unit in ("s", "us", "ns", "iso")),
    ],
    topics=[TOPIC],
    hostile=[
        b' {"value":1,"x":"\xff"}',
        b'{\n"value":1,"x":"\xff"}\r\n',
        b'\v{"value":1}',
        b'{"value":1}\f',
        b'{"rows":[{"id":"a","value":1},{"id":"b","value":[]}],"ts":-1}',
        b'{"rows":[{"id":"a","value":1}],"x":"\xff"}',
        b'[{"id":"a","value":1}]\n[{"id":"b","value":2}]',
        b'{"rows":[' + b",".join([b'{"id":"a","value":1}'] * 10) + b"]}",
        b'{"a":' * 20 + b"1" + b"}" * 20,
        b'{"a":{"' + b"x" * 70_000 + b'":{"b":1}}}',
        b'{"value":[1,2,1e400]}',
        b'{"value":[' + b"1," * 70_000 + b"1]}",
    ],
    drawn=_MESSAGES | DOCUMENTS.map(lambda one: (TOPIC, json.dumps(one).encode())),
)

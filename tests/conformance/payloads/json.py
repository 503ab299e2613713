"""JSON: numbers with times of one sort, at the edges of what is a time and of what unit it is in."""

from hypothesis import strategies as st

from ingest.contract.readings import MAX_TS_US, MIN_TS_US
from tests.conformance.payloads import Payloads

_TOPIC = b"factory/press/temperature"
_EDGES = [edge // unit for edge in (MIN_TS_US, 1_700_000_000_123_456, MAX_TS_US) for unit in (10**6, 1000, 1)]
_TIMES = st.builds(
    lambda edge, more, scale: (edge + more) * scale,
    st.sampled_from([*_EDGES, 10**11, 10**14, 10**17]),
    st.integers(-1_000, 1_000) | st.floats(-1, 1),
    st.sampled_from([1, 1, 1000]),
)
_MESSAGES = st.builds(
    lambda value, ts: (_TOPIC, b'{"value":%r,"ts":%r}' % (value, ts)),
    st.floats(-1e9, 1e9) | st.integers(),
    _TIMES,
)

KNOWN = Payloads(
    options=[
        {},
        {"values": ["*"]},
        {"values": ["value", "b"]},
        {"value": "v", "time": "t", "quality": "q", "time_unit": "ms"},
        *({"time_unit": unit} for unit in ("s", "us", "ns", "iso")),
    ],
    topics=[_TOPIC],
    drawn=_MESSAGES,
)

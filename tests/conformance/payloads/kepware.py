"""KEPServerEX: its template as delivered, and templates of one's own."""

import json

from hypothesis import strategies as st

from tests.conformance.payloads import Payloads

_TOPIC = b"iotgateway"
_IDS = st.sampled_from(["Channel1.Device1.Tag1", "Channel1.Device1.Tag2", "_System._Time", "", 7, None])
_TIMES = st.integers(1_700_000_000_000, 1_700_000_999_999)
_VALUES = st.floats(-1e9, 1e9) | st.booleans() | st.none() | st.text(max_size=3) | st.lists(st.integers(), max_size=3)
_QUALITIES = st.booleans() | st.sampled_from(["good", 192])
_ROWS = st.lists(
    st.fixed_dictionaries({"id": _IDS}, optional={"v": _VALUES, "q": _QUALITIES, "t": _TIMES}), max_size=3
) | st.lists(
    st.fixed_dictionaries({"id": _IDS.filter(bool).map(str), "v": st.floats(-1, 1), "q": st.booleans(), "t": _TIMES}),
    min_size=1,
    max_size=3,
)
_DOCUMENTS = st.fixed_dictionaries({"values": _ROWS}, optional={"timestamp": _TIMES})

KNOWN = Payloads(
    options=[{}, {"rows": "", "name": "tagname", "value": "value", "time": "timestamp"}],
    topics=[_TOPIC],
    usual=b'{"timestamp":1700000000000,"values":[{"id":"C.D.T","v":12.5,"q":true,"t":1700000000000}]}',
    hostile=[
        b'{"timestamp":1700000000000,"values":[]}',
        b'{"timestamp":1700000000000,"values":{}}',
        b'{"timestamp":1700000000000,"values":[null,[],{}]}',
        b'{"timestamp":"no time","values":[{"id":"a","v":1,"t":1700000000000},{"id":"b","v":1}]}',
        b'{"values":[{"id":"a","v":1,"q":2}]}',
        b'{"values":[{"id":{"a":1},"v":1}]}',
    ],
    drawn=_DOCUMENTS.map(lambda one: (_TOPIC, json.dumps(one).encode())),
)

"""OPC UA PubSub: fields in every encoding, in every sort of message."""

import json
from typing import Any

from hypothesis import strategies as st

from tests.conformance.payloads import Payloads, Sent

_TOPIC = b"opcua/json/data/plc"
_SCALARS = st.sampled_from(
    [None, True, 0, 1.5, -3, 2**70, "RUN", "12", "NaN", "Infinity", "9" * 30, "x" * 5_000, "2023-11-14T22:13:20Z"]
)
_PLAIN = _SCALARS | st.sampled_from([[], [1, 2.5], ["1", "2"], [[1], [2]], {"Text": "a", "Locale": "en"}, {"x": 1}, {}])
_TIMES: st.SearchStrategy[Any] = st.sampled_from(
    ["2023-11-14T22:13:20.1234567Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "", "now", None, 1, {}]
)
_CODES = [0, 0x40000000, 0x80000000, 0x00300000, 2**32, -1, "Good", "BadOutOfService", "?"]
_STATUS: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, [], {}, *_CODES, *({"Code": code} for code in _CODES), {"Code": 2150694912, "Symbol": "x"}]
) | st.sampled_from([{"Symbol": "Uncertain"}, {"Symbol": 1}])
_TYPES = st.sampled_from([0, 1, 8, 9, 10, 11, 12, 15, 21, 99, "x", None])


def _wrapped(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    more = {"SourceTimestamp": _TIMES, "ServerTimestamp": _TIMES, "StatusCode": _STATUS, "Status": _STATUS}
    more |= {"Type": _TYPES, "UaType": _TYPES, "Dimensions": st.sampled_from([[2], [1, 2], None])}
    optional = more | {"Value": inner, "Body": inner}
    return st.fixed_dictionaries({"Value": inner}, optional=more) | st.fixed_dictionaries({}, optional=optional)


_FIELDS = st.dictionaries(
    st.sampled_from(
        ["Oil", "ns=2;s=Line.Temp", "nsu=http://plant/;i=7", "http://plant/#s=a%20%FF", "", "x" * 300, "ä"]
    ),
    _wrapped(_wrapped(_PLAIN) | _PLAIN) | _wrapped(_PLAIN) | _PLAIN,
    max_size=3,
)
_HEADS: dict[str, st.SearchStrategy[Any]] = {
    "PublisherId": st.sampled_from(["plc", 7, None, {}]),
    "DataSetWriterId": st.sampled_from([1, "w", 2**70]),
    "DataSetWriterName": st.sampled_from(["press", None]),
    "Timestamp": _TIMES,
    "Status": _STATUS,
}
_SORTS = st.sampled_from(["ua-keyframe", "ua-deltaframe", "ua-event", "ua-keepalive", "ua-metadata", "ua-x", 1, None])
_DATA_SETS = st.fixed_dictionaries({"Payload": _FIELDS}, optional=_HEADS | {"MessageType": _SORTS}) | _FIELDS
_NETWORK = st.fixed_dictionaries(
    {"Messages": st.lists(_DATA_SETS, max_size=3) | _DATA_SETS},
    optional=_HEADS | {"MessageType": st.sampled_from(["ua-data", "ua-data", "ua-status", None])},
)
_SAMPLES = st.fixed_dictionaries(
    {"Value": _wrapped(_PLAIN) | _PLAIN},
    optional={"NodeId": st.sampled_from(["ns=2;s=Oil", {"Id": 7}, {}]), "DisplayName": st.sampled_from(["Oil", ""])}
    | {"SourceTimestamp": _TIMES, "StatusCode": _STATUS},
)
_MESSAGES: st.SearchStrategy[Sent] = st.builds(
    lambda document: (_TOPIC, json.dumps(document).encode()),
    _NETWORK | _DATA_SETS | _SAMPLES | st.lists(_NETWORK | _DATA_SETS, max_size=2),
)

_HOSTILE = [
    b'{"MessageType":"ua-data"}',
    b'{"MessageType":"ua-data","Messages":null}',
    b'{"MessageType":"ua-data","Messages":[1,{"Payload":{"a":1}},[],null]}',
    b'{"MessageType":"ua-data","Messages":[{"Payload":[]}]}',
    b'{"MessageType":"ua-metadata","MetaData":{}}',
    b'{"MessageType":"ua-status"}',
    b'{"MessageType":"ua-"}',
    b'{"MessageType":1}',
    b'{"Payload":{}}',
    b'{"Payload":{"a":{"Value":{"Value":{"Value":{"Value":{"Value":{"Value":1}}}}}}}}',
    b'{"a":' + b'{"Value":' * 5_000 + b"1" + b"}" * 5_001,
    b'{"a":[%b1]}' % (b"1," * 100_000),
    b'{"a":{"Type":11,"Body":[1,"NaN"]}}',
    b'{"a":{"Type":8,"Body":"%b"}}' % (b"9" * 5_000),
    b"[" + b'{"a":1},' * 20_000 + b'{"a":1}]',
    b'{"Messages":[' + b"1," * 20_000 + b"1]}",
    b"{" + b",".join(b'"f%d":1' % number for number in range(20_000)) + b"}",
    b'{"NodeId":"ns=2;s=a","Value":1}',
    b'{"DisplayName":"a"}',
]

KNOWN = Payloads(
    options=[
        {},
        {"name": "{publisher}/{writer}/{field}", "keep_node_ids": True, "integer_text": True, "max_name": 12},
        {"samples": True, "max_fields": 2, "max_messages": 2, "max_samples": 1},
    ],
    topics=[_TOPIC],
    usual=b'{"MessageType":"ua-data","Messages":[{"Payload":{"Oil":{"Value":1.5}}}]}',
    hostile=_HOSTILE,
    drawn=_MESSAGES,
)

"""Kepware: ids become paths."""

import json

from ingest.contract.sensors import TopicPattern, check_path, fill_field
from ingest.decoders import DECODERS
from tests.conformance.test_decoders import messages


def test_a_tags_name_becomes_levels_of_a_path() -> None:
    payload = {
        "timestamp": 1_700_000_000_000,
        "values": [{"id": "Press.Motor.Temp", "v": 71.5, "q": True, "t": 1_700_000_000_250}],
    }
    decoder = DECODERS.create("kepware", {})
    assert decoder.names_fields
    decoded = decoder.decode(messages([(b"iotgateway", json.dumps(payload).encode())]))
    path = TopicPattern.parse("iotgateway", "plant/{id}").match("iotgateway")
    assert path is not None
    assert [check_path(fill_field(path, field or "")) for field in decoded.field] == ["plant/Press/Motor/Temp"]
    assert (decoded.value, decoded.ts_us, decoded.code) == ([71.5], [1_700_000_000_250_000], ["true"])


def test_it_is_json_with_other_defaults() -> None:
    options = {"rows": "/values", "name": "id", "value": "v", "quality": "q", "time": "t", "document_time": "timestamp"}
    preset, spelt_out = DECODERS.create("kepware", {}), DECODERS.create("json", options)
    payload = b'{"timestamp":1700000000000,"values":[{"id":"a","v":1,"q":false},{"id":"b"},{"id":"c","v":[1,2],"t":1}]}'
    sent = messages([(b"iotgateway", payload)])
    assert repr(preset.decode(sent)) == repr(spelt_out.decode(sent))

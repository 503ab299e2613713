"""A payload says what the sensor's kind calls for, in JSON."""

import json

import numpy as np
import pytest

from ingest.simulator.layout import Kind
from ingest.simulator.payloads import encode_json
from ingest.simulator.plant import Plant


@pytest.mark.parametrize(
    ("value", "text", "kind", "expected"),
    [
        (54.25, None, "gauge", b"54.25"),
        (3.0, None, "gauge", b"3.0"),
        (1_234_567.0, None, "counter", b"1234567"),
        (0.0, None, "bool", b"false"),
        (1.0, None, "bool", b"true"),
        (float("nan"), "setup", "enum", b'"setup"'),
    ],
)
def test_the_value_has_the_type_of_its_kind(value: float, text: str | None, kind: Kind, expected: bytes) -> None:
    payload = encode_json(1_700_000_000_123_999, value, text, kind)
    assert payload == b'{"ts":1700000000123,"value":' + expected + b',"quality":"good"}'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no word"):
        encode_json(0, value, None, "gauge")


def test_an_enum_needs_its_text() -> None:
    with pytest.raises(ValueError, match="needs a text"):
        encode_json(0, 1.0, None, "enum")


def test_everything_a_plant_says_survives_its_payload() -> None:
    plant = Plant(24, seed=3, start_us=1_700_000_000_000_123, period_s=0.7)
    burst = plant.advance(1_700_000_060_000_000)
    for sensor, ts_us, value, text in zip(burst.sensor, burst.ts_us, burst.value, burst.text, strict=True):
        message = json.loads(encode_json(ts_us, value, text, plant.sensors[sensor].kind))
        assert message["ts"] * 1000 == ts_us
        assert message["value"] == (value if text is None else text)
    assert isinstance(burst.value[0], np.float64)

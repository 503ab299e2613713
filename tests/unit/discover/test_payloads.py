from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.discover.formats import Facts, Format, inspect
from tests.unit.discover.hearing import START_US

NOW_S = START_US // 1_000_000


def facts(*documents: Any) -> Facts:
    payloads = [one if isinstance(one, bytes) else msgspec.json.encode(one) for one in documents]
    return inspect(payloads, START_US)


@pytest.mark.parametrize(
    ("document", "expected", "unit"),
    [
        ({"ts": NOW_S * 1000, "value": 1.5, "quality": "good"}, Format("json", "value", False, "ts", "quality"), "ms"),
        ({"Timestamp": NOW_S + 0.5, "Val": 1, "Q": 192}, Format("json", "Val", False, "Timestamp", "Q"), "s"),
        ({"t": "2026-01-01T00:00:00Z", "v": True}, Format("json", "v", False, "t"), "iso"),
        ({"t": 21.5, "h": 40}, Format("json", None, True), None),
        ({"v": 230.1, "a": 5.0}, Format("json", None, True), None),
        ({"heard_on": NOW_S * 10**9, "temp": 3, "hum": 4}, Format("json", None, True, "heard_on"), "ns"),
        ({"value": 1, "status": "RUN"}, Format("json", "value"), None),
        ({"value": 1, "status": "good"}, Format("json", "value", False, None, "status"), None),
        ({"value": 1, "quality": 0.97}, Format("json", "value"), None),
    ],
)
def test_fields_are_told_by_name_and_by_what_is_in_them(
    document: dict[str, Any], expected: Format, unit: str | None
) -> None:
    found = facts(document, document)
    assert found.format == expected
    assert found.time_units == ({unit} if unit else frozenset())


def test_a_state_of_0_and_1_is_no_quality() -> None:
    assert facts({"value": 1, "status": 0}, {"value": 2, "status": 1}).format == Format("json", "value")


def test_what_describes_the_sensor_is_no_value() -> None:
    found = facts({"name": "x", "unit": "°C", "serverTime": NOW_S, "time": NOW_S, "temp": 3, "state": "RUN", "d": {}})
    assert found.fields == ("temp", "state")
    assert set(found.left_out) == {"name", "serverTime", "d"}
    assert found.format is not None
    assert found.format.unit == "unit"


def test_default_names_that_mean_something_else_are_told() -> None:
    assert facts({"value": 1, "ts": 12, "quality": 0.5}).odd == {"ts", "quality"}


@pytest.mark.parametrize(
    "payload", [b"21.5", b"-3e4", b"true", b"OFF", b"RUN", b'"RUN"', b"Auftrag 17", "übrig".encode()]
)
def test_bare_values_are_plain(payload: bytes) -> None:
    assert facts(payload).format == Format("plain")


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "empty"),
        (b"  ", "empty"),
        (b"\xff\xd8\x00", "binary"),
        (b"a\0b", "binary"),
        (b'{"value": ', "broken JSON"),
        (b'{"value": NaN}', "broken JSON"),
        (b"[1,2]", "a JSON array"),
        (b"<x/>", "markup"),
        (b"x" * 300, "a long text"),
        (b"nan", "not finite, or thousands of digits"),
        (b'{"a": {}}', "JSON without a value"),
        (b'[{"name": "x"}]', "JSON without a value of its own"),
        (b'{"name": "x"}', "JSON without a value of its own"),
        (b"{" * 100_000, "broken JSON"),
    ],
)
def test_what_no_decoder_reads_is_told_why(payload: bytes, why: str) -> None:
    found = facts(payload)
    assert (found.format, found.why) == (None, why)


def test_decimal_commas_are_seen_where_all_numbers_have_them() -> None:
    assert facts(b"21,5", b"3").decimal_comma
    assert not facts(b"21,5", b"3.5").decimal_comma
    assert not facts(b"21", b"3").decimal_comma


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(st.binary(max_size=40) | JSON.map(msgspec.json.encode), min_size=1, max_size=5))
def test_any_payload_is_either_understood_or_told_why(payloads: list[bytes]) -> None:
    found = inspect(payloads, START_US)
    assert (found.format is None) == bool(found.why)

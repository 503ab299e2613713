"""JSON: options, limits, and that the fast way and the slow way read the same."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.contract.errors import Reason
from ingest.decoders import DECODERS, Decoded
from ingest.decoders.json import Json
from ingest.decoders.pointers import MISSING, find, path_of
from tests.conformance.payloads.documents import DOCUMENTS, OPTIONS
from tests.conformance.test_decoders import described, messages

TOPIC = b"factory/press"


def decode(options: dict[str, Any], *documents: Any) -> Decoded:
    return DECODERS.create("json", options).decode(messages([(TOPIC, json.dumps(one).encode()) for one in documents]))


def fields(decoded: Decoded) -> list[tuple[str | None, float]]:
    return list(zip(decoded.field, decoded.value, strict=True))


@settings(deadline=None)
@given(
    st.sampled_from([*OPTIONS, {"unit": "u"}, {"rows": "rows", "document_time": "t"}]), st.lists(DOCUMENTS, max_size=4)
)
def test_the_fast_way_reads_what_the_slow_way_reads(options: dict[str, Any], documents: list[Any]) -> None:
    fast, slow = Json(**options), Json(**options)
    object.__setattr__(slow, "_keys", None)
    sent = messages([(TOPIC, json.dumps(one).encode()) for one in documents])
    assert described(fast.decode(sent)) == described(slow.decode(sent))


def test_usual_bursts_of_all_shapes_go_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(*_: Any) -> None:
        raise AssertionError("one by one")

    monkeypatch.setattr(Json, "_one_by_one", slowly)
    monkeypatch.setattr(Json, "_fill", slowly)
    row = {"value": 1.5, "ts": 1_700_000_000_000, "id": "a", "quality": True, "unit": "Cel"}
    for options, document in (
        ({}, {**row, "quality": "good"}),
        ({"unit": "unit", "name": "id"}, row),
        ({"rows": "r", "name": "id"}, {"r": [row, row]}),
        ({"rows": "", "name": "id", "unit": "unit"}, [row]),
        ({"rows": "/r", "document_time": "t"}, {"r": [{"value": 1, "quality": False}, row], "t": 1_700_000_000_001}),
    ):
        assert decode(options, document, document).value


def test_documents_of_several_lines_go_the_fast_way_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(*_: Any) -> None:
        raise AssertionError("one by one")

    monkeypatch.setattr(Json, "_one_by_one", slowly)
    sent = messages([(TOPIC, b'{\r\n "value":\n 1,\n "x": []\n}\n'), (TOPIC, b'\t{"value":2}')])
    assert Json().decode(sent).value == [1, 2]


def test_a_newline_in_a_text_is_no_json_however_it_is_read() -> None:
    sent = messages([(TOPIC, b'{"value":"a\nb"}'), (TOPIC, b'{"value":1}'), (TOPIC, b'{"value":"a\rb"}')])
    decoded = Json().decode(sent)
    assert decoded.value == [1]
    assert [one.reason for one in decoded.rejected] == [Reason.SYNTAX] * 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"value": "v", "time": "v"}, "different fields"),
        ({"unit": "/ts"}, "different fields"),
        ({"values": []}, "at least one"),
        ({"values": ["a", "a"]}, "once"),
        ({"values": ["*", "a"]}, "once"),
        ({"flatten": True}, "only with values"),
        ({"flatten": True, "values": ["a"]}, "only with values"),
        ({"document_time": "t"}, "only with rows"),
        ({"max_rows": 0}, "max_rows: at least 1"),
        ({"max_samples": -1}, "max_samples: at least 1"),
        ({"value": "/a~2"}, "tilde"),
    ],
    ids=str,
)
def test_options_that_contradict_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        DECODERS.create("json", options)


def test_a_key_is_as_it_stands_unless_it_starts_with_a_slash() -> None:
    document = {"a.b": 1.0, "a": {"b": 2.0}, "a/b": 3.0, "/a": 4.0}
    for name, value in (("a.b", 1), ("/a/b", 2), ("a/b", 3), ("/a~1b", 3), ("/~1a", 4)):
        assert decode({"value": name}, document).value == [value]


@pytest.mark.parametrize(
    ("pointer", "found"),
    # RFC 6901, 5; and indices that are none.
    [
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
        ("/~01", 9),
        ("/foo/2", MISSING),
        ("/foo/-", MISSING),
        ("/foo/-1", MISSING),
        ("/foo/00", MISSING),
        ("/foo/²", MISSING),
        ("/foo/" + "1" * 5_000, MISSING),
        ("/foo/0/0", MISSING),
        ("/none/0", MISSING),
    ],
    ids=lambda one: str(one)[:20],
)
def test_pointers_find_what_the_rfc_says(pointer: str, found: Any) -> None:
    document = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, 'k"l': 6, " ": 7, "m~n": 8, "~1": 9}
    assert find(document, path_of(pointer)) == found


def test_a_payload_over_the_limit_leaves_nothing_of_itself_and_its_neighbours_whole() -> None:
    many = {"rows": [{"value": [1.0]}, *({"value": float(k)} for k in range(9))]}
    some = {"rows": [{"value": 1.0}, {"value": [2.0]}]}
    decoded = decode({"rows": "rows", "max_rows": 9, "unit": "u"}, some, many, some)
    assert decoded.message == [0, 0, 2, 2]
    assert sorted(decoded.waveforms) == [1, 3]
    assert [(one.message, one.reason) for one in decoded.rejected] == [(1, Reason.TOO_LARGE)]


@pytest.mark.parametrize("options", [{"values": ["*"]}, {"values": ["*"], "flatten": True}], ids=str)
@pytest.mark.parametrize("value", [1.5, 1, "x", {}, []], ids=str)
def test_rows_and_rejected_parts_of_a_payload_are_bounded(options: dict[str, Any], value: Any) -> None:
    decoded = decode({**options, "max_rows": 5}, {str(k): value for k in range(6)})
    assert len(decoded.message) + len(decoded.rejected) == 1


def test_as_many_values_as_allowed_are_read() -> None:
    for value in (1.5, True):
        assert len(decode({"values": ["*"], "max_rows": 5}, {str(k): value for k in range(5)}).value) == 5


def test_what_a_row_lacks_is_its_documents() -> None:
    document = {"ts": 1_700_000_000, "u": "bar", "hz": 50, "quality": "bad"}
    own = {"ts": 1_700_000_001, "u": "V", "hz": 60, "quality": "uncertain", "value": [1]}
    decoded = decode({"rows": "r", "unit": "u", "rate_hz": "hz"}, {**document, "r": [{"value": [1]}, own]})
    assert decoded.ts_us == [1_700_000_000_000_000, 1_700_000_001_000_000]
    assert decoded.unit == ["bar", "V"]
    assert [decoded.waveforms[row].rate_hz for row in (0, 1)] == [50.0, 60.0]
    assert decoded.code == ["bad", "uncertain"]


def test_flattened_fields_are_levels_of_the_path_and_time_and_quality_are_none() -> None:
    document = {"head": {"t": 1_700_000_000, "n": 1}, "quality": "good", "motor": {"temp": 2, "quality": 3}}
    decoded = decode({"values": ["*"], "flatten": True, "time": "/head/t"}, document)
    assert fields(decoded) == [("head/n", 1), ("motor/temp", 2), ("motor/quality", 3)]


def test_no_unit_is_read_unless_it_is_asked_for() -> None:
    assert decode({}, {"value": 1.5, "unit": "Cel"}).unit is None
    assert decode({"unit": "unit"}, {"value": 1.5, "unit": "Cel"}, {"value": 2}).unit == ["Cel", None]
    assert decode({"unit": "unit"}, {"value": 1.5}, {"value": "x"}).unit is None

"""What every decoder of the table promises, whatever comes in; and what each makes of known payloads.

A golden case is a folder `tests/golden/decoders/<decoder>/<case>/` with `input.json` (options, and payloads as text,
or as {"hex": …} where they are none) and `expected.json` (rows, and rejected payloads with their reasons).
"""

from __future__ import annotations

import json
from math import isfinite, isnan, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest.contract.errors import Reason
from ingest.contract.readings import MAX_TS_US, MIN_TS_US, Quality
from ingest.decoders import DECODERS, Decoded, Decoder

few = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

GOLDEN = Path(__file__).parents[1] / "golden" / "decoders"

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "json": [
        {},
        {"values": ["*"]},
        {"values": ["value", "b"]},
        {"value": "v", "time": "t", "quality": "q", "time_unit": "ms"},
        *({"time_unit": unit} for unit in ("s", "us", "ns", "iso")),
    ],
    "plain": [{}, {"numbers_only": True}, {"decimal_comma": True}],
}
ALL = [(name, options) for name in DECODERS.table for options in OPTIONS.get(name, [{}])]
every_decoder = pytest.mark.parametrize(("name", "options"), ALL, ids=str)

# --- payloads -------------------------------------------------------------------------------------------------------

HOSTILE = [
    b"",
    b" \n",
    b"\0",
    b"\xff\xfe",
    b"{",
    b"}",
    b"{}",
    b"[]",
    b"null",
    b"NaN",
    b"Infinity",
    b"-1e400",
    b"1" * 5_000,
    b"not json",
    b'"\\ud800"',
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000,
    b'{"value":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"value":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"value":1}' + b" " * 1_048_576,
    b'{"value":"' + b"x" * 1_048_576 + b'"}',
    b"x" * 1_048_576,
    b'{"value":1}{"value":2}',
    b'{"value":1}\n{"value":2}',
    b'{"value":1',
    b'{"value":1,"x":"}',
    b'{"}',
    b'{"value":\n1}',
    b'{"value":1}\n',
    b'\n{"value":1}',
    b'\xef\xbb\xbf{"value":1}',
    '{"value":1}'.encode("utf-16"),
    *(
        b'{"value":%b}' % value
        for value in (
            b"",
            b"null",
            b"true",
            b"NaN",
            b"-Infinity",
            b"1e400",
            b"-0",
            b"01",
            b"1_000",
            b"0x10",
            b'"12.5"',
            b'"\\ud800"',
            b'"\\u0000"',
            b'"\xff"',
            b'"a\nb"',
            b"[1]",
            b"{}",
            b"9" * 400,
            b"9" * 5_000,
            b"9007199254740993",
            b"18446744073709551616",
        )
    ),
    *(
        b'{"value":1,"ts":%b}' % time
        for time in (
            b"0",
            b"-1",
            b"-1e308",
            b"1e308",
            b"9" * 400,
            b"true",
            b"[]",
            b"null",
            b'"now"',
            b'""',
            b'"9999-12-31T23:59:59+00:00"',
            b'"0001-01-01T00:00:00+23:59"',
            b'"\\ud83d\\ude00"',
            b"1700000000",
            b"1700000000123456999",
            b'"2023-11-14T22:13:20Z"',
        )
    ),
    *(
        b'{"value":1,"quality":%b}' % quality
        for quality in (b"null", b"false", b"-1", b"192", b"4294967296", b"1.5", b"[]", b'"?"', b'"Bad"', b'""')
    ),
    # What one way of reading skips and another may look at.
    b'{"value":1,"x":1e400}',
    b'{"value":1,"x":' + b"9" * 5_000 + b"}",
    b'{"value":1,"x":"\xff"}',
    b'{"value":1,"\xff":1}',
    b'{"value":1,"x":"\\ud800"}',
    b'{"value":1,"value":"two"}',
    b'{"value":[],"value":2}',
    b'{"ts":"garbage"}',
    b'{"a":1,"b":[],"value":"x","":null}',
]

FIELDS = st.sampled_from(["value", "ts", "quality", "v", "t", "q", "b", "", "ä"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["good", "bad", 192])
TIMES = st.integers(MIN_TS_US, MAX_TS_US).flatmap(lambda us: st.sampled_from([us // 10**6, us // 1000, us, us * 1000]))
DOCUMENTS = st.dictionaries(FIELDS, SCALARS | TIMES | st.lists(SCALARS, max_size=2), max_size=5)
# Numbers with times of one sort, at the edges of what is a time and of what unit it is in.
EDGES = [edge // unit for edge in (MIN_TS_US, 1_700_000_000_123_456, MAX_TS_US) for unit in (10**6, 1000, 1)]
EDGE_TIMES = st.builds(
    lambda edge, more, scale: (edge + more) * scale,
    st.sampled_from([*EDGES, 10**11, 10**14, 10**17]),
    st.integers(-1_000, 1_000) | st.floats(-1, 1),
    st.sampled_from([1, 1, 1000]),
)
USUAL = st.builds(
    lambda value, ts: b'{"value":%r,"ts":%r}' % (value, ts), st.floats(-1e9, 1e9) | st.integers(), EDGE_TIMES
)
PAYLOADS = (
    st.binary(max_size=40)
    | st.sampled_from(HOSTILE)
    | DOCUMENTS.map(lambda one: json.dumps(one).encode())
    | SCALARS.map(lambda one: str(one).encode(errors="replace"))
)


# --- promises -------------------------------------------------------------------------------------------------------


def assert_sound(decoded: Decoded, payloads: int, decoder: Decoder) -> None:
    rows = len(decoded.message)
    for column in (decoded.field, decoded.ts_us, decoded.value, decoded.text, decoded.quality, decoded.code):
        assert len(column) == rows
    assert decoded.message == sorted(decoded.message)
    # Every message is accounted for: as a reading, as rejected, or both.
    assert {*decoded.message, *(one.message for one in decoded.rejected)} == set(range(payloads))
    for field, ts_us, value, text, quality, code in zip(
        decoded.field, decoded.ts_us, decoded.value, decoded.text, decoded.quality, decoded.code, strict=True
    ):
        assert isinstance(field, str) == decoder.names_fields
        assert ts_us == 0 or MIN_TS_US <= ts_us < MAX_TS_US
        assert isfinite(value) if text is None and quality != Quality.BAD else isfinite(value) != isnan(value)
        assert isnan(value) or text is None
        assert quality in list(Quality)
        for word in (field, text, code):
            assert word is None or word.encode().decode() == word
    for one in decoded.rejected:
        assert one.reason in list(Reason)
        assert one.detail.encode(errors="strict") is not None


def described(decoded: Decoded, first: int = 0) -> list[tuple[Any, ...]]:
    """Rows and rejections as plain values, in which NaN equals itself."""
    rows = zip(
        (first + at for at in decoded.message),
        decoded.field,
        decoded.ts_us,
        map(repr, decoded.value),
        decoded.text,
        map(int, decoded.quality),
        decoded.code,
        strict=True,
    )
    return [*rows, *((first + at, reason, detail) for at, reason, detail in decoded.rejected)]


def one_by_one(decoder: Decoder, payloads: list[bytes]) -> list[tuple[Any, ...]]:
    return [line for at, payload in enumerate(payloads) for line in described(decoder.decode([payload]), at)]


def check(decoder: Decoder, payloads: list[bytes]) -> None:
    together = decoder.decode(payloads)
    assert_sound(together, len(payloads), decoder)
    assert sorted(described(together), key=str) == sorted(one_by_one(decoder, payloads), key=str)


@every_decoder
def test_every_hostile_payload_alone_and_beside_a_usual_one(name: str, options: dict[str, Any]) -> None:
    decoder = DECODERS.create(name, options)
    for payload in HOSTILE:
        check(decoder, [payload, b'{"value":2}'])


@every_decoder
def test_all_hostile_payloads_in_one_burst(name: str, options: dict[str, Any]) -> None:
    check(DECODERS.create(name, options), HOSTILE)


@every_decoder
@few
@given(payloads=st.lists(PAYLOADS, max_size=6) | st.lists(USUAL, max_size=6))
@example(payloads=[b'{"value":1,"x":"}', b'{"}', b'{"value":2}{"value":3}'])  # as many values as payloads
@example(payloads=[b'{"value":2}{"value":3}', b"{}"])
@example(payloads=[b'{"value":1', b"}"])
@example(payloads=[b"{", b"}"])
@example(payloads=[b'{"value":1}\n{"value":2}', b'{"value":3}', b""])
def test_a_burst_gives_what_each_payload_gives_alone(name: str, options: dict[str, Any], payloads: list[bytes]) -> None:
    check(DECODERS.create(name, options), payloads)


@every_decoder
def test_no_payloads_give_nothing(name: str, options: dict[str, Any]) -> None:
    assert described(DECODERS.create(name, options).decode([])) == []


@pytest.mark.parametrize("name", DECODERS.table)
def test_every_decoder_has_golden_cases(name: str) -> None:
    assert list((GOLDEN / name).glob("*/expected.json"))


# --- golden cases ---------------------------------------------------------------------------------------------------


def as_bytes(payload: str | dict[str, str]) -> bytes:
    return payload.encode() if isinstance(payload, str) else bytes.fromhex(payload["hex"])


@pytest.mark.parametrize("case", sorted(GOLDEN.glob("*/*")), ids=lambda case: f"{case.parent.name}-{case.name}")
def test_known_payloads_give_known_readings(case: Path) -> None:
    given_ = json.loads((case / "input.json").read_text(encoding="utf-8"))
    expected = json.loads((case / "expected.json").read_text(encoding="utf-8"))
    decoded = DECODERS.create(case.parent.name, given_["options"]).decode([as_bytes(one) for one in given_["payloads"]])
    usual = {"field": None, "ts_us": 0, "value": None, "text": None, "quality": "good", "code": None}
    rows = [usual | row for row in expected["rows"]]
    for row in rows:
        row["value"] = repr(nan if row["value"] is None else float(row["value"]))
    assert [
        {
            "message": decoded.message[at],
            "field": decoded.field[at],
            "ts_us": decoded.ts_us[at],
            "value": repr(decoded.value[at]),
            "text": decoded.text[at],
            "quality": Quality(decoded.quality[at]).name.lower(),
            "code": decoded.code[at],
        }
        for at in range(len(decoded.message))
    ] == rows
    rejected = [{"message": one.message, "reason": one.reason.value} for one in decoded.rejected]
    assert rejected == expected.get("rejected", [])

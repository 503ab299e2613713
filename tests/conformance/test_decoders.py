"""What every decoder of the table promises, whatever comes in; and what each makes of known payloads.

A golden case is a folder `tests/golden/decoders/<decoder>/<case>/` with `input.json` (options, and payloads as text,
or as {"hex": …} where they are none; {"topic": …, "payload": …} where the topic matters) and `expected.json` (rows,
rejected and dropped messages with their reasons, topics of requests, descriptions).

What a format needs of its own for this suite (options to try, topics, hostile and drawn payloads) is in
`tests/conformance/payloads/<decoder>.py`; without such a file it is tried with its defaults.
"""

from __future__ import annotations

import json
from functools import cache
from math import isfinite, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.errors import Reason
from ingest.contract.readings import MAX_TS_US, MIN_TS_US, Quality
from ingest.decoders import DECODERS, Decoded, Decoder, Messages
from ingest.decoders.base import Remembering
from tests.conformance.payloads import Sent, payloads_of
from tests.unit.stream.logs import examples

GOLDEN = Path(__file__).parents[1] / "golden" / "decoders"

PAYLOADS_OF = {name: payloads_of(name) for name in DECODERS.table}
ALL = [(name, options) for name, known in PAYLOADS_OF.items() for options in known.options]
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
PAYLOADS = (
    st.binary(max_size=40)
    | st.sampled_from(HOSTILE)
    | DOCUMENTS.map(lambda one: json.dumps(one).encode())
    | SCALARS.map(lambda one: str(one).encode(errors="replace"))
)


# --- promises -------------------------------------------------------------------------------------------------------


def assert_sound(decoded: Decoded, payloads: int, decoder: Decoder) -> None:
    rows = len(decoded.message)
    columns = (decoded.field, decoded.ts_us, decoded.value, decoded.text, decoded.quality, decoded.code)
    assert {len(column) for column in columns} == {rows}
    assert decoded.message == sorted(decoded.message)
    # Every message is accounted for: as a reading, as rejected, or both.
    empty = {one.message for one in decoded.dropped}
    assert {*decoded.message, *(one.message for one in decoded.rejected), *empty} == set(range(payloads))
    assert empty.isdisjoint(decoded.message)
    for row, (field, ts_us, value, text, quality, code) in enumerate(zip(*columns, strict=True)):
        assert isinstance(field, str) == decoder.names_fields
        assert ts_us == 0 or MIN_TS_US <= ts_us < MAX_TS_US
        may_be_none = text is not None or quality == Quality.BAD or row in decoded.waveforms
        assert isfinite(value) != isnan(value) if may_be_none else isfinite(value)
        assert isnan(value) or text is None
        assert quality in list(Quality)
        for word in (field, text, code):
            assert word is None or word.encode().decode() == word
    for optional in (decoded.unit, decoded.flags):
        assert optional is None or len(optional) == rows
    for row, waveform in decoded.waveforms.items():
        assert isnan(decoded.value[row])
        assert decoded.text[row] is None
        assert waveform.samples.dtype == np.float64
        assert waveform.samples.size
    for one in decoded.rejected:
        assert one.reason in list(Reason)
        assert one.detail.encode(errors="strict") is not None
    for request in decoded.requests:
        assert request.topic


def described(decoded: Decoded, first: int = 0) -> list[tuple[Any, ...]]:
    """All that was decoded as plain values, in which NaN equals itself."""
    rows = len(decoded.message)
    columns = zip(
        (first + at for at in decoded.message),
        decoded.field,
        decoded.ts_us,
        map(repr, decoded.value),
        decoded.text,
        map(int, decoded.quality),
        decoded.code,
        decoded.unit or [None] * rows,
        decoded.flags or [0] * rows,
        (repr(decoded.waveforms.get(row)) for row in range(rows)),
        strict=True,
    )
    rejected = ((first + at, reason, detail) for at, reason, detail in decoded.rejected)
    dropped = ((first + at, reason) for at, reason in decoded.dropped)
    return [*columns, *rejected, *dropped, *decoded.requests, *decoded.described]


def messages(sent: list[Sent], first: int = 0) -> Messages:
    """As if one had come every millisecond."""
    return Messages(
        [topic for topic, _ in sent],
        [payload for _, payload in sent],
        [1_700_000_000_000_000 + 1_000 * (first + at) for at in range(len(sent))],
    )


def check(name: str, options: dict[str, Any], sent: list[Sent]) -> None:
    """A burst gives what its messages give one by one, to a decoder that starts from nothing."""
    at_once, one_by_one = DECODERS.create(name, options), DECODERS.create(name, options)
    together = at_once.decode(messages(sent))
    assert_sound(together, len(sent), at_once)
    alone = [line for at, one in enumerate(sent) for line in described(one_by_one.decode(messages([one], at)), at)]
    assert sorted(described(together), key=str) == sorted(alone, key=str)
    if isinstance(at_once, Remembering) and isinstance(one_by_one, Remembering):
        assert at_once.snapshot() == one_by_one.snapshot()
        again = DECODERS.create(name, options)
        assert isinstance(again, Remembering)
        again.restore(at_once.snapshot())
        assert again.snapshot() == at_once.snapshot()


@every_decoder
def test_every_hostile_payload_alone_and_beside_a_usual_one(name: str, options: dict[str, Any]) -> None:
    known = PAYLOADS_OF[name]
    for topic in known.topics:
        for payload in [*HOSTILE, *known.hostile]:
            check(name, options, [(topic, payload), (topic, known.usual)])


@every_decoder
def test_all_hostile_payloads_in_one_burst(name: str, options: dict[str, Any]) -> None:
    known = PAYLOADS_OF[name]
    check(name, options, [(topic, payload) for topic in known.topics for payload in [*HOSTILE, *known.hostile]])


@cache
def bursts(name: str) -> st.SearchStrategy[list[Sent]]:
    known = PAYLOADS_OF[name]
    topics = st.sampled_from(known.topics)
    hostile = st.lists(st.tuples(topics, PAYLOADS | st.sampled_from([known.usual, *known.hostile])), max_size=6)
    usual = st.lists(known.drawn | st.tuples(topics, st.just(known.usual)), max_size=6)
    return hostile | usual


@every_decoder
@examples(150)
@given(data=st.data())
def test_a_burst_gives_what_each_payload_gives_alone(name: str, options: dict[str, Any], data: st.DataObject) -> None:
    check(name, options, data.draw(bursts(name)))


CUT = [  # joined, these read otherwise than alone
    [b'{"value":1,"x":"}', b'{"}', b'{"value":2}{"value":3}'],  # as many values as payloads
    [b'{"value":2}{"value":3}', b"{}"],
    [b'{"value":1', b"}"],
    [b"{", b"}"],
    [b'{"value":1}\n{"value":2}', b'{"value":3}', b""],
]


@every_decoder
@pytest.mark.parametrize("payloads", CUT, ids=str)
def test_payloads_that_make_a_whole_only_together(name: str, options: dict[str, Any], payloads: list[bytes]) -> None:
    check(name, options, [(PAYLOADS_OF[name].topics[0], payload) for payload in payloads])


@every_decoder
def test_no_payloads_give_nothing(name: str, options: dict[str, Any]) -> None:
    assert described(DECODERS.create(name, options).decode(messages([]))) == []


@pytest.mark.parametrize("name", DECODERS.table)
def test_every_decoder_has_golden_cases(name: str) -> None:
    assert list((GOLDEN / name).glob("*/expected.json"))


# --- golden cases ---------------------------------------------------------------------------------------------------


def as_bytes(payload: str | dict[str, str]) -> bytes:
    return payload.encode() if isinstance(payload, str) else bytes.fromhex(payload["hex"])


def as_sent(payload: Any, topic: bytes) -> Sent:
    if isinstance(payload, dict) and "topic" in payload:
        return payload["topic"].encode(), as_bytes(payload["payload"])
    return topic, as_bytes(payload)


def rows_of(decoded: Decoded) -> list[dict[str, Any]]:
    rows = len(decoded.message)
    units, flags = decoded.unit or [None] * rows, decoded.flags or [0] * rows
    return [
        {
            "message": decoded.message[at],
            "field": decoded.field[at],
            "ts_us": decoded.ts_us[at],
            "value": repr(decoded.value[at]),
            "text": decoded.text[at],
            "quality": Quality(decoded.quality[at]).name.lower(),
            "code": decoded.code[at],
            "unit": units[at],
            "flags": flags[at],
            "samples": decoded.waveforms[at].samples.tolist() if at in decoded.waveforms else None,
        }
        for at in range(rows)
    ]


@pytest.mark.parametrize("case", sorted(GOLDEN.glob("*/*")), ids=lambda case: f"{case.parent.name}-{case.name}")
def test_known_payloads_give_known_readings(case: Path) -> None:
    given_ = json.loads((case / "input.json").read_text(encoding="utf-8"))
    expected = json.loads((case / "expected.json").read_text(encoding="utf-8"))
    topic = PAYLOADS_OF[case.parent.name].topics[0]
    sent = [as_sent(one, topic) for one in given_["payloads"]]
    decoded = DECODERS.create(case.parent.name, given_["options"]).decode(messages(sent))
    usual = {"field": None, "ts_us": 0, "value": None, "text": None, "quality": "good", "code": None}
    usual |= {"unit": None, "flags": 0, "samples": None}
    rows = [usual | row for row in expected["rows"]]
    for row in rows:
        row["value"] = repr(nan if row["value"] is None else float(row["value"]))
    assert rows_of(decoded) == rows
    rejected = [{"message": one.message, "reason": one.reason.value} for one in decoded.rejected]
    assert rejected == expected.get("rejected", [])
    dropped = [{"message": one.message, "reason": one.reason.value} for one in decoded.dropped]
    assert dropped == expected.get("dropped", [])
    assert [one.topic for one in decoded.requests] == expected.get("requests", [])
    described = [{"field": one.field, "unit": one.unit, "low": one.low, "high": one.high} for one in decoded.described]
    assert described == expected.get("described", [])

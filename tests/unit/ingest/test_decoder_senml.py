"""SenML: packs of an independent library, and both encodings and both ways of reading against a plain resolver."""

from __future__ import annotations

import json
from math import isclose
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.contract.errors import Reason
from ingest.decoders import Decoded, Messages
from ingest.decoders.base import Drop
from ingest.decoders.senml import Senml
from tests.peers import ask_peer

ARRIVAL_US = 1_700_000_000_000_000
LABELS = {"bver": -1, "bn": -2, "bt": -3, "bu": -4, "bv": -5, "bs": -6}
LABELS |= {"n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "s": 5, "t": 6, "ut": 7, "vd": 8}

Row = tuple[str | None, int, float | str | None, str | None]


def decode(*payloads: bytes, **options: Any) -> Decoded:
    count = len(payloads)
    return Senml(**options).decode(Messages([b"t"] * count, payloads, [ARRIVAL_US] * count))


def rows(decoded: Decoded) -> list[Row]:
    assert decoded.rejected == []
    units = decoded.unit or [None] * len(decoded.message)
    said = [text if text is not None else value for value, text in zip(decoded.value, decoded.text, strict=True)]
    return list(zip(decoded.field, decoded.ts_us, said, units, strict=True))


def as_cbor(pack: list[dict[str, Any]]) -> bytes:
    return cbor2.dumps([{LABELS[key]: value for key, value in record.items()} for record in pack])


def resolved(pack: list[dict[str, Any]]) -> list[Row]:
    """RFC 8428, §4.5 and §4.6, word by word."""
    base: dict[str, Any] = {}
    out: list[Row] = []
    for record in pack:
        base |= {key: value for key, value in record.items() if key.startswith("b")}
        time = base.get("bt", 0) + record.get("t", 0)
        absolute_us = round(time * 1e6) + (ARRIVAL_US if time < 2**28 else 0)
        ts_us = 0 if time == 0 else absolute_us
        name, unit = base.get("bn", "") + record.get("n", ""), record.get("u", base.get("bu"))
        if "vs" in record or "vb" in record:
            out.append((name, ts_us, record["vs"] if "vs" in record else float(record["vb"]), unit))
        elif "v" in record:
            out.append((name, ts_us, record["v"] + base.get("bv", 0), unit))
        if "s" in record or "bs" in base:
            out.append((name + "_sum", ts_us, record.get("s", 0) + base.get("bs", 0), unit and f"{unit}.s"))
    return out


NAMES = st.text("abz09-:./_", max_size=5)
NUMBERS = st.integers(-(2**31), 2**31) | st.floats(-1e9, 1e9)
VALUES = (
    st.fixed_dictionaries({"v": NUMBERS})
    | st.fixed_dictionaries({"v": NUMBERS, "s": NUMBERS})
    | st.fixed_dictionaries({"s": NUMBERS})
    | st.fixed_dictionaries({"vs": st.text(st.characters(codec="utf-8"), max_size=5)})
    | st.fixed_dictionaries({"vb": st.booleans()})
)
TIMES = st.integers(-1_000_000, 1_000_000) | st.floats(-1e6, 1e6)
UNITS = st.sampled_from(["Cel", "%RH", "W/m2", "beat/min", "km/h"])
FIELDS = st.fixed_dictionaries({"n": NAMES}, optional={"t": TIMES, "u": UNITS, "ut": NUMBERS})
BASES = st.fixed_dictionaries(
    {}, optional={"bt": st.integers(631_152_000 + 2_000_000, 2**32), "bu": UNITS, "bv": NUMBERS, "bs": NUMBERS}
)
FIRST = st.fixed_dictionaries({"bn": NAMES.map("d".__add__)}, optional={"bver": st.sampled_from([5, 10, 26])})
PACKS = st.builds(
    lambda first, records: [first | records[0], *records[1:]],
    FIRST,
    st.lists(st.builds(lambda *parts: parts[0] | parts[1] | parts[2], FIELDS, VALUES, BASES), min_size=1, max_size=5),
)


def assert_same(found: list[Row], expected: list[Row]) -> None:
    assert [row[:1] + row[3:] for row in found] == [row[:1] + row[3:] for row in expected]
    for (_, ts_us, value, _), (_, other_us, other, _) in zip(found, expected, strict=True):
        assert abs(ts_us - other_us) <= 1
        assert value == other or isclose(value, other, rel_tol=1e-12)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pack=PACKS)
def test_a_pack_is_resolved_as_the_rfc_says_in_both_encodings_and_however_it_is_laid_out(
    pack: list[dict[str, Any]],
) -> None:
    expected = resolved(pack)
    for payload in (json.dumps(pack).encode(), json.dumps(pack, indent=1).encode(), as_cbor(pack)):
        assert_same(rows(decode(payload)), expected)


ASKED = [
    {"name": "machine", "records": [["temp", {"value": 21.5, "unit": "Cel"}], ["state", {"value": "RUN"}]]},
    {
        "name": "press:",
        "time": 1_700_000_000,
        "unit": "%RH",
        "value": 50,
        "records": [
            ["humidity", {"value": 51.5, "time": 1_700_000_001.5}],
            ["door", {"value": True}],
            ["power", {"sum": 12.5, "unit": "W"}],
        ],
    },
    {"name": "clock", "records": [["past", {"value": 1, "time": -5, "update_time": 60}]]},
]
EXPECTED: list[list[Row]] = [
    [("machinetemp", 0, 21.5, "Cel"), ("machinestate", 0, "RUN", None)],
    [
        ("press:humidity", ARRIVAL_US + 1_500_000, 51.5, "%RH"),
        ("press:door", ARRIVAL_US, 1.0, "%RH"),
        ("press:power_sum", ARRIVAL_US, 12.5, "W.s"),
    ],
    [("clockpast", ARRIVAL_US - 5_000_000, 1.0, None)],
]


def test_packs_of_kpn_senml_are_read_as_it_meant_them() -> None:
    for written, expected in zip(ask_peer("senml", ASKED), EXPECTED, strict=True):
        for payload in (written["json"].encode(), bytes.fromhex(written["cbor"])):
            assert rows(decode(payload)) == expected


def test_a_base_sum_of_kpn_senml_is_read_in_json_and_refused_in_cbor_where_its_label_is_not_the_rfcs() -> None:
    asked = {"name": "meter", "sum": 1_000, "records": [["power", {"sum": 1_012.5}]]}
    (written,) = ask_peer("senml", [asked])
    assert rows(decode(written["json"].encode())) == [("meterpower_sum", 0, 1_012.5, None)]
    refused = decode(bytes.fromhex(written["cbor"]))
    assert [one.reason for one in refused.rejected] == [Reason.SYNTAX]
    assert refused.message == []


def test_a_pack_of_one_base_record_of_kpn_senml_says_nothing() -> None:
    (written,) = ask_peer("senml", [{"name": "idle", "records": []}])
    for payload in (written["json"].encode(), bytes.fromhex(written["cbor"])):
        assert decode(payload).dropped == [(0, Drop.NO_READINGS)]


@pytest.mark.parametrize("at", range(1, 12))
def test_what_follows_broken_base_fields_is_not_read_with_old_ones(at: int) -> None:
    pack: list[dict[str, Any]] = [{"n": f"sensor{number}", "v": number} for number in range(12)]
    pack[at]["bn"] = 5
    for payload in (json.dumps(pack).encode(), as_cbor(pack)):
        decoded = decode(payload)
        assert decoded.value == list(range(at))
        assert len(decoded.rejected) == 1


@pytest.mark.parametrize(
    "options", [{"sum_suffix": " sum"}, {"sum_suffix": "+"}, {"max_records": 0}, {"max_name": 0}], ids=str
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Senml(**options)

"""Payloads made by pysparkplug are read as they were meant, and it reads ours."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest

from ingest.contract.errors import Reason
from ingest.contract.readings import Flag, Quality
from ingest.decoders import Decoded, Messages
from ingest.decoders.base import Description
from ingest.decoders.sparkplug import SparkplugB
from tests.peers import ask_peer

MS = 1_700_000_000_000
# datatype, what is told to the peer, what is to be read: a number, a text, a list, or the reason for none.
VALUES: list[tuple[str, Any, Any]] = [
    ("INT8", -128, -128.0),
    ("INT8", 127, 127.0),
    ("INT16", -2, -2.0),
    ("INT32", -(2**31), -(2.0**31)),
    ("INT32", 2**31 - 1, 2.0**31 - 1),
    ("INT64", -1, -1.0),
    ("INT64", -(2**63), -(2.0**63)),
    ("UINT8", 255, 255.0),
    ("UINT16", 65_535, 65_535.0),
    ("UINT32", 2**32 - 1, 2.0**32 - 1),
    ("UINT64", 2**64 - 1, 2.0**64),
    ("UINT32", 0, 0.0),
    ("FLOAT", 0.5, 0.5),
    ("FLOAT", 0.0, 0.0),
    ("DOUBLE", -21.75, -21.75),
    ("BOOLEAN", True, 1.0),
    ("BOOLEAN", False, 0.0),
    ("STRING", "läuft", "läuft"),
    ("STRING", "", ""),
    ("TEXT", "a\nb", "a\nb"),
    ("UUID", "8e1f0f3a-0d43-4f0e-9b56-3f5d1d1c0c5e", "8e1f0f3a-0d43-4f0e-9b56-3f5d1d1c0c5e"),
    ("DATETIME", MS, float(MS)),
    ("BYTES", {"hex": "00ff"}, Reason.TYPE),
    ("FILE", {"hex": "00ff"}, Reason.TYPE),
    ("INT8_ARRAY", [-1, 2], [-1.0, 2.0]),
    ("INT16_ARRAY", [-300, 300], [-300.0, 300.0]),
    ("INT32_ARRAY", [-70_000, 1], [-70_000.0, 1.0]),
    ("INT64_ARRAY", [-(2**40)], [-(2.0**40)]),
    ("UINT8_ARRAY", [255], [255.0]),
    ("UINT16_ARRAY", [1, 65_535], [1.0, 65_535.0]),
    ("UINT32_ARRAY", [2**32 - 1], [2.0**32 - 1]),
    ("UINT64_ARRAY", [2**52], [2.0**52]),
    ("FLOAT_ARRAY", [0.5, -1.5], [0.5, -1.5]),
    ("DOUBLE_ARRAY", [0.1, -1e300], [0.1, -1e300]),
    ("BOOLEAN_ARRAY", [True, False], Reason.TYPE),
    ("STRING_ARRAY", ["a", "b"], Reason.TYPE),
    ("DATETIME_ARRAY", [MS], Reason.TYPE),
    ("DOUBLE", None, None),
    ("STRING", None, None),
]


def decode(decoder: SparkplugB, *sent: tuple[str, str]) -> Decoded:
    topics = [f"spBv1.0/G/{kind}/N{'/D' if kind.startswith('D') else ''}".encode() for kind, _ in sent]
    return decoder.decode(Messages(topics, [bytes.fromhex(raw) for _, raw in sent], [MS * 1_000] * len(sent)))


def metrics(*, by_alias: bool) -> list[dict[str, Any]]:
    return [
        {"datatype": kind, "value": value, "alias": at, "timestamp": MS + at}
        | ({} if by_alias else {"name": f"m/{at}"})
        for at, (kind, value, _) in enumerate(VALUES)
    ]


def as_read(decoded: Decoded) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for row, field in enumerate(decoded.field):
        assert field is not None
        waveform = decoded.waveforms.get(row)
        value = waveform.samples.tolist() if waveform else decoded.text[row]
        value = decoded.value[row] if value is None else value
        null = value != value
        assert (decoded.quality[row] == Quality.BAD) == null
        out[field] = None if null else value
        assert decoded.ts_us[row] == (MS + int(field.rpartition("/")[2])) * 1_000
    return out


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    death = {"name": "bdSeq", "datatype": "INT64", "value": 7}
    births, data = metrics(by_alias=False), metrics(by_alias=True)
    told = [
        {"type": "NBIRTH", "timestamp": MS, "seq": 0, "metrics": [death, *births]},
        {
            "type": "DBIRTH",
            "timestamp": MS,
            "seq": 1,
            "metrics": [{**one, "alias": one["alias"] + 99} for one in births],
        },
        {"type": "NDATA", "timestamp": MS, "seq": 2, "metrics": data},
        {"type": "DDATA", "timestamp": MS, "seq": 3, "metrics": [{**one, "alias": one["alias"] + 99} for one in data]},
        {"type": "DDATA", "timestamp": MS, "seq": 4, "dtypes": True, "metrics": births},
        {"type": "DDEATH", "timestamp": MS + 1, "seq": 5},
        {"type": "NDEATH", "timestamp": MS - 1, "metrics": [death]},
        {
            "type": "NBIRTH",
            "timestamp": MS,
            "seq": 0,
            "metrics": [
                {
                    "name": "t",
                    "datatype": "DOUBLE",
                    "value": 1.0,
                    "is_historical": True,
                    "properties": {
                        "engUnit": ["STRING", "string_value", "bar"],
                        "engLow": ["DOUBLE", "double_value", 0.5],
                        "engHigh": ["FLOAT", "float_value", 16.0],
                        "Quality": ["INT32", "int_value", 500],
                    },
                }
            ],
        },
    ]
    names = ["NBIRTH", "DBIRTH", "NDATA", "DDATA", "named", "DDEATH", "NDEATH", "said"]
    return dict(zip(names, ask_peer("sparkplug", {"write": told})["written"], strict=True))


def test_every_datatype_in_births_and_by_alias(written: dict[str, str]) -> None:
    decoder = SparkplugB()
    refused = {reason for _, _, reason in VALUES if isinstance(reason, Reason)}
    for name in ("NBIRTH", "DBIRTH", "NDATA", "DDATA", "named"):
        kind = "DDATA" if name == "named" else name
        decoded = decode(decoder, (kind, written[name]))
        prefix = "G/N/D/m" if kind.startswith("D") else "G/N/m"
        meant = {f"{prefix}/{at}": one for at, (_, _, one) in enumerate(VALUES) if not isinstance(one, Reason)}
        assert as_read(decoded) == meant
        assert {one.reason for one in decoded.rejected} == refused
        assert not decoded.requests


def test_deaths_leave_every_metric_bad(written: dict[str, str]) -> None:
    decoder = SparkplugB()
    decode(decoder, ("NBIRTH", written["NBIRTH"]), ("DBIRTH", written["DBIRTH"]))
    count = sum(not isinstance(one, Reason) for _, _, one in VALUES)
    device = decode(decoder, ("DDEATH", written["DDEATH"]))
    assert device.code == ["DDEATH"] * count
    assert device.ts_us == [(MS + 1) * 1_000] * count
    node = decode(decoder, ("NDEATH", written["NDEATH"]))
    assert node.code == ["NDEATH"] * 2 * count
    assert node.ts_us == [0] * 2 * count
    assert {*node.quality} == {Quality.BAD}
    assert str(node.value) == str([nan] * 2 * count)


def test_properties_and_history(written: dict[str, str]) -> None:
    decoded = decode(SparkplugB(), ("NBIRTH", written["said"]))
    assert decoded.described == [Description("G/N/t", "bar", 0.5, 16.0)]
    assert (decoded.unit, decoded.flags) == (["bar"], [Flag.HISTORICAL])
    assert (decoded.value, decoded.quality, decoded.code) == ([1.0], [Quality.BAD], ["500"])


def test_it_understands_what_we_ask(written: dict[str, str]) -> None:
    [request] = decode(SparkplugB(), ("NDATA", written["NDATA"])).requests
    assert request.topic == "spBv1.0/G/NCMD/N"
    read = ask_peer("sparkplug", {"read": [request.payload.hex()]})["read"]
    assert read == [{"timestamp": MS, "metrics": [["Node Control/Rebirth", "BOOLEAN", True]]}]

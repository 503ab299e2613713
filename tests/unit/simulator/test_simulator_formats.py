"""What each format looks like on the wire, and the life of Sparkplug's edge nodes."""

from __future__ import annotations

import json
from typing import Any

import cbor2
import msgspec
import pytest

from ingest.decoders import DECODERS, Messages
from ingest.decoders.sparkplug.rebirths import rebirth_payload
from ingest.decoders.sparkplug.schema import Payload
from ingest.simulator.feed import Feed, routes
from ingest.simulator.formats import Message
from ingest.simulator.plant import Plant
from tests.unit.simulator.reading_back import S_US, START_US, described, hasty, ours

HEAD = '[plant]\nlevels = ["site", "line", "machine", "quantity"]\nprefix = "p"\n'
PRESS = """
[[group]]
name = "press"
machines = "works/l-1/press-1"
{more}
[[group.sensor]]
name = "force"
unit = "kN"
range = [0, 50]
base = 12.5
[[group.sensor]]
name = "parts"
kind = "counter"
count_s = [1e9, 1e9]
[[group.sensor]]
name = "open"
kind = "bool"
stay = ["1ms", "36500d"]
"""


def messages(more: str) -> list[Message]:
    """What a press says in its first second: 12.5 kN, some parts, open."""
    return Feed(Plant(described(HEAD + PRESS.format(more=more)), 3, START_US)).advance(START_US + S_US)


def first(more: str) -> tuple[str, bytes]:
    found = messages(more)[0]
    return found.topic, found.payload


def by_topic(more: str) -> dict[str, bytes]:
    return {one.topic: one.payload for one in messages(more)}


TS_MS = START_US // 1_000
PARTS = json.loads(by_topic("")["p/works/l-1/press-1/parts"])["value"]


def test_json_with_one_value() -> None:
    found = messages("")
    assert len(found) == 3
    force = next(one for one in found if one.topic == "p/works/l-1/press-1/force")
    ts = force.at_us // 1_000
    assert force.payload == f'{{"ts":{ts},"value":12.5,"quality":"good"}}'.encode()
    assert json.loads(by_topic("")["p/works/l-1/press-1/open"])["value"] is True


def test_json_with_names_and_units_of_ones_own() -> None:
    payload = by_topic('options = { time = "t", time_unit = "s", value = "v\\"%", unit = "u" }')
    said = json.loads(payload["p/works/l-1/press-1/force"])
    assert (said['v"%'], said["u"], said["quality"]) == (12.5, "kN", "good")
    assert START_US / 1e6 <= said["t"] < START_US / 1e6 + 1
    fast = by_topic('options = { value = "v\\"%{}" }')["p/works/l-1/press-1/force"]
    assert json.loads(fast)['v"%{}'] == 12.5


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("options = { several = true }", {"ts": TS_MS, "force": 12.5, "parts": PARTS, "open": True}),
        (
            'format = "kepware"',
            {
                "timestamp": TS_MS,
                "values": [
                    {"id": "works.l-1.press-1.force", "v": 12.5, "q": True, "t": TS_MS},
                    {"id": "works.l-1.press-1.parts", "v": PARTS, "q": True, "t": TS_MS},
                    {"id": "works.l-1.press-1.open", "v": True, "q": True, "t": TS_MS},
                ],
            },
        ),
        (
            'format = "senml"',
            [
                {"bn": "works/l-1/press-1/", "bt": TS_MS / 1000, "n": "force", "u": "kN", "v": 12.5},
                {"n": "parts", "v": PARTS},
                {"n": "open", "vb": True},
            ],
        ),
        (
            'format = "opcua_json"',
            {
                "MessageId": "1",
                "MessageType": "ua-data",
                "PublisherId": "works/l-1/press-1",
                "Messages": [
                    {
                        "DataSetWriterId": 1,
                        "Timestamp": "2023-11-14T22:13:20.000Z",
                        "Payload": {
                            name: {"Value": value, "SourceTimestamp": "2023-11-14T22:13:20.000Z"}
                            for name, value in (("force", 12.5), ("parts", PARTS), ("open", True))
                        },
                    }
                ],
            },
        ),
    ],
)
def test_json_of_a_whole_device(more: str, said: Any) -> None:
    topic, payload = first(more)
    assert topic == "p/works/l-1/press-1"
    assert json.loads(payload) == said


def test_binary_formats() -> None:
    _, payload = first('format = "senml"\noptions = { encoding = "cbor" }')
    assert cbor2.loads(payload)[0] == {-2: "works/l-1/press-1/", -3: TS_MS / 1000, 0: "force", 1: "kN", 2: 12.5}
    for format_, loads in (("cbor", cbor2.loads), ("msgpack", msgspec.msgpack.decode)):
        _, payload = first(f'format = "{format_}"\noptions = {{ several = true }}')
        assert loads(payload) == {"ts": TS_MS, "force": 12.5, "parts": PARTS, "open": True}


def test_line_protocol() -> None:
    topic, payload = first('format = "influx"\ndevice_levels = 2')
    assert topic == "p/works/l-1"
    assert payload.decode() == (
        f"plant,site=works,line=l-1 press-1/force=12.5,press-1/parts={PARTS}i,press-1/open=true {TS_MS}000000"
    )


def test_plain_text() -> None:
    found = by_topic('format = "plain"\noptions = { decimal_comma = true }')
    assert found["p/works/l-1/press-1/force"] == b"12,5"
    assert found["p/works/l-1/press-1/open"] == b"true"
    assert found["p/works/l-1/press-1/parts"] == str(PARTS).encode()


@pytest.mark.parametrize(
    ("more", "old", "new", "said"),
    [
        ('format = "plain"', 'name = "force"', 'name = "force"\nkind = "waveform"', "plain text carries no waveforms"),
        ('format = "influx"', 'name = "force"', 'name = "force"\nkind = "waveform"', "carries no waveforms"),
        ('format = "senml"', "press-1", "Presse ä", "SenML has no such name"),
        ('format = "kepware"', "press-1", "press.1", "has a dot"),
        ('format = "opcua_json"', "press-1", "s=1", "node id"),
        ('format = "sparkplug_b"', "press-1", "press-1", "set device_levels = 2"),
        ('topic = "x/+/{path}"', "x", "x", "wildcards are for subscribers"),
        ('topic = "nothing"', "x", "x", "names no segment"),
    ],
)
def test_what_a_format_cannot_carry_is_refused(more: str, old: str, new: str, said: str) -> None:
    text = (HEAD + PRESS.format(more=more)).replace(old, new)
    if 'kind = "waveform"' in new:
        text = text.replace("range = [0, 50]\nbase = 12.5\n", "")
    plant = Plant(described(text), 1, START_US, fault_every_s=0)
    with pytest.raises(ValueError, match=said):
        Feed(plant)


def test_topics_that_would_need_two_decoders_are_refused() -> None:
    text = HEAD + PRESS.format(more="") + PRESS.format(more='format = "plain"').replace("press", "saw")
    with pytest.raises(ValueError, match=r'group saw: its topics look like .* topic = "{prefix}/saw/{path}"'):
        Feed(Plant(described(text), 1, START_US))


def test_the_prefix_can_be_chosen() -> None:
    plant = described(HEAD + PRESS.format(more=""))
    feed = Feed(Plant(plant, 3, START_US), "other/place")
    assert all(one.topic.startswith("other/place/works/") for one in feed.advance(START_US + S_US))
    assert routes(plant, "other/place")[0].topic == "other/place/{site}/{line}/{machine}/{quantity}"


# --- Sparkplug ------------------------------------------------------------------------------------------------------


def edge_nodes(kinds: list[str] | None = None) -> Plant:
    return Plant(hasty(ours("sparkplug")), 2, START_US, fault_every_s=4.0 if kinds else 0.0, fault_kinds=kinds)


def nodes(until_s: int = 60) -> tuple[Feed, list[Message]]:
    feed = Feed(edge_nodes())
    return feed, feed.advance(START_US + until_s * S_US)


def lives(found: list[Message]) -> dict[str, list[tuple[str, str, Any]]]:
    """By node: (type, device, payload) of its messages."""
    by_node: dict[str, list[tuple[str, str, Any]]] = {}
    for one in found:
        _, _, kind, node, *device = one.topic.split("/")
        by_node.setdefault(node, []).append((kind, "".join(device), Payload.FromString(one.payload)))
    return by_node


def test_a_node_is_born_with_its_devices_before_it_sends_data() -> None:
    for life in lives(nodes()[1]).values():
        assert [(kind, device) for kind, device, _ in life[:7]] == [
            ("NBIRTH", ""),
            *(("DBIRTH", f"mixer-{number}") for number in range(1, 7)),
        ]
        assert {kind for kind, _, _ in life[7:]} == {"DDATA"}


def test_numbers_run_over_all_messages_of_a_node() -> None:
    for life in lives(nodes()[1]).values():
        assert [payload.seq for _, _, payload in life] == [number % 256 for number in range(len(life))]
        assert len(life) > 256


def test_births_name_and_describe_and_data_come_by_alias() -> None:
    life = lives(nodes()[1])["edge-01"]
    node, device, data = life[0][2], life[1][2], life[7][2]
    assert [metric.name for metric in node.metrics] == ["bdSeq", "Node Control/Rebirth"]
    assert [(metric.name, metric.datatype) for metric in device.metrics] == [
        ("viscosity", 10),
        ("jacket_temperature", 10),
        ("stirrer_current", 10),
        ("batches", 4),
        ("phase", 12),
    ]
    assert len({metric.alias for _, _, payload in life[1:7] for metric in payload.metrics}) == 30
    assert all(not metric.HasField("name") and metric.HasField("alias") for metric in data.metrics)
    decoder = DECODERS.create("sparkplug_b", {})
    found = nodes()[1][:7]
    told = decoder.decode(
        Messages([m.topic.encode() for m in found], [m.payload for m in found], [m.at_us for m in found])
    )
    described_ = {one.field.rpartition("/")[2]: (one.unit, one.low, one.high) for one in told.described}
    assert described_["viscosity"] == ("Pa.s", 0.0, 20.0)
    assert described_["stirrer_current"] == ("A", None, None)
    assert "phase" not in described_


def test_a_dead_node_has_a_death_certificate_and_is_born_anew_with_the_next_number() -> None:
    plant = edge_nodes(["gateway_death"])
    found = Feed(plant).advance(START_US + 300 * S_US)
    assert sum("/NDEATH/" in one.topic for one in found) == len(plant.faults) > 3
    for life in lives(found).values():
        session = -1
        for before, (kind, _, payload) in zip([None, *life], life, strict=False):
            if kind == "NBIRTH":
                session += 1
                assert payload.metrics[0].long_value == session
                assert payload.seq == 0
                assert before is None or before[0] == "NDEATH"
            elif kind == "NDEATH":
                assert payload.metrics[0].long_value == session
                assert not payload.HasField("seq")
                assert before is not None
                assert before[0] != "NDEATH"


def test_a_node_is_born_anew_when_a_host_asks() -> None:
    feed, _ = nodes(until_s=10)
    asked = rebirth_payload(START_US // 1_000)
    answer = feed.command("spBv1.0/Paints/NCMD/edge-03", asked)
    assert [one.topic.split("/")[2] for one in answer] == ["NBIRTH", *["DBIRTH"] * 6]
    birth = Payload.FromString(answer[0].payload)
    assert (birth.metrics[0].long_value, birth.seq) == (0, 0)  # the same session
    assert not any(metric.is_null for one in answer for metric in Payload.FromString(one.payload).metrics)
    after = [one for one in feed.advance(START_US + 12 * S_US) if "edge-03" in one.topic]
    assert Payload.FromString(after[0].payload).seq == 7


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("spBv1.0/Paints/NCMD/edge-99", rebirth_payload(1)),
        ("spBv1.0/Paints/DCMD/edge-03/mixer-1", rebirth_payload(1)),
        ("spBv1.0", rebirth_payload(1)),
        ("spBv1.0/Paints/NCMD/edge-03", b"\xff\xff"),
        ("spBv1.0/Paints/NCMD/edge-03", b""),
    ],
)
def test_what_is_no_request_for_a_birth_is_not_answered(topic: str, payload: bytes) -> None:
    assert nodes(until_s=2)[0].command(topic, payload) == []

"""What is drafted for payloads as products write them."""

from __future__ import annotations

from typing import Any

import cbor2
import msgspec
import pytest

from ingest.contract.classes import ClassTable, Kind, Reporting
from ingest.contract.settings import Settings
from ingest.decoders import DECODERS
from ingest.decoders.sparkplug.schema import Payload
from ingest.discover.formats import RULES, Format, inspect
from tests.unit.discover.hearing import START_US, Reading, burst, drafted, hear, read_by

NOW_MS = START_US // 1_000
NOW_S = NOW_MS // 1_000
ISO = "2026-09-21T13:33:20Z"


def read(settings: Settings, topic: str, payload: Any) -> dict[str, Any]:
    raw = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    return {one.path: one.value for one in read_by(settings, [(topic, raw, START_US)])}


def class_of(settings: Settings, path: str) -> Any:
    table = ClassTable(settings.classes)
    return table.classes[table.index_of(path)]


def format_of(*payloads: Any, topic: bytes = b"a/b") -> Format:
    raw = [one if isinstance(one, bytes) else msgspec.json.encode(one) for one in payloads]
    found = inspect(raw, START_US, topic)
    assert found.format is not None, found.why
    return found.format


@pytest.mark.parametrize(
    ("payload", "decoder"),
    [
        ([{"n": "urn:dev:ow:1:temp", "u": "Cel", "v": 23.1}], "senml"),
        ([{"bn": "a/", "bt": 1.7e9, "n": "x", "vb": True}, {"n": "y", "vs": "RUN"}], "senml"),
        (cbor2.dumps([{-2: "a/", 0: "x", 2: 1.5}]), "senml"),
        (cbor2.dumps([{"n": "x", "v": 1.5}]), "senml"),
        ({"timestamp": NOW_MS, "values": [{"id": "A.B.C", "v": 1, "q": True, "t": NOW_MS}]}, "kepware"),
        ({"MessageType": "ua-data", "Messages": [{"Payload": {"T": {"Value": 1.5}}}]}, "opcua_json"),
        ({"DataSetWriterId": 1, "Payload": {"T": 1.5}}, "opcua_json"),
        ({"T": {"Value": 1.5, "SourceTimestamp": ISO}}, "opcua_json"),
        ({"NodeId": "ns=2;s=T", "Value": {"Value": 1.5, "SourceTimestamp": ISO}}, "opcua_json"),
        (b"cpu,host=a usage_idle=91.5,ok=true 1790000000000000000", "influx"),
        (b"weather temperature=82\nweather temperature=83", "influx"),
        (cbor2.dumps({"value": 1.5, "ts": cbor2.CBORTag(1, NOW_S)}), "cbor"),
        (msgspec.msgpack.encode({"value": 1.5}), "msgpack"),
        (msgspec.msgpack.encode([{"id": "a", "value": 1}, {"id": "b", "value": 2}]), "msgpack"),
        ({"value": 1.5}, "json"),
        ([{"name": "a", "value": 1.5}], "json"),
        (b"21.5", "plain"),
        (b"Auftrag a=b c", "plain"),
        (b"speed=5", "plain"),
    ],
)
def test_formats_are_told_apart(payload: Any, decoder: str) -> None:
    assert format_of(payload).decoder == decoder


def test_every_decoder_has_a_detector() -> None:
    assert RULES.keys() == DECODERS.table.keys()


def test_a_topic_alone_makes_no_sparkplug() -> None:
    assert inspect([b"\xff\xfe"], START_US, b"spBv1.0/G/DDATA/n/d").why == "no payload of Sparkplug B"
    assert "command" in inspect([b"{}"], START_US, b"spBv1.0/STATE/host").why
    assert format_of({"value": 1}, topic=b"spBv1.0/notes").decoder == "json"


# --- names that tell values apart -----------------------------------------------------------------------------------


def test_tags_that_differ_within_a_topic_are_in_names() -> None:
    lines = b"\n".join(
        b"cpu,cpu=cpu%d,host=gw-1 idle=%d.5,up=t %d" % (at, 90 + at, START_US * 1_000) for at in range(2)
    )
    hearing = hear([[(f"telegraf/gw-{n}/cpu", lines.replace(b"gw-1", b"gw-%d" % n)) for n in range(4)]])
    draft, settings, _ = drafted(hearing)
    (route,) = settings.route
    assert (route.decoder, route.options) == ("influx", {"name": "{tag.cpu}/{field}"})
    assert draft.read == 4
    found = read(settings, "telegraf/gw-1/cpu", lines)
    assert {path.rpartition("gw-1/")[2]: value for path, value in found.items()} == {
        "cpu0/idle": 90.5,
        "cpu0/up": 1.0,
        "cpu1/idle": 91.5,
        "cpu1/up": 1.0,
    }
    assert class_of(settings, next(path for path in found if path.endswith("up"))).kind is Kind.BOOL


def test_times_that_are_no_nanoseconds_are_noticed() -> None:
    hearing = hear([[(f"t/m{n}", b"press temp=1.5 %d" % NOW_S) for n in range(4)]])
    _, settings, _ = drafted(hearing)
    assert settings.route[0].options["time_unit"] == "auto"
    assert len(read(settings, "t/m1", b"press temp=1.5 %d" % NOW_S)) == 1


def test_a_tag_that_some_lines_lack_is_told() -> None:
    lines = b"disk,path=a used=1i\ndisk used=2i"
    _, settings, text = drafted(hear([[(f"telegraf/{n}", lines) for n in range(3)]]))
    assert settings.route[0].options == {"name": "{field}"}
    assert "? values that only {tag.path} tells apart have one name" in text


def test_writers_of_one_topic_are_in_names() -> None:
    message = {
        "MessageType": "ua-data",
        "PublisherId": "plc",
        "Messages": [{"DataSetWriterName": name, "Payload": {"nsu=u;s=Oil.Temp": 1.5}} for name in ("a", "b")],
    }
    _, settings, _ = drafted(hear([[(f"opcua/plc-{n}", message) for n in range(4)]]))
    assert settings.route[0].options == {"name": "{writer}/{field}"}
    assert set(read(settings, "opcua/plc-1", message)) == {"plc-1/a/Oil.Temp", "plc-1/b/Oil.Temp"}


def test_samples_of_opc_publisher_are_read() -> None:
    message = {"NodeId": "ns=2;s=Run", "DisplayName": "Run", "Value": {"Value": True, "SourceTimestamp": ISO}}
    _, settings, _ = drafted(hear([[(f"samples/{n}", [message]) for n in range(4)]]))
    assert settings.route[0].options == {"samples": True}
    assert read(settings, "samples/1", [message]) == {"1/Run": 1.0}
    assert class_of(settings, "1/Run").kind is Kind.BOOL


def test_ids_that_are_whole_paths_need_no_topic() -> None:
    def payload(press: int) -> Any:
        rows = [{"id": f"Works.Press-{press}.{name}", "v": 1.5, "q": True, "t": NOW_MS} for name in ("temp", "rpm")]
        return {"timestamp": NOW_MS, "values": rows}

    draft, settings, _ = drafted(hear([[(f"iotgateway/{n}", payload(n)) for n in range(4)]]))
    assert settings.route[0].path == "{id}"
    assert set(read(settings, "iotgateway/2", payload(2))) == {"Works/Press-2/temp", "Works/Press-2/rpm"}
    assert draft.sensors == 8


def test_ids_that_repeat_need_their_topic() -> None:
    payload = {"timestamp": NOW_MS, "values": [{"id": "A.B.temp", "v": 1.5, "q": True, "t": NOW_MS}]}
    draft, settings, _ = drafted(hear([[(f"kepware/plc-{n}", payload) for n in range(4)]]))
    assert settings.route[0].path == "{plc}/{id}"
    assert draft.sensors == 4
    assert not draft.twice


# --- documents ------------------------------------------------------------------------------------------------------


def test_nested_objects_become_levels() -> None:
    document = {"head": {"ts": NOW_MS}, "motor": {"temp": 71.5, "rpm": 1480}, "state": "RUN"}
    _, settings, _ = drafted(hear([[(f"m/press-{n}", document) for n in range(4)]]))
    assert settings.route[0].options == {"values": ["*"], "flatten": True, "time": "/head/ts", "time_unit": "ms"}
    assert read(settings, "m/press-1", document) == {
        "press-1/motor/temp": 71.5,
        "press-1/motor/rpm": 1480.0,
        "press-1/state": "RUN",
    }


def test_what_is_no_value_within_objects_is_left_out_by_pointers() -> None:
    document = {"device": {"serial": "x1", "fw": "1.2"}, "motor": {"temp": 71.5, "a/b": 2.5}}
    _, settings, text = drafted(hear([[(f"m/press-{n}", document) for n in range(4)]]))
    assert settings.route[0].options == {"values": ["/motor/temp", "/motor/a~1b"]}
    assert "not read: /device/serial, /device/fw" in text


def test_units_beside_nested_values_are_those_of_their_classes() -> None:
    document = {"oil": {"value": 160.0, "unit": "°F"}, "load": {"value": 5.0, "unit": "kN"}, "ts": NOW_MS}
    _, settings, _ = drafted(hear([[(f"m/press-{n}", document) for n in range(4)]]))
    assert class_of(settings, "press-1/oil/value").unit == "[degF]"
    assert class_of(settings, "press-1/load/value").unit == "kN"


def test_times_of_each_nested_value_are_told() -> None:
    document = {"oil": {"value": 60.0, "ts": NOW_MS}, "load": {"value": 5.0, "ts": NOW_MS}}
    _, settings, text = drafted(hear([[(f"m/press-{n}", document) for n in range(4)]]))
    assert "? several values have their own ts" in text
    assert set(read(settings, "m/press-1", document)) == {"press-1/oil/value", "press-1/load/value"}


@pytest.mark.parametrize("codec", [msgspec.json.encode, cbor2.dumps, msgspec.msgpack.encode])
def test_rows_are_named_and_have_their_documents_time(codec: Any) -> None:
    document = {
        "ts": NOW_MS,
        "gateway": "gw",
        "readings": [
            {"sensor": "temp", "value": 21.5, "unit": "Cel"},
            {"sensor": "run", "value": True},
            {"sensor": "rpm", "value": 900, "unit": "1/min"},
        ],
    }
    _, settings, _ = drafted(hear([[(f"m/press-{n}", codec(document)) for n in range(4)]]))
    (route,) = settings.route
    assert route.path == "{press}/{field}"
    assert route.options == {"rows": "/readings", "name": "sensor", "unit": "unit", "time_unit": "ms"}
    found = read_by(settings, [("m/press-1", codec(document), START_US + 5)])
    assert found == [
        Reading("press-1/temp", START_US, 21.5, "Cel"),
        Reading("press-1/run", START_US, 1.0, None),
        Reading("press-1/rpm", START_US, 900.0, "1/min"),
    ]
    assert class_of(settings, "press-1/temp").unit == "Cel"
    assert class_of(settings, "press-1/run").kind is Kind.BOOL


def test_rows_of_several_values() -> None:
    rows = [{"tag": f"motor-{at}", "temp": 1.5, "rpm": 9, "time": ISO} for at in range(3)]
    _, settings, _ = drafted(hear([[(f"m/{n}", rows) for n in range(4)]]))
    assert settings.route[0].options == {
        "rows": "",
        "values": ["*"],
        "name": "tag",
        "time": "time",
        "time_unit": "iso",
    }
    assert len(read(settings, "m/1", rows)) == 6


def test_a_list_of_alarms_is_no_reason_to_leave_out_the_measurements() -> None:
    document = {"temp": 1.5, "rpm": 900, "alarms": [{"id": 3, "text": "door"}]}
    _, settings, text = drafted(hear([[(f"m/{n}", document) for n in range(4)]]))
    assert settings.route[0].options == {"values": ["temp", "rpm"]}
    assert "not read: alarms" in text


def test_rows_without_names_are_told() -> None:
    rows = [{"value": 1.5}, {"value": 2.5}]
    _, _, text = drafted(hear([[(f"m/{n}", rows) for n in range(4)]]))
    assert "? rows have neither a name nor a time" in text


def test_waveforms_have_a_class_and_a_rate() -> None:
    with_rate = {"ts": NOW_MS, "fs": 25_600, "samples": [at % 7 - 3.5 for at in range(128)], "unit": "mm/s"}
    hearing = hear([[(f"m/{n}/vibration", with_rate) for n in range(4)]])
    draft, settings, text = drafted(hearing)
    assert settings.route[0].options == {"value": "samples", "unit": "unit", "rate_hz": "fs", "time_unit": "ms"}
    one = class_of(settings, "1/vibration")
    assert (one.kind, one.unit) == (Kind.WAVEFORM, "mm/s")
    assert "no sampling rate" not in text
    assert draft.read == 4
    del with_rate["fs"]
    assert "? the payloads say no sampling rate" in drafted(hear([[("m/1/vibration", with_rate)]]))[2]


def test_short_arrays_are_no_waveforms() -> None:
    draft, settings, text = drafted(hear([[(f"m/{n}", {"temp": 1.5, "position": [1, 2, 3]}) for n in range(4)]]))
    assert draft.read == 4
    assert settings.route[0].options == {"values": ["temp"]}
    assert "not read: position" in text


# --- units ----------------------------------------------------------------------------------------------------------


def with_units(*units: str, name: str = "temperature") -> tuple[Settings, str]:
    messages = [(f"m/{at}/{name}", {"value": 1.0, "unit": unit}) for at, unit in enumerate(units)]
    draft, settings, text = drafted(hear([messages]))
    assert draft.read == len(units)
    return settings, text


def test_units_are_read_and_in_ucum() -> None:
    settings, text = with_units("°C", "°C", "degC")
    assert settings.route[0].options == {"unit": "unit"}
    assert "not read" not in text
    assert class_of(settings, "1/temperature").unit == "Cel"


def test_a_spelling_of_several_meanings_is_what_the_name_allows() -> None:
    settings, text = with_units("C", "C")
    assert class_of(settings, "1/temperature").unit == "Cel"
    assert "? from the name" in text


@pytest.mark.parametrize("units", [("furlongs", "furlongs"), ("bar", "bar", "bar", "bar", "bar", "Cel")])
def test_units_that_are_none_or_do_not_agree_are_told_and_not_guessed(units: tuple[str, ...]) -> None:
    settings, text = with_units(*units, name="x")
    assert class_of(settings, "1/x").unit == ""
    if units[0] == "bar":
        assert "no unit, as payloads say bar, Cel" in text


# --- Sparkplug ------------------------------------------------------------------------------------------------------


def birth(seq: int = 0) -> bytes:
    payload = Payload(timestamp=NOW_MS, seq=seq)
    for alias, (name, datatype) in enumerate((("temp", 10), ("running", 11), ("parts", 4)), 1):
        payload.metrics.add(name=name, alias=alias, datatype=datatype, double_value=1.0 if datatype == 10 else None)
    payload.metrics[1].boolean_value = False
    payload.metrics[2].long_value = 7
    return bytes(payload.SerializeToString())


def data(seq: int, value: float) -> bytes:
    payload = Payload(timestamp=NOW_MS + seq, seq=seq)
    payload.metrics.add(alias=1, double_value=value)
    return bytes(payload.SerializeToString())


def test_births_that_come_after_the_data_on_other_topics_are_used_in_order() -> None:
    hearing = hear(
        [
            [("spBv1.0/G/NBIRTH/n", birth())],
            [("spBv1.0/G/DBIRTH/n/d", birth(1))],
            *([("spBv1.0/G/DDATA/n/d", data(at, at * 0.5 % 7))] for at in range(2, 40)),
        ]
    )
    draft, settings, _ = drafted(hearing)
    assert (draft.read, draft.readable, draft.sensors) == (3, 3, 6)
    assert settings.route[0].topic == "spBv1.0/{rest...}"
    one = class_of(settings, "G/n/d/temp")
    assert (one.kind, one.reporting, one.unit) == (Kind.GAUGE, None, "Cel")
    assert class_of(settings, "G/n/d/running").kind is Kind.BOOL


def test_nodes_without_births_are_counted_and_explained() -> None:
    hearing = hear([[("spBv1.0/G/NBIRTH/a", birth())], [(f"spBv1.0/G/NDATA/{n}", data(1, 2.5)) for n in "abc"]])
    draft, settings, text = drafted(hearing)
    assert "? 2 of 3 nodes were heard without the births that tell what their metrics are, like G/b;" in text
    assert (draft.read, draft.readable) == (2, 4)
    assert draft.reasons == [("no_birth: of a node that was never born", 2)]
    assert "rebirth" not in settings.route[0].options


@pytest.mark.parametrize(
    ("times", "reporting"), [(range(12), None), ([0, 1, 1.2, 9, 9.5, 30, 31, 60], Reporting.ON_CHANGE)]
)
def test_how_sparkplug_reports_is_not_taken_for_how_others_do(times: Any, reporting: Reporting | None) -> None:
    hearing = hear([[("spBv1.0/G/NBIRTH/n", birth())]])
    for at, time_s in enumerate(times):
        messages = [(f"machines/m{n}/temp", {"value": 1.5 + at % 5}) for n in range(3)]
        hearing.take(burst(messages), START_US + round(time_s * 1e6))
    _, settings, _ = drafted(hearing)
    assert class_of(settings, "m1/temp").reporting is reporting
    assert class_of(settings, "G/n/temp").unit == "Cel"

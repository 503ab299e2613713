"""Whatever is heard, the draft loads, and it reads what it says."""

import tomllib
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ingest.contract.classes import ClassTable, Kind
from ingest.contract.sensors import TopicPattern
from ingest.contract.settings import Settings
from ingest.discover.address import parse_address
from ingest.discover.draft import draft_of
from ingest.discover.printing import printable
from ingest.simulator.roster import lay_out
from tests.unit.discover.hearing import drafted, hear
from tests.unit.simulator.reading_back import ours

NOW_MS = 1_790_000_000_000


def sensor(settings: Settings, topic: str) -> str | None:
    for route in settings.route:
        path = TopicPattern.parse(route.topic, route.path).match(topic)
        if path is not None:
            return path
    return None


SCALAR = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=6)
NAMES = st.sampled_from(["value", "ts", "quality", "unit", "temp", "a b", "ä", "x/y", "{z}", "time", '"', "\x7f"])
PAYLOAD = st.one_of(
    st.sampled_from([b"", b"1", b"1.5", b"true", b"RUN", b"\xff", b'{"value":1}', b"[1]", b'{"a":{"b":1}}']),
    st.dictionaries(NAMES, SCALAR | st.just(NOW_MS) | st.just([1]), max_size=4).map(msgspec.json.encode),
)
SEGMENT = st.sampled_from(["", "a", "b", "line-1", "line-2", "m1", "ä ö", '"', "{x}", "\\", "$x", "temp", "state", "."])
MESSAGES = st.lists(
    st.tuples(st.lists(SEGMENT, min_size=1, max_size=4).map("/".join), PAYLOAD), min_size=1, max_size=40
)


@given(MESSAGES.map(lambda found: [(topic or "x", payload) for topic, payload in found]))
def test_any_draft_loads_and_reads_what_can_be_read(messages: list[tuple[str, bytes]]) -> None:
    hearing = hear([[message] for message in messages])
    if not draft_of(hearing.topics).routes:
        return
    draft, settings, text = drafted(hearing)
    assert [route.topic for route in settings.route] == [route.topic for route in draft.routes]
    assert draft.read + len(draft.unread) == draft.topics
    assert tomllib.loads(text)["route"]


def test_a_plant_of_20_000_sensors_needs_few_lines() -> None:
    values: dict[str, Any] = {"gauge": 1.5, "bool": True, "enum": "RUN"}
    plant = lay_out(ours("demo"), 20_000)
    kinds = {path: plant.said(number).kind for number, path in enumerate(plant.paths)}
    rounds = [
        [(f"factory/{path}", {"ts": NOW_MS + at, "value": values.get(kind, at)}) for path, kind in kinds.items()]
        for at in range(3)
    ]
    hearing = hear(rounds)
    draft, settings, text = drafted(hearing)
    assert sum(bool(line) for line in text.splitlines()) < 50
    assert draft.read == draft.readable == 20_000
    assert settings.route[0].topic == "factory/demo/{area}/{line}/{machine}/{quantity}"
    classes = ClassTable(settings.classes)
    for name in plant.paths[:200]:
        path = sensor(settings, f"factory/{name}")
        assert path is not None
        assert classes.classes[classes.index_of(path)].kind == Kind(kinds[name]), name


def test_routes_that_would_name_the_same_sensors_have_longer_paths() -> None:
    shapes = [(root, q) for root, q in (("a", "force"), ("b", "power"))]
    hearing = hear([[(f"{root}/m{n}/{q}/now", {"value": 1.0}) for root, q in shapes for n in range(5)]])
    draft, settings, _ = drafted(hearing)
    topics = [topic.decode() for topic in hearing.topics]
    assert len({sensor(settings, topic) for topic in topics}) == len(topics)
    assert not draft.twice


# Of these topics only: one that a more specific route of other topics reads may still meet another's sensor.
@hypothesis_settings(derandomize=True)
@given(st.sets(st.tuples(*[st.sampled_from(["a", "b", "m1", "m2", "temp", "x"])] * 3).map("/".join), min_size=1))
def test_no_two_topics_are_one_sensor(topics: set[str]) -> None:
    payloads = [{"value": 1.0}, 5, True]
    hearing = hear([[(topic, payloads[len(topic) % 3]) for topic in sorted(topics)]])
    _, settings, _ = drafted(hearing)
    assert len({sensor(settings, topic) for topic in topics}) == len(topics)


def test_several_values_name_their_fields() -> None:
    payload = {"timestamp": NOW_MS / 1000, "speed_rpm": 3.0, "state": "RUN", "name": "x"}
    _, settings, text = drafted(hear([[(f"cells/cell-{n}/status", payload) for n in range(5)]]))
    (route,) = settings.route
    assert (route.topic, route.path) == ("cells/{cell}/status", "{cell}/{field}")
    assert route.options == {"values": ["speed_rpm", "state"], "time": "timestamp", "time_unit": "s"}
    assert "not read: name" in text


def test_a_field_called_like_a_default_is_not_taken_for_it() -> None:
    draft, settings, _ = drafted(hear([[(f"m/{n}", {"value": 1.0, "ts": 7, "quality": 0.3}) for n in range(5)]]))
    assert settings.route[0].options == {"time": "no_time", "quality": "no_quality"}
    assert draft.read == 5


def test_units_of_the_payload_win_over_names() -> None:
    hearing = hear([[(f"m/{n}/temperature", {"value": 1.0, "unit": "°F"}) for n in range(5)]])
    _, settings, _ = drafted(hearing)
    assert settings.classes[0].unit == "[degF]"


def test_a_password_is_never_written() -> None:
    mqtt = parse_address("mqtts://anna:very-secret@h")
    _, settings, text = drafted(hear([[("a/b", 1)]]), mqtt)
    assert "very-secret" not in text
    assert "MILLSTREAM__MQTT__PASSWORD" in text
    assert (settings.mqtt.username, settings.mqtt.port, settings.mqtt.tls.enabled) == ("anna", 8883, True)


def test_websockets_are_in_the_draft() -> None:
    _, settings, _ = drafted(hear([[("a/b", 1)]]), parse_address("wss://h/live/mqtt"))
    assert (settings.mqtt.transport, settings.mqtt.path, settings.mqtt.port) == ("websockets", "/live/mqtt", 443)


@given(st.binary(max_size=300))
def test_examples_are_one_printable_line(raw: bytes) -> None:
    assert printable(raw).isprintable()
    assert len(printable(raw)) <= 100

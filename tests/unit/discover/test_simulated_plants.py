"""Plants made by the simulator's encoders: the draft reads of them what the simulator says is in them."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any

import pytest

from ingest.contract.classes import ClassTable
from ingest.contract.units import canonical
from ingest.discover.heard import Hearing
from ingest.packets import Burst
from ingest.simulator.description import PlantDescription
from ingest.simulator.feed import Feed
from ingest.simulator.formats import Message
from ingest.simulator.plant import Plant
from tests.unit.discover.hearing import START_US, drafted, read_by
from tests.unit.simulator.reading_back import OURS, ours, read_back

S_US = 1_000_000
MIXED = [group.name for group in ours("mixed").group]


@lru_cache(maxsize=2)
def said(plant: str, seconds: int, sensors: int | None = None) -> tuple[PlantDescription, list[Message]]:
    described = ours(plant)
    feed = Feed(Plant(described, 7, START_US, sensors=sensors, fault_every_s=0))
    return described, [one for at in range(1, seconds + 1) for one in feed.advance(START_US + at * S_US)]


def heard(messages: list[Message]) -> Hearing:
    hearing = Hearing()
    for one in messages:
        hearing.take(Burst([one.topic.encode()], [one.payload], [0x30]), one.at_us)
    return hearing


def of_group(messages: list[Message], group: str) -> list[Message]:
    wanted = "spBv1.0/" if group == "sparkplug_b" else f"mixed/{group.replace('opcua_json', 'opcua')}/"
    return [one for one in messages if one.topic.startswith(wanted)]


def what(reading: Any) -> tuple[int, Any]:
    return reading.ts_us, reading.value


@pytest.mark.parametrize("group", MIXED)
def test_of_every_format_all_is_read_and_nothing_else(group: str) -> None:
    described, everything = said("mixed", 20)
    messages = of_group(everything, group)
    draft, settings, text = drafted(heard(messages))
    assert draft.read == draft.topics
    expected = read_back(described, messages)
    found = read_by(settings, [(one.topic, one.payload, one.at_us) for one in messages])
    assert Counter(map(what, found)) == Counter(map(what, expected)), text
    assert len({one.path for one in found}) == len({one.path for one in expected})
    assert [one.unit for one in found] == [one.unit for one in expected]
    classes = ClassTable(settings.classes)
    kinds = {one.name: one for one in described.group[0].sensor}
    for path in {one.path for one in found}:
        one = classes.classes[classes.index_of(path)]
        sensor = kinds[path.rpartition("/")[2]]
        assert one.kind == sensor.kind, text
        if any(reading.unit for reading in found) and sensor.unit:
            assert one.unit == canonical(sensor.unit), text
        if group == "sparkplug_b":
            assert one.reporting is None  # as Sparkplug does


def test_formats_side_by_side_are_told_apart() -> None:
    described, messages = said("mixed", 20)
    draft, settings, _ = drafted(heard(messages))
    assert draft.read == draft.topics
    assert not draft.twice
    assert {one.decoder for one in settings.route} == {one.format for one in described.group}
    found = read_by(settings, [(one.topic, one.payload, one.at_us) for one in messages])
    assert Counter(map(what, found)) == Counter(map(what, read_back(described, messages)))


@pytest.mark.parametrize("plant", [name for name in OURS if name != "mixed"])
def test_every_bundled_plant_is_read(plant: str) -> None:
    described, messages = said(plant, 15, 90)
    draft, settings, text = drafted(heard(messages))
    assert draft.read == draft.topics, draft.reasons
    found = read_by(settings, [(one.topic, one.payload, one.at_us) for one in messages])
    assert len({one.path for one in found}) == len({one.path for one in read_back(described, messages)})
    assert sum(bool(line) for line in text.splitlines()) < 150

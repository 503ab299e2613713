"""What is wrong with a description is said with its line, all of it at once."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.contract.errors import SettingsError
from ingest.simulator.description_file import parse_plant
from ingest.simulator.feed import Feed
from ingest.simulator.plant import Plant
from tests.unit.simulator.reading_back import FOLDER, OURS, START_US

Place = tuple[Any, ...]


def places(node: Any, above: Place = ()) -> Iterator[Place]:
    """Of all values in a document."""
    for key, one in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*above, key)
        if isinstance(one, dict | list):
            yield from places(one, (*above, key))


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


GOOD = """
[plant]
levels = ["site", "machine", "quantity"]

[[group]]
name = "presses"
machines = "demo/press-{1..3}"

[[group.sensor]]
name = "force"
unit = "kN"
base = [10, 20]
noise = { sigma = 0.5 }
"""


def problems(text: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        parse_plant(text, "works.toml")
    return raised.value.problems


def test_a_good_description_has_its_values() -> None:
    plant = parse_plant(GOOD, "works.toml")
    (group,) = plant.group
    assert (group.machines, group.format, group.period, group.depth) == (["demo/press-{1..3}"], "json", 1_000_000, 2)
    assert (group.sensor[0].base, group.sensor[0].kind, group.sensor[0].is_on_change) == ((10, 20), "gauge", False)


def test_all_mistakes_are_said_at_once_each_with_its_line() -> None:
    text = GOOD.replace("unit =", "unti =").replace("sigma = 0.5", "sigma = -1").replace('"presses"', '"a b"')
    found = problems(text)
    assert len(found) == 3
    assert "works.toml:6: group.1.name: " in found[0]
    assert 'works.toml:11: group.1.sensor.1.unti: no such key (did you mean "unit"?)' in found
    assert any(one.startswith("works.toml:13: group.1.sensor.1.noise.sigma: should be greater than 0") for one in found)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("[plant]", "[plant", 1, "not valid TOML"),
        ('levels = ["site", "machine", "quantity"]', "", 5, "have 3 levels, but plant.levels names 5"),
        ('"demo/press-{1..3}"', '"demo/press-{3..1}"', 7, "goes backwards"),
        ('"demo/press-{1..3}"', '["demo/press", "demo/a/b"]', 7, "equally many levels"),
        ('"demo/press-{1..3}"', '"demo/+"', 7, "no sensor can be called 'demo/+'"),
        ('"demo/press-{1..3}"', '"demo/{press,+}"', 7, "no sensor can be called '+'"),
        ('"demo/press-{1..3}"', '"demo/{press,a/b}"', 7, "a choice is within a level"),
        ('["site", "machine"', '["Site", "machine"', 3, "'Site' is no name of a level"),
        ('["site", "machine"', '["machine", "machine"', 3, "named twice"),
        ('name = "presses"', 'name = "presses"\nduty = { next = { run = {} } }', 7, "at least 1 item"),
        ('name = "force"', 'name = "a/b"', 10, "one level of its path"),
        ('name = "force"', 'name = "n-{1..}"', 10, "without an end"),
        ('name = "force"', 'name = "force"\nkind = "bool"', 9, "`base` is for gauges; 'force' is a bool"),
        ('name = "force"', 'name = "force"\nreporting = "sometimes"', 11, "should be 'periodic' or 'on-change'"),
        ('unit = "kN"\nbase = [10, 20]\nnoise = { sigma = 0.5 }', 'kind = "enum"', 9, "say `duty = true`, or `states`"),
        ('unit = "kN"\nbase = [10, 20]\nnoise = { sigma = 0.5 }', 'kind = "bool"', 9, "say `duty = true`, or `stay`"),
        ("{ sigma = 0.5 }", "{ sigma = 0.5, share = 0.1 }", 13, "exactly one of `sigma` and `share`"),
        ("{ sigma = 0.5 }", '{ kind = "lognormal", sigma = 1 }', 13, "it multiplies"),
        (
            "{ sigma = 0.5 }",
            "{ sigma = 0.5 }\nwalk = { low = 1, high = 1, step = 1 }",
            14,
            "low must be less than high",
        ),
        ("{ sigma = 0.5 }", '{ sigma = 0.5 }\nperiod = "1"', 14, "a duration is a number with a unit"),
        ("{ sigma = 0.5 }", '{ sigma = 0.5 }\nperiod = "1500us"', 14, "multiple of 1000"),
        ("{ sigma = 0.5 }", '{ sigma = 0.5 }\nperiod = "5s"\nload = { on = 1 }', 5, "its period is the group's"),
        (
            'name = "presses"',
            'name = "presses"\nformat = "jsno"',
            7,
            "no encoder is called 'jsno' (did you mean \"json\"?)",
        ),
        (
            'name = "presses"',
            'name = "presses"\noptions = { tmie = "t" }',
            7,
            "no option 'tmie' (did you mean \"time\"?)",
        ),
        ('name = "presses"', 'name = "presses"\noptions = { time = "value" }', 7, "different names"),
        ('name = "presses"', 'name = "presses"\ndevice_levels = 3', 5, "the machines' paths have 2 levels"),
        ('name = "presses"', 'name = "presses"\njitter = "1s"', 5, "not less than the period"),
        ('name = "presses"', 'name = "presses"\nduty = { run = "walk" }', 7, "'walk' is none of the states"),
        ('name = "presses"', 'name = "presses"\nsensors_of = "saws"', 5, "has sensors_of and sensors of its own"),
        (
            "[plant]",
            '[faults]\nkinds = ["spikes"]\n[plant]',
            3,
            "no fault is called 'spikes' (did you mean \"spike\"?)",
        ),
        ("[[group.sensor]]", '[[group.sensor]]\nname = "force"\n[[group.sensor]]', 5, "two sensors of a machine"),
        (
            "[[group]]",
            '[[group]]\nname = "presses"\nmachines = "demo/x"\nsensors_of = "presses"\n[[group]]',
            5,
            "two groups",
        ),
    ],
)
def test_a_mistake_is_said_where_it_is(old: str, new: str, line: int, said: str) -> None:
    assert old in GOOD
    (found,) = problems(GOOD.replace(old, new, 1))
    assert said in found
    assert found.startswith("works.toml:" if said == "not valid TOML" else f"works.toml:{line}: ")


def test_sensors_of_another_group() -> None:
    more = '[[group]]\nname = "more"\nmachines = "demo/saw-1"\nsensors_of = "presses"\n'
    plant = parse_plant(GOOD + more, "works.toml")
    assert plant.group[1].sensor == plant.group[0].sensor
    (found,) = problems(GOOD + more.replace('"presses"', '"pressed"'))
    assert "no group with sensors is called 'pressed' (did you mean \"presses\"?)" in found


# --- whatever is written ---------------------------------------------------------------------------------------------

PLACES = [
    (name, place) for name in OURS for place in places(tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8")))
]


@settings(max_examples=150, deadline=None)
@given(
    at=st.sampled_from(PLACES),
    value=st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(["0s", "1ms", "{1..}", "{a,b}", "x/{1..3}", "senml", "plain", "waveform", "enum"])
    | st.lists(st.floats(-5, 5), max_size=3)
    | st.dictionaries(st.sampled_from(["sigma", "run", "low", "kind"]), st.floats(-5, 5), max_size=2),
)
def test_whatever_is_written_there_is_a_mistake_or_a_plant(at: tuple[str, Place], value: object) -> None:
    name, place = at
    data = tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))
    node: Any = data
    for key in place[:-1]:
        node = node[key]
    if value is None:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    try:
        described = parse_plant("\n".join(f"{key} = {toml(one)}" for key, one in data.items()), name)
        plant = Plant(described, 1, START_US, sensors=20)
        messages = Feed(plant).advance(START_US + 20_000)
    except (SettingsError, ValueError):
        return
    assert all(one.payload for one in messages)

"""A simulated plant is decided by its description and its seed alone, and what it sends can be read back."""

from __future__ import annotations

import math
import string
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders import DECODERS
from ingest.simulator.faults.catalogue import KINDS
from ingest.simulator.feed import Feed, encoder_of, topic_of
from ingest.simulator.formats import ENCODERS, Sensors
from ingest.simulator.formats.base import value_of
from ingest.simulator.plant import Plant
from ingest.simulator.roster import lay_out
from ingest.simulator.rows import Rows
from tests.unit.simulator.reading_back import OURS, S_US, START_US, Read, described, hasty, ours, read_back, sent

SMALL = {name: hasty(ours(name), warm_up_us=2 * S_US) for name in OURS}
SENSORS = {"demo": 50, "quiet_day": 80}


def made(name: str, seed: int = 1, start_us: int = START_US, every_s: float = 0.5) -> tuple[Plant, Feed]:
    plant = Plant(SMALL[name], seed, start_us, sensors=SENSORS.get(name), fault_every_s=every_s)
    return plant, Feed(plant)


# --- repeatable -------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(OURS),
    cuts_ms=st.lists(st.integers(-2_000, 20_000), max_size=15),
    seed=st.integers(0, 2**32),
    off_us=st.integers(0, 1500),
)
def test_the_messages_are_the_same_in_whatever_steps_they_are_asked_for(
    name: str, cuts_ms: list[int], seed: int, off_us: int
) -> None:
    (whole_plant, whole), (split_plant, split) = (made(name, seed, START_US + off_us) for _ in range(2))
    end_us = START_US + 20 * S_US
    # Unsorted on purpose: asking for a time that is over gives nothing and does no harm.
    messages = [one for cut in [*cuts_ms, 20_000] for one in split.advance(START_US + cut * 1_000)]
    assert messages == whole.advance(end_us)
    assert [one.at_us for one in messages] == sorted(one.at_us for one in messages)
    assert split_plant.faults == whole_plant.faults
    assert split_plant.now_us == whole_plant.now_us == end_us


@settings(max_examples=6, deadline=None)
@given(name=st.sampled_from(OURS), seed=st.integers(0, 2**32))
def test_another_seed_is_another_plant(name: str, seed: int) -> None:
    messages = [made(name, one)[1].advance(START_US + 5 * S_US) for one in (seed, seed + 1)]
    assert messages[0] != messages[1]


def test_a_further_group_moves_nothing_of_the_others() -> None:
    one = '[[group]]\nname="a"\nmachines="s/a/l/m"\n[[group.sensor]]\nname="x"\nbase=[0,9]\nnoise={sigma=1}\n'
    more = one + one.replace('"a"', '"b"').replace("s/a", "s/b")
    alone, both = (Plant(described(text), 7, START_US, fault_every_s=0) for text in (one, more))
    alone_rows, rows = alone.advance(START_US + 60 * S_US), both.advance(START_US + 60 * S_US)
    assert rows.value[rows.sensor == 0].tolist() == alone_rows.value.tolist()


# --- what is encoded is decoded -----------------------------------------------------------------------------------

HEAD = '[plant]\nlevels = ["site", "line", "machine", "quantity"]\n'
GROUP = """[[group]]
name = "g"
machines = "s/l-{{1..2}}/m-{{1..2}}"
format = "{format}"
options = {options}
device_levels = {device_levels}
"""
ALL_KINDS = """
[[group.sensor]]
name = "gauge {more}"
unit = "Cel"
[[group.sensor]]
name = "counter"
kind = "counter"
unit = "1"
[[group.sensor]]
name = "bool"
kind = "bool"
duty = true
[[group.sensor]]
name = "enum"
kind = "enum"
duty = true
"""
WAVEFORM = '[[group.sensor]]\nname = "waveform"\nkind = "waveform"\nunit = "mm/s2"\n'
OPTIONS: dict[str, list[str]] = {
    "json": ["{}", '{ unit = "unit", rate_hz = "hz" }', '{ several = true, time = "t", time_unit = "us" }'],
    "cbor": ["{}", "{ several = true }", '{ time_unit = "s", value = "v", quality = "q" }'],
    "msgpack": ["{}", '{ several = true, time_unit = "ns" }'],
    "senml": ['{ encoding = "json" }', '{ encoding = "cbor" }'],
    "plain": ["{}", "{ decimal_comma = true }"],
    "influx": ["{}", '{ measurement = "m" }'],
}
CASES = [(name, options) for name in sorted(ENCODERS.table) for options in OPTIONS.get(name, ["{}"])]
WITHOUT_WAVEFORMS = {"plain", "senml", "influx"}
# Where bare words are all there is, a text must not look like a number or a switch.
TEXTS = {"plain": st.text(string.ascii_lowercase, min_size=1, max_size=8).map(lambda text: f"x{text}")}
ANY_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
# Names that a format has characters of its own for; SenML and OPC UA take only tame ones.
ODD = {"senml": "b", "plain": "b c", "sparkplug_b": "b/c".replace("/", " "), "influx": "b,c=d e"}


def test_every_decoder_has_an_encoder_of_its_name() -> None:
    assert set(ENCODERS.table) == set(DECODERS.table)


@pytest.mark.parametrize(("format_", "options"), CASES, ids=[f"{name}-{options}" for name, options in CASES])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_what_a_device_says_is_what_its_decoder_reads(format_: str, options: str, data: st.DataObject) -> None:
    text = HEAD + GROUP.format(format=format_, options=options, device_levels=2)
    text += ALL_KINDS.format(more=ODD.get(format_, "b")).replace("gauge b", "gauge-b")
    plant = described(text + ("" if format_ in WITHOUT_WAVEFORMS else WAVEFORM))
    roster = lay_out(plant)
    kinds = [roster.said(sensor).kind for sensor in range(len(roster))]
    drawn = data.draw(st.lists(st.tuples(st.integers(0, len(roster) - 1), st.integers(0, 3)), min_size=1, max_size=30))
    values: dict[str, st.SearchStrategy[Any]] = {
        "gauge": st.floats(allow_nan=False, allow_infinity=False),
        "counter": st.integers(0, 2**53).map(float),
        "bool": st.sampled_from([0.0, 1.0]),
        "enum": TEXTS.get(format_, ANY_TEXT),
        "waveform": st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5).map(np.array),
    }
    said = [data.draw(values[kinds[sensor]]) for sensor, _ in drawn]
    late_ms = [data.draw(st.integers(-5_000, 5_000)) for _ in drawn]
    at_us = np.sort(np.array([START_US + moment * 250_000 for _, moment in drawn]))
    other = np.full(len(drawn), None, dtype=object)
    for row, one in enumerate(said):
        if not isinstance(one, float):
            other[row] = one
    value = np.array([one if isinstance(one, float) else math.nan for one in said])
    sensor = np.array([sensor for sensor, _ in drawn])
    rows = Rows(sensor, at_us, at_us + np.array(late_ms) * 1_000, value, other)
    feed_sensors = Sensors.of(roster, plant.plant.levels, _topics(plant)).of_group(0)
    messages = ENCODERS.create(format_, plant.group[0].options).open(feed_sensors).encode(rows)
    assert {one.at_us for one in messages} == set(at_us.tolist())
    found = [one for one in read_back(plant, messages) if one.value is not None]
    expected = [
        Read(
            roster.paths[at],
            (at_us if format_ == "plain" else rows.ts_us)[row].item(),
            _as_read(kinds[at], rows, row),
            None,
        )
        for row, at in enumerate(sensor.tolist())
    ]
    # A birth says again what the node said last, so only the set of readings is the same there.
    assert {one._replace(unit=None) for one in found} == set(expected)
    if format_ != "sparkplug_b":
        assert len(found) == len(expected)
    if format_ in ("senml", "sparkplug_b") or "unit" in plant.group[0].options:
        units = {one.path: one.unit for one in found}
        assert units == {path: roster.said(at).unit or None for at, path in enumerate(roster.paths) if path in units}


def _topics(plant: Any) -> list[str]:
    return [topic_of(group, encoder_of(group), "factory") for group in plant.group]


def _as_read(kind: str, rows: Rows, row: int) -> Any:
    value = value_of(kind, float(rows.value[row]), rows.other[row])
    if isinstance(value, str):
        return value.strip() if kind == "plain" else value
    return tuple(value) if isinstance(value, list) else float(value)


# --- whole plants ---------------------------------------------------------------------------------------------------


OF_DEVICES = ("clock_jump", "gateway_death", "reorder", "duplicate")
# Where sensors are always busy with faults of their own, their devices have none: so one after the other.
OF_SENSORS = tuple(kind for kind in KINDS if kind not in OF_DEVICES)


@pytest.mark.parametrize("kinds", [OF_SENSORS, OF_DEVICES], ids=["sensors", "devices"])
@pytest.mark.parametrize("name", OURS)
def test_five_minutes_of_a_plant_with_every_fault_are_read_back(name: str, kinds: tuple[str, ...]) -> None:
    plant, other = (
        Plant(hasty(ours(name)), 1, START_US, sensors=SENSORS.get(name), fault_every_s=1.0, fault_kinds=kinds)
        for _ in range(2)
    )
    rows = plant.advance(START_US + 300 * S_US)
    feed = Feed(other)
    found = [one._replace(unit=None) for one in read_back(ours(name), feed.advance(START_US + 300 * S_US))]
    expected = sent(plant, rows)
    assert {fault.kind for fault in plant.faults} == set(kinds)
    if any(group.format == "sparkplug_b" for group in plant.described.group):
        # Deaths make all metrics bad, births say again what was said last.
        found = [one for one in found if one.value is not None]
        assert set(found) == set(expected)
        assert len(expected) <= len(found) < 1.1 * len(expected)
    else:
        assert Counter(found) == Counter(expected)

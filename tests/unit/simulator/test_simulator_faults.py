"""Each kind of fault does what its name says, to its sensors and during its time alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from ingest.simulator.faults.catalogue import KINDS, Befalls
from ingest.simulator.faults.fault import Fault
from ingest.simulator.faults.values import DRIFT_RAMP_S, noise
from ingest.simulator.plant import Plant
from ingest.simulator.rows import Rows
from tests.unit.simulator.reading_back import S_US, START_US, described, ours

END_US = START_US + 900 * S_US
TEXT = """
[plant]
levels = ["line", "machine", "quantity"]
[[group]]
name = "g"
machines = "l-{1..10}/m-{1..2}"
device_levels = 1
[[group.sensor]]
name = "temperature"
unit = "Cel"
base = [40, 60]
noise = { sigma = 0.2 }
[[group.sensor]]
name = "vibration"
unit = "mm/s"
base = [2, 4]
noise = { kind = "lognormal", share = 0.1 }
decimals = 4
may_fall = false
[[group.sensor]]
name = "count"
kind = "counter"
count_s = [0.5, 2]
[[group.sensor]]
name = "open"
kind = "bool"
stay = ["20s", "20s"]
"""


def of(rows: Rows, sensor: int) -> Rows:
    return rows.take(rows.sensor == sensor)


def during(rows: Rows, fault: Fault, sensor: int | None = None) -> Rows:
    mine = of(rows, fault.number if sensor is None else sensor)
    return mine.take((mine.at_us >= fault.start_us) & (mine.at_us < fault.end_us))


@cache
def played(kind: str, jitter: str = "0s") -> tuple[Plant, Rows, Rows]:
    """A plant, what it says with faults of one kind, and what it would have said without."""
    text = described(TEXT.replace("device_levels = 1", f'device_levels = 1\njitter = "{jitter}"'))
    plant = Plant(text, 11, START_US, fault_every_s=5.0, fault_kinds=[kind])
    healthy = Plant(text, 11, START_US, fault_every_s=0)
    rows, normal = plant.advance(END_US), healthy.advance(END_US)
    assert len(plant.faults) > 20
    assert {fault.kind for fault in plant.faults} == {kind}
    return plant, rows, normal


def over(plant: Plant) -> list[Fault]:
    return [fault for fault in plant.faults if fault.end_us < END_US - 10 * S_US]


VALUE_KINDS = [name for name, kind in KINDS.items() if kind.value is not None]


@pytest.mark.parametrize("kind", VALUE_KINDS)
def test_a_fault_of_values_is_all_that_differs(kind: str) -> None:
    plant, rows, normal = played(kind)
    assert rows.at_us.tolist() == normal.at_us.tolist()
    assert rows.ts_us.tolist() == normal.ts_us.tolist()
    differs = rows.value != normal.value
    explained = np.zeros_like(differs)
    for fault in plant.faults:
        until_us = END_US if KINDS[kind].for_ever else fault.end_us
        explained |= (rows.sensor == fault.number) & (rows.at_us >= fault.start_us) & (rows.at_us < until_us)
    assert differs.any()
    assert not (differs & ~explained).any()


@pytest.mark.parametrize("kind", ["spike", "drift", "noise_burst", "level_shift"])
def test_a_fault_that_is_added_stands_far_out_of_the_healthy_range(kind: str) -> None:
    plant, rows, normal = played(kind)
    for fault in over(plant):
        healthy = of(normal, fault.number).value
        grown_us = fault.start_us + (round(DRIFT_RAMP_S * S_US) if kind == "drift" else 0)
        found = during(rows, fault)
        grown = found.value[found.at_us >= grown_us]
        assert len(grown)
        assert len(grown) == 1 or kind != "spike"
        least = 20 if kind in ("drift", "level_shift") else 15
        away = (grown - healthy.mean()) * np.sign(fault.magnitude)
        assert ((np.abs(away) if kind == "noise_burst" else away) >= least * healthy.std()).all()
        outside = np.maximum(grown - healthy.max(), healthy.min() - grown)
        assert (outside >= 8 * healthy.std()).all()
        if not fault.may_fall:
            assert (grown > healthy.max()).all()
    assert {fault.magnitude < 0 for fault in plant.faults} == {True, False}


def test_a_drift_grows_steadily_and_stays() -> None:
    plant, rows, normal = played("drift")
    for fault in over(plant):
        offset = during(rows, fault).value - during(normal, fault).value
        share = offset / fault.magnitude
        at_s = (during(rows, fault).at_us - fault.start_us) / S_US
        np.testing.assert_allclose(share, np.minimum(1.0, at_s / DRIFT_RAMP_S), atol=0.02)


def test_a_noise_burst_is_decided_by_the_fault_and_the_time_alone() -> None:
    burst = Fault("noise_burst", "demo/press/speed", 0, 0, 60 * S_US, 10.0)
    said = [noise(burst, at * S_US, 0.0, 0.0) for at in range(60)]
    assert [round(one, 6) for one in said[:4]] == [7.622931, -9.338741, -8.63245, -8.534481]
    assert [noise(burst, at * S_US, 0.0, 0.0) for at in reversed(range(60))] == said[::-1]
    assert 0.2 < sum(one < 0 for one in said) / 60 < 0.8
    assert min(map(abs, said)) >= 7.0
    assert len(set(said)) == 60
    assert all(noise(replace(burst, may_fall=False), at * S_US, 0.0, 0.0) > 0 for at in range(60))
    for other in (replace(burst, path="demo/press/pressure"), replace(burst, start_us=-1)):
        assert noise(other, S_US, 0.0, 0.0) != said[1]


def test_a_stuck_sensor_repeats_its_first_value() -> None:
    plant, rows, normal = played("stuck")
    for fault in over(plant):
        found = during(rows, fault)
        assert len(found) >= 60
        assert set(found.value.tolist()) == {during(normal, fault).value[0]}


def test_a_swapped_unit_is_another_number_for_the_same_thing() -> None:
    plant, rows, normal = played("unit_swap")
    for fault in over(plant):
        measured, said = during(normal, fault).value, during(rows, fault).value
        expected = measured * 1.8 + 32 if fault.unit == "Cel" else measured / 25.4
        np.testing.assert_allclose(said, expected, atol=1e-5)
    assert {fault.unit for fault in plant.faults} == {"Cel", "mm/s"}


def test_65535_is_said_for_a_few_readings() -> None:
    plant, rows, _ = played("sentinel_65535")
    assert {1 <= len(during(rows, fault)) <= 6 for fault in over(plant)} == {True}
    assert set(np.concatenate([during(rows, fault).value for fault in over(plant)]).tolist()) == {65_535.0}


def test_a_counter_begins_at_0_and_counts_on_from_there() -> None:
    plant, rows, normal = played("counter_rollover")
    first = {fault.number: fault for fault in reversed(over(plant))}
    for sensor, fault in first.items():
        said, counted = of(rows, sensor), of(normal, sensor)
        before = said.at_us < fault.start_us
        assert said.value[before].tolist() == counted.value[before].tolist()
        assert during(rows, fault).value.tolist() == [0.0]
        later = [other for other in plant.faults if other.number == sensor and other.start_us > fault.start_us]
        after = ~before & (said.at_us < min((other.start_us for other in later), default=END_US))
        assert (np.diff(said.value[after]) == np.diff(counted.value[after])).all()


def rows_as_set(rows: Rows) -> set[tuple[int, int, float]]:
    return set(zip(rows.sensor.tolist(), rows.ts_us.tolist(), rows.value.tolist(), strict=True))


def test_a_dropout_loses_readings_and_nothing_else() -> None:
    plant, rows, normal = played("dropout")
    lost = rows_as_set(normal) - rows_as_set(rows)
    assert rows_as_set(rows) < rows_as_set(normal)
    for fault in plant.faults:
        assert len(during(rows, fault)) == 0
        gone = rows_as_set(during(normal, fault))
        assert gone <= lost
        lost -= gone
    assert lost == set()


def test_a_duplicate_is_the_same_reading_again_soon() -> None:
    plant, rows, normal = played("duplicate")
    assert rows_as_set(rows) == rows_as_set(normal)
    again = sum(len(during(normal, fault)) for fault in over(plant))
    assert len(rows) - len(normal) >= again > 0
    for fault in over(plant):
        for _, ts_us, _ in rows_as_set(during(normal, fault)):
            twice = of(rows, fault.number)
            assert len(set(twice.at_us[twice.ts_us == ts_us].tolist())) == 2


def test_a_reading_out_of_order_comes_after_the_next_one() -> None:
    plant, rows, normal = played("reorder")
    assert rows_as_set(rows) | rows_as_set(normal.take(normal.at_us > END_US - 10 * S_US)) >= rows_as_set(normal)
    for fault in over(plant):
        mine = of(rows, fault.number)
        at = mine.ts_us.tolist().index(fault.start_us)
        assert mine.ts_us[at - 1] == fault.start_us + S_US
        assert mine.at_us[at] == fault.start_us + 1_500_000
    assert (np.diff(rows.at_us) >= 0).all()


def test_a_clock_jump_moves_the_times_of_a_device_and_not_what_it_sends_when() -> None:
    plant, rows, normal = played("clock_jump")
    assert rows.at_us.tolist() == normal.at_us.tolist()
    assert rows.value.tolist() == normal.value.tolist()
    moved = rows.ts_us != normal.ts_us
    for fault in plant.faults:
        members = np.flatnonzero(plant.roster.device == fault.number)
        assert len(members) == 8
        mine = np.isin(rows.sensor, members) & (rows.at_us >= fault.start_us) & (rows.at_us < fault.end_us)
        assert set((rows.ts_us - normal.ts_us)[mine].tolist()) <= {round(fault.magnitude * S_US)}
        assert mine.any()
        moved &= ~mine
    assert not moved.any()


@pytest.mark.parametrize("jitter", ["0s", "700ms"])
def test_a_dead_gateway_is_silent_in_all_its_sensors_and_then_says_how_things_are(jitter: str) -> None:
    plant, rows, normal = played("gateway_death", jitter)
    lost = rows_as_set(normal)
    for fault in over(plant):
        for sensor in np.flatnonzero(plant.roster.device == fault.number).tolist():
            assert len(during(rows, fault, sensor)) == 0
            mine = of(rows, sensor)
            after = mine.take(mine.at_us >= fault.end_us)
            # Also the one that reports only changes speaks at its next turn.
            assert after.at_us[0] < fault.end_us + 3 * S_US
        lost -= rows_as_set(normal.take((normal.at_us >= fault.start_us) & (normal.at_us < fault.end_us)))
    assert lost <= rows_as_set(rows) | rows_as_set(normal.take(normal.at_us > END_US - 200 * S_US))


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.befalls is Befalls.DEVICES])
def test_a_devices_fault_is_a_label_for_each_of_its_sensors(kind: str) -> None:
    plant, _, _ = played(kind)
    (fault, *_) = plant.faults
    labels = plant.labels([fault])
    assert sorted(label.sensor for label in labels) == sorted(
        path for path in plant.roster.paths if path.startswith(f"{fault.path}/")
    )
    assert {(label.kind, label.start_us, label.end_us) for label in labels} == {(kind, fault.start_us, fault.end_us)}


def test_a_sensors_fault_is_one_label() -> None:
    plant, _, _ = played("stuck")
    assert [(one.sensor, one.start_us) for one in plant.labels(plant.faults)] == [
        (fault.path, fault.start_us) for fault in plant.faults
    ]


def test_silences_are_those_of_the_time_handed_out() -> None:
    plant = Plant(described(TEXT), 11, START_US, fault_every_s=5.0, fault_kinds=["gateway_death"])
    found = []
    for at_s in range(7, 900, 7):
        before_us = plant.now_us
        plant.advance(START_US + at_s * S_US)
        assert all(before_us <= one.at_us < plant.now_us for one in plant.silences)
        found += plant.silences
    expected = [(fault.number, fault.start_us, True) for fault in plant.faults]
    expected += [(fault.number, fault.end_us, False) for fault in plant.faults if fault.end_us < plant.now_us]
    assert sorted((one.device, one.at_us, one.begins) for one in found) == sorted(expected)


def test_slow_sensors_get_their_readings_before_the_first_fault() -> None:
    plant = Plant(ours("demo"), 1, START_US, sensors=800, period_s=10.0, fault_every_s=1.0)
    plant.advance(START_US + 1_600 * S_US)
    assert plant.faults
    assert min(fault.start_us for fault in plant.faults) >= START_US + 1_500 * S_US


def test_the_demonstration_plant_has_the_faults_that_its_readers_know() -> None:
    plant = Plant(ours("demo"), 1, START_US)
    plant.advance(END_US)
    assert {fault.kind for fault in plant.faults} == {"spike", "drift", "noise_burst", "level_shift"}

"""A plant is decided by its arguments alone, and its faults stand out of everything healthy."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.simulator.duty import STATES
from ingest.simulator.plant import Burst, Plant
from ingest.simulator.signals import CURRENT_DEAD_BAND_A

START_US = 1_700_000_000_000_000
S_US = 1_000_000


def assert_same(left: Burst, right: Burst) -> None:
    np.testing.assert_array_equal(left.sensor, right.sensor)
    np.testing.assert_array_equal(left.ts_us, right.ts_us)
    np.testing.assert_array_equal(left.value, right.value)  # NaN equals NaN here
    assert left.text.tolist() == right.text.tolist()


def joined(bursts: list[Burst]) -> Burst:
    return Burst(
        np.concatenate([b.sensor for b in bursts]),
        np.concatenate([b.ts_us for b in bursts]),
        np.concatenate([b.value for b in bursts]),
        np.concatenate([b.text for b in bursts]),
    )


def readings(burst: Burst, sensor: int) -> Burst:
    rows = np.flatnonzero(burst.sensor == sensor)
    return Burst(burst.sensor[rows], burst.ts_us[rows], burst.value[rows], burst.text[rows])


@settings(max_examples=60, deadline=None)
@given(
    cuts_us=st.lists(st.integers(-2 * S_US, 40 * S_US), max_size=25),
    sensors=st.integers(1, 50),
    seed=st.integers(0, 2**32),
    off_us=st.integers(0, 1500),
    period_s=st.sampled_from([0.25, 1.0, 1.5, 7.0]),
)
def test_splitting_an_advance_changes_nothing(
    cuts_us: list[int], sensors: int, seed: int, off_us: int, period_s: float
) -> None:
    def plant() -> Plant:
        start_us = START_US + off_us
        return Plant(sensors, seed, start_us, period_s=period_s, fault_every_s=0.5, warm_up_s=2.0)

    whole, split = plant(), plant()
    end_us = START_US + 40 * S_US
    # Unsorted on purpose: asking for a time that is over gives nothing and does no harm.
    bursts = [split.advance(START_US + cut) for cut in [*cuts_us, 40 * S_US]]
    assert_same(joined(bursts), whole.advance(end_us))
    assert split.faults == whole.faults
    assert split.now_us == whole.now_us == end_us


def test_a_burst_is_half_open_and_in_order_of_event_time() -> None:
    plant = Plant(100, seed=1, start_us=START_US)
    first = plant.advance(START_US + 10 * S_US)
    assert first.ts_us[0] == START_US
    boundary_us = int(first.ts_us[-1]) + S_US
    until = plant.advance(boundary_us)
    assert (until.ts_us >= START_US + 10 * S_US).all()
    assert (until.ts_us < boundary_us).all()
    assert plant.advance(boundary_us + 1).ts_us[0] == boundary_us
    assert (np.diff(first.ts_us) >= 0).all()
    assert len(plant.advance(START_US)) == 0


def test_another_seed_is_another_plant() -> None:
    left, right = (Plant(8, seed, START_US).advance(START_US + 5 * S_US) for seed in (1, 2))
    assert left.value.tolist() != right.value.tolist()


def test_load_is_even_within_the_period() -> None:
    plant = Plant(1_000, seed=1, start_us=START_US, fault_every_s=None)
    plant.advance(START_US + S_US)
    burst = plant.advance(START_US + 2 * S_US)
    per_tenth = np.bincount((burst.ts_us - START_US - S_US) // 100_000, minlength=10)
    assert per_tenth.min() > 0.7 * per_tenth.mean()
    assert per_tenth.max() < 1.3 * per_tenth.mean()


def test_periodic_sensors_read_once_a_period() -> None:
    plant = Plant(24, seed=5, start_us=START_US, period_s=0.5)
    burst = plant.advance(START_US + 20 * S_US)
    for index, sensor in enumerate(plant.sensors):
        of_one = readings(burst, index)
        if sensor.reporting == "periodic":
            assert len(of_one) == 40
            assert set(np.diff(of_one.ts_us).tolist()) == {500_000}


def test_on_change_sensors_speak_at_first_and_then_only_of_changes() -> None:
    plant = Plant(160, seed=2, start_us=START_US)
    burst = plant.advance(START_US + 1_800 * S_US)
    changes = 0
    for index, sensor in enumerate(plant.sensors):
        if sensor.reporting == "periodic":
            continue
        of_one = readings(burst, index)
        assert of_one.ts_us[0] < START_US + S_US
        changes += len(of_one) - 1
        if sensor.quantity == "state":
            texts = of_one.text.tolist()
            assert set(texts) <= set(STATES)
            assert all(before != after for before, after in pairwise(texts))
            assert np.isnan(of_one.value).all()
        elif sensor.quantity == "running":
            assert set(of_one.value.tolist()) <= {0.0, 1.0}
            assert (np.abs(np.diff(of_one.value)) == 1.0).all()
        else:
            assert (np.abs(np.diff(of_one.value)) > CURRENT_DEAD_BAND_A).all()
    assert changes > 1_000


def test_running_says_whether_the_state_is_run() -> None:
    plant = Plant(8, seed=4, start_us=START_US)
    burst = plant.advance(START_US + 3_600 * S_US)
    running, state, current = (readings(burst, index) for index in (6, 7, 3))
    runs = [text == "run" for text in state.text]
    changed = [runs[0]] + [now for before, now in pairwise(runs) if now != before]
    assert running.value.astype(bool).tolist() == changed
    assert 0.0 in current.value  # a machine at rest draws nothing


def test_counters_count_up_in_whole_numbers_while_the_machine_runs() -> None:
    plant = Plant(80, seed=6, start_us=START_US)
    burst = plant.advance(START_US + 1_200 * S_US)
    for index, sensor in enumerate(plant.sensors):
        if sensor.kind == "counter":
            parts = readings(burst, index).value
            assert (parts == np.floor(parts)).all()
            assert (np.diff(parts) >= 0).all()
            assert parts[-1] > parts[0]


def test_healthy_gauges_stay_where_they_belong() -> None:
    plant = Plant(400, seed=7, start_us=START_US, fault_every_s=None)
    burst = plant.advance(START_US + 600 * S_US)
    ranges = {"temperature": (40, 80), "vibration": (0.5, 7), "pressure": (4.8, 7.2), "speed": (590, 3050)}
    quantities = np.array([sensor.quantity for sensor in plant.sensors])[burst.sensor]
    for quantity, (low, high) in ranges.items():
        values = burst.value[quantities == quantity]
        assert low < values.min()
        assert values.max() < high
    assert plant.faults == []


def test_faults_are_all_that_differs_and_stand_far_out_of_the_healthy_range() -> None:
    until_us = START_US + 3_600 * S_US
    plant, healthy = (Plant(96, 11, START_US, fault_every_s=every_s) for every_s in (20.0, None))
    faulty_burst, healthy_burst = plant.advance(until_us), healthy.advance(until_us)
    np.testing.assert_array_equal(faulty_burst.ts_us, healthy_burst.ts_us)
    index = {sensor.path: i for i, sensor in enumerate(plant.sensors)}
    differs = faulty_burst.value != healthy_burst.value
    differs &= ~np.isnan(healthy_burst.value)
    explained = np.zeros_like(differs)
    kinds = set()
    for fault in plant.faults:
        sensor = plant.sensors[index[fault.sensor]]
        assert (sensor.kind, sensor.reporting) == ("gauge", "periodic")
        assert fault.start_us >= START_US + 150 * S_US
        rows = faulty_burst.sensor == index[fault.sensor]
        normal = healthy_burst.value[rows]
        during = rows & (faulty_burst.ts_us >= fault.start_us) & (faulty_burst.ts_us < fault.end_us)
        explained |= during
        grown_us = fault.start_us + (120 * S_US if fault.kind == "drift" else 0)
        grown = faulty_burst.value[during & (faulty_burst.ts_us >= grown_us)]
        assert len(grown) or fault.end_us > until_us - 120 * S_US
        least = 20 if fault.kind in ("drift", "level_shift") else 15
        away = (grown - normal.mean()) * np.sign(fault.magnitude)
        if fault.kind == "noise_burst":
            away = np.abs(away)
        assert (away >= least * normal.std()).all()
        outside = np.maximum(grown - normal.max(), normal.min() - grown)
        assert (outside >= 8 * normal.std()).all()
        if fault.kind == "spike":
            assert during.sum() == 1
        if sensor.quantity == "vibration":
            assert fault.magnitude > 0
            assert (grown > normal.max()).all()
        kinds.add(fault.kind)
    assert kinds == {"spike", "drift", "noise_burst", "level_shift"}
    assert not (differs & ~explained).any()


def test_slow_sensors_get_their_readings_before_the_first_fault() -> None:
    plant = Plant(800, seed=1, start_us=START_US, period_s=10.0, fault_every_s=1.0)
    plant.advance(START_US + 1_600 * S_US)
    assert min(fault.start_us for fault in plant.faults) >= START_US + 1_500 * S_US


def test_a_large_plant_is_one_row_per_reading_in_columns() -> None:
    plant = Plant(10_000, seed=1, start_us=START_US)
    burst = plant.advance(START_US + 10 * S_US)
    assert len(plant.sensors) == 10_000
    periodic = sum(sensor.reporting == "periodic" for sensor in plant.sensors)
    assert periodic * 10 <= len(burst) < 10_000 * 10
    assert set(burst.sensor.tolist()) == set(range(10_000))
    assert [str(column.dtype) for column in (burst.sensor, burst.ts_us, burst.value, burst.text)] == [
        "int64",
        "int64",
        "float64",
        "object",
    ]


@pytest.mark.parametrize("period_s", [0.0, -1.0, 0.0004, float("nan"), float("inf"), 1e6])
def test_impossible_periods_are_refused(period_s: float) -> None:
    with pytest.raises(ValueError, match="period_s"):
        Plant(8, seed=1, start_us=0, period_s=period_s)

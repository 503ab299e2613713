"""Faults are decided by the seed, never overlap on a sensor, and their truth can be read back."""

import csv
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.simulator.faults import KINDS, Fault, FaultSchedule, Targets, write_truth_csv

START_US = 1_700_000_000_000_000
HOUR_US = 3_600_000_000


def schedule(sensors: int = 6, seed: int = 1, every_s: float = 20.0, warm_up_s: float = 150.0) -> FaultSchedule:
    targets = Targets(
        paths=[f"demo/a/l/m/{sensor}" for sensor in range(sensors)],
        noise_sigma=np.linspace(0.5, 2.0, sensors),
        phase_us=np.arange(sensors, dtype=np.int64) * 137_000,
        may_fall=np.arange(sensors) % 2 == 0,
        period_us=1_000_000,
    )
    return FaultSchedule(targets, seed, START_US, every_s, warm_up_s)


@given(st.lists(st.tuples(st.integers(0, 2 * HOUR_US), st.integers(0, 2 * HOUR_US)), max_size=12))
def test_the_faults_do_not_depend_on_how_they_are_asked_for(asked: list[tuple[int, int]]) -> None:
    once = schedule().starting(START_US, START_US + 2 * HOUR_US)
    often = schedule()
    for from_us, until_us in asked:
        expected = [f for f in once if from_us <= f.start_us - START_US < until_us]
        assert often.starting(START_US + from_us, START_US + until_us) == expected
    assert often.starting(START_US, START_US + 2 * HOUR_US) == once


def test_another_seed_has_other_faults() -> None:
    until_us = START_US + HOUR_US
    assert schedule(seed=1).starting(0, until_us) != schedule(seed=2).starting(0, until_us)


@pytest.mark.parametrize(("sensors", "every_s"), [(1, 20.0), (3, 1.0), (200, 20.0), (200, 0.5)])
def test_none_before_warm_up_and_no_two_overlap_on_a_sensor(sensors: int, every_s: float) -> None:
    faults = schedule(sensors, every_s=every_s).starting(0, START_US + 6 * HOUR_US)
    assert faults == sorted(faults, key=lambda fault: fault.start_us)
    assert faults[0].start_us >= START_US + 150_000_000
    by_sensor: dict[str, list[Fault]] = {}
    for fault in faults:
        by_sensor.setdefault(fault.sensor, []).append(fault)
    for of_one in by_sensor.values():
        for earlier, later in pairwise(of_one):
            assert later.start_us >= earlier.end_us + 150_000_000  # healthy in between, too


def test_there_is_a_fault_in_every_interval_when_sensors_are_many() -> None:
    faults = schedule(1_000, every_s=20.0).starting(0, START_US + 150_000_000 + 10 * HOUR_US)
    assert len(faults) == pytest.approx(1_800, abs=2)


def test_kinds_come_by_their_shares() -> None:
    faults = schedule(2_000, every_s=10.0).starting(0, START_US + 24 * HOUR_US)
    found = Counter(fault.kind for fault in faults)
    expected = {"spike": 0.4, "drift": 0.2, "noise_burst": 0.2, "level_shift": 0.2}
    assert {kind: found[kind] / len(faults) for kind in found} == pytest.approx(expected, abs=0.03)


def test_neither_kind_nor_sensor_moves_the_slots_that_follow() -> None:
    def draws(sensors: int) -> list[tuple[int, str]]:
        faults = schedule(sensors, every_s=60.0, warm_up_s=0.0).starting(0, START_US + 24 * HOUR_US)
        return [((fault.start_us - START_US) // 60_000_000, fault.kind) for fault in faults]

    # Only readings' phases differ, and they move a fault over its slot's edge at the most.
    few, many = Counter(draws(1_000)), Counter(draws(1_001))
    assert (few & many).total() > 0.95 * few.total() > 1_300


def test_it_never_ends() -> None:
    days_us = START_US + 30 * 24 * HOUR_US
    assert schedule(every_s=600.0).starting(days_us, days_us + HOUR_US)


def test_a_spike_lasts_for_exactly_one_reading() -> None:
    for fault in schedule().starting(0, START_US + 6 * HOUR_US):
        phase_us = int(fault.sensor.rpartition("/")[2]) * 137_000
        assert (fault.start_us - START_US - phase_us) % 1_000_000 == 0
        if fault.kind == "spike":
            assert fault.end_us == fault.start_us + 1_000_000
            assert fault.offset_at(fault.start_us) == fault.magnitude


def test_a_drift_ramps_for_two_minutes_and_stays_until_its_end() -> None:
    drifts = [f for f in schedule().starting(0, START_US + 6 * HOUR_US) if f.kind == "drift"]
    assert drifts
    for drift in drifts:
        assert drift.end_us - drift.start_us > 120_000_000
        assert drift.offset_at(drift.start_us) == 0.0
        assert drift.offset_at(drift.start_us + 60_000_000) == pytest.approx(drift.magnitude / 2)
        assert drift.offset_at(drift.start_us + 120_000_000) == drift.magnitude
        assert drift.offset_at(drift.end_us - 1) == drift.magnitude
        assert drift.offset_at(drift.end_us) == 0.0


def readings_of(fault: Fault) -> list[float]:
    return [fault.offset_at(at_us) for at_us in range(fault.start_us, fault.end_us, 1_000_000)]


def of_kind(kind: str) -> list[Fault]:
    found = [f for f in schedule().starting(0, START_US + 24 * HOUR_US) if f.kind == kind]
    assert len(found) > 50
    return found


def test_a_level_shift_is_a_step_that_stays_and_goes_back() -> None:
    for shift in of_kind("level_shift"):
        assert 60_000_000 <= shift.end_us - shift.start_us <= 241_000_000
        assert set(readings_of(shift)) == {shift.magnitude}
        assert shift.offset_at(shift.start_us - 1) == shift.offset_at(shift.end_us) == 0.0


def test_every_reading_of_a_noise_burst_is_far_off_and_unlike_the_others() -> None:
    sigmas = np.linspace(0.5, 2.0, 6)
    for burst in of_kind("noise_burst"):
        assert 20_000_000 <= burst.end_us - burst.start_us <= 61_000_000
        sensor = int(burst.sensor.rpartition("/")[2])
        offsets = readings_of(burst)
        assert min(map(abs, offsets)) >= 22 * sigmas[sensor]
        assert max(map(abs, offsets)) <= abs(burst.magnitude)
        assert len(set(offsets)) == len(offsets)
        falling = sum(offset < 0 for offset in offsets) / len(offsets)
        assert 0.05 < falling < 0.95 if sensor % 2 == 0 else falling == 0.0
        assert burst.offset_at(burst.start_us - 1) == burst.offset_at(burst.end_us) == 0.0


def test_a_noise_burst_goes_to_either_side_as_often() -> None:
    offsets = [offset for burst in of_kind("noise_burst") if burst.may_fall for offset in readings_of(burst)]
    assert sum(offset < 0 for offset in offsets) / len(offsets) == pytest.approx(0.5, abs=0.05)


def test_a_noise_burst_is_decided_by_the_fault_and_the_time_alone() -> None:
    burst = Fault("demo/press/speed", "noise_burst", 0, 60_000_000, 10.0)
    assert [round(burst.offset_at(s * 1_000_000), 6) for s in range(4)] == [7.622931, -9.338741, -8.63245, -8.534481]
    assert readings_of(burst)[::-1] == [burst.offset_at(s * 1_000_000) for s in reversed(range(60))]
    for other in (replace(burst, sensor="demo/press/pressure"), replace(burst, start_us=-1)):
        assert other.offset_at(1_000_000) != burst.offset_at(1_000_000)


def test_a_fault_is_large_and_falls_only_where_it_may() -> None:
    faults = schedule().starting(0, START_US + 24 * HOUR_US)
    sigmas = np.linspace(0.5, 2.0, 6)
    for fault in faults:
        sensor = int(fault.sensor.rpartition("/")[2])
        low, high = KINDS[fault.kind].sigmas
        assert low - 1e-9 <= abs(fault.magnitude) / sigmas[sensor] <= high + 1e-9
        assert fault.may_fall == (sensor % 2 == 0)
        if not fault.may_fall:
            assert fault.magnitude > 0
            assert min(readings_of(fault)) >= 0
    assert {fault.kind for fault in faults if fault.magnitude < 0} == set(KINDS)


@pytest.mark.parametrize("period_s", [0.05, 7, 90, 86_400])
def test_every_fault_has_a_reading_whatever_the_period(period_s: float) -> None:
    period_us = round(period_s * 1_000_000)
    one = Targets(["s"], np.ones(1), np.zeros(1, np.int64), np.ones(1, np.bool_), period_us)
    for fault in FaultSchedule(one, 1, START_US, 600.0).starting(0, START_US + 500 * HOUR_US):
        assert (fault.start_us - START_US) % period_us == 0
        assert (fault.end_us - START_US) % period_us == 0
        assert fault.end_us > fault.start_us
        if fault.kind == "spike":
            assert fault.end_us == fault.start_us + period_us


@pytest.mark.parametrize(("every_s", "warm_up_s"), [(0.0, 1.0), (float("nan"), 1.0), (1.0, -1.0)])
def test_impossible_schedules_are_refused(every_s: float, warm_up_s: float) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        schedule(every_s=every_s, warm_up_s=warm_up_s)


def test_faults_need_somebody_to_befall() -> None:
    with pytest.raises(ValueError, match="at least one sensor"):
        schedule(sensors=0)


def test_the_truth_can_be_read_back_to_the_microsecond(tmp_path: Path) -> None:
    faults = schedule().starting(0, START_US + HOUR_US)
    faults.append(Fault("demo/odd,name", "spike", 1, 999_999, 1.0))
    path = tmp_path / "truth.csv"
    write_truth_csv(faults, path)
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["sensor", "kind", "start", "end"]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    read_back = [
        (
            sensor,
            kind,
            *((datetime.fromisoformat(at) - epoch) // timedelta(microseconds=1) for at in (start, end)),
        )
        for sensor, kind, start, end in rows
    ]
    assert read_back == [(f.sensor, f.kind, f.start_us, f.end_us) for f in faults]
    assert rows[-1][2:] == ["1970-01-01T00:00:00.000001Z", "1970-01-01T00:00:00.999999Z"]


def test_a_truth_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    write_truth_csv([], path)
    earlier = path.read_bytes()
    year_one_million_us = 10**6 * 365 * 24 * HOUR_US
    with pytest.raises(OverflowError):
        write_truth_csv([Fault("s", "spike", year_one_million_us, year_one_million_us, 1.0)], path)
    assert path.read_bytes() == earlier
    assert list(tmp_path.iterdir()) == [path]

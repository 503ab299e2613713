"""Faults are decided by the seed, never overlap on a sensor, and befall only those who can have them."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.simulator.faults.catalogue import KINDS, Befalls
from ingest.simulator.faults.fault import Fault
from ingest.simulator.faults.schedule import FaultSchedule, Targets

START_US = 1_700_000_000_000_000
S_US = 1_000_000
HOUR_US = 3_600 * S_US
GAUGES = ["spike", "drift", "noise_burst", "level_shift"]
PHASE_US = 137_000


def targets(sensors: int = 6, warm_up_s: float = 150.0, period_us: int = S_US) -> Targets:
    """Every third sensor is a counter; those after it may not fall; each two are a device."""
    numbers = np.arange(sensors)
    gauges = np.flatnonzero(numbers % 3 != 0)
    devices = [(f"d/{at}", np.arange(2 * at, min(2 * at + 2, sensors))) for at in range((sensors + 1) // 2)]
    return Targets(
        paths=[f"d/{sensor // 2}/{sensor}" for sensor in numbers],
        units=["Cel"] * sensors,
        scale=np.where(numbers % 3 != 0, np.linspace(0.5, 2.0, sensors), np.nan),
        phase_us=START_US + numbers * PHASE_US % period_us,
        period_us=np.full(sensors, period_us),
        warm_up_us=np.full(sensors, round(warm_up_s * S_US)),
        may_fall=numbers % 3 == 1,
        devices=devices,
        able={
            Befalls.GAUGES: gauges,
            Befalls.UNITS: gauges[:1],
            Befalls.COUNTERS: np.flatnonzero(numbers % 3 == 0),
            Befalls.PERIODIC: numbers,
            Befalls.DEVICES: np.arange(len(devices)),
        },
    )


def schedule(
    sensors: int = 6, seed: int = 1, every_s: float = 20.0, warm_up_s: float = 150.0, kinds: list[str] | None = None
) -> FaultSchedule:
    return FaultSchedule(targets(sensors, warm_up_s), kinds or list(KINDS), seed, START_US, every_s)


def concerned(fault: Fault, sensors: int) -> list[int]:
    if KINDS[fault.kind].befalls is Befalls.DEVICES:
        members: list[int] = targets(sensors).devices[fault.number][1].tolist()
        return members
    return [fault.number]


@cache
def once_asked() -> list[Fault]:
    return schedule().starting(START_US, START_US + 2 * HOUR_US)


@given(st.lists(st.tuples(st.integers(0, 2 * HOUR_US), st.integers(0, 2 * HOUR_US)), max_size=12))
def test_the_faults_do_not_depend_on_how_they_are_asked_for(asked: list[tuple[int, int]]) -> None:
    once = once_asked()
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
    faults = schedule(sensors, every_s=every_s).starting(0, START_US + 3 * HOUR_US)
    assert faults == sorted(faults, key=lambda fault: fault.start_us)
    assert faults[0].start_us >= START_US + 150 * S_US
    by_sensor: dict[int, list[Fault]] = {}
    for fault in faults:
        for sensor in concerned(fault, sensors):
            by_sensor.setdefault(sensor, []).append(fault)
    for of_one in by_sensor.values():
        for earlier, later in pairwise(of_one):
            assert later.start_us >= earlier.end_us + 150 * S_US  # healthy in between, too


def test_there_is_a_fault_in_every_interval_when_sensors_are_many() -> None:
    faults = schedule(1_000, every_s=20.0, kinds=GAUGES).starting(0, START_US + 150 * S_US + 10 * HOUR_US)
    assert len(faults) == pytest.approx(1_800, abs=2)


def test_kinds_come_by_their_shares_and_befall_those_who_can_have_them() -> None:
    faults = schedule(3_000, every_s=5.0).starting(0, START_US + 24 * HOUR_US)
    found = Counter(fault.kind for fault in faults)
    # One sensor alone has a unit that can be swapped: it is soon busy.
    del found["unit_swap"]
    shares = {name: kind.share for name, kind in KINDS.items() if name != "unit_swap"}
    total = sum(shares.values())
    assert {kind: found[kind] / found.total() for kind in shares} == pytest.approx(
        {kind: share / total for kind, share in shares.items()}, abs=0.015
    )
    able = targets(3_000).able
    for fault in faults:
        assert fault.number in able[KINDS[fault.kind].befalls]


def test_only_the_kinds_asked_for() -> None:
    faults = schedule(300, kinds=["stuck", "gateway_death"]).starting(0, START_US + 6 * HOUR_US)
    assert {fault.kind for fault in faults} == {"stuck", "gateway_death"}
    assert all(fault.path == f"d/{fault.number}" for fault in faults if fault.kind == "gateway_death")


def test_neither_kind_nor_sensor_moves_the_slots_that_follow() -> None:
    def draws(sensors: int) -> list[tuple[int, str]]:
        faults = schedule(sensors, every_s=60.0, warm_up_s=0.0, kinds=GAUGES).starting(0, START_US + 24 * HOUR_US)
        return [((fault.start_us - START_US) // (60 * S_US), fault.kind) for fault in faults]

    # Only readings' phases differ, and they move a fault over its slot's edge at the most.
    few, many = Counter(draws(1_000)), Counter(draws(1_001))
    assert (few & many).total() > 0.95 * few.total() > 1_300


def test_it_never_ends() -> None:
    days_us = START_US + 30 * 24 * HOUR_US
    assert schedule(every_s=600.0).starting(days_us, days_us + HOUR_US)


def test_every_fault_starts_and_ends_at_a_reading() -> None:
    for fault in schedule(30).starting(0, START_US + 6 * HOUR_US):
        first = concerned(fault, 30)[0]
        for at_us in (fault.start_us, fault.end_us):
            assert (at_us - START_US - first * PHASE_US) % S_US == 0
        low, high = KINDS[fault.kind].stay_s
        assert max(1.0, low) <= (fault.end_us - fault.start_us) / S_US <= high + 1
        if KINDS[fault.kind].stay_s == (0.0, 0.0):
            assert fault.end_us == fault.start_us + S_US


def test_a_fault_is_large_and_falls_only_where_it_may() -> None:
    faults = schedule(30, every_s=5.0).starting(0, START_US + 24 * HOUR_US)
    scale = targets(30).scale
    for fault in faults:
        kind = KINDS[fault.kind]
        if kind.sigmas is not None:
            low, high = kind.sigmas
            assert low - 1e-9 <= abs(fault.magnitude) / scale[fault.number] <= high + 1e-9
            assert fault.may_fall == (fault.number % 3 == 1)
            assert fault.magnitude > 0 or fault.may_fall
        elif kind.seconds is not None:
            assert kind.seconds[0] <= abs(fault.magnitude) <= kind.seconds[1]
        else:
            assert fault.magnitude == 0.0
    assert {fault.kind for fault in faults if fault.magnitude < 0} == {*GAUGES, "clock_jump"}


@pytest.mark.parametrize("period_s", [0.05, 7, 90, 86_400])
def test_every_fault_has_a_reading_whatever_the_period(period_s: float) -> None:
    period_us = round(period_s * S_US)
    whom = targets(6, 150.0, period_us)
    for fault in FaultSchedule(whom, list(KINDS), 1, START_US, 600.0).starting(0, START_US + 500 * HOUR_US):
        assert fault.end_us - fault.start_us >= period_us
        assert (fault.end_us - fault.start_us) % period_us == 0
        if fault.kind == "drift":
            assert fault.end_us - fault.start_us >= 2 * period_us  # it has to grow


@pytest.mark.parametrize("every_s", [0.0, -1.0, float("nan")])
def test_impossible_schedules_are_refused(every_s: float) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        schedule(every_s=every_s)


def test_faults_need_somebody_to_befall() -> None:
    with pytest.raises(ValueError, match="no sensor of this plant can have these faults: spike, stuck"):
        schedule(sensors=1, kinds=["spike", "stuck"])

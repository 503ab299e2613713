"""Alerts are held against what was truly wrong: what is found, what is false, and who is to blame."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingest.simulator.faults.fault import Fault
from stream.fold.gate import Verdict
from tests.scorecard.day import START_US, Day, Load
from tests.scorecard.judging import Card, concerned, judge
from tests.scorecard.watching import HIT, REFUSED, Seen

S_US = 1_000_000
PLANT = """
[plant]
levels = ["line", "machine", "quantity"]
[[group]]
name = "steady"
machines = "a/m-{1..8}"
period = "10s"
[[group.sensor]]
name = "x"
noise = { sigma = 1 }
[[group.sensor]]
name = "y"
noise = { sigma = 1 }
[[group]]
name = "stopping"
machines = "b/m-{1..2}"
period = "10s"
duty = { stop = { after = "36h", last = "6h" } }
[[group.sensor]]
name = "x"
noise = { sigma = 1 }
stopped = { value = 5, settle = "1m" }
"""
STEADY = 16
# The stop: from the second to the third hour of the four.
STOP_US = (START_US + 3 * 3_600 * S_US, START_US + 4 * 3_600 * S_US + 300 * S_US)


@lru_cache
def day_of(*kinds: str, faults: int = 6) -> Day:
    load = Load(sensors=18, hours=4, warm_up_hours=1, faults=faults, kinds=kinds, partitions=1)
    day = Day(load, PLANT)
    day.plant.advance(day.until_us)
    return day


def hits(*found: tuple[int, int, float]) -> NDArray[Any]:
    """(sensor, at_us, score), by the model "m"."""
    return np.array([(*one, 0) for one in sorted(found)], HIT)


def card_of(
    day: Day,
    alerts: NDArray[Any] | None = None,
    beyond: NDArray[Any] | None = None,
    refused: NDArray[Any] | None = None,
    **how: Any,
) -> Card:
    nothing, none_refused = np.empty(0, HIT), np.empty(0, REFUSED)
    seen = Seen(
        names=["m"],
        alerts=nothing if alerts is None else alerts,
        beyond=nothing if beyond is None else beyond,
        refused=none_refused if refused is None else refused,
        readings=1,
        made_cpu_s=0.0,
        folded_cpu_s=0.0,
    )
    return judge(day, seen, **how)


def counted(day: Day) -> list[Fault]:
    """In the group that does not stop."""
    return [one for one in day.plant.faults if one.path.startswith("a/") and one.end_us < day.until_us]


def healthy(day: Day) -> list[int]:
    """Sensors of that group that have no fault."""
    return sorted(set(range(STEADY)) - {who for one in day.plant.faults for who in concerned(day, one).tolist()})


def test_an_alert_while_a_fault_lasts_has_found_it() -> None:
    day = day_of("level_shift")
    fault = counted(day)[0]
    card = card_of(day, hits((fault.number, fault.start_us + 20 * S_US, 1.5)))
    (kind,) = card.kinds
    assert (kind.kind, kind.found, kind.alerted, kind.refused) == ("level_shift", 1, 1, 0)
    assert kind.delays_s == [20.0]
    assert kind.by == {"m": 1}
    assert card.false.count == 0
    assert kind.faults == kind.missed.total() + 1


@pytest.mark.parametrize(
    ("after_end_s", "found", "false"), [(-1, 1, 0), (29, 1, 0), (31, 0, 0), (1_799, 0, 0), (1_801, 0, 1)]
)
def test_an_alert_soon_after_a_fault_found_it_and_a_later_one_is_still_its_own(
    after_end_s: int, found: int, false: int
) -> None:
    day = day_of("stuck")
    fault = counted(day)[0]
    card = card_of(day, hits((fault.number, fault.end_us + after_end_s * S_US, 1.0)))
    assert (card.kinds[0].found, card.false.count) == (found, false)


def test_an_alert_of_another_sensor_is_false() -> None:
    day = day_of("level_shift")
    fault, other = counted(day)[0], healthy(day)[0]
    card = card_of(day, hits((other, fault.start_us, 2.0)))
    assert (card.alerts, card.false.count, card.false.per_day) == (1, 1, 6.0)
    assert card.false.of.total() == card.false.by.total() == card.false.hours.total() == 1
    assert card.false.worst == [(day.plant.roster.paths[other], 1)]


def test_a_device_is_found_by_any_of_its_sensors() -> None:
    day = day_of("gateway_death")
    fault = counted(day)[0]
    sensors = concerned(day, fault).tolist()
    assert len(sensors) == 2
    card = card_of(day, hits(*((sensor, fault.start_us + at * S_US, 1.0) for at, sensor in enumerate(sensors, 10))))
    assert (card.kinds[0].found, card.kinds[0].delays_s, card.false.count) == (1, [10.0], 0)


def test_what_the_gate_refused_is_found_without_an_alert() -> None:
    day = day_of("sentinel_65535")
    fault = counted(day)[0]
    refused = np.array([(fault.number, fault.start_us, Verdict.OUT_OF_RANGE)], REFUSED)
    card = card_of(day, refused=refused)
    (kind,) = card.kinds
    assert (kind.found, kind.alerted, kind.refused, kind.budgeted) == (1, 0, 1, 1)
    assert card.verdicts == {"out_of_range": 1}


def test_what_is_harmless_is_right_when_it_alarms_nobody() -> None:
    day = day_of("duplicate")
    fault = counted(day)[0]
    assert card_of(day).kinds[0].share == 1.0
    alarmed = card_of(day, hits((fault.number, fault.start_us, 1.0)))
    assert (alarmed.kinds[0].share, alarmed.false.count) == (1 - 1 / alarmed.kinds[0].faults, 0)


def test_nothing_counts_in_a_planned_stop_or_before_the_day() -> None:
    day = day_of("stuck", faults=0)
    (one,) = day.maintenance
    assert (one.match, one.from_us, one.until_us) == (("b/m-*/**",), *STOP_US)
    stopped, steady, before_us = STEADY, 0, day.from_us - 1
    found = [
        (who, at) for who in (stopped, steady) for at in (before_us, one.from_us - 1, one.from_us, one.until_us - 1)
    ]
    card = card_of(day, hits(*((who, at, 1.0) for who, at in found)))
    assert (card.alerts, card.in_maintenance, card.false.count) == (4, 2, 4)


def test_excursions_count_where_no_alert_does() -> None:
    day = day_of("level_shift")
    sensor, at_us = healthy(day)[0], day.from_us
    beyond = hits(
        *((sensor, at_us + at * S_US, score) for at, score in ((0, 1.0), (500, 4.0), (1_000, 2.0), (1_700, 3.0)))
    )
    card = card_of(day, beyond=beyond, raw=True)
    assert (card.alerts, card.false.count) == (2, 2)
    assert [text.split(", m ")[1] for text in card.false.examples] == ["4.00", "3.00"]
    assert card_of(day, beyond=beyond).false.count == 0


excursions = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5), st.floats(1.0, 9.0)), max_size=40)


@settings(max_examples=40, deadline=None)
@given(found=excursions, peak=st.floats(1.0, 9.0), budget=st.integers(0, 30))
def test_no_more_than_the_budget_is_beyond_its_boundary(
    found: list[tuple[int, int, float]], peak: float, budget: int
) -> None:
    day = day_of("level_shift")
    fault, others = counted(day)[0], healthy(day)
    beyond = [(others[at], day.from_us + 2_000 * S_US * turn, score) for at, turn, score in found]
    at_fault = (fault.number, fault.start_us, peak)
    card = card_of(day, beyond=hits(*beyond, at_fault), raw=True, budget=6.0 * budget)
    highest: dict[tuple[int, int], float] = {}
    for sensor, at, score in beyond:
        highest[sensor, at] = max(score, highest.get((sensor, at), 0.0))
    boundary = card.boundaries.everywhere
    assert sum(score >= boundary for score in highest.values()) <= budget
    assert boundary == 1.0 or sum(score >= np.nextafter(boundary, 0) for score in highest.values()) > budget
    assert card.kinds[0].budgeted == (peak >= boundary)
    assert card.false.count == card.false.excursions == len(highest)


@settings(max_examples=40, deadline=None)
@given(found=st.lists(st.tuples(st.integers(0, 17), st.integers(-3_600, 14_399), st.floats(1, 9)), max_size=30))
def test_every_alert_of_the_day_is_explained_or_false_or_in_a_stop(found: list[tuple[int, int, float]]) -> None:
    day = day_of("level_shift")
    alerts = hits(*((sensor, day.from_us + at * S_US, score) for sensor, at, score in found))
    card = card_of(day, alerts)
    in_day = [one for one in found if one[1] >= 0]
    assert card.alerts + card.in_maintenance == len(in_day)
    spans = [(one.number, one.start_us, one.end_us + 1_800 * S_US) for one in day.plant.faults]
    mine = [
        (sensor, day.from_us + at * S_US)
        for sensor, at, _ in in_day
        if not (sensor >= STEADY and STOP_US[0] <= day.from_us + at * S_US < STOP_US[1])
    ]
    false = [(who, at) for who, at in mine if not any(who == n and a <= at < b for n, a, b in spans)]
    assert card.false.count == len(false)

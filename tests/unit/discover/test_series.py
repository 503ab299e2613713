from collections.abc import Iterable
from typing import Any

import pytest

from ingest.contract.classes import Kind, Reporting
from ingest.decoders.json import Json
from ingest.discover.series import Traits, kind_of, reporting_of, traits_of
from ingest.discover.words import unit_of_name
from tests.unit.discover.hearing import START_US, burst, hear

JSON = Json(value="v")


def traits(*values: Any) -> Traits:
    hearing = hear([[("t", {"v": value})] for value in values])
    switches = [""] if all(value is None or isinstance(value, bool) for value in values) else []
    return traits_of(b"t", hearing.topics[b"t"], JSON, switches=switches)[""]


@pytest.mark.parametrize(
    ("values", "name", "kind"),
    [
        ([1.5, 2.5, 1.0], "x", Kind.GAUGE),
        ([1, 5, 2], "x", Kind.GAUGE),
        ([1, 2, 3, 4, 7], "x", Kind.COUNTER),
        ([1, 2, 3, 4, 3], "x", Kind.GAUGE),
        ([5, 5, 5], "parts", Kind.COUNTER),
        ([5, 5, 5], "x", Kind.GAUGE),
        ([True, False], "x", Kind.BOOL),
        ([0, 1, 0, 0, 1], "x", Kind.BOOL),
        ([0, 0], "motor_running", Kind.BOOL),
        ([0, 0], "x", Kind.GAUGE),
        (["RUN", "STOP", "RUN"], "x", Kind.ENUM),
        (["RUN"], "x", Kind.ENUM),
        (["order 1", "order 2", "order 3", "order 4"], "x", Kind.TEXT),
        (["2026-01-01"], "x", Kind.TEXT),
        ([None, None], "x", Kind.GAUGE),
        ([None, True], "x", Kind.BOOL),
    ],
)
def test_kinds(values: list[Any], name: str, kind: Kind) -> None:
    assert kind_of([traits(*values)], name) is kind


def at_times(times_s: Iterable[float], values: Iterable[Any]) -> Traits:
    hearing = hear([])
    last_s = 0.0
    for time_s, value in zip(times_s, values, strict=False):
        hearing.take(burst([("t", {"v": value})]), START_US + round(time_s * 1e6))
        last_s = time_s
    return traits_of(b"t", hearing.topics[b"t"], JSON, listened_us=round(last_s * 1e6))[""]


NUMBERS = [n * 0.37 for n in range(100)]
UNEVEN_S = [0, 1, 1.2, 9, 9.5, 30, 31, 60]


@pytest.mark.parametrize(
    ("times_s", "values", "expected"),
    [
        (range(60), NUMBERS, (Reporting.PERIODIC, True)),
        (range(60), [5.0] * 60, (Reporting.PERIODIC, True)),
        (UNEVEN_S, NUMBERS, (Reporting.ON_CHANGE, True)),
        (UNEVEN_S, [5.0] * 60, (Reporting.PERIODIC, True)),
        ([*range(8), 60], NUMBERS, (Reporting.ON_CHANGE, True)),
        ([0, 9], NUMBERS, (Reporting.PERIODIC, False)),
    ],
)
def test_reporting(times_s: Iterable[float], values: list[float], expected: tuple[Reporting, bool]) -> None:
    assert reporting_of([at_times(times_s, values)], Kind.GAUGE) == expected


def test_what_is_heard_once_is_guessed_from_its_kind() -> None:
    assert reporting_of([traits(True)], Kind.BOOL) == (Reporting.ON_CHANGE, False)


def test_retained_messages_tell_no_interval() -> None:
    hearing = hear([])
    for at in range(10):
        hearing.take(burst([("t", {"v": at})], retained=True), START_US + at * 1_000_000)
    assert traits_of(b"t", hearing.topics[b"t"], JSON)[""].regular is None


def test_a_clock_that_stands_is_not_the_time_of_sending() -> None:
    hearing = hear([[("t", {"ts": 1_790_000_000, "v": at})] for at in range(10)])
    assert traits_of(b"t", hearing.topics[b"t"], JSON)[""].regular is True


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("temperature", "Cel"),
        ("oilTemp", "Cel"),
        ("oil_temp_f", "[degF]"),
        ("pressure", "bar"),
        ("pressure_kpa", "kPa"),
        ("energy_kwh", "kW.h"),
        ("rel-humidity-01", "%"),
        ("speed", ""),
        ("c", ""),
    ],
)
def test_units_of_names(name: str, unit: str) -> None:
    assert unit_of_name(name) == unit

"""A bounded simulated day, folded as a worker folds it: what is cried about, what is found."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from ingest.contract.class_settings import ANOMALY, SILENT
from ingest.contract.settings import PlantSettings
from ingest.contract.wire import Kind, decode_readings, envelope_of
from tests.scorecard.day import START_US, Batch, Day, Load
from tests.scorecard.judging import HARMLESS, Card, judge
from tests.scorecard.watching import watch, watch_alone

SMALL = Load(sensors=40, hours=0.05, warm_up_hours=0.05, record_s=30)
BOUNDED = Load(sensors=600, hours=7, slower=60.0, faults=150, partitions=1, record_s=59)
"""Every few minutes a reading: a day to learn, and seven hours with a shift's beginning and the planned stop."""
LEAST_FOUND = {
    "spike": 0.8,
    "drift": 0.85,
    "noise_burst": 0.85,
    "level_shift": 0.85,
    "unit_swap": 0.85,
    "sentinel_65535": 0.95,
    "dropout": 0.8,
    "gateway_death": 0.9,
}


def batches(partitions: int = 2, record_s: int = 30) -> tuple[Day, list[Batch]]:
    day = Day(replace(SMALL, partitions=partitions, record_s=record_s))
    return day, list(day.batches())


@lru_cache
def bounded() -> tuple[Card, Card]:
    """With faults, and without."""
    day, calm = Day(BOUNDED), Day(replace(BOUNDED, faults=0))
    (seen,), (calmly,) = watch_alone(day)
    return judge(day, seen), judge(calm, calmly)


@pytest.mark.parametrize("record_s", [4, 30])
def test_a_log_has_every_reading_of_the_plant_once_in_its_partition(record_s: int) -> None:
    day, log = batches(record_s=record_s)
    rows = Day(SMALL).plant.advance(day.until_us)
    records = [(batch, decode_readings(batch.record.value or b"")) for batch in log if len(batch.sensor)]
    assert sum(len(readings) for _, readings in records) == len(rows)
    for batch, readings in records:
        paths = [day.plant.roster.paths[sensor] for sensor in batch.sensor.tolist()]
        assert readings.sensor.decode() == paths
        assert (day.partition[batch.sensor] == batch.partition).all()
        ago_us = envelope_of(batch.record.headers).arrival_us + 1_000 - batch.at_us
        assert ((ago_us > 0) & (ago_us <= record_s * 1_000_000)).all()
    told = np.concatenate([readings.value for _, readings in records])
    known = rows.value[[word is None for word in rows.other.tolist()]]
    assert sorted(told[~np.isnan(told)].tolist()) == sorted(known.tolist())
    said = [text for _, readings in records if readings.text for text in readings.text.decode() if text]
    assert sorted(said) == sorted(word for word in rows.other.tolist() if word is not None)


@pytest.mark.parametrize("record_s", [4, 30])
def test_every_partition_hears_the_time_pass(record_s: int) -> None:
    day, log = batches(partitions=1, record_s=record_s)
    envelopes = [envelope_of(batch.record.headers) for batch in log]
    arrivals = [one.arrival_us for one in envelopes if one.kind is not Kind.COMMAND]
    assert np.diff(arrivals).tolist() == [record_s * 1_000_000] * (len(arrivals) - 1)
    assert day.until_us - record_s * 1_000_000 < arrivals[-1] < day.until_us
    assert [batch.record.offset for batch in log] == list(range(len(log)))


def test_where_nothing_is_read_the_clock_ticks() -> None:
    day = Day(SMALL, '[plant]\nlevels = ["m", "q"]\n[[group]]\nname = "g"\nmachines = "m-{1..40}"\nperiod = "5m"\n'
              '[[group.sensor]]\nname = "x"\nnoise = { sigma = 1 }\n')  # fmt: skip
    kinds = {envelope_of(batch.record.headers).kind for batch in day.batches()}
    assert kinds == {Kind.READINGS, Kind.TICK}


def test_what_a_plant_says_of_its_sensors_is_all_that_is_set() -> None:
    settings = Day(SMALL).settings()
    assert settings.plant.model_dump(exclude={"levels", "expected_sensors"}) == PlantSettings().model_dump(
        exclude={"levels", "expected_sensors"}
    )
    assert all(one.models is None and one.rules == [ANOMALY, SILENT] for one in settings.classes)
    chosen = Day(SMALL).settings(["stuck"])
    assert {one.models[0].name for one in chosen.classes if one.models} == {"stuck"}


def test_the_day_that_counts_is_quiet_before_its_faults() -> None:
    day = Day(Load(sensors=100, hours=2, warm_up_hours=1, slower=4, faults=50))
    day.plant.advance(day.until_us)
    assert 30 <= len(day.plant.faults) <= 50
    assert min(fault.start_us for fault in day.plant.faults) >= day.from_us == START_US + 3_600_000_000


def test_days_side_by_side_are_as_each_would_be_alone() -> None:
    day, calm = (Day(replace(SMALL, hours=0.3, warm_up_hours=0.3, faults=faults)) for faults in (30, 0))
    side_by_side = [one for (one,) in watch_alone(Day(day.load))]
    for beside, alone in zip(side_by_side, [*watch(day), *watch(calm)], strict=True):
        assert beside.beyond.tolist() == alone.beyond.tolist()
        assert beside.refused.tolist() == alone.refused.tolist()
    faulty, quiet = side_by_side
    assert len(faulty.beyond) > len(quiet.beyond)
    assert len(faulty.alerts) > len(quiet.alerts)


def test_faults_are_found_and_what_is_harmless_alarms_nobody() -> None:
    card, _ = bounded()
    found = {one.kind: one for one in card.kinds}
    assert {kind: one.share for kind, one in found.items() if one.share < LEAST_FOUND.get(kind, 0.0)} == {}
    assert {kind: one.alerted for kind, one in found.items() if kind in HARMLESS and one.alerted} == {}
    for kind in ("duplicate", "reorder", "clock_jump"):
        assert found[kind].refused == found[kind].faults


def test_nobody_is_told_of_a_planned_stop() -> None:
    for card in bounded():
        assert card.in_maintenance == 0
        assert card.false.of.total() == card.false.count <= card.alerts


def test_a_quiet_day_keeps_the_budget() -> None:
    _, calm = bounded()
    assert calm.false.per_day <= 20.0

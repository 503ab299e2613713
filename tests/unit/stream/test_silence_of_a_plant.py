"""Silence in simulated plants: nothing is said of a healthy hour, and who stops sending is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deploy.registries import read_settings
from ingest.contract.readings import Readings, Words
from ingest.contract.wire import ARROW, Envelope, Kind, encode_readings, headers_of
from ingest.simulator.plant import Plant
from stream.fold.alerts import Phase, Transition
from stream.fold.definitions import Definitions
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.plan import make_plan
from tests.unit.simulator.reading_back import ours
from tests.unit.stream.logs import MODELS, PARTITIONS, S_US, START_US

DEMO = Path(__file__).parents[3] / "deploy" / "plants" / "demo.toml"
WARM_S = 400


def fold_of_demo() -> PartitionFold:
    """The shipped settings, of which only silence is to be seen."""
    settings = read_settings(DEMO, with_models=True)
    classes = [
        one.model_copy(update={"models": [], "rules": [rule for rule in one.rules if rule.signal == "silence"]})
        for one in settings.classes
    ]
    return PartitionFold(make_plan(Definitions(classes, 1_000, 300 * S_US), MODELS), PARTITIONS)


def watched(plant: Plant, fold: PartitionFold, last_s: int, step_s: int) -> list[Transition]:
    """What is told while a plant sends for so long, and a second more; its words go into one partition."""
    found: list[Transition] = []
    for offset, at_s in enumerate(range(step_s, last_s + step_s + 1, step_s)):
        now_us = START_US + at_s * S_US
        rows = plant.advance(now_us)
        nothing = np.zeros(len(rows), np.uint8)
        value = np.array([0.0 if other is not None else x for x, other in zip(rows.value, rows.other, strict=True)])
        sensor = Words(rows.sensor.astype(np.int32), list(plant.roster.paths))
        headers = headers_of(Envelope(Kind.READINGS, ARROW, "test", offset, now_us, PARTITIONS))
        data = encode_readings(Readings(sensor, rows.ts_us, value, nothing, nothing))
        found += fold.fold(LogRecord(offset, headers, data)).transitions
    return found


def test_a_healthy_hour_with_sensors_that_report_on_change_says_nothing() -> None:
    fold = fold_of_demo()

    assert watched(Plant(ours("demo"), 7, START_US, sensors=96, fault_every_s=0), fold, 3_600, 8) == []
    on_change = fold.state.sensors["on_change"][: fold.state.slots.rows] != 0
    assert 0 < on_change.sum() < on_change.size


def test_sensors_that_drop_out_are_found_and_nobody_else() -> None:
    plant = Plant(ours("demo"), 7, START_US, sensors=96, fault_every_s=60, fault_kinds=["dropout"])
    fold = fold_of_demo()
    found = watched(plant, fold, 1_200, 1)
    on_change = fold.state.sensors["on_change"]
    lost = [one for one in plant.faults if not on_change[fold.state.names.index(one.path)]]
    late = {one.path for one in lost if one.start_us > START_US + WARM_S * S_US}
    told = {one.sensor for one in found if one.phase is Phase.FIRING}

    assert len(late) > 5
    assert late <= told <= {one.path for one in lost}
    # Who had dropped out before has learned a little of it.
    first = {fault.path: fault for fault in reversed(lost)}
    late = {path for path in late if first[path].start_us > START_US + WARM_S * S_US}
    delays = [
        one.at_us - first[one.sensor].start_us
        for one in found
        if one.phase is Phase.FIRING and one.sensor in late and one.at_us < first[one.sensor].end_us
    ]
    assert 9 * S_US <= min(delays) <= max(delays) <= 14 * S_US


def test_a_device_that_dies_is_one_alert() -> None:
    plant = Plant(ours("demo"), 3, START_US, sensors=240, fault_every_s=200, fault_kinds=["gateway_death"])
    found = watched(plant, fold_of_demo(), 900, 1)
    deaths = [one for one in plant.faults if one.start_us > START_US + WARM_S * S_US]
    fired = [one for one in found if one.phase is Phase.FIRING]

    assert deaths
    for death in deaths:
        of_it = [
            one for one in fired if one.sensor.startswith(death.path) and death.start_us < one.at_us <= death.end_us
        ]
        assert [(one.together, one.node) for one in of_it] == [(4, death.path)]
    assert len(fired) <= len(plant.faults)

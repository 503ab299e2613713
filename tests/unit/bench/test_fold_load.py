"""The benchmark of the fold: its plant speaks as it says, its warm state is one, what it is held against is right."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from statistics import fmean, pstdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.fold.gate import Verdict
from stream.fold.partition import PartitionFold
from tests.bench.baselines.fold_plain import WINDOW_MS, PlainFold, Sensor
from tests.bench.fold_json import FORMS, Form
from tests.bench.fold_load import (
    QUANTITIES,
    ROUND_US,
    START_US,
    arrow_records,
    foreign_records,
    json_arrays,
    json_columns,
    json_lines,
    parts_of,
    pieces_of,
    readings_of,
)
from tests.bench.fold_warm import FEW, HISTORY, WARM_UP_ROUNDS, default_plan, in_turn, repeated, warm_worker
from tests.unit.stream.logs import MINUTE_US, Batch, examples, record_of


@examples(50)
@given(sensors=st.integers(1, 60).map(lambda machines: machines * 8), partitions=st.integers(1, 5))
def test_every_sensor_of_a_plant_has_one_partition(sensors: int, partitions: int) -> None:
    parts = parts_of(sensors, partitions)

    names = [name for part in parts for name in part.names]
    assert len(names) == len(set(names)) == sensors
    machines = [{name.rpartition("/")[0] for name in part.names} for part in parts]
    assert sum(map(len, machines)) == sensors // len(QUANTITIES)


@examples(20)
@given(machines=st.integers(1, 40), rounds=st.integers(1, 4), rows=st.integers(1, 50))
def test_every_sensor_speaks_once_a_round_in_order_of_its_time(machines: int, rounds: int, rows: int) -> None:
    (part,) = parts_of(machines * 8, 1)
    readings = readings_of(part, 0, rounds)

    by_round = readings.sensor.index.reshape(rounds, -1)
    assert (np.sort(by_round, axis=1) == np.arange(machines * 8)).all()
    assert (by_round.reshape(rounds, machines, 8) // 8 == by_round.reshape(rounds, machines, 8)[:, :, :1] // 8).all()
    for sensor in range(machines * 8):
        assert (np.diff(readings.ts_us[readings.sensor.index == sensor]) > 0).all()

    fold = PartitionFold(default_plan(), 1)
    for record in arrow_records(part, 0, rounds, rows):
        fold.fold(record)
    assert fold.state.counts[Verdict.FOLDED] == machines * 8 * rounds == fold.state.counts.sum()


def test_a_state_of_more_sensors_goes_on_as_that_of_few() -> None:
    worker = warm_worker(FEW + 80, 1)
    assert len(worker.folds[0].state.slots) == FEW + 80

    before = worker.folded()
    for fold, record in worker.arrow(2):
        fold.fold(record)

    assert worker.folded() - before == 2 * (FEW + 80)
    state = worker.folds[0].state
    heard = len(HISTORY) + WARM_UP_ROUNDS + 2
    for used, bank in zip(worker.folds[0].plan.models, state.banks, strict=True):
        if "seen" not in (bank.dtype.names or ()):
            continue  # stuck counts runs
        # The time of day counts those of hours that it knows.
        least = 300 if used.name == "time_of_day" else heard
        assert least <= bank["seen"][: state.slots.rows].min() <= heard
    hour = worker.folds[0].statistics(60 * MINUTE_US)
    assert hour["samples"].min() > 200


def test_a_sensor_that_is_like_another_has_its_rows() -> None:
    (part,) = parts_of(16, 1)
    few = replace(part, names=part.names[:8])
    fold = PartitionFold(default_plan(), 1)
    for record in arrow_records(few, 0, 3):
        fold.fold(record)
    frozen = fold.state.freeze()

    more = repeated(frozen, few.names, part.names)

    assert more.names == part.names
    by_slot = {name: array for name, array in frozen.arrays.items() if len(array) == len(few.names)}
    assert {"sensors", "panes"} <= by_slot.keys()
    for name, array in by_slot.items():
        for at, sensor in enumerate(part.names):
            like = array[frozen.names.index(part.names[at % 8])]
            assert more.arrays[name][at].tobytes() == like.tobytes(), (name, sensor)


def test_partitions_take_turns() -> None:
    folds = [PartitionFold(default_plan(), 2) for _ in range(2)]
    (part,) = parts_of(8, 1)
    one, two, three = (arrow_records(part, number, 1)[0] for number in range(3))

    assert list(in_turn(folds, [[one, three], [two]])) == [(folds[0], one), (folds[1], two), (folds[0], three)]


# --- what it is held against ----------------------------------------------------------------------------------------

VALUES = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))


@examples(100)
@given(readings=st.lists(st.tuples(st.integers(0, WINDOW_MS // 2), VALUES), min_size=1, max_size=60))
def test_the_fold_by_hand_has_the_statistics_of_the_last_minute(readings: list[tuple[int, float]]) -> None:
    sensor, at_ms, said = Sensor(), 0, []
    for pause_ms, value in readings:
        at_ms += pause_ms
        said.append((at_ms, value))
        sensor.fold(at_ms, value)

        last = [value for ts_ms, value in said if ts_ms > at_ms - WINDOW_MS]
        n, mean, stddev, low, high = sensor.statistics()
        assert (n, low, high) == (len(last), min(last), max(last))
        assert mean == pytest.approx(fmean(last), abs=1e-6)
        assert stddev == pytest.approx(pstdev(last), abs=1e-2)


def test_the_fold_by_hand_reads_the_same_log() -> None:
    (part,) = parts_of(80, 1)
    fold = PlainFold()

    fold.fold(json_lines(readings_of(part, 0, WARM_UP_ROUNDS)))

    assert sorted(fold.sensors) == sorted(part.names)
    assert {sensor.statistics()[0] for sensor in fold.sensors.values()} == {60}
    usual = fold.alerts
    fold.fold([b'{"sensor":"%s","ts":1800000000000,"value":1e6}' % part.names[0].encode()])
    assert fold.alerts == usual + 1


def test_the_fold_by_hand_reads_every_form_that_we_read() -> None:
    (part,) = parts_of(80, 1)
    lines, arrays, columns = PlainFold(), PlainFold(), PlainFold()
    for piece in pieces_of(part, 0, WARM_UP_ROUNDS):
        lines.fold(json_lines(piece))
        arrays.fold_arrays(json_arrays(piece))
        columns.fold_columns(json_columns(piece))

    statistics = [
        {name: sensor.statistics() for name, sensor in fold.sensors.items()} for fold in (lines, arrays, columns)
    ]
    assert statistics[0] == statistics[1] == statistics[2]
    assert lines.alerts == arrays.alerts == columns.alerts


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_what_other_producers_write_is_folded_as_what_gateways_write(form: Form) -> None:
    folds = []
    for write in (arrow_records, partial(foreign_records, rows=form.rows, written=form.written)):
        (part,) = parts_of(80, 1)
        fold = PartitionFold(default_plan(), 1, partition=0)
        for record in write(part, 0, 3):
            fold.fold(record)
        # They do not arrive at the same times.
        at_end = Batch(START_US + 3 * ROUND_US)
        fold.fold(record_of(fold.state.next_offset, at_end, tick=True, partitions=1))
        folds.append(fold)

    ours, foreign = (fold.statistics(MINUTE_US) for fold in folds)
    assert folds[0].state.names == folds[1].state.names
    assert ours.tobytes() == foreign.tobytes()

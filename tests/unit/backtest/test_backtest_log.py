"""Rows become records: in order of time, cut the same however they were read, with ticks where nothing came."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.backtest import log
from deploy.backtest.log import FEWEST_ROWS, MAX_ROWS, SPAN_US, Batch, batches, in_order
from deploy.backtest.replay import default_definitions
from deploy.backtest.rows import Rows
from deploy.registries import model_registry
from ingest.contract.errors import StopError
from ingest.contract.wire import Kind, decode_readings, envelope_of
from stream.fold.partition import PartitionFold
from stream.fold.plan import make_plan
from tests.unit.backtest.tables import opened, written

T0 = 1_704_067_200_000_000
PATHS = ["a/t", "a/p", "b/t"]


def made(steps_us: list[int]) -> Rows:
    ts_us = T0 + np.cumsum(np.array(steps_us, np.int64))
    return Rows(ts_us, (np.arange(len(ts_us)) % 3).astype(np.int32), np.arange(len(ts_us), dtype=np.float64))


def blocks(rows: Rows, cuts: list[int]) -> list[Rows]:
    places = sorted({0, *(one % (len(rows.ts_us) + 1) for one in cuts), len(rows.ts_us)})
    return [rows.take(slice(a, b)) for a, b in pairwise(places)]


def same(one: Batch, other: Batch) -> bool:
    mine, theirs = one.rows, other.rows
    return (
        one.records == other.records
        and np.array_equal(mine.ts_us, theirs.ts_us)
        and np.array_equal(mine.sensor, theirs.sensor)
        and np.array_equal(mine.value, theirs.value)
    )


@given(
    st.lists(st.tuples(st.integers(1, 9_000), st.sampled_from([0, 10_000, 100_000, 900_000, 200_000_000])), max_size=5),
    st.lists(st.integers(0, 50_000), max_size=6),
)
def test_records_are_the_same_however_the_rows_were_read(runs: list[tuple[int, int]], cuts: list[int]) -> None:
    rows = made([step for count, step in runs for _ in range(count)])
    whole, parts = list(batches([rows], PATHS)), list(batches(blocks(rows, cuts), PATHS))
    assert len(whole) == len(parts)
    assert all(map(same, whole, parts))
    if whole:
        assert np.array_equal(np.concatenate([one.rows.ts_us for one in whole]), rows.ts_us)
    for batch in whole:
        count = len(batch.rows.ts_us)
        assert count <= MAX_ROWS
        assert count <= FEWEST_ROWS or batch.rows.ts_us[-1] - batch.rows.ts_us[0] <= SPAN_US


def test_a_record_arrives_with_its_newest_row_and_ticks_come_where_nothing_did() -> None:
    rows = made([1_000_000] * FEWEST_ROWS + [3_600_000_000] + [1_000_000] * 10)
    first, second = batches([rows], PATHS)
    offsets, before_us = [], 0
    for batch in (first, second):
        *ticks, readings = batch.records
        for record in ticks:
            envelope = envelope_of(record.headers)
            assert envelope.kind is Kind.TICK
            assert before_us < envelope.arrival_us <= batch.rows.ts_us[0]
            before_us = envelope.arrival_us
        envelope = envelope_of(readings.headers)
        assert (envelope.kind, envelope.arrival_us) == (Kind.READINGS, batch.rows.ts_us.max())
        found = decode_readings(readings.value or b"")
        assert found.sensor.decode() == [PATHS[one] for one in batch.rows.sensor.tolist()]
        assert np.array_equal(found.value, batch.rows.value)
        before_us = envelope.arrival_us
        offsets += [record.offset for record in batch.records]
    assert offsets == list(range(len(offsets)))
    assert not first.records[:-1]
    assert len(second.records) > 3


def test_a_record_ends_before_a_gap_that_is_out_of_the_ordinary() -> None:
    rows = made([300_000_000] * 150 + [7_200_000_000] + [300_000_000] * 100)
    first, second = batches([rows], PATHS)
    assert len(first.rows.ts_us) == 150
    assert len(second.records) > 3


@pytest.mark.parametrize("step_s", [1, 29, 61, 300, 86_400])
def test_the_clock_keeps_up_with_the_rows_up_to_a_record(step_s: int) -> None:
    fold = PartitionFold(make_plan(default_definitions(), model_registry()), 1)
    for batch in batches([made([step_s * 1_000_000] * 5_000)], PATHS):
        for record in batch.records[:-1]:
            fold.fold(record)
        if fold.state.now_us:
            assert 0 <= batch.rows.ts_us[0] - fold.state.now_us <= SPAN_US
        fold.fold(batch.records[-1])


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 3).map(lambda step: step * 1_000_000), min_size=1, max_size=30),
            st.lists(st.integers(0, 30), max_size=3),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_files_are_one_log_in_order_of_time(files: list[tuple[list[int], list[int]]]) -> None:
    streams = []
    expected = []
    for number, (steps, cuts) in enumerate(files):
        rows = made(steps)._replace(sensor=np.full(len(steps), number, np.int32))
        streams.append(iter([one for one in blocks(rows, cuts) if len(one.ts_us)]))
        expected += list(zip(rows.ts_us.tolist(), rows.sensor.tolist(), rows.value.tolist(), strict=True))
    merged = Rows.join(list(log._merged(streams)))
    found = list(zip(*(column.tolist() for column in merged), strict=True))
    assert found == sorted(expected)


def test_a_file_out_of_order_is_sorted_unless_it_is_to_stay_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "time,a,b\n2024-01-01 00:00:02,3,4\n2024-01-01 00:00:01,1,2\n2024-01-01 00:00:02,5,\n")
    recording, _ = opened(path)
    kept = recording.look(100)
    assert not recording.met.ordered
    for in_memory in (kept, None):
        assert Rows.join(list(in_order([(recording, in_memory)], None))).value.tolist() == [1, 2, 3, 4, 5]
        assert Rows.join(list(in_order([(recording, in_memory)], False))).value.tolist() == [3, 4, 1, 2, 5]
    monkeypatch.setattr(log, "MAX_SORTED_ROWS", 3)
    with pytest.raises(StopError, match="--no-sort"):
        list(in_order([(recording, kept)], None))


def test_what_does_not_fit_into_memory_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path, "time,a,b\n" + "".join(f"{1_704_067_200 + at},{at},{at}\n" for at in range(50)))
    recording, _ = opened(path)
    assert recording.look(99) is None
    again = Rows.join(list(in_order([(recording, None)], None)))
    assert again.value.tolist() == [at for at in range(50) for _ in range(2)]

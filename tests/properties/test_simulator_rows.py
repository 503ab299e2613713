"""Rows are sent in the order of their times, whatever order they were made in."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.simulator.rows import Rows

START_MS = 1_700_000_000_000
times_ms = st.one_of(st.integers(0, 5), st.integers(0, 10**9))
made = st.lists(st.tuples(st.one_of(st.integers(0, 3), st.integers(0, 2_000_000)), times_ms, times_ms), max_size=40)


@given(rows=made)
def test_rows_are_ordered_by_sending_then_sensor_then_reading(rows: list[tuple[int, int, int]]) -> None:
    sensor, at_ms, ts_ms = np.array(rows, np.int64).reshape(-1, 3).T
    value = np.arange(len(rows), dtype=np.float64)
    other = np.full(len(rows), None, object)
    found = Rows(sensor, (START_MS + at_ms) * 1_000, (START_MS + ts_ms) * 1_000, value, other).in_order()
    by_hand = sorted(range(len(rows)), key=lambda at: (rows[at][1], rows[at][0], rows[at][2]))
    assert found.value.tolist() == by_hand

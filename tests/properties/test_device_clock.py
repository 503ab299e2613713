"""Clocks: the same verdicts for any split into batches, equal to a plain fold over the rows; no honest delay counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.contract.readings import MIN_TS_US
from ingest.device_clock import Action, ClockRule, DeviceClocks

few = settings(max_examples=150, deadline=None)

SECOND_US = 1_000_000
WINDOW_US = 10 * SECOND_US
PATIENCE = 4
START_US = 1_700_000_000 * SECOND_US
LIMIT_US = 100 * SECOND_US
RULES = [ClockRule(action, SECOND_US, LIMIT_US) for action in ("trust", "correct", "quarantine")]


@dataclass(frozen=True)
class Row:
    device: int
    ts_us: int
    arrival_us: int
    evidence: bool = True


def clocks() -> DeviceClocks:
    made = DeviceClocks(WINDOW_US, PATIENCE)
    for number, rule in enumerate(RULES):
        assert made.number(f"m{number}", rule) == number
    return made


def judge(made: DeviceClocks, rows: list[Row]) -> list[tuple[int, bool, bool]]:
    out = made.judge(
        np.array([row.device for row in rows], np.int32),
        np.array([row.ts_us for row in rows], np.int64),
        np.array([row.arrival_us for row in rows], np.int64),
        np.array([row.evidence for row in rows], np.bool_),
    )
    return list(zip(out.ts_us.tolist(), out.corrected.tolist(), out.rejected.tolist(), strict=True))


@dataclass
class Plain:
    """What the module says of one device, row by row."""

    rule: ClockRule
    window: int = -1
    low: int | None = None
    run: int = 0
    run_low: int = 0
    settled: int = 0
    latest: int | None = None

    def judge(self, row: Row) -> tuple[int, bool, bool]:
        window, tolerance = row.arrival_us // WINDOW_US, self.rule.tolerance_us
        if window > self.window or window < self.window - 1:
            if self.low is not None:
                self._settle(self.low)
            self.window, self.low = window, None
        if row.ts_us == 0:
            return 0, False, False
        lag = row.arrival_us - row.ts_us
        if row.evidence:
            self.low = lag if self.low is None else min(self.low, lag)
        if self.rule.action == "trust":
            return row.ts_us, False, False
        if lag < -self.rule.max_offset_us or min(lag, self.settled) > self.rule.max_offset_us:
            return row.ts_us, False, True
        if self.rule.action == "quarantine":
            return row.ts_us, False, False
        correction = self.settled if tolerance < abs(self.settled) <= self.rule.max_offset_us else 0
        if row.ts_us + correction > row.arrival_us + tolerance:
            return 0, True, False
        if correction and row.ts_us + correction < MIN_TS_US:
            return row.ts_us, False, True
        return row.ts_us + correction, correction != 0, False

    def _settle(self, low: int) -> None:
        tolerance = self.rule.tolerance_us
        if self.run and abs(low - self.run_low) <= tolerance:
            self.run += 1
        else:
            self.run, self.run_low = 1, low
        self.latest = low
        needed = 2 if low < self.settled or abs(low) <= tolerance else PATIENCE
        if self.run >= needed and abs(low - self.settled) > tolerance:
            self.settled = low


lags = st.one_of(
    st.sampled_from([0, 1, -5, 5, 30, -30, 99, 101, -99, -101, 150, 1_000_000_000]).map(lambda s: s * SECOND_US),
    st.integers(-3 * SECOND_US, 3 * SECOND_US),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    """Stretches in which a device's lag stays about the same, so that clocks are believed and change."""
    rows: list[Row] = []
    now_us = START_US
    for _ in range(draw(st.integers(1, 6))):
        device, lag = draw(st.integers(-1, 2)), draw(lags)
        step_us = draw(st.sampled_from([SECOND_US, 3 * SECOND_US, WINDOW_US, 5 * WINDOW_US]))
        for _ in range(draw(st.integers(1, 20))):
            now_us += step_us
            jitter = draw(st.integers(0, SECOND_US))
            ts_us = 0 if draw(st.integers(0, 19)) == 0 else now_us - lag - jitter
            rows.append(Row(device, ts_us, now_us, evidence=draw(st.integers(0, 9)) > 0))
        if draw(st.integers(0, 9)) == 0:
            now_us -= draw(st.integers(0, 10)) * WINDOW_US  # our own clock is set back
    return rows


@few
@given(rows=histories(), data=st.data())
def test_verdicts_are_those_of_a_plain_fold_for_any_split(rows: list[Row], data: st.DataObject) -> None:
    made, plain = clocks(), [Plain(rule) for rule in RULES]
    expected = [plain[row.device].judge(row) if row.device >= 0 else (row.ts_us, False, False) for row in rows]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=6)))
    got: list[tuple[int, bool, bool]] = []
    for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        got += judge(made, rows[start:end])
    assert got == expected
    told = {device: offset for device, offset, _ in made.offsets(10)}
    assert told == {f"m{n}": -one.latest for n, one in enumerate(plain) if one.latest is not None}


@few
@given(rows=histories())
def test_a_restart_from_a_snapshot_changes_no_correction(rows: list[Row]) -> None:
    first = clocks()
    judge(first, rows)
    second = DeviceClocks(WINDOW_US, PATIENCE)
    second.restore(first.snapshot())
    for number, rule in enumerate(RULES):
        second.number(f"m{number}", rule)
    last = rows[-1].arrival_us
    probe = [Row(n, last - lag * SECOND_US, last) for n in range(3) for lag in (0, 50, -50, 200)]
    # Rows in the window that is open: they close none, so that only what was settled decides.
    probe = [row for row in probe if all(row.device != old.device for old in rows) or rows[-1].device == row.device]
    assert judge(second, probe) == judge(first, probe)
    assert second.snapshot() == first.snapshot()


@few
@given(
    action=st.sampled_from(["trust", "correct", "quarantine"]),
    rows=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 100_000)), min_size=1, max_size=100),
    outages=st.lists(st.tuples(st.integers(0, 1_500), st.integers(1, 600)), max_size=3),
)
def test_an_honest_device_is_never_touched_whatever_its_delays(
    action: Action, rows: list[tuple[int, int]], outages: list[tuple[int, int]]
) -> None:
    """Delays of any size, and outages after which all that was held back arrives at once, the oldest first."""
    made = DeviceClocks(WINDOW_US, PATIENCE)
    made.number("m", ClockRule(action, SECOND_US, LIMIT_US))
    sent_us = START_US
    honest: list[Row] = []
    for gap, delay in rows:
        sent_us += gap * SECOND_US
        arrival = sent_us + delay
        for start, length in outages:
            if start <= (sent_us - START_US) // SECOND_US < start + length:
                arrival = max(arrival, START_US + (start + length) * SECOND_US)
        if honest:
            arrival = max(arrival, honest[-1].arrival_us)
        honest.append(Row(0, sent_us, arrival))
    for row, (ts_us, corrected, rejected) in zip(honest, judge(made, honest), strict=True):
        assert (ts_us, corrected, rejected) == (row.ts_us, False, False)


@few
@given(
    offset_s=st.integers(-99, 99).filter(lambda s: abs(s) > 2),
    delays=st.lists(st.integers(0, 400_000), min_size=60, max_size=60),
)
def test_a_constant_offset_is_found_and_taken_away(offset_s: int, delays: list[int]) -> None:
    """offset: how far the device is ahead. Every window has a reading that took at most 0.4 s."""
    made = DeviceClocks(WINDOW_US, PATIENCE)
    made.number("m", ClockRule("correct", SECOND_US, LIMIT_US))
    true = [START_US + n * 2 * SECOND_US for n in range(60)]
    rows = [Row(0, t + offset_s * SECOND_US, t + delay) for t, delay in zip(true, delays, strict=True)]
    late_enough = (PATIENCE + 1) * WINDOW_US
    for t, (ts_us, corrected, rejected) in zip(true, judge(made, rows), strict=True):
        assert not rejected
        if t - START_US >= late_enough:
            # Off by the quickest delay of the windows at the most.
            assert corrected
            assert ts_us == 0 or abs(ts_us - t) <= 400_000

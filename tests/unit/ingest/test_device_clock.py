"""Clocks that jump, drift or were never set, one device at a time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.device_clock import ClockRule, DeviceClocks, DeviceOffset, Judged

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 3_600 * SECOND_US
START_US = 1_700_000_040 * SECOND_US  # a whole minute
CORRECT = ClockRule("correct")
QUARANTINE = ClockRule("quarantine", max_offset_us=HOUR_US // 2)


class Device:
    """A device that sends once a second, and the clocks that judge it, as time goes by."""

    def __init__(self, rule: ClockRule, clocks: DeviceClocks | None = None) -> None:
        self.clocks = clocks or DeviceClocks()
        self.number = self.clocks.number("plant/m1", rule)
        self.now_us = START_US

    def send(self, minutes: float, offset_us: int = 0, delay_us: int = 50_000, evidence: bool = True) -> Judged:
        """Readings of the next minutes by a clock that is `offset_us` ahead."""
        true_us = self.now_us + np.arange(round(minutes * 60)) * SECOND_US
        self.now_us = int(true_us[-1]) + SECOND_US
        return self.judge(true_us + offset_us, true_us + delay_us, evidence)

    def judge(self, ts_us: NDArray[np.int64], arrival_us: NDArray[np.int64], evidence: bool = True) -> Judged:
        rows = ts_us.size
        return self.clocks.judge(
            np.full(rows, self.number, np.int32),
            ts_us,
            arrival_us,
            np.full(rows, evidence),
        )

    def one(self, lag_us: int) -> Judged:
        return self.judge(np.array([self.now_us - lag_us]), np.array([self.now_us]))

    @property
    def told(self) -> DeviceOffset:
        (told,) = self.clocks.offsets(5)
        return told


def untouched(out: Judged) -> bool:
    return not out.corrected.any() and not out.rejected.any()


def test_trust_only_tells() -> None:
    device = Device(ClockRule("trust"))
    assert untouched(device.send(20, offset_us=HOUR_US))
    assert device.told == DeviceOffset("plant/m1", HOUR_US - 50_000, 0)
    assert untouched(device.send(20, offset_us=-HOUR_US))
    assert device.told.offset_us == -HOUR_US - 50_000


def test_a_clock_that_is_ahead_is_corrected_after_two_windows_and_stamped_with_the_arrival_before() -> None:
    device = Device(CORRECT)
    first = device.send(2, offset_us=HOUR_US)
    assert first.corrected.all()
    assert (first.ts_us == 0).all()
    then = device.send(1, offset_us=HOUR_US)
    assert np.array_equal(then.ts_us, START_US + 120 * SECOND_US + np.arange(60) * SECOND_US + 50_000)
    assert device.told.correction_us == -HOUR_US + 50_000


def test_a_clock_that_is_behind_is_corrected_only_when_a_backlog_can_no_longer_be_the_reason() -> None:
    device = Device(CORRECT)
    assert untouched(device.send(10, offset_us=-HOUR_US))
    then = device.send(5, offset_us=-HOUR_US)
    assert then.corrected.all()
    assert then.ts_us[0] == START_US + 600 * SECOND_US + 50_000


@pytest.mark.parametrize("jump_us", [HOUR_US, -HOUR_US])
def test_a_clock_that_jumps_and_comes_back_is_followed(jump_us: int) -> None:
    device = Device(CORRECT)
    assert untouched(device.send(10))
    device.send(12, offset_us=jump_us)
    during = device.send(5, offset_us=jump_us)
    assert during.corrected.all()
    assert (during.ts_us != 0).all()
    device.send(3)
    after = device.send(5)
    assert untouched(after)
    assert device.told == DeviceOffset("plant/m1", -50_000, 0)


def test_no_time_is_ever_much_later_than_its_arrival() -> None:
    device = Device(CORRECT)
    device.send(15, offset_us=-HOUR_US)
    # Set right this moment: the correction is an hour too much until two windows have shown it.
    arrival_us = device.now_us + np.arange(60) * SECOND_US + 50_000
    set_right = device.send(1)
    assert (set_right.ts_us <= arrival_us + CORRECT.tolerance_us).all()
    assert (set_right.ts_us == 0).all()


def test_a_drift_is_followed_in_steps_of_the_tolerance() -> None:
    device = Device(CORRECT)
    device.send(2)
    corrections = set()
    for minute in range(300):  # a clock that loses 0.1 s a minute
        device.send(1, offset_us=-100_000 * minute)
        corrections.add(device.told.correction_us)
    # 30 s in the end, followed in a dozen steps and never farther behind than tolerance, patience and drift explain.
    assert 5 <= len(corrections) <= 15
    assert abs(device.told.offset_us + device.told.correction_us) <= CORRECT.tolerance_us + 12 * 100_000


def test_one_absurd_reading_changes_nothing_but_itself() -> None:
    device = Device(CORRECT)
    device.send(5)
    assert device.one(-48 * HOUR_US).rejected.all()
    assert device.one(-HOUR_US).ts_us.tolist() == [0]
    assert untouched(device.send(10))


def test_a_backlog_is_no_clock_error() -> None:
    device = Device(CORRECT)
    device.send(5)
    sent_us = device.now_us + np.arange(3_600) * SECOND_US
    # An hour held back, then drained in eight minutes.
    arrival_us = device.now_us + HOUR_US + np.linspace(0, 8 * MINUTE_US, 3_600).astype(np.int64)
    assert untouched(device.judge(sent_us, arrival_us))
    device.now_us = int(arrival_us[-1])
    assert untouched(device.send(5))


def test_retained_and_historical_readings_are_no_evidence_but_are_corrected() -> None:
    device = Device(CORRECT)
    assert untouched(device.send(30, offset_us=-HOUR_US, evidence=False))
    assert device.clocks.offsets(5) == []
    device.send(12, offset_us=-HOUR_US)
    assert device.send(1, offset_us=-HOUR_US, evidence=False).corrected.all()


def test_jitter_within_the_tolerance_moves_no_correction() -> None:
    device = Device(CORRECT)
    device.send(15, offset_us=-HOUR_US)
    before = device.told.correction_us
    for delay_us in (50_000, 1_500_000, 300_000, 1_900_000):
        device.send(12, offset_us=-HOUR_US, delay_us=delay_us)
        assert device.told.correction_us == before


def test_quarantine_refuses_what_is_too_far_ahead_at_once_and_what_is_too_far_behind_when_it_is_sure() -> None:
    ahead = Device(QUARANTINE)
    assert ahead.send(1, offset_us=HOUR_US).rejected.all()
    assert untouched(ahead.send(1, offset_us=HOUR_US // 4))
    behind = Device(QUARANTINE)
    assert untouched(behind.send(10, offset_us=-HOUR_US))
    assert behind.send(1, offset_us=-HOUR_US).rejected.all()
    # Set right: its readings are taken again at once.
    assert untouched(behind.send(5))


def test_a_clock_too_far_off_is_refused_instead_of_corrected() -> None:
    device = Device(ClockRule("correct", max_offset_us=HOUR_US // 2))
    device.send(10, offset_us=-HOUR_US)
    out = device.send(1, offset_us=-HOUR_US)
    assert out.rejected.all()
    assert not out.corrected.any()
    assert device.told.correction_us == 0


def test_readings_without_a_time_and_without_a_device_are_left_alone() -> None:
    device = Device(CORRECT)
    device.send(5, offset_us=HOUR_US)
    assert untouched(device.judge(np.zeros(1, np.int64), np.array([device.now_us])))
    out = device.clocks.judge(
        np.array([-1], np.int32), np.array([START_US]), np.array([START_US + HOUR_US]), np.array([True])
    )
    assert untouched(out)
    assert out.ts_us.tolist() == [START_US]


def test_an_empty_batch_is_judged() -> None:
    device = Device(CORRECT)
    assert device.judge(np.zeros(0, np.int64), np.zeros(0, np.int64)).ts_us.size == 0


def test_devices_are_bounded_and_the_worst_are_told_first() -> None:
    clocks = DeviceClocks(max_devices=100)
    numbers = [clocks.number(f"m{n}", CORRECT) for n in range(150)]
    assert numbers == [*range(100), *[-1] * 50]
    assert clocks.number("m5", QUARANTINE) == 5
    assert clocks.devices == 100
    device = np.arange(100, dtype=np.int32)
    offset_us = (np.where(device % 2, 1, -1) * device).astype(np.int64) * SECOND_US
    for minute in range(2):
        arrival_us = np.full(100, START_US + minute * MINUTE_US, np.int64)
        clocks.judge(device, arrival_us + offset_us, arrival_us, np.ones(100, np.bool_))
    assert [(name, offset // SECOND_US) for name, offset, _ in clocks.offsets(3)] == [
        ("m99", 99),
        ("m98", -98),
        ("m97", 97),
    ]


def test_what_is_known_survives_a_restart() -> None:
    device = Device(CORRECT)
    assert device.clocks.changes == 0
    device.send(5, offset_us=HOUR_US)
    assert device.clocks.changes == 1
    clocks = DeviceClocks()
    clocks.restore(device.clocks.snapshot())
    again = Device(CORRECT, clocks)
    first = again.send(1, offset_us=HOUR_US)
    assert first.ts_us.tolist() == (START_US + 50_000 + np.arange(60) * SECOND_US).tolist()


@pytest.mark.parametrize(
    "snapshot",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"version":2,"settled_us":{}}',
        b'{"version":1,"settled_us":{"a":"b"}}',
        b'{"version":1,"settled_us":{"a":1e300}}',
        b'{"version":1,"settled_us":{"a":9223372036854775807}}',
    ],
)
def test_a_snapshot_of_something_else_is_refused(snapshot: bytes) -> None:
    with pytest.raises(ValueError, match="snapshot of clocks"):
        DeviceClocks().restore(snapshot)


def test_impossible_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="tolerance_us"):
        ClockRule(tolerance_us=0)
    with pytest.raises(ValueError, match="max_offset_us"):
        ClockRule(tolerance_us=SECOND_US, max_offset_us=SECOND_US)
    with pytest.raises(ValueError, match="patience"):
        DeviceClocks(patience=1)

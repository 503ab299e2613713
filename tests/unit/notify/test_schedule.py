"""Pauses between tries."""

from __future__ import annotations

import pytest

from stream.notify.schedule import Schedule, retry_after_us
from tests.unit.notify.rig import HOUR_US, NOW_US, S_US, notifier


def test_pauses_double_up_to_the_longest() -> None:
    schedule = Schedule(notifier(), lambda: 0.5)
    assert [schedule.pause_us(n) // S_US for n in range(1, 12)] == [
        *(5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560),
        3600,
    ]
    assert schedule.pause_us(10_000) == HOUR_US


def test_they_vary_by_a_quarter() -> None:
    least, most = (Schedule(notifier(), lambda spread=spread: spread) for spread in (0.0, 1.0))  # type: ignore[misc]
    assert (least.pause_us(1), most.pause_us(1)) == (3_750_000, 6_250_000)


def test_some_33_tries_in_a_day() -> None:
    schedule, at_us, tries = Schedule(notifier(), lambda: 0.5), 0, 1
    while not schedule.is_over(0, at_us := at_us + schedule.pause_us(tries)):
        tries += 1
    assert tries == 33


def test_a_receiver_may_ask_for_longer_but_not_for_ever() -> None:
    schedule = Schedule(notifier(), lambda: 0.5)
    assert schedule.pause_us(1, 120 * S_US) == 120 * S_US
    assert schedule.pause_us(6, 1 * S_US) == 160 * S_US
    assert schedule.pause_us(1, 10**9 * S_US) == HOUR_US


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30),
        (" 30 ", 30),
        ("Sun, 15 Jun 2025 15:07:40 GMT", 60),
        ("Sun, 15 Jun 2025 15:00:00 GMT", 0),
        ("Sun, 15 Jun 2025 15:07:40 -0000", 60),
        ("", None),
        (None, None),
        ("-5", None),
        ("1e9", None),
        ("9" * 400, None),
        ("٣", None),
        ("Sun, 99 Jun 2025", None),
        ("Sun, 15 Jun 99999999999 15:07:40 GMT", None),
    ],
)
def test_retry_after(header: str | None, seconds: int | None) -> None:
    assert retry_after_us(header, NOW_US) == (None if seconds is None else seconds * S_US)

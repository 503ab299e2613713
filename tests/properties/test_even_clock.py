"""Arrivals are stamped by a clock that goes on evenly while the wall clock jumps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.even_clock import JUMP_US, PATIENCE_S, EvenClock
from tests.unit.ingest.gateways import NOW_US, StillClock
from tests.unit.stream.logs import HOUR_US, S_US, examples

JUMPS = st.sampled_from([0, 0, HOUR_US, -HOUR_US, 30 * S_US, -24 * HOUR_US])


class Wall:
    """A wall clock whose error a test sets; true time is the monotonic clock's."""

    def __init__(self) -> None:
        self.clock = StillClock()
        self.even = EvenClock(self.clock)

    @property
    def true_us(self) -> int:
        return NOW_US + round(self.clock.s * S_US)

    def told(self, passed_s: float, error_us: int) -> int:
        self.clock.s += passed_s
        self.clock.us = self.true_us + error_us
        return self.even.now_us()


@examples(100)
@given(st.lists(st.tuples(st.floats(0.0, 100.0), JUMPS), max_size=40))
def test_it_never_goes_back_and_never_goes_faster_than_the_wall_clock(turns: list[tuple[float, int]]) -> None:
    wall, before_us = Wall(), NOW_US
    for passed_s, error_us in turns:
        now_us = wall.told(passed_s, error_us)

        assert now_us >= before_us
        assert now_us <= max(before_us + round(passed_s * S_US) + 1, wall.clock.us)
        before_us = now_us


@examples(100)
@given(st.lists(st.floats(0.01, 10.0), min_size=1, max_size=40), st.sampled_from([HOUR_US, -HOUR_US]))
def test_a_jump_that_is_taken_back_within_a_minute_never_happened(steps_s: list[float], error_us: int) -> None:
    wall, jumped_s = Wall(), 0.0
    for passed_s in steps_s:
        jumped_s += passed_s
        error = error_us if jumped_s < PATIENCE_S else 0

        assert abs(wall.told(passed_s, error) - wall.true_us) <= JUMP_US


@examples(40)
@given(st.sampled_from([HOUR_US, -HOUR_US, 10 * S_US, -10 * S_US]), st.floats(2.0, 20.0))
def test_a_jump_that_stays_is_followed_and_time_never_stands_still(error_us: int, step_s: float) -> None:
    wall, before_us = Wall(), NOW_US
    until_s = PATIENCE_S + 2 * abs(error_us) / S_US + 3 * step_s
    while wall.clock.s < until_s:
        now_us = wall.told(step_s, error_us)

        assert now_us - before_us >= round(step_s * S_US) // 2 - 1
        before_us = now_us
    assert abs(wall.even.now_us() - wall.clock.us) <= JUMP_US


@examples(40)
@given(st.lists(st.floats(0.0, 5.0), max_size=40), st.floats(-0.05, 0.05))
def test_a_clock_that_drifts_is_followed(steps_s: list[float], drift: float) -> None:
    wall = Wall()
    for passed_s in steps_s:
        wall.told(passed_s, round(wall.clock.s * drift * S_US))

        assert abs(wall.even.now_us() - wall.clock.us) <= JUMP_US

"""The partition's clock goes on with what it is told: no single source moves it away, and when all agree it follows."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.class_settings import ClassSettings, RuleSettings
from ingest.contract.classes import Reporting
from stream.fold.alerts import Phase
from stream.fold.clock import AGREED_US, AWAY_US, TRUSTED_US, Clock
from stream.fold.gate import Verdict
from tests.unit.stream.logs import HOUR_US, MINUTE_US, S_US, START_US, Batch, Row, examples, fold_log, plan_of

SECONDS = st.integers(-3 * 3_600, 3 * 3_600).map(lambda second: START_US + second * S_US)
HEARD = st.lists(SECONDS | st.integers(START_US - 2 * AWAY_US, START_US + 2 * AWAY_US), max_size=30)
FAR_US = st.integers(AWAY_US + 1, 400 * 24 * HOUR_US) | st.integers(-400 * 24 * HOUR_US, -AWAY_US - 1)
ERRORS = st.sampled_from([HOUR_US, -HOUR_US, 59 * S_US, -2 * MINUTE_US, 400 * 24 * HOUR_US])


def after(times_us: list[int]) -> Clock:
    return reduce(Clock.heard, times_us, Clock())


@examples(200)
@given(HEARD, st.lists(st.integers(1, 3), min_size=30, max_size=30))
def test_hearing_a_time_again_changes_nothing(heard: list[int], times: list[int]) -> None:
    again = [at_us for at_us, count in zip(heard, times, strict=False) for _ in range(count)]

    assert after(again) == after(heard)


@examples(200)
@given(st.lists(st.integers(0, AWAY_US - 10 * S_US), max_size=30), st.integers(0, 10))
def test_sources_that_agree_within_a_minute_move_it_ahead_and_never_back(late_us: list[int], step_s: int) -> None:
    heard = [START_US + at * step_s * S_US - by_us for at, by_us in enumerate(late_us)]
    clock, latest_us = Clock(), 0
    for at_us in heard:
        clock, latest_us = clock.heard(at_us), max(latest_us, at_us)

        assert clock.now_us == latest_us


@examples(200)
@given(
    st.lists(st.tuples(st.one_of(st.just(0), ERRORS), st.integers(1, 40)), min_size=1, max_size=8), st.integers(1, 20)
)
def test_an_error_lasts_hardly_longer_than_it_is_told(errors: list[tuple[int, int]], step_s: int) -> None:
    """However a source's clock jumps: once it has gone evenly for a minute and two steps, the clock is with it."""
    clock, true_us = Clock(), START_US
    for error_us, records in errors:
        begun_us = true_us
        for _ in range(records):
            true_us += step_s * S_US
            told_us = true_us + error_us
            clock = clock.heard(told_us)
            if true_us - begun_us >= AGREED_US + 2 * step_s * S_US:
                assert 0 <= clock.now_us - told_us <= AWAY_US


@examples(100)
@given(HEARD)
def test_it_is_always_a_time_that_was_told(heard: list[int]) -> None:
    clock = after(heard)

    assert {clock.now_us, clock.latest_us} <= {0, *heard}
    assert clock.now_us <= clock.trusted_us <= max(clock.now_us, clock.latest_us + TRUSTED_US)


@examples(200)
@given(st.lists(st.tuples(st.integers(0, 40 * S_US), FAR_US), max_size=60))
def test_no_source_moves_it_while_others_say_otherwise(log: list[tuple[int, int]]) -> None:
    """One source is wrong, each time by as much as it likes; between its records is one of another, or a tick."""
    clock, right_us = Clock().heard(START_US), START_US
    for step_us, error_us in log:
        right_us += step_us
        clock = clock.heard(right_us)
        assert clock.heard(right_us + error_us).now_us == clock.now_us == right_us
        clock = clock.heard(right_us + error_us)


@examples(100)
@given(st.integers(AWAY_US + 1, 400 * 24 * HOUR_US), st.integers(1, 30))
def test_after_an_outage_of_everything_it_goes_on_a_minute_after_the_first_record(gap_us: int, step_s: int) -> None:
    clock, back_us = Clock().heard(START_US), START_US + gap_us

    for at_us in range(back_us, back_us + AGREED_US, step_s * S_US):
        clock = clock.heard(at_us)
        assert clock.now_us == START_US
        assert clock.trusted_us == at_us

    assert clock.heard(back_us + AGREED_US).now_us == back_us + AGREED_US


@examples(50)
@given(st.lists(st.integers(AWAY_US + 1, 2 * HOUR_US), min_size=5, max_size=30))
def test_in_a_log_without_ticks_it_is_hardly_behind(steps_us: list[int]) -> None:
    """Records minutes or hours apart, as they come where no worker is on: it goes on with every third."""
    clock, told = Clock(), [START_US]
    for step_us in steps_us:
        told.append(told[-1] + step_us)
    for at, at_us in enumerate(told):
        clock = clock.heard(at_us)
        assert clock.now_us == told[at - at % 3]


# --- what it is for -----------------------------------------------------------------------------------------------

CLASSES = (
    ClassSettings(
        name="valve",
        match=["**/valve"],
        reporting=Reporting.ON_CHANGE,
        models=[],
        rules=[RuleSettings(name="open", signal="value", above=1.0, hold="20m", resolve_after="1s")],
    ),
    ClassSettings(
        name="rest",
        match=["**"],
        models=[],
        rules=[RuleSettings(name="hot", signal="value", above=10.0, hold="2s", resolve_after="2s")],
    ),
)


def day(error_us: int, begun: int, over: int) -> list[Batch]:
    """Half an hour of a plant whose gateway's clock is wrong for a while. Sensors have their own, right, clocks."""
    log = []
    for second in range(0, 1_800, 10):
        now_us = START_US + second * S_US
        rows = [Row("a/1/temperature", now_us, 20.0 if second % 600 > 500 else 5.0)]
        if second == 100:
            rows.append(Row("a/1/valve", now_us, 1.0))
        log.append(Batch(now_us + (error_us if begun <= second < over else 0), tuple(rows)))
    return log


@examples(4)
@given(st.sampled_from([HOUR_US, -HOUR_US]), st.integers(10, 1_200), st.integers(10, 600))
def test_a_jump_of_an_hour_makes_nothing_late_and_neither_makes_nor_mutes_alerts(
    error_us: int, begun: int, lasts: int
) -> None:
    plan = plan_of(*CLASSES)
    usual = fold_log(plan, day(0, 0, 0))

    found = fold_log(plan, day(error_us, begun, begun + lasts))

    assert found.count(Verdict.FOLDED) == usual.count(Verdict.FOLDED)
    hot = [[one for one in each.transitions if one.rule == "hot"] for each in (found, usual)]
    assert hot[0] == hot[1] != []
    # The valve says nothing more: for it, time is what the clock says, and a jump may cost or give it some.
    phases = [one.phase for one in found.transitions if one.rule == "open"]
    assert phases in ([Phase.PENDING], [Phase.PENDING, Phase.FIRING])
    assert not any(effects.digests for effects in found.effects)


def test_a_silent_sensors_alert_is_hardly_put_off_by_a_clock_that_was_ahead() -> None:
    found = fold_log(plan_of(*CLASSES), day(HOUR_US, 300, 310))

    at_us = [effects.offset * 10 for effects in found.effects for one in effects.transitions if one.rule == "open"]
    begun_s, fired_s = at_us
    assert 20 * 60 <= fired_s - begun_s <= 25 * 60 + 20


PRESS = ClassSettings(
    name="press",
    match=["**"],
    reporting=Reporting.ON_CHANGE,
    models=[],
    rules=[RuleSettings(name="open", signal="value", above=1.0, hold="10m", resolve_after="5m")],
)


def hours_with_a_wrong_clock(every_s: int, until_s: int) -> list[Batch]:
    """A hundred valves open, fifty of them close again; then ticks, and somebody who is an hour ahead."""
    open_now = tuple(Row(f"a/{at}/valve", START_US, 2.0) for at in range(100))
    closed = tuple(Row(f"a/{at}/valve", START_US + S_US, 0.0) for at in range(50))
    log = [Batch(START_US, open_now), Batch(START_US + S_US, closed)]
    for second in range(2, until_s):
        now_us = START_US + second * S_US
        log.append(Batch(now_us))
        if second % every_s == 0:
            log.append(Batch(now_us + HOUR_US, (Row("b/1/valve", now_us + HOUR_US, 0.0),)))
    return log


@pytest.mark.parametrize("every_s", [1, 6, 30, 61, 150])
def test_one_gateway_an_hour_ahead_neither_fires_nor_resolves_the_alerts_of_others(every_s: int) -> None:
    found = fold_log(plan_of(PRESS), hours_with_a_wrong_clock(every_s, 590))

    assert {one.phase for one in found.transitions if one.at_us > START_US + S_US} == set()
    assert not any(effects.digests for effects in found.effects)


def test_what_is_held_while_a_gateway_is_an_hour_ahead_fires_in_time() -> None:
    found = fold_log(plan_of(PRESS), hours_with_a_wrong_clock(30, 620))

    fired = [one.at_us for one in found.transitions if one.phase is Phase.FIRING]
    assert len(fired) == 50
    assert set(fired) == {START_US + 600 * S_US}


def test_who_is_heard_in_the_minute_after_an_outage_was_not_silent_throughout_it() -> None:
    back_us = START_US + 40 * MINUTE_US
    before = Row("a/1/valve", START_US, 2.0), Row("a/2/valve", START_US, 0.0)
    back = Row("a/2/valve", back_us, 2.0)
    ticks = [Batch(back_us + at * S_US) for at in range(1, 70)]

    found = fold_log(plan_of(PRESS), [Batch(START_US, before), Batch(back_us, (back,)), *ticks])

    assert [one.sensor for one in found.transitions if one.phase is Phase.FIRING] == ["a/1/valve"]
    assert found.fold.state.now_us == back_us + 69 * S_US
    assert found.statistics("a/2/valve", 10 * MINUTE_US)["mean"] < 0.1

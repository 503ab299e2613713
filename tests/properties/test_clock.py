"""The partition's clock is the latest time told, until all agree that this was wrong."""

from __future__ import annotations

from functools import reduce

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
ERRORS = st.sampled_from([HOUR_US, -HOUR_US, 59 * S_US, -2 * MINUTE_US, 400 * 24 * HOUR_US])


def after(times_us: list[int]) -> Clock:
    return reduce(Clock.heard, times_us, Clock())


@examples(200)
@given(HEARD, st.lists(st.integers(1, 3), min_size=30, max_size=30))
def test_hearing_a_time_again_changes_nothing(heard: list[int], times: list[int]) -> None:
    again = [at_us for at_us, count in zip(heard, times, strict=False) for _ in range(count)]

    assert after(again) == after(heard)


@examples(200)
@given(st.lists(st.integers(0, AWAY_US), max_size=30), st.integers(0, 10))
def test_sources_that_agree_within_a_minute_never_move_it_back(late_us: list[int], step_s: int) -> None:
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

    assert clock.now_us in {0, *heard}
    assert clock.now_us <= clock.trusted_us <= clock.now_us + TRUSTED_US


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

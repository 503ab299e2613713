"""The settings, compiled: panes for any set of windows, classes in order, options per class."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.class_settings import DEFAULT_MODELS, EVERYTHING_ELSE, ClassSettings, ModelSettings, RuleSettings
from ingest.contract.classes import Kind, Reporting
from ingest.contract.panes import MAX_PANES, Level, level_of, pane_levels
from stream.fold.plan import AS_ITS_SOURCE, Plan
from tests.unit.stream.logs import MINUTE_US, S_US, START_US, Batch, Row, examples, fold_log, plan_of


def plan_for(*windows_us: int) -> Plan:
    return plan_of(EVERYTHING_ELSE.model_copy(update={"windows": list(windows_us)}))


# --- panes --------------------------------------------------------------------------------------------------------

WINDOWS = st.lists(
    st.one_of(st.integers(1, 3_600).map(lambda seconds: seconds * S_US), st.integers(S_US, 100 * S_US)),
    min_size=1,
    max_size=4,
)


@examples(100)
@given(windows_us=WINDOWS)
def test_every_window_is_a_whole_number_of_a_levels_panes_or_is_refused(windows_us: list[int]) -> None:
    try:
        plan = plan_for(*windows_us)
    except ValueError:
        return
    levels = plan.levels.tolist()
    assert plan.panes == sum(count for _, _, count in levels) <= MAX_PANES
    assert [first for _, first, _ in levels] == [sum(count for _, _, count in levels[:at]) for at in range(len(levels))]
    assert all(wider % width == 0 and wider > width for (width, _, _), (wider, _, _) in pairwise(levels))
    for window_us in windows_us:
        width_us, _, count = levels[level_of(levels, window_us)]
        assert window_us % width_us == 0
        assert 5 <= window_us // width_us <= count


@given(windows_us=WINDOWS)
@examples(20)
def test_the_levels_are_a_function_of_the_set(windows_us: list[int]) -> None:
    def levels(given_us: Collection[int]) -> tuple[Level, ...] | None:
        try:
            return pane_levels(given_us)
        except ValueError:
            return None

    assert levels(windows_us) == levels(tuple(reversed(windows_us))) == levels({*windows_us})


def test_the_usual_windows_have_four_levels() -> None:
    assert plan_of(EVERYTHING_ELSE).levels.tolist() == [
        [2 * S_US, 0, 5], [12 * S_US, 5, 5], [120 * S_US, 10, 5], [720 * S_US, 15, 5]
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 100, 300, 600, 3_600, 86_400, 7 * 86_400])
def test_a_window_that_people_ask_for_can_be_had(seconds: int) -> None:
    """10 s is 10,000,000 µs, which twelve does not divide."""
    assert 10 <= plan_for(seconds * S_US).panes <= 24


@pytest.mark.parametrize(
    "seconds",
    [
        (10, 60),
        (60, 300, 3_600),
        (1, 60),
        (7, 60),
        (60, 100),
        (5, 10, 15, 60),
        (60, 7 * 86_400),
        (1, 60, 3_600, 86_400),
    ],
)
def test_usual_sets_of_windows_can_be_had_together(seconds: tuple[int, ...]) -> None:
    assert plan_for(*(one * S_US for one in seconds)).panes <= 30


def test_windows_of_all_classes_share_the_panes() -> None:
    short = ClassSettings(name="short", match=["a/**"], windows=["1m"])
    long = ClassSettings(name="long", match=["**"], windows=["5m"])

    assert plan_of(short, long).levels.tolist() == plan_for(MINUTE_US, 5 * MINUTE_US).levels.tolist()


@pytest.mark.parametrize("windows_us", [(S_US, S_US + 1), (1_000_003,), (997 * S_US, 60 * S_US)])
def test_windows_that_would_need_too_many_panes_are_refused_with_a_way_out(windows_us: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"more than 256 panes a sensor: make them multiples"):
        plan_for(*windows_us)


def test_a_window_that_no_class_has_has_no_statistics() -> None:
    fold = fold_log(plan_for(MINUTE_US), []).fold
    for window_us in (2 * MINUTE_US, MINUTE_US - 1):
        with pytest.raises(ValueError, match="not among those"):
            fold.statistics(window_us)


def test_a_class_without_windows_needs_no_panes_to_speak_of() -> None:
    plan = plan_for()

    assert plan.panes == 1
    assert fold_log(plan, [Batch(START_US, (Row("a/t", START_US, 1.0),))]).fold.state.counts.sum() == 1


# --- classes ------------------------------------------------------------------------------------------------------


def test_the_first_class_that_matches_is_the_sensors() -> None:
    classes = (
        ClassSettings(name="one", match=["**/temperature"], range=(0.0, 10.0)),
        ClassSettings(name="two", match=["a/*/temperature", "a/**"], range=(0.0, 100.0)),
        EVERYTHING_ELSE,
    )
    paths = ("a/1/temperature", "a/1/pressure", "b/1/pressure", "temperature")
    rows = tuple(Row(path, START_US, 50.0) for path in paths)

    state = fold_log(plan_of(*classes), [Batch(START_US, rows)]).fold.state

    assert state.class_of[: len(paths)].tolist() == [0, 1, 2, 0]


def test_limits_follow_the_class() -> None:
    classes = (
        ClassSettings(name="enum", match=["e"], kind=Kind.ENUM),
        ClassSettings(name="bool", match=["b"], kind=Kind.BOOL, reporting=Reporting.ON_CHANGE, staleness="10s"),
        ClassSettings(name="rest", match=["**"], range=(-5.0, None)),
    )

    limits = plan_of(*classes).limits

    assert limits["numeric"].tolist() == [0, 1, 1]
    assert limits["on_change"].tolist() == [AS_ITS_SOURCE, 1, AS_ITS_SOURCE]
    assert limits["staleness_us"][1] == 10 * S_US
    assert limits["low"][2] == -5.0
    assert np.isfinite(limits["high"]).all()


# --- models -------------------------------------------------------------------------------------------------------


def test_each_class_has_its_own_models_and_options() -> None:
    classes = (
        ClassSettings(name="strict", match=["s"], models=[ModelSettings(name="ewma_z", options={"warm_up": 10})]),
        ClassSettings(name="none", match=["n"], models=[]),
        ClassSettings(name="switch", match=["b"], kind=Kind.BOOL),
        ClassSettings(name="rest", match=["**"]),
    )
    plan = plan_of(*classes)
    usual = [Row(path, START_US + at * S_US, float(at % 3)) for at in range(50) for path in "snbt"]
    spike = [Row(path, START_US + 60 * S_US, 1e3) for path in "snbt"]

    scores = fold_log(plan, [Batch(START_US + MINUTE_US, (*usual, *spike))]).fold.state.sensors["score"][:4]

    assert [used.name for used in plan.models] == ["ewma_z", *(one.name for one in DEFAULT_MODELS)]
    assert scores[0] > 1.0
    assert not scores[1:].any()  # no model, no model, and one that is still warming up


def test_a_model_that_nobody_uses_costs_nothing() -> None:
    assert plan_of(EVERYTHING_ELSE.model_copy(update={"models": []})).models == ()


# --- rules --------------------------------------------------------------------------------------------------------


def test_rules_belong_to_classes_with_numbers() -> None:
    rule = RuleSettings(name="high", signal="value", above=1.0)
    classes = (
        ClassSettings(name="text", match=["x"], kind=Kind.TEXT, rules=[rule]),
        ClassSettings(name="rest", match=["**"], rules=[rule, rule.model_copy(update={"name": "other"})]),
    )

    plan = plan_of(*classes)

    assert [[one.settings.name for one in of_class] for of_class in plan.rules] == [[], ["high", "other"]]
    assert plan.rule_rows["used"].tolist() == [[0, 0], [1, 1]]


def test_a_revision_is_the_same_in_every_process_and_differs_by_class() -> None:
    rule = RuleSettings(name="high", signal="value", above=1.0, hold="90s")
    first, second = (
        plan_of(ClassSettings(name=name, match=["**"], rules=[rule])).rules[0][0].revision for name in ("one", "two")
    )

    assert first != second
    # Another one here would give every alert that is open at an upgrade a new id.
    assert first == "d41798b5"


def test_a_rule_below_a_limit_is_the_mirror_of_one_above() -> None:
    def phases(rule: RuleSettings, sign: float) -> list[tuple[str, int]]:
        one = ClassSettings(name="c", match=["**"], models=[], rules=[rule])
        levels = (0.0, 5.0, 3.5, 2.0, 0.0, 5.0)
        rows = tuple(Row("t", START_US + at * S_US, sign * level) for at, level in enumerate(levels))
        found = fold_log(plan_of(one), [Batch(START_US + MINUTE_US, rows)]).transitions
        return [(change.phase.name, change.at_us) for change in found]

    above = RuleSettings(name="r", signal="value", above=4.0, hysteresis=1.0, resolve_after="0s")
    below = RuleSettings(name="r", signal="value", below=-4.0, hysteresis=1.0, resolve_after="0s")

    assert phases(above, 1.0) == phases(below, -1.0)
    assert [phase for phase, _ in phases(above, 1.0)] == ["FIRING", "RESOLVED", "FIRING"]

"""What an alert says of the data behind it, and of its sensor's share of the budget.

That it says the same however the log is cut is what `test_fold.py` and others hold of all transitions.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ingest.contract.class_settings import ClassSettings, ModelSettings, RuleSettings
from ingest.contract.classes import Reporting
from ingest.contract.readings import Quality
from stream.fold.alerts import Phase
from stream.fold.commands import Maintain, Retire
from stream.fold.explaining import DataQuality, said
from stream.fold.gate import Verdict
from tests.properties.test_commands import command
from tests.unit.stream.logs import MINUTE_US, S_US, START_US, Batch, Row, fold_log, fold_records, plan_of, records_of

SENSOR = "a/1/t"
HOT = RuleSettings(name="hot", signal="value", above=80.0)
ODD = RuleSettings(name="odd", above=1.0, hysteresis=0.2)
DULL = [ModelSettings(name="ewma_z", options={"warm_up": 20})]
CLASS = ClassSettings(name="all", match=["**"], models=DULL, rules=[HOT, ODD], range=(-1e6, 1e6), warm_up=5)


def batch(at_s: float, value: float, came_s: float | None = None, **other: Any) -> Batch:
    """One reading of the sensor."""
    ts_us = START_US + round(at_s * S_US)
    arrival_us = ts_us if came_s is None else START_US + round(came_s * S_US)
    return Batch(arrival_us, (Row(SENSOR, ts_us, value, **other),))


def usual(seconds: int) -> list[Batch]:
    return [batch(at, 20.0 + at % 3) for at in range(seconds)]


def told(log: list[Batch], **change: Any) -> list[tuple[str, Phase, str]]:
    found = fold_log(plan_of(CLASS.model_copy(update=change)), log).transitions
    return [(one.rule, one.phase, one.quality) for one in found]


@pytest.mark.parametrize(
    ("log", "quality"),
    [
        ([*usual(100), batch(100, 90.0)], "good"),
        ([*usual(100), batch(100, 90.0, quality=Quality.UNCERTAIN)], "uncertain"),
        ([*usual(4), batch(4, 90.0)], "warming"),
        ([*usual(5), batch(5, 90.0)], "good"),
        ([*usual(100), batch(100, 1e9), batch(101, 90.0)], "good"),
    ],
    ids=["good", "uncertain", "in the warm-up", "after it", "after one that was refused"],
)
def test_an_alert_says_how_good_its_reading_was(log: list[Batch], quality: str) -> None:
    assert told(log)[0] == ("hot", Phase.FIRING, quality)


def test_what_is_told_as_time_passes_says_so() -> None:
    held = [*usual(10), batch(10, 90.0), *(Batch(START_US + at * S_US) for at in range(11, 40))]
    rules = [HOT.model_copy(update={"hold": 20 * S_US})]

    assert told(held, reporting=Reporting.ON_CHANGE, rules=rules) == [
        ("hot", Phase.PENDING, "good"),
        ("hot", Phase.FIRING, "held"),
    ]


def test_an_alert_that_ends_for_maintenance_says_so() -> None:
    hot = [*usual(10), *(batch(at, 90.0) for at in range(10, 20))]
    records = records_of(hot)
    begin = START_US + 15 * S_US
    records.insert(15, command(15, Maintain("m1", "**", begin, begin + MINUTE_US), begin))
    records = [one._replace(offset=at) for at, one in enumerate(records)]
    found = fold_records(plan_of(CLASS), records).transitions

    assert [(one.phase, one.quality) for one in found] == [(Phase.FIRING, "good"), (Phase.RESOLVED, "maintenance")]


def test_a_sensor_that_only_sends_what_is_refused_is_not_simply_silent() -> None:
    silent = RuleSettings(name="silent", signal="silence", above=1.0)
    quiet = [Batch(START_US + at * S_US) for at in range(600, 1_200, 10)]
    (still,) = told([*usual(600), *quiet], rules=[silent])
    broken = [*usual(600), batch(600, 1e9), *quiet[1:]]

    assert still == ("silent", Phase.FIRING, "silent")
    assert told(broken, rules=[silent]) == [("silent", Phase.FIRING, "refused: out of range")]


def test_a_share_of_the_budget_is_recent_alerts_over_those_of_a_day() -> None:
    spikes = [[batch(at, 500.0), *(batch(at + after, 20.0 + after % 3) for after in range(1, 200))]
              for at in range(300, 2_000, 200)]  # fmt: skip
    log = [*usual(300), *itertools.chain(*spikes)]
    plan = plan_of(CLASS.model_copy(update={"rules": [ODD]}))
    found = [one for one in fold_log(plan, log).transitions if one.phase is Phase.FIRING]

    assert len(found) > 2
    assert [one.spent for one in found] == sorted(one.spent for one in found)
    assert found[0].share == 0.0 < found[-1].share
    assert all(one.share == one.spent / plan.definitions.alerts_per_day for one in found)


def test_every_quality_has_words() -> None:
    words = {said(one) for one in DataQuality if one is not DataQuality.REFUSED}
    words |= {said(DataQuality.REFUSED + one) for one in Verdict if not one.accepted}

    assert len(words) == len(DataQuality) - 1 + sum(not one.accepted for one in Verdict)
    assert not any(word.endswith(": ") for word in words)


def test_an_alert_that_a_command_ends_is_explained_as_any_other() -> None:
    log = [*usual(300), batch(300, 500.0)]
    plan = plan_of(CLASS.model_copy(update={"rules": [ODD]}))
    end = command(len(log), Retire(SENSOR), START_US + 300 * S_US)
    fired, ended = fold_records(plan, [*records_of(log), end]).transitions

    assert (fired.phase, ended.phase) == (Phase.FIRING, Phase.RESOLVED)
    assert (ended.model, ended.band, ended.quality) == (fired.model, fired.band, "good")
    assert ended.width == fired.width
    assert fired.band is not None

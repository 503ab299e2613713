"""A replay is the worker's fold: what it finds, which rules fire at which row, and what counts."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.backtest.curves import Curves
from deploy.backtest.log import batches
from deploy.backtest.replay import Found, default_definitions, replay
from deploy.backtest.rows import Rows
from deploy.backtest.scores import ScoresFile
from deploy.registries import model_registry
from ingest.contract.class_settings import EVERYTHING_ELSE, ClassSettings
from ingest.contract.classes import Reporting
from ingest.contract.readings import Readings, Words
from ingest.contract.wire import ARROW, Envelope, Kind, encode_readings, headers_of
from stream.fold.definitions import Definitions
from stream.fold.gate import FOLDED, Verdict
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.plan import make_plan
from stream.fold.scored import Scored

T0 = 1_704_067_200_000_000
S = 1_000_000
MODELS = model_registry()
HIGH = ClassSettings.model_validate(
    {
        "name": "high",
        "match": ["**"],
        "range": (-50.0, 50.0),
        "rules": [
            {"name": "high", "signal": "value", "above": 10.0, "resolve_after": "2s"},
            {"name": "higher", "signal": "value", "above": 20.0, "resolve_after": "0s"},
        ],
    }
)
RULES = Definitions([HIGH], 1_000, 300 * S)


def made(values: list[float], sensors: int = 1) -> Rows:
    rows = len(values)
    at = np.arange(rows)
    return Rows(T0 + at // sensors * S, (at % sensors).astype(np.int32), np.array(values))


def noisy(rows: int, sensors: int) -> Rows:
    random = np.random.default_rng(3)
    found = made(random.normal(20, 1, rows).tolist(), sensors)
    found.value[2 * rows // 3] = 60.0
    return found


def test_scores_bands_and_alerts_are_those_of_a_worker_that_reads_the_same_log() -> None:
    rows, paths = noisy(12_000, 7), [f"a/{at}" for at in range(7)]
    seen: list[Found] = []
    # So large that it decides nothing: budgets are made anew as records come, and those of a gateway are others.
    definitions = replace(default_definitions(), alerts_per_day=1_000_000)
    found = replay([rows], paths, definitions, MODELS, see=seen.append)
    # Another cut, one record a second, as a gateway would have sent them.
    fold, scored = PartitionFold(make_plan(definitions, MODELS), 1), list[Scored]()
    fold._watch = scored.append
    transitions = []
    nothing = np.zeros(700, np.uint8)
    for offset, begin in enumerate(range(0, len(rows.ts_us), 700)):
        some = rows.take(slice(begin, begin + 700))
        count = len(some.ts_us)
        readings = Readings(Words(some.sensor, paths), some.ts_us, some.value, nothing[:count], nothing[:count])
        envelope = Envelope(Kind.READINGS, ARROW, "gateway", offset, int(some.ts_us[-1]), 1)
        record = LogRecord(offset, headers_of(envelope), encode_readings(readings))
        transitions += fold.fold(record).transitions
    assert len(seen) > 1
    for column in ("score", "verdict", "model"):
        ours, theirs = (np.concatenate([getattr(one, column) for one in all_of]) for all_of in (seen, scored))
        assert np.array_equal(ours, theirs), column
    assert np.array_equal(
        np.concatenate([one.band for one in seen]), np.concatenate([one.expected for one in scored]), equal_nan=True
    )
    fired = [(one.sensor, one.at_us, one.model) for one in transitions if one.phase == 2]
    assert [(paths[one.sensor], one.fired_us, one.model) for one in found.alerts] == fired
    assert fired
    assert found.rows == 12_000
    assert found.rows_of.sum() == 12_000
    assert found.peak.max() == max(float(one.score.max()) for one in seen)


@given(st.lists(st.sampled_from([0.0, 5.0, 15.0, 25.0, 99.0]), min_size=1, max_size=60), st.integers(1, 3))
def test_a_row_has_the_rules_that_fire_for_its_sensor_there(values: list[float], sensors: int) -> None:
    seen: list[Found] = []
    found = replay([made(values, sensors)], [f"a/{at}" for at in range(sensors)], RULES, MODELS, see=seen.append)
    for sensor in range(sensors):
        firing: dict[str, int] = {}
        quiet_since: dict[str, int | None] = {}
        expected = []
        for at_us, value in zip(range(T0, T0 + 60 * S, S), values[sensor::sensors], strict=False):
            for name, limit, wait_us in (("high", 10.0, 2 * S), ("higher", 20.0, 0)):
                if abs(value) > 50:
                    continue  # out of range: no rule sees it
                if name not in firing:
                    if value >= limit:
                        firing[name], quiet_since[name] = at_us, None
                elif value >= limit:
                    quiet_since[name] = None
                else:
                    since_us = quiet_since[name] or at_us
                    quiet_since[name] = since_us
                    if at_us - since_us >= wait_us:
                        del firing[name]
            expected.append(";".join(sorted(firing)))
        mine = seen[0].rows.sensor == sensor
        assert [found.alerting[one] for one in seen[0].alert[mine].tolist()] == expected


def test_alerts_before_the_figures_begin_are_there_and_say_so() -> None:
    rows = made([0.0] * 10 + [15.0] + [0.0] * 10 + [15.0])
    found = replay([rows], ["a"], RULES, MODELS, count_from_us=T0 + 15 * S)
    assert [one.fired_us for one in found.alerts] == [T0 + 10 * S, T0 + 21 * S]
    assert found.alerts[0].over_us == T0 + 13 * S
    assert found.alerts[1].over_us is None
    assert found.counted_us == 6 * S
    spiked = noisy(1_500, 1)
    whole, later = (
        replay([spiked], ["a"], default_definitions(), MODELS, count_from_us=T0 + from_s * S) for from_s in (0, 1_001)
    )
    assert whole.peak[0] > 1 > later.peak[0] > 0


def test_rows_that_are_not_folded_are_counted_by_why() -> None:
    rows = Rows(T0 + np.array([0, 1, 1, 2, 3, 4]) * S, np.zeros(6, np.int32), np.array([1, 2, 3, 99, np.inf, 4.0]))
    found = replay([rows], ["a"], RULES, MODELS)
    assert found.verdicts == {
        Verdict.FOLDED: 3,
        Verdict.DUPLICATE: 1,
        Verdict.OUT_OF_RANGE: 1,
        Verdict.NON_FINITE: 1,
    }


def test_a_constant_sensor_alerts_nobody_and_one_row_is_enough() -> None:
    constant = replay([made([7.5] * 3_000)], ["a"], default_definitions(), MODELS)
    assert not constant.alerts
    assert constant.peak.tolist() == [0.0]
    one = replay([made([1.0])], ["a"], default_definitions(), MODELS)
    assert (one.rows, one.counted_us, one.alerts) == (1, 0, [])
    nothing = replay([], [], default_definitions(), MODELS)
    assert (nothing.rows, nothing.counted_us) == (0, 0)


def test_an_on_change_sensor_whose_value_holds_is_resolved_by_time() -> None:
    on_change = HIGH.model_copy(update={"reporting": Reporting.ON_CHANGE, "rules": HIGH.rules[:1]})
    plan = Definitions([on_change], 10, 300 * S)
    # While the other sensor goes on, nothing more is heard of the first.
    rows = Rows(
        T0 + np.array([0, 1, *range(600, 3_000)]) * S,
        np.array([0, 0, *[1] * 2_400], np.int32),
        np.array([15.0, 0.0, *[1.0] * 2_400]),
    )
    found = replay([rows], ["a", "b"], plan, MODELS)
    assert [one.fired_us for one in found.alerts] == [T0]
    assert found.alerts[0].over_us is not None
    alone = replay([rows.take(slice(0, 2))], ["a", "b"], plan, MODELS)
    assert [one.over_us for one in alone.alerts] == [None]


def test_scores_are_written_a_line_for_each_row(tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    rows, paths = (
        made([1.0, 2.0, 15.0, 3.0, 99.0, 0.0, 0.0], 1),
        ["a/b, c"],
    )
    first = replay([rows], paths, RULES, MODELS)
    with ScoresFile(out, paths, first) as file:
        replay([rows], paths, RULES, MODELS, see=file.take)
    lines = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert [one["value"] for one in lines] == ["1", "2", "15", "3", "99", "0", "0"]
    assert [one["alert"] for one in lines] == ["", "", "high", "high", "high", "", ""]
    assert lines[4]["score"] == "" != lines[3]["score"]
    assert lines[0]["timestamp"] == "2024-01-01 00:00:00.000000Z"
    assert {one["sensor"] for one in lines} == {"a/b, c"}
    assert list(tmp_path.iterdir()) == [out]


def test_scores_of_a_backtest_that_failed_leave_nothing_behind(tmp_path: Path) -> None:
    empty = replay([], [], RULES, MODELS)
    with pytest.raises(RuntimeError), ScoresFile(tmp_path / "scores.csv", [], empty):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@given(
    st.integers(1, 3_000).map(lambda rows: (np.random.default_rng(rows).integers(-40, 40, rows)).tolist()),
    st.integers(0, 2_999),
    st.booleans(),
)
def test_no_spike_is_lost_in_a_curve(values: list[float], spike: int, up: bool) -> None:
    rows = made([*values])
    rows.value[spike % len(values)] = 49.0 if up else -49.0
    curves = Curves(rows.ts_us[:1], rows.ts_us[-1:])
    for batch in batches([rows], ["a"]):
        count = len(batch.rows.ts_us)
        scores, band = np.zeros(count), np.full((count, 2), np.nan)
        none = np.zeros(count, np.int32)
        curves.take(Found(batch.rows, np.full(count, FOLDED, np.uint8), scores, none.astype(np.int16), band, none))
    curve = curves.of(0)
    assert curve is not None
    assert len(curve.at_us) <= 4_000
    assert (np.diff(curve.at_us) > 0).all()
    at = curve.at_us.tolist().index(int(rows.ts_us[spike % len(values)]))
    assert curve.value[at] == rows.value[spike % len(values)]
    drawn = dict(zip(rows.ts_us.tolist(), rows.value.tolist(), strict=True))
    assert all(drawn[at_us] == value for at_us, value in zip(curve.at_us.tolist(), curve.value.tolist(), strict=True))


def test_the_default_class_is_what_is_folded_with_by_default() -> None:
    assert default_definitions().classes == (EVERYTHING_ELSE,)

"""Labels: how they are read, what they are about, and what becomes of those that are about nothing."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.backtest.figures import figures_of
from deploy.backtest.labels import Coverage, Label, Window, read_labels, windows_of
from deploy.backtest.names import Sensors, path_of
from deploy.backtest.replay import Alert, Replay
from deploy.backtest.rows import Rows
from ingest.contract.errors import StopError
from ingest.contract.sensors import check_path
from ingest.simulator.faults.truth import Label as Truth
from ingest.simulator.faults.truth import write_truth_csv
from stream.fold.gate import Verdict
from tests.unit.backtest.tables import written

T0 = 1_704_067_200_000_000
S = 1_000_000


def test_the_simulators_truth_is_read_as_it_is_written(tmp_path: Path) -> None:
    write_truth_csv([Truth("a/t", "spike", T0, T0 + 1), Truth("a/p", "stuck", T0 + 5, T0 + S)], tmp_path / "truth.csv")
    assert read_labels(tmp_path / "truth.csv") == [
        Label("a/t", "spike", T0, T0 + 1),
        Label("a/p", "stuck", T0 + 5, T0 + S),
    ]


def test_labels_of_nab_include_their_last_moment(tmp_path: Path) -> None:
    text = json.dumps({"a/x.csv": [["2024-01-01 00:00:00.000000", "2024-01-01 00:00:01.000000"]], "b.csv": []})
    assert read_labels(written(tmp_path, text)) == [Label("a/x.csv", "", T0, T0 + S + 1)]
    moments = json.dumps({"a/x.csv": ["2024-01-01 00:00:00"]})
    assert read_labels(written(tmp_path, moments)) == [Label("a/x.csv", "", T0, T0 + 1)]


def test_a_plain_file_of_labels_may_leave_out_sensor_and_kind(tmp_path: Path) -> None:
    text = (
        "\ufeffStart;End\r\n2024-01-01 01:00:00;2024-01-01T00:00:10Z\r\n\r\n2024-01-01 01:00:20;2024-01-01 01:00:20\r\n"
    )
    assert read_labels(written(tmp_path, text), ZoneInfo("Europe/Berlin")) == [
        Label("", "", T0, T0 + 10 * S),
        Label("", "", T0 + 20 * S, T0 + 20 * S + 1),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("sensor,strat,end\n", 'did you mean "strat"'),
        ("sensor,start,end\na,2024-01-02,2024-01-01\n", "data.csv:2: .* ends before it starts"),
        ("sensor,start,end\na,2024-01-01,2024-01-02\n\nb,soon,2024-01-02\n", "data.csv:4: 'soon' .* is no time"),
        ("sensor,start,end\n" + "a,x,y\n" * 12, "and 2 more"),
        ('{"a": 5}', "windows are"),
        ('{"a": [["2024-01-01"]]}', "windows are"),
        ('{"a": ', "no valid JSON"),
    ],
)
def test_labels_that_are_none_are_told_with_their_line(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(StopError, match=says):
        read_labels(written(tmp_path, text))
    with pytest.raises(StopError, match="cannot be read"):
        read_labels(tmp_path / "nothing")


def test_a_label_finds_its_sensor_by_path_by_name_by_pattern_and_by_its_end() -> None:
    sensors = Sensors("demo")
    for name in ("line/press/t", "line/press/p", "line/saw/t", "oil #1"):
        sensors.number(name)
    names = [
        "",
        "*",
        "demo/line/press/t",
        "line/press/p",
        "oil #1",
        "demo/*/saw/*",
        "saw/t",
        "far/demo/line/press/t.csv",
    ]
    unknown = ["t", "demo/line/press/q", "x/*/y"]
    windows = windows_of([Label(name, "", T0, T0 + 1) for name in names + unknown], sensors)
    assert [one.sensors and sorted(one.sensors) for one in windows[: len(names)]] == [
        None, None, [0], [1], [3], [2], [2], [0],
    ]  # fmt: skip
    assert [one.unknown for one in windows[len(names) :]] == [
        "several sensors' paths end in it",
        'no such sensor (did you mean "demo/line/press/t"?)',
        "no sensor has such a path",
    ]


@given(st.one_of(st.text(max_size=20), st.text(max_size=3).map(lambda text: 200 * text)))
def test_every_name_becomes_a_path_and_a_path_stays_what_it_is(name: str) -> None:
    path = path_of(name)
    assert check_path(path) == path
    assert path_of(path) == path


@given(st.lists(st.sampled_from(["a", "a ", "a#", "a_", "b/", "b", "", "_", "a_-2"]), max_size=12))
def test_no_two_names_share_a_path(names: list[str]) -> None:
    sensors = Sensors()
    numbers = [sensors.number(name) for name in names]
    assert len(set(sensors.paths)) == len(sensors.paths) == len(set(names))
    assert [sensors.number(name) for name in names] == numbers
    assert [sensors.find(sensors.paths[number]) is not None for number in numbers] == [True] * len(names)


def replay_of(alerts: list[tuple[int, int, int | None]], count_from_us: int = 0) -> Replay:
    """alerts: (sensor, fired at this second, over at that)."""
    found = Replay([], count_from_us, T0, T0 + 86_400 * S, {Verdict.FOLDED: 1}, class_of=["x", "y"])
    found.alerts = [
        Alert(sensor, "r", "warning", None, T0, T0 + fired * S, None if over is None else T0 + over * S, 0.0, 1.0)
        for sensor, fired, over in alerts
    ]
    return found


def window(sensor: int | None, start: int, end: int, kind: str = "", *, has_data: bool = True) -> Window:
    sensors = None if sensor is None else frozenset([sensor])
    return Window(Label(f"{sensor}", kind, T0 + start * S, T0 + end * S), sensors, has_data=has_data)


def test_recall_precision_and_delay_are_what_they_say() -> None:
    replay = replay_of([(0, 5, 8), (0, 12, 40), (0, 15, 16), (1, 12, 13), (0, 90, None)])
    windows = [
        window(0, 10, 20, "spike"),
        window(0, 30, 35, "stuck"),
        window(1, 50, 60, "stuck"),
        window(None, 85, 95, "drift"),
        window(0, 200, 300, has_data=False),
    ]
    figures = figures_of(replay, windows)
    judged = figures.judgement
    assert judged is not None
    assert (judged.labels, judged.found, judged.already, judged.inside, judged.alerts) == (4, 2, 1, 3, 5)
    assert (judged.recall, judged.precision, judged.false_per_day) == (0.5, 0.6, 2.0)
    assert (judged.median_delay_s, judged.worst_delay_s) == (3.5, 5.0)
    assert {kind: (of.found, of.labels) for kind, of in judged.kinds.items()} == {
        "spike": (1, 1),
        "stuck": (0, 2),
        "drift": (1, 1),
    }
    assert [one.label.start_us for one in judged.missed] == [T0 + 30 * S, T0 + 50 * S]
    assert [why for _, why in judged.nothing] == ["no reading in that time"]
    assert figures.outside == {0, 3}
    assert (figures.per_day, figures.by_class, figures.worst) == (5.0, {"x": 4, "y": 1}, [(0, 4), (1, 1)])


def test_what_was_before_the_figures_begin_counts_for_nothing() -> None:
    # One label ends before, one goes on, one comes after.
    windows = [window(0, 0, 10), window(0, 43_190, 43_210), window(0, 49_990, 50_010)]
    figures = figures_of(replay_of([(0, 5, 8), (0, 43_195, 43_198), (0, 50_000, None)], T0 + 43_200 * S), windows)
    assert figures.judgement is not None
    assert (figures.judgement.early, figures.judgement.labels, figures.judgement.found) == (1, 2, 1)
    assert figures.per_day == 2.0


def test_without_alerts_or_labels_there_is_no_share() -> None:
    judged = figures_of(replay_of([]), []).judgement
    assert judged is not None
    assert (judged.recall, judged.precision, judged.median_delay_s, judged.worst_delay_s) == (None, None, None, None)
    assert judged.false_per_day == 0.0


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 99)), max_size=12),
    st.lists(st.tuples(st.sampled_from([None, 0, 1]), st.integers(0, 99), st.integers(1, 30)), max_size=8),
)
def test_figures_are_those_of_counting_one_by_one(
    alerts: list[tuple[int, int]], labels: list[tuple[int | None, int, int]]
) -> None:
    judged = figures_of(
        replay_of([(sensor, at, at + 1) for sensor, at in alerts]),
        [window(sensor, start, start + length) for sensor, start, length in labels],
    ).judgement
    assert judged is not None
    hits = [
        [at - start for of, at in alerts if sensor in (None, of) and start <= at < start + length]
        for sensor, start, length in labels
    ]
    assert judged.found == sum(bool(one) for one in hits)
    assert sorted(judged.delays_s) == sorted(min(one) for one in hits if one)
    assert judged.inside == sum(
        any(sensor in (None, of) and start <= at < start + length for sensor, start, length in labels)
        for of, at in alerts
    )


def test_a_window_has_data_if_one_reading_of_its_sensors_is_in_it() -> None:
    spans = [(0, 10, 20), (1, 10, 20), (None, 15, 16), (0, 30, 40), (0, 11, 12)]
    windows = [window(sensor, start, end, has_data=False) for sensor, start, end in spans]
    coverage = Coverage(windows)
    clock = count(9)
    for _ in range(11):
        at = next(clock)
        coverage.take(Rows(np.array([T0 + at * S]), np.array([0], np.int32), np.zeros(1)))
    assert [one.has_data for one in windows] == [True, False, True, False, True]

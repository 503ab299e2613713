"""NAB's scoring, on series made by hand, and on the published detector of the corpus."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.nab import corpus
from tests.nab.corpus import VARIABLE, Labelled
from tests.nab.scoring import (
    LOW_FN,
    LOW_FP,
    STANDARD,
    Profile,
    best_threshold,
    cost_behind,
    false_alarms,
    gain,
    probation,
    relative,
    score_at,
    worth_in,
)
from tests.unit.stream.logs import examples

ROWS = 1_000
WINDOWS = np.array([[300, 399], [700, 799]])
NONE = np.empty((0, 2), np.int64)
PROFILES = [STANDARD, LOW_FP, LOW_FN]

each_profile = pytest.mark.parametrize("profile", PROFILES)


def detected(*rows: int) -> np.ndarray:
    found = np.zeros(ROWS, np.bool_)
    found[list(rows)] = True
    return found


def score_of(profile: Profile, *rows: int) -> float:
    return relative(gain(detected(*rows), WINDOWS, profile), len(WINDOWS), profile)


@each_profile
def test_every_window_found_at_once_and_nothing_else_is_100(profile: Profile) -> None:
    assert score_of(profile, 300, 700) == pytest.approx(100.0)


@each_profile
def test_no_detection_is_0(profile: Profile) -> None:
    assert score_of(profile) == 0.0


def test_the_later_in_a_window_the_less_it_is_worth() -> None:
    worth = worth_in(np.array([300, 399]), np.arange(300, 400))

    assert worth[0] == pytest.approx(1.0)
    assert (np.diff(worth) < 0.0).all()
    # The last row of a hundred is one hundredth of the window before its end.
    assert worth[-1] == pytest.approx((2 / (1 + np.exp(-0.05)) - 1) / (2 / (1 + np.exp(-5.0)) - 1))


def test_only_the_best_detection_of_a_window_counts() -> None:
    assert score_of(STANDARD, 300, 301, 350, 399, 700) == score_of(STANDARD, 300, 700)


@each_profile
def test_a_missed_window_costs_what_was_gained_by_finding_it(profile: Profile) -> None:
    assert score_of(profile, 300) == pytest.approx(50.0)


def test_a_false_alarm_right_behind_a_window_costs_little_and_far_from_it_all() -> None:
    costs = cost_behind(WINDOWS, np.array([100, 299, 400, 430, 499, 696, 697, 698, 800, 999]))

    assert costs[:2].tolist() == [1.0, 1.0]
    assert 0.0 < costs[2] < 0.03
    assert costs[2] < costs[3] < costs[4] < 1.0
    assert costs[5] < 1.0 == costs[7]
    assert costs[8] == costs[2]
    assert costs[9] == pytest.approx(-(2 / (1 + np.exp(5 * 200 / 99)) - 1))


@each_profile
def test_a_false_alarm_before_every_window_costs_its_whole_weight(profile: Profile) -> None:
    lost = gain(detected(300, 700), WINDOWS, profile) - gain(detected(200, 300, 700), WINDOWS, profile)

    assert lost == pytest.approx(profile.false_alarm)
    assert false_alarms(detected(100, 200, 300, 800), WINDOWS) == 2


def test_the_first_rows_are_not_judged() -> None:
    assert probation(ROWS) == 150
    assert probation(100_000) == 750
    assert score_of(STANDARD, *range(150)) == 0.0
    assert score_of(STANDARD, 150) < 0.0


def test_without_windows_false_alarms_are_all_there_is() -> None:
    assert relative(gain(detected(500), NONE, STANDARD), 0, STANDARD) == pytest.approx(-0.11)


def test_the_best_threshold_is_found() -> None:
    score = np.full(ROWS, 0.1)
    score[[310, 720]] = 0.8, 0.6
    score[[500, 550]] = 0.7, 0.5
    series = [(score, WINDOWS)]

    best = best_threshold(series, STANDARD)

    assert best.threshold == 0.6
    assert best.score == pytest.approx(score_at(series, 0.6, STANDARD))
    assert best.score > max(score_at(series, other, STANDARD) for other in (0.8, 0.7, 0.5, 0.1))


def test_silence_is_best_for_who_only_cries_wolf() -> None:
    score = np.zeros(ROWS)
    score[500:600] = 1.0

    assert best_threshold([(score, WINDOWS)], STANDARD).threshold == np.inf


@examples(50)
@given(
    levels=st.lists(st.integers(0, 4), min_size=60, max_size=60),
    windows=st.sampled_from([[], [[20, 29]], [[5, 14], [40, 44]], [[10, 10], [12, 30]]]),
    profile=st.sampled_from(PROFILES),
)
def test_the_best_threshold_is_the_best_of_all(levels: list[int], windows: list[list[int]], profile: Profile) -> None:
    series = [(np.array(levels, np.float64), np.array(windows, np.int64).reshape(-1, 2))]

    best = best_threshold(series, profile)

    assert best.score == pytest.approx(
        max(score_at(series, threshold, profile) for threshold in (np.inf, 0.0, 1.0, 2.0, 3.0, 4.0))
    )


# --- a corpus -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", ["combined_windows.json", "labels/combined_windows.json"])
def test_a_corpus_is_read_in_both_layouts(tmp_path: Path, labels: str) -> None:
    rows = ["timestamp,value", *(f"2014-02-14 00:{at:02}:00,{at}.5" for at in range(30))]
    for name, text in (
        ("data/a/x.csv", "\n".join(rows)),
        (labels, json.dumps({"a/x.csv": [["2014-02-14 00:10:00.000000", "2014-02-14 00:19:30.000000"]]})),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    (one,) = corpus.load(corpus.find(tmp_path) or Path())

    assert (one.name, one.group) == ("a/x.csv", "a")
    assert one.windows.tolist() == [[10, 19]]
    assert one.value.tolist() == [at + 0.5 for at in range(30)]
    assert (np.diff(one.at_us) == 60_000_000).all()


def test_a_folder_that_is_no_corpus_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="no NAB corpus"):
        corpus.find(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        corpus.find()


def _reference(folder: Path, one: Labelled) -> np.ndarray:
    name = one.name.rpartition("/")[2]
    table = pyarrow.csv.read_csv(folder / "reference" / one.group / f"windowedGaussian_{name}.gz")
    score: np.ndarray = table["anomaly_score"].cast("float64").to_numpy()
    return score


def test_the_published_detector_gets_its_published_scores() -> None:
    folder = corpus.find()
    if folder is None or not (folder / "reference").is_dir():
        pytest.skip(f"no NAB corpus with a reference detector beside this checkout or in {VARIABLE}")
    series = corpus.load(folder)

    scored = [(_reference(folder, one), one.windows) for one in series]

    found = [best_threshold(scored, profile).score for profile in PROFILES]
    assert found == pytest.approx([39.65, 20.87, 47.41], abs=0.005)

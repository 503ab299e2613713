"""What is measured is the product, as a user gets it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ingest.contract.class_settings import DEFAULT_MODELS
from tests.nab import corpus
from tests.nab.__main__ import main
from tests.nab.corpus import Labelled
from tests.nab.figures import BOUNDARIES, figures, measured, of_corpus
from tests.nab.product import default_plan, judged
from tests.nab.rule import REST, detections
from tests.unit.stream.logs import MINUTE_US, START_US

NONE = np.empty((0, 2), np.int64)


def series(value: np.ndarray, windows: np.ndarray = NONE, name: str = "made/x.csv") -> Labelled:
    return Labelled(name, START_US + np.arange(value.size) * 5 * MINUTE_US, value, windows)


def noise(rows: int = 3_000, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(20.0, 1.0, rows)


def test_it_is_the_default_models_that_judge() -> None:
    assert [used.name for used in default_plan().models] == [one.name for one in DEFAULT_MODELS]


def test_nothing_is_known_of_what_comes_later() -> None:
    value = noise()
    value[2_000] += 40.0

    score, model = judged(series(value))
    until, _ = judged(series(value[:2_001]))

    assert score[:2_001].tolist() == until.tolist()
    assert score[2_000] > 1.0
    assert model[2_000] >= 0
    assert score[:2_000].max() < 1.0


def test_times_that_come_twice_have_no_score() -> None:
    value = noise()
    value[2_000] += 40.0
    one = series(value)
    one.at_us[2_000] = one.at_us[1_999]

    score, model = judged(one)

    assert (score[2_000], model[2_000]) == (0.0, -1)


@pytest.mark.parametrize("value", [np.full(2_000, np.nan), np.full(2_000, 7.25), np.array([3.0])])
def test_what_is_constant_or_no_number_or_one_reading_is_never_odd(value: np.ndarray) -> None:
    assert not judged(series(value))[0].any()


QUIET = {
    "alternating": np.tile([1.0, -1.0], 1_500),
    "a huge offset": 1e9 + np.random.default_rng(1).normal(0.0, 1e-3, 3_000),
    "denormal": np.random.default_rng(1).integers(0, 9, 3_000) * 5e-324,
    "normal": noise(),
}


@pytest.mark.parametrize("value", QUIET.values(), ids=QUIET.keys())
@pytest.mark.parametrize("gaps", [[300.0], [0.1, 3_600.0]], ids=["every five minutes", "10 Hz, then one an hour"])
def test_where_nothing_happens_nothing_is_odd(value: np.ndarray, gaps: list[float]) -> None:
    gap_us = np.repeat(np.array(gaps) * 1e6, value.size // len(gaps)).astype(np.int64)
    one = replace(series(value), at_us=START_US + np.cumsum(gap_us))

    score, _ = judged(one)

    assert np.isfinite(score).all()
    assert score.max() < 1.0


def test_what_stays_outside_is_one_alert() -> None:
    at_us = START_US + np.arange(500) * MINUTE_US
    score = np.where(np.arange(500) % 7 == 0, 0.0, 2.0)
    score[:50] = 0.0

    (rows,) = np.nonzero(detections(score, at_us))

    assert rows[0] == 50
    assert (np.diff(rows) > REST).all()
    assert len(rows) <= 4


def test_what_is_far_worse_is_told_at_once_and_who_alerts_often_has_a_wider_boundary() -> None:
    at_us = START_US + np.arange(2_000) * MINUTE_US
    worse, often = np.zeros(2_000), np.zeros(2_000)
    worse[[100, 120]] = 1.5, 15.0
    often[::150] = 1.35

    assert np.flatnonzero(detections(worse, at_us)).tolist() == [100, 120]
    assert np.flatnonzero(detections(often, at_us)).tolist()[:3] == [0, 150, 900]


def test_a_lower_boundary_is_the_same_as_higher_scores() -> None:
    score, at_us = np.abs(noise()) / 22.0, START_US + np.arange(3_000) * MINUTE_US

    assert detections(score, at_us, 0.5).tolist() == detections(score / 0.5, at_us).tolist()


def test_the_figures_of_a_small_corpus() -> None:
    quiet, odd = noise(), noise(seed=4)
    odd[2_000:2_050] += 40.0
    found, lines = measured([series(quiet), series(odd, np.array([[1_995, 2_060]]), "odd/y.csv")])

    result = figures(found)

    assert BOUNDARIES[len(BOUNDARIES) // 2] == 1.0
    assert [(line.group, line.windows, line.found) for line in lines] == [("made", 0, 0), ("odd", 1, 1)]
    assert lines[1].score == pytest.approx(result["nab_at_one"], abs=12.0)
    assert 80.0 < result["nab_at_one"] <= result["nab_standard"] <= 100.0
    assert result.keys() == {"nab_standard", "nab_low_fp", "nab_low_fn", "nab_held_out", "nab_at_one"}


def test_without_a_corpus_there_are_no_figures_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.delenv(corpus.VARIABLE, raising=False)
    monkeypatch.setattr(corpus, "PLACES", ())

    assert of_corpus(say=said.append) == {}
    assert corpus.VARIABLE in said[0]


def test_a_wrong_folder_is_an_error_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tests.nab", "--data", str(tmp_path)])

    assert main() == 1

    out, err = capsys.readouterr()
    assert f"{tmp_path}: no NAB corpus" in err
    assert out == ""

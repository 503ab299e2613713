"""Which sensors no model ever judged, and why: only of these is "no alert" no answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.backtest.replay import Found, Replay, default_definitions, replay
from deploy.backtest.rows import Rows
from deploy.registries import model_registry
from ingest.contract.class_settings import ClassSettings
from stream.fold.definitions import Definitions

T0 = 1_704_067_200_000_000
S = 1_000_000
MODELS = model_registry()


def series(values: list[float]) -> Rows:
    return Rows(T0 + np.arange(len(values)) * S, np.zeros(len(values), np.int32), np.array(values, np.float64))


def noise(rows: int) -> list[float]:
    found: list[float] = np.random.default_rng(1).normal(20, 1, rows).tolist()
    return found


def whys(found: Replay) -> list[str]:
    return [one.why for one in found.unjudged]


def of(**settings: object) -> Definitions:
    return Definitions([ClassSettings.model_validate({"name": "x", "match": ["**"], **settings})], 1_000, 300 * S)


@pytest.mark.parametrize(
    ("values", "definitions", "why"),
    [
        (noise(100), default_definitions(), "too few for warm_up: models need more than 100"),
        (noise(200), of(warm_up=300), "too few for warm_up: models need more than 300"),
        (noise(200), of(models=["short_long"]), "too few for warm_up: models need more than 400"),
        ([5.0] * 400, default_definitions(), "its value never changed, so models have no measure of it"),
        (noise(400), of(models=[]), "its class 'x' has no models"),
        (noise(400), of(range=(-5.0, 5.0)), "none of them came to the models"),
        (noise(400), of(models=["seasonal"]), "its models expect nothing of it yet"),
    ],
)
def test_each_has_its_reason(values: list[float], definitions: Definitions, why: str) -> None:
    found = replay([series(values)], ["a"], definitions, MODELS)
    assert whys(found) == [why]
    assert (found.unjudged[0].sensor, found.unjudged[0].readings) == (0, len(values))


@pytest.mark.parametrize("definitions", [default_definitions(), of(warm_up=300), of(models=["robust_band"])])
def test_who_was_judged_is_not_among_them(definitions: Definitions) -> None:
    assert whys(replay([series(noise(400))], ["a"], definitions, MODELS)) == []


def test_what_is_all_before_the_figures_begin_was_not_judged() -> None:
    early = replay([series(noise(400))], ["a"], default_definitions(), MODELS, count_from_us=T0 + 10_000 * S)
    assert whys(early) == ["all of them are before --train-until"]


@given(st.integers(1, 240), st.integers(0, 240), st.booleans())
def test_with_a_score_from_when_it_counts_nobody_is_among_them(rows: int, from_row: int, still: bool) -> None:
    scores: list[float] = []

    def see(found: Found) -> None:
        scores.extend(found.score[found.rows.ts_us >= T0 + from_row * S].tolist())

    values = [5.0] * rows if still else noise(rows)
    found = replay([series(values)], ["a"], default_definitions(), MODELS, count_from_us=T0 + from_row * S, see=see)
    judged = any(score > 0 for score in scores)
    assert not (judged and found.unjudged)
    # Noise scores at once, so nobody else is missing from the list but who was not yet, or no longer, to be judged.
    assert judged or found.unjudged

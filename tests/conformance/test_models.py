"""What every anomaly model has to do. A new line in the models' table is tested here without a word."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import models
from models.base import Model
from models.compiled import ORDERLY
from tests.unit.stream.logs import MODELS, S_US, START_US, as_row, eager, examples

NAMES = sorted(models.TABLE)
Series = Sequence[float] | NDArray[Any]

each_model = pytest.mark.parametrize("name", NAMES)


def scores(model: Model, series: Series, row: Any = None, step: Callable[..., float] | None = None) -> list[float]:
    """What a model says to a series; `row` is what it knows before."""
    row = as_row(model.state) if row is None else row
    step = model.step if step is None else step
    params = model.params
    return [
        float(step(row, np.int64(START_US + at * S_US), value, params))
        for at, value in enumerate(np.asarray(series, np.float64))
    ]


def noise(count: int, seed: int = 1, level: float = 20.0, spread: float = 1.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(level, spread, count)


def warm_up_of(model: Model) -> int:
    """Readings before a model scores; models without the option say nothing to their first reading."""
    return int(getattr(model, "warm_up", 1))


# --- what a model is made of --------------------------------------------------------------------------------------


@each_model
def test_defaults_make_a_model(name: str) -> None:
    model = MODELS.create(name, {})

    assert model.params.dtype == np.float64
    assert model.params.ndim == 1
    assert np.isfinite(model.params).all()
    assert model.params.tolist() == MODELS.create(name, {}).params.tolist()


@each_model
def test_state_is_rows_of_numbers_that_agree_compiled_and_not(name: str) -> None:
    state = MODELS.create(name, {}).state

    assert state.names
    for field in state.names:
        assert state[field].base in (np.dtype(np.int64), np.dtype(np.float64)), field
    assert state.itemsize <= 64 * 1024


@each_model
def test_a_fresh_row_is_zeros_and_nothing_is_odd_about_a_first_reading(name: str) -> None:
    model = MODELS.create(name, {})

    for value in (0.0, -1e100, 65_535.0, 5e-324):
        assert scores(model, [value]) == [0.0]


@each_model
def test_a_misspelt_option_is_refused_with_the_right_one(name: str) -> None:
    for field in dataclasses.fields(MODELS.load(name)):  # type: ignore[arg-type]
        wrong = field.name[:-1]

        (problem,) = MODELS.problems(name, {wrong: 1})

        assert f"no option {wrong!r}" in problem
        assert f'did you mean "{field.name}"?' in problem


@each_model
def test_an_option_that_is_no_number_is_refused(name: str) -> None:
    for field in dataclasses.fields(MODELS.load(name)):  # type: ignore[arg-type]
        for value in (float("nan"), "much"):
            assert MODELS.problems(name, {field.name: value}), (field.name, value)


def test_a_misspelt_model_is_refused_with_the_right_one() -> None:
    (problem,) = MODELS.problems("ewma_zz")

    assert 'did you mean "ewma_z"?' in problem


# --- scores -------------------------------------------------------------------------------------------------------


class Boundary(NamedTuple):
    """A series after which the boundary is known: an option times `unit` beyond `level`."""

    option: str
    usual: Series
    level: float
    unit: float
    rel: float


BOUNDARIES = {
    "ewma_z": Boundary("boundary_sigmas", 20.0 + np.sqrt(2.0) * np.sin(np.arange(1_000) * 0.7), 20.0, 1.0, 0.05),
    "running_range": Boundary("margin", [15.0, 25.0] * 500, 25.0, 10.0, 1e-9),
}


@each_model
@pytest.mark.parametrize("times", [1.0, 0.5, 2.0])
def test_a_score_of_one_is_the_boundary_and_its_option_moves_it(name: str, times: float) -> None:
    assert name in BOUNDARIES, f"say in BOUNDARIES which option moves the boundary of {name}"
    known = BOUNDARIES[name]
    value = times * getattr(MODELS.create(name, {}), known.option)
    model = MODELS.create(name, {known.option: value})

    found = scores(model, [*known.usual, known.level + value * known.unit])

    assert max(found[:-1]) < 1.0
    assert found[-1] == pytest.approx(1.0, rel=known.rel)


HOSTILE: dict[str, Series] = {
    "zeros": np.zeros(500),
    "a constant": np.full(500, 0.1),
    "alternating": [1.0, -1.0] * 250,
    "alternating at 1e100": [1e100, -1e100] * 250,
    "a huge offset": 1e9 + noise(500, level=0.0, spread=1e-3),
    "a huge offset that alternates by one bit": [1e9, float(np.nextafter(1e9, 2e9))] * 250,
    "denormals": [5e-324, 0.0, 1e-310] * 170,
    "denormals, then one": [5e-324, 0.0] * 250 + [1.0] * 250,
    "spikes": [1e100 if at % 97 == 96 else float(at % 5) for at in range(500)],
    "spikes of both signs while warming up": [1.0, 1e100, -1e100] * 170,
    "steps": [float(10 ** (at // 50)) for at in range(500)],
    "a counter": np.arange(500) * 1e6,
    "growing as fast as numbers can": [2.0 ** (at / 2) for at in range(600)],
}


@each_model
@pytest.mark.parametrize("series", HOSTILE.values(), ids=HOSTILE.keys())
def test_scores_are_finite_and_not_negative_whatever_comes(name: str, series: Series) -> None:
    model = MODELS.create(name, {})
    row = as_row(model.state)

    found = np.array(scores(model, series, row))

    assert np.isfinite(found).all()
    assert (found >= 0.0).all()
    assert all(np.isfinite(row[field]).all() for field in model.state.names or ())


FINITE = st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=60)


@each_model
@examples(60)
@given(series=FINITE)
def test_scores_are_finite_and_not_negative_for_any_numbers(name: str, series: list[float]) -> None:
    model = MODELS.create(name, eager(name))

    found = np.array(scores(model, series))

    assert np.isfinite(found).all()
    assert (found >= 0.0).all()
    assert not found[: warm_up_of(model)].any()


@each_model
@pytest.mark.parametrize("series", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_is_scored_before_the_warm_up_is_over(name: str, series: Series) -> None:
    model = MODELS.create(name, {})

    assert not any(scores(model, series[: warm_up_of(model)]))


@each_model
@pytest.mark.parametrize("value", [0.0, 20.0, -1e9, 1e100, 5e-324, 0.1])
def test_a_constant_sensor_is_never_odd(name: str, value: float) -> None:
    assert not any(scores(MODELS.create(name, {}), [value] * 3_000))


@each_model
@pytest.mark.parametrize(("level", "spread"), [(20.0, 1.0), (0.0, 1e-6), (101_325.0, 50.0), (1e9, 1e-3), (-1e30, 1e27)])
def test_usual_readings_stay_below_the_boundary_and_a_spike_does_not(name: str, level: float, spread: float) -> None:
    for seed in range(5):
        usual = noise(2_000, seed, level, spread)
        *before, spike = scores(MODELS.create(name, {}), [*usual, level + 40 * spread])

        assert max(before) < 1.0 < spike


@each_model
def test_a_spike_does_not_hide_the_next_one(name: str) -> None:
    usual = noise(1_000)
    found = scores(MODELS.create(name, {}), [*usual, 80.0, *usual[:30], 80.0])

    assert found[1_000] > 1.0
    assert found[-1] > 1.0


@each_model
@pytest.mark.parametrize("wild", [65_535.0, -9_999.0, 1e30])
def test_one_sentinel_does_not_blind_a_model(name: str, wild: float) -> None:
    usual = noise(1_000)
    found = scores(MODELS.create(name, {}), [*usual, wild, *usual, 80.0])

    assert found[1_000] > 1.0
    assert found[-1] > 1.0


@each_model
@pytest.mark.parametrize("level", [30.0, 60.0, -500.0, 1e6])
def test_a_lasting_change_is_accepted_after_a_while(name: str, level: float) -> None:
    found = scores(MODELS.create(name, {}), [*noise(1_000), *noise(3_000, 2, level)])

    assert max(found[-500:]) < 1.0


# --- state --------------------------------------------------------------------------------------------------------


@each_model
@examples(40)
@given(before=FINITE, after=FINITE)
def test_state_survives_a_snapshot_to_the_bit(name: str, before: list[float], after: list[float]) -> None:
    model = MODELS.create(name, eager(name))
    row = np.zeros(1, model.state)
    scores(model, before, row[0])

    snapshot = row.tobytes()
    restored = np.frombuffer(snapshot, model.state).copy()

    assert len(snapshot) == model.state.itemsize
    assert scores(model, after, restored[0]) == scores(model, after, row[0])
    assert restored.tobytes() == row.tobytes()


@each_model
@examples(40)
@given(series=FINITE)
def test_interpreted_and_compiled_agree_to_the_bit(name: str, series: list[float]) -> None:
    model = MODELS.create(name, eager(name))
    compiled, interpreted = np.zeros(1, model.state), np.zeros(1, model.state)

    expected = scores(model, series, compiled[0])
    with np.errstate(all="ignore"):
        found = scores(model, series, interpreted[0], model.step.py_func)  # type: ignore[attr-defined]

    assert found == expected
    assert interpreted.tobytes() == compiled.tobytes()


@each_model
@pytest.mark.parametrize("series", HOSTILE.values(), ids=HOSTILE.keys())
def test_interpreted_and_compiled_agree_on_hostile_series(name: str, series: Series) -> None:
    model = MODELS.create(name, {})
    compiled, interpreted = np.zeros(1, model.state), np.zeros(1, model.state)

    expected = scores(model, series, compiled[0])
    with np.errstate(all="ignore"):
        found = scores(model, series, interpreted[0], model.step.py_func)  # type: ignore[attr-defined]

    assert found == expected
    assert interpreted.tobytes() == compiled.tobytes()


@each_model
def test_the_loop_over_a_batch_is_the_step_for_each_reading_in_order(name: str) -> None:
    """For the classes that use the model, and only where nobody scored higher."""
    model = MODELS.create(name, eager(name))
    rows, slots = 400, 7
    chance = np.random.default_rng(3)
    slot = chance.integers(0, slots, rows).astype(np.int32)
    ts_us = START_US + np.arange(rows) * S_US
    value = np.where(chance.random(rows) < 0.1, 1e3, chance.normal(0.0, 1.0, rows))
    verdict = np.where(chance.random(rows) < 0.2, ORDERLY + 1, ORDERLY).astype(np.uint8)
    class_of = (np.arange(slots) % 2).astype(np.int32)
    uses = np.array([False, True])
    params = np.stack([np.zeros_like(model.params), model.params])
    expected_state, expected = np.zeros(slots, model.state), np.full(rows, 0.5)
    for at in range(rows):
        if verdict[at] == ORDERLY and class_of[slot[at]] == 1:
            step = model.step(expected_state[slot[at]], ts_us[at], value[at], model.params)
            expected[at] = max(0.5, step)

    state, score, scored_by = np.zeros(slots, model.state), np.full(rows, 0.5), np.full(rows, -1, np.int16)
    band = np.full((rows, 2), np.nan)
    model.run(state, slot, ts_us, value, verdict, class_of, uses, params, 4, score, scored_by, band)

    assert state.tobytes() == expected_state.tobytes()
    assert score.tolist() == expected.tolist()
    assert scored_by.tolist() == [4 if one > 0.5 else -1 for one in expected]
    assert (expected > 1.0).any()
    # What scores above 1 lies outside of the band that was expected before it, and nothing else does.
    low, high = band.T
    known = np.isfinite(low)
    assert (known == (scored_by == 4)).all()
    assert ((value[known] < low[known]) | (value[known] > high[known])).tolist() == (score[known] > 1.0).tolist()


# --- the same algorithm elsewhere ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.5])
def test_ewma_z_learns_what_river_learns(alpha: float) -> None:
    from river import stats

    # Warming up for good: nothing is clipped.
    model = MODELS.create("ewma_z", {"alpha": alpha, "warm_up": 10**6})
    row, mean, variance = as_row(model.state), stats.EWMean(alpha), stats.EWVar(alpha)
    for value in noise(2_000).tolist():
        scores(model, [value], row)
        mean.update(value)
        variance.update(value)

        assert row["mean"] == pytest.approx(mean.get(), rel=1e-9)
        assert row["variance"] == pytest.approx(variance.get(), rel=1e-6, abs=1e-9)

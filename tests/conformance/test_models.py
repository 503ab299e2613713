"""What every anomaly model has to do. A new line in the models' table is tested here without a word."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.base import Model
from models.compiled import ORDERLY
from tests.conformance.scoring import NAMES, eager_model, noise, scores, usual_model
from tests.unit.stream.logs import HOUR_US, MODELS, S_US, START_US, as_row, examples

Series = Sequence[float] | NDArray[Any]

each_model = pytest.mark.parametrize("name", NAMES)


def warm_up_of(model: Model) -> int:
    """Readings before a model scores; models without the option say nothing to their first reading."""
    return int(getattr(model, "warm_up", 1))


@contextmanager
def interpreted(model: Model) -> Iterator[Any]:
    """The model's step without the compiler, and all that it calls."""
    step = model.step.py_func  # type: ignore[attr-defined]
    module = sys.modules[step.__module__]
    plain = {name: one.py_func for name, one in vars(module).items() if hasattr(one, "py_func")}
    with mock.patch.multiple(module, **plain), np.errstate(all="ignore"):
        yield step


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


BOUNDARY_OPTION = {
    "ewma_horizons": "boundary_sigmas",
    "ewma_z": "boundary_sigmas",
    "level_shift": "threshold",
    "rate_of_change": "boundary_sigmas",
    "robust_band": "boundary_sigmas",
    "running_range": "margin",
    "seasonal": "boundary_sigmas",
    "short_long": "boundary_sigmas",
    "stuck": "times",
    "time_of_day": "boundary_sigmas",
}
_POWER = {"stuck": 2.0}
_FAR = {"stuck": 20.0, "running_range": 60.0, "time_of_day": 60.0}


@each_model
@pytest.mark.parametrize("times", [0.5, 2.0])
def test_an_option_moves_the_boundary(name: str, times: float) -> None:
    """The same reading after the same readings scores so many times less."""
    assert name in BOUNDARY_OPTION, f"say in BOUNDARY_OPTION which option moves the boundary of {name}"
    option = BOUNDARY_OPTION[name]
    model = usual_model(name)
    other = usual_model(name, **{option: times * getattr(model, option)})
    row = np.zeros(1, model.state)
    scores(model, [*noise(1_000), *[20.0] * 9], row[0])
    other_row, value = row.copy(), _FAR.get(name, 26.0)

    (found,) = scores(model, [value], row[0], first=1_009)
    (moved,) = scores(other, [value], other_row[0], first=1_009)

    assert found > 0.0
    assert moved == pytest.approx(found / times ** _POWER.get(name, 1.0))


@each_model
@pytest.mark.parametrize("side", [0, 1])
def test_a_score_of_one_is_the_edge_of_the_band(name: str, side: int) -> None:
    model = usual_model(name)
    row = np.zeros(1, model.state)
    scores(model, [*noise(1_000), *[21.5] * (20 if name == "level_shift" else 0)], row[0])
    ts_us = np.int64(START_US + 1_020 * S_US)
    timed = model.band.py_func.__code__.co_argcount == 3  # type: ignore[attr-defined]

    edges = model.band(row[0], ts_us, model.params) if timed else model.band(row[0], model.params)

    if name == "stuck":
        assert np.isnan(edges).all()
        return
    assert edges[0] < edges[1]
    if name == "level_shift" and side == 0:
        assert edges[0] == -np.inf
        return
    assert scores(model, [edges[side]], row[0], first=1_020) == [pytest.approx(1.0)]


def test_the_boundary_of_ewma_z_is_so_many_standard_deviations() -> None:
    usual = 20.0 + np.sqrt(2.0) * np.sin(np.arange(1_000) * 0.7)

    *before, found = scores(usual_model("ewma_z", boundary_sigmas=6.0), [*usual, 26.0])

    assert max(before) < 1.0
    assert found == pytest.approx(1.0, rel=0.05)


def test_the_boundary_of_running_range_is_its_margin_beyond_what_was_seen() -> None:
    """Which is wider while few readings are known."""
    margin = 0.6 * (1.0 + 150.0 / 1_000.0)
    *before, found = scores(usual_model("running_range", margin=0.6), [*[15.0, 25.0] * 500, 25.0 + 10.0 * margin])

    assert max(before) < 1.0
    assert found == pytest.approx(1.0)


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
    "one reading": [20.0],
    "extremes of both signs, rarely": [(1e100 if at % 62 else -1e100) if at % 31 == 0 else 0.5 for at in range(500)],
    "the least change of a large number, then rest": [1e100, float(np.nextafter(1e100, 0.0))] * 100 + [1e100] * 300,
}


@each_model
@pytest.mark.parametrize("series", HOSTILE.values(), ids=HOSTILE.keys())
def test_scores_are_finite_and_not_negative_whatever_comes(name: str, series: Series) -> None:
    model = usual_model(name)
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
    model = eager_model(name)

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
@examples(20)
@given(
    gaps=st.lists(st.sampled_from([0, 1, 100_000, S_US, HOUR_US, 400 * 24 * HOUR_US]), min_size=1, max_size=60),
    seed=st.integers(0, 9),
)
def test_scores_are_finite_and_not_negative_at_any_times(name: str, gaps: list[int], seed: int) -> None:
    """Even where the gate let a time come twice."""
    model = eager_model(name)
    row = as_row(model.state)

    found = np.array(scores(model, noise(len(gaps), seed), row, ts_us=START_US + np.cumsum(gaps)))

    assert np.isfinite(found).all()
    assert (found >= 0.0).all()
    assert all(np.isfinite(row[field]).all() for field in model.state.names or ())


@each_model
def test_ten_readings_a_second_and_then_one_an_hour_and_back_are_no_fault(name: str) -> None:
    gaps = np.repeat([S_US // 10, HOUR_US, S_US // 10], 600)

    found = scores(MODELS.create(name, {}), noise(gaps.size), ts_us=START_US + np.cumsum(gaps))

    assert max(found) < 1.0


@each_model
@pytest.mark.parametrize("share", [0.003, 0.03, 0.3])
def test_a_quantised_sensor_at_rest_that_flickers_is_never_odd(name: str, share: float) -> None:
    flickers = np.random.default_rng(4).random(5_000) < share

    assert max(scores(usual_model(name), 20.0 + 0.1 * flickers)) < 1.0


@each_model
@pytest.mark.parametrize("level", [30.0, 60.0, -500.0, 1e6])
def test_a_lasting_change_is_accepted_after_a_while(name: str, level: float) -> None:
    found = scores(usual_model(name), [*noise(1_000), *noise(3_000, 2, level)])

    assert max(found[-500:]) < 1.0


# --- state --------------------------------------------------------------------------------------------------------


@each_model
@examples(40)
@given(before=FINITE, after=FINITE)
def test_state_survives_a_snapshot_to_the_bit(name: str, before: list[float], after: list[float]) -> None:
    model = eager_model(name)
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
    model = eager_model(name)
    compiled, plain = np.zeros(1, model.state), np.zeros(1, model.state)

    expected = scores(model, series, compiled[0])
    with interpreted(model) as step:
        found = scores(model, series, plain[0], step)

    assert found == expected
    assert plain.tobytes() == compiled.tobytes()


@each_model
@pytest.mark.parametrize("series", HOSTILE.values(), ids=HOSTILE.keys())
def test_interpreted_and_compiled_agree_on_hostile_series(name: str, series: Series) -> None:
    model = usual_model(name)
    compiled, plain = np.zeros(1, model.state), np.zeros(1, model.state)

    expected = scores(model, series, compiled[0])
    with interpreted(model) as step:
        found = scores(model, series, plain[0], step)

    assert found == expected
    assert plain.tobytes() == compiled.tobytes()


@each_model
def test_the_loop_over_a_batch_is_the_step_for_each_reading_in_order(name: str) -> None:
    """For the classes that use the model, and only where nobody scored higher."""
    model = eager_model(name)
    rows, slots = 3_000, 7
    chance = np.random.default_rng(3)
    slot = chance.integers(0, slots, rows).astype(np.int32)
    ts_us = START_US + np.arange(rows) * S_US
    value = np.where(chance.random(rows) < 0.1, 1e3, chance.normal(0.0, 1.0, rows))
    value[2_600:] = 0.05 if name == "stuck" else 50.0
    verdict = np.where(chance.random(rows) < 0.2, ORDERLY + 1, ORDERLY).astype(np.uint8)
    class_of = (np.arange(slots) % 2).astype(np.int32)
    uses = np.array([False, True])
    params = np.stack([np.zeros_like(model.params), model.params])
    expected_state, expected = np.zeros(slots, model.state), np.full(rows, 0.5)
    bands = np.full((rows, 2), np.nan)
    for at in range(rows):
        if verdict[at] == ORDERLY and class_of[slot[at]] == 1:
            when = (ts_us[at],) if len(inspect.signature(model.band).parameters) == 3 else ()
            before = model.band(expected_state[slot[at]], *when, model.params)
            step = model.step(expected_state[slot[at]], ts_us[at], value[at], model.params)
            expected[at] = max(0.5, step)
            bands[at] = before if step > 0.5 else np.nan

    state, score, scored_by = np.zeros(slots, model.state), np.full(rows, 0.5), np.full(rows, -1, np.int16)
    band = np.full((rows, 2), np.nan)
    model.run(state, slot, ts_us, value, verdict, class_of, uses, params, 4, score, scored_by, band)

    assert state.tobytes() == expected_state.tobytes()
    assert score.tolist() == expected.tolist()
    assert scored_by.tolist() == [4 if one > 0.5 else -1 for one in expected]
    assert band.tobytes() == bands.tobytes()
    assert (expected > 1.0).any()
    # What scores above 1 lies outside of the band that was expected before it, and nothing else does.
    low, high = band.T
    known = ~np.isnan(low)
    assert (known == (scored_by == 4)).all() or (name == "stuck" and not known.any())
    assert ((value[known] < low[known]) | (value[known] > high[known])).tolist() == (score[known] > 1.0).tolist()

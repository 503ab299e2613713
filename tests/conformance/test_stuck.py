"""What the model of stuck sensors finds, how soon, and what it takes for a rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.stuck import Stuck
from tests.conformance.scoring import noise, scores
from tests.unit.stream.logs import as_row, examples

STUCK = Stuck()
OFF = [0.0] * 500


def found(*parts: NDArray[np.float64] | list[float]) -> NDArray[np.float64]:
    """The scores of the last of these parts, one after the other."""
    series = np.concatenate([np.asarray(part, np.float64) for part in parts])
    return np.array(scores(STUCK, series, as_row(STUCK.state)))[series.size - len(parts[-1]) :]


def rounded(count: int, sigmas: float, seed: int = 7) -> NDArray[np.float64]:
    """Noise about 20, of so many of an instrument's steps, which are 1."""
    return np.round(noise(count, seed, 20.0, sigmas))


def delay(usual: NDArray[np.float64], value: float) -> int | None:
    """The reading of a fault at which it is found; None within a thousand."""
    late = np.flatnonzero(found(usual, [value] * 1_000) >= 1.0)
    return int(late[0]) + 1 if late.size else None


# --- found --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sigmas", "least", "most"),
    [(1e6, 8, 9), (30.0, 8, 9), (3.0, 8, 14), (1.0, 14, 30), (0.6, 25, 60)],
)
def test_the_finer_an_instrument_the_sooner_it_is_found(sigmas: float, least: int, most: int) -> None:
    """From 8 readings on, whatever it is."""
    late = delay(rounded(3_000, sigmas), 20.0)

    assert late is not None
    assert least <= late <= most


def test_what_moves_about_zero_and_freezes_at_zero_is_found() -> None:
    assert delay(rounded(3_000, 3.0) - 20.0, 0.0) == delay(rounded(3_000, 3.0), 20.0)


def test_what_repeats_itself_more_often_than_is_allowed_is_too_coarse() -> None:
    fault = [20.0] * 1_000

    assert delay(rounded(20_000, 0.35), 20.0) is None
    assert max(scores(Stuck(coarsest=0.3), [*rounded(3_000, 1.0), *fault])) > 1.0
    assert not any(scores(Stuck(coarsest=0.25), [*rounded(3_000, 1.0), *fault]))


def test_a_clear_case_scores_several_and_four_times_as_much_after_twice_as_long() -> None:
    stuck = found(noise(3_000), [20.3] * 80)

    assert 2.0 < stuck[7] < 8.0
    assert stuck[39] == pytest.approx(4 * stuck[19], rel=0.1)


def test_a_fault_is_no_licence_for_a_longer_one() -> None:
    again = found(noise(3_000), [20.3] * 30, noise(500, 2), [19.8] * 100)

    assert 30 < np.flatnonzero(again >= 1.0)[0] < 50


@pytest.mark.parametrize("seed", range(5))
def test_a_sensor_that_is_stuck_while_its_machine_works_is_found_beside_its_rests(seed: int) -> None:
    """A machine that rests now and then, for some minutes or for a night; then it freezes at work."""
    chance = np.random.default_rng(seed)
    days: list[NDArray[np.float64] | list[float]] = []
    for _ in range(20):
        days += [noise(int(chance.integers(100, 400)), seed), [0.0] * int(chance.choice([5, 20, 600]))]

    assert found(*days, noise(100, seed), [20.3] * 30).max() > 1.0
    assert max(found(*days, noise(100, seed)).max(), found(*days).max()) == 0.0


# --- rests --------------------------------------------------------------------------------------------------------

RESTS: dict[str, list[float]] = {
    "at once": [],
    "down a ramp": [16.0, 12.0, 8.0, 4.0],
    "slower and slower": [20.0 * 0.8**at for at in range(60)],
    "with a swing": [3.0, -0.5, 0.2],
    "up": [25.0, 40.0, 60.0, 80.0],
}


@pytest.mark.parametrize("way", RESTS)
@pytest.mark.parametrize("spread", [0.05, 1.0, 4.0])
def test_a_machine_at_rest_is_not_stuck(way: str, spread: float) -> None:
    """Not even the first time, however long, and wherever it went."""
    usual, last = noise(2_000, 3, 20.0, spread), 100.0 if way == "up" else 0.0
    series = [*usual, *RESTS[way], *[last] * 3_000, *usual[:500], *RESTS[way], *[last] * 9_000]

    assert not np.any(scores(STUCK, np.round(series, 3)))


def test_who_rests_among_its_usual_values_is_told_once_and_then_known_for_longer_rests_too() -> None:
    """An axis moves to both sides of where it stands."""
    axis = noise(2_000, 3, 5.0, 30.0)

    assert found(axis, [5.0] * 100).max() > 1.0
    assert found(axis, [5.0] * 100, axis, [5.0] * 10_000).max() == 0.0


def test_rests_at_another_value_each_time_are_accepted_by_their_length() -> None:
    """A tank that nothing flows into or out of at night."""
    tank = np.array([], np.float64)
    first = []
    for night in range(10):
        filling = 50.0 + np.cumsum(noise(400, night, 0.0, 0.3))
        night_long = [float(filling[-1])] * (300 + 11 * (night * 7 % 10))
        first.append(found(tank, filling, night_long).max())
        tank = np.concatenate([tank, filling, night_long])

    assert first[0] > 1.0
    assert sum(one >= 1.0 for one in first) <= 3
    assert max(first[-3:]) < 1.0


@pytest.mark.parametrize("usual", [[20.0, 21.0], [20.0, 21.0, 22.0, 21.0], [0.0, 10.0, 10.0, 10.0]])
def test_who_takes_turns_and_then_rests_at_one_of_their_ends_is_not_stuck(usual: list[float]) -> None:
    for last in (min(usual), max(usual)):
        assert not found(usual * 500, [last] * 3_000).any()


def test_nothing_is_said_of_a_sensor_that_hardly_ever_moved() -> None:
    assert not np.any(scores(STUCK, [1.0] * 500 + [2.0] * 500 + [1.0] * 5_000))
    assert not found(noise(150), [20.3] * 100).any()


# --- whatever comes -----------------------------------------------------------------------------------------------

RUNS = st.lists(st.tuples(st.integers(-40, 40), st.integers(1, 30)), min_size=1, max_size=12)


@examples(40)
@given(runs=RUNS, seed=st.integers(0, 3), scale=st.integers(-30, 30), turned=st.booleans())
def test_neither_unit_nor_sign_matters(runs: list[tuple[int, int]], seed: int, scale: int, turned: bool) -> None:
    series = np.concatenate([np.round(noise(400, seed, 0.0, 20.0)), *([float(at)] * times for at, times in runs)])

    expected = scores(STUCK, series, as_row(STUCK.state))

    assert scores(STUCK, series * (-1.0 if turned else 1.0) * 2.0**scale, as_row(STUCK.state)) == expected


@examples(40)
@given(runs=RUNS, seed=st.integers(0, 3))
def test_a_score_is_of_a_run_of_eight_at_least_and_grows_until_it_ends(runs: list[tuple[int, int]], seed: int) -> None:
    series = np.concatenate([np.round(noise(400, seed, 0.0, 20.0)), *([float(at)] * times for at, times in runs)])
    length, before = 0, 0.0

    for at, score in enumerate(scores(STUCK, series, as_row(STUCK.state))):
        length = length + 1 if at and series[at] == series[at - 1] else 1
        assert score == 0.0 or length >= 8
        assert score >= before or length == 1
        before = score

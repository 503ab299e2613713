"""river's detectors as models: what they know follows from their row, whatever becomes of their objects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.river_model import PATIENCE, RiverModel
from tests.conformance.river_detectors import (
    EPOCH,
    NOTHING,
    PANIC,
    PLUG_IN,
    REGISTRY,
    SMALL,
    STOP,
    play,
    river_model,
    series,
)
from tests.conformance.scoring import noise, scores
from tests.unit.stream.logs import as_row, examples

WARM = 2 * EPOCH
"""Readings before a model that finds its own boundary scores."""

# --- objects are no state -----------------------------------------------------------------------------------------


def check_that_objects_are_no_state(detector: str, seed: int, cuts: list[tuple[int, bool]], threshold: bool) -> None:
    """cuts: (rows of a batch, whether all objects are lost, and the sensor has another slot, after it)."""
    model = river_model(detector, **({"threshold": 0.9} if threshold else {}))
    also = (PANIC, NOTHING) if detector == "Moody" else ()
    values = series(seed, 5 * EPOCH + seed % EPOCH, also)
    whole = np.zeros(1, model.state)
    run = model.begin()
    expected = [score for value in values for score in play(model, whole, [value], run)]

    bank, run, slot, at = np.zeros(8, model.state), model.begin(), 0, 0
    found: list[float] = []
    while at < values.size:
        for rows, lost in cuts:
            found += play(model, bank, values[at : at + rows], run, slot)
            at += rows
            if lost:
                run, moved = model.begin(), (slot + 3) % 8
                bank[moved], bank[slot] = bank[slot].copy(), 0
                slot = moved

    assert found == expected
    assert bank[slot].tobytes() == whole[0].tobytes()


ANY_CUTS = st.lists(st.tuples(st.integers(1, 2 * EPOCH), st.booleans()), min_size=1, max_size=6)


@pytest.mark.parametrize("detector", ["Asked", "Moody"])
@examples(40)
@given(seed=st.integers(0, 2**32), cuts=ANY_CUTS, threshold=st.booleans())
def test_objects_may_be_lost_at_any_moment_and_no_bit_changes(
    detector: str, seed: int, cuts: list[tuple[int, bool]], threshold: bool
) -> None:
    """Also where a detector fails: when it begins anew does not depend on which objects there are."""
    check_that_objects_are_no_state(detector, seed, cuts, threshold)


@pytest.mark.parametrize("detector", sorted(SMALL))
@examples(12)
@given(seed=st.integers(0, 2**32), cuts=ANY_CUTS)
def test_objects_of_each_of_rivers_detectors_may_be_lost(
    detector: str, seed: int, cuts: list[tuple[int, bool]]
) -> None:
    check_that_objects_are_no_state(detector, seed, cuts, threshold=False)


def test_every_detector_of_rivers_is_in_these_tests() -> None:
    assert {name.rpartition(".")[2] for name in PLUG_IN.names()} - {"Moody", "Broken"} == set(SMALL)


@examples(10)
@given(seed=st.integers(0, 2**32))
def test_a_batch_is_what_the_definition_says_reading_by_reading(seed: int) -> None:
    """The step makes its object anew from the row each time."""
    model = river_model("Asked")
    row, bank = as_row(model.state), np.zeros(1, model.state)
    values = series(seed, 4 * EPOCH)

    assert play(model, bank, values, model.begin()) == scores(model, values, row)
    assert bank[0].tobytes() == row.tobytes()


def test_a_model_knows_what_came_since_the_beginning_of_the_epoch_before_and_nothing_else() -> None:
    model, values = river_model("Asked", threshold=1e6), noise(6 * EPOCH)
    old, young = np.zeros(1, model.state), np.zeros(1, model.state)
    play(model, old, values, run := model.begin())
    # Another past, of as many readings; then the same two epochs.
    play(model, young, [*(values[: 4 * EPOCH] - 7.0), *values[4 * EPOCH :]], other := model.begin())

    after = noise(EPOCH, seed=9)
    found = play(model, old, after, run)
    assert found == play(model, young, after, other)
    assert max(found) > 0.0


def test_an_object_never_meets_another_sensors_row() -> None:
    """Whatever was in the slot before: what counts is the row."""
    model = river_model("Asked", threshold=5.0)
    bank, alone = np.zeros(1, model.state), np.zeros(1, model.state)
    run, values = model.begin(), noise(3 * EPOCH, level=3.0)
    play(model, bank, noise(4 * EPOCH - 1), run)
    bank[0] = 0

    assert play(model, bank, values, run) == play(model, alone, values, model.begin())
    assert bank.tobytes() == alone.tobytes()


def test_objects_of_sensors_that_are_gone_are_let_go() -> None:
    model = river_model("Asked")
    bank, run = np.zeros(64, model.state), model.begin()
    for slot in range(64):
        play(model, bank, noise(EPOCH + 1), run, slot)
    assert len(run) == 64

    bank[1:] = 0
    for _ in range(64):
        play(model, bank, noise(2 * EPOCH), run)

    assert len(run) == 1


# --- scores -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", sorted(SMALL))
def test_a_constant_sensor_is_not_anomalous(detector: str) -> None:
    for value in (0.0, 20.0, 1e99):
        model = river_model(detector)
        assert max(play(model, np.zeros(1, model.state), [value] * 5 * EPOCH, model.begin())) < 1.0


@pytest.mark.parametrize("detector", ["HalfSpaceTrees", "GaussianScorer"])
def test_a_spike_is_found_with_rivers_defaults_and_what_is_usual_is_not(detector: str) -> None:
    options = {"limits": [0, 100]} if detector == "HalfSpaceTrees" else {}
    model = REGISTRY.create(f"river:anomaly.{detector}", options)
    assert isinstance(model, RiverModel)
    bank, run = np.zeros(1, model.state), model.begin()
    values = noise(2_000, level=50.0)
    values[1_900] = 80.0

    found = np.array(play(model, bank, values, run))

    assert found[:1_024].max() == 0.0
    assert found[1_900] > 1.0
    assert (found > 1.0).sum() <= 3


def test_a_threshold_is_the_raw_score_that_is_1() -> None:
    model = river_model("GaussianScorer", threshold=0.95, window_size=EPOCH)
    bank, run, values = np.zeros(1, model.state), model.begin(), noise(40 * EPOCH)

    found = np.array(play(model, bank, values, run))

    assert found[:EPOCH].max() == 0.0
    # One in twenty, by a deviation from few readings.
    assert 0.04 < (found[EPOCH:] > 1.0).mean() < 0.10


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_a_boundary_of_its_own_follows_the_scale_of_the_raw_score(factor: float) -> None:
    model, values = river_model("StandardAbsoluteDeviation"), noise(6 * EPOCH)
    other = river_model("Asked")
    for one in (model, other):
        plain = play(one, np.zeros(1, one.state), values, one.begin())
        scaled = play(one, np.zeros(1, one.state), values * factor, one.begin())
        assert plain == pytest.approx(scaled, rel=1e-2)
        assert max(plain) > 0.0


def test_a_spike_is_not_learned_and_a_lasting_change_is() -> None:
    model = river_model("StandardAbsoluteDeviation")
    bank, run = np.zeros(1, model.state), model.begin()
    play(model, bank, noise(4 * EPOCH), run)

    (spike,) = play(model, bank, [60.0], run)
    again = play(model, bank, [20.0, 60.0], run)
    skipped = int(bank[0]["skipped"].sum())
    after = play(model, bank, [60.0] * (PATIENCE + 2 * EPOCH), run)

    assert spike > 1.0
    assert again[1] > 0.9 * spike
    assert skipped == 2
    assert bank[0]["skipped"].sum() <= PATIENCE
    assert min(after[:PATIENCE]) > 1.0
    assert after[-1] < 1.0


# --- what a detector may do ---------------------------------------------------------------------------------------


def test_what_is_no_score_counts_as_nothing() -> None:
    model = river_model("Moody", threshold=0.001)
    bank, run = np.zeros(1, model.state), model.begin()
    play(model, bank, noise(2 * EPOCH), run)

    assert play(model, bank, [NOTHING, NOTHING + 1, NOTHING + 2], run) == [0.0, 0.0, 0.0]
    assert play(model, bank, [25.0], run)[0] > 0.0
    assert bank[0]["seen"] == 2 * EPOCH + 4


def test_a_panic_in_rust_restarts_the_sensors_model_and_is_counted() -> None:
    model = river_model("Moody", threshold=0.001)
    bank, run = np.zeros(2, model.state), model.begin()
    cost = PLUG_IN._costs.of("river:anomaly.Moody")
    before = cost.restarts
    play(model, bank, noise(2 * EPOCH), run, slot=1)
    kept = bank[1].copy()
    play(model, bank, noise(2 * EPOCH), run)

    assert play(model, bank, [PANIC, 20.0], run)[1] == 0.0

    assert (bank[0]["restarts"], bank[0]["seen"]) == (1, 1)
    assert cost.restarts == before + 1
    assert bank[1].tobytes() == kept.tobytes()
    assert max(play(model, bank, noise(2 * EPOCH), run)) > 0.0
    assert play(model, bank, [PANIC], run) == [0.0]
    assert bank[0]["restarts"] == 2


def test_whoever_stops_the_program_is_not_kept_from_it() -> None:
    model = river_model("Moody")
    bank, run = np.zeros(1, model.state), model.begin()
    play(model, bank, noise(EPOCH + 5), run)

    with pytest.raises(KeyboardInterrupt):
        play(model, bank, [STOP], run)

    assert len(run) == 0, "what was interrupted is torn"


@pytest.mark.parametrize(
    ("field", "value"),
    [("seen", -1), ("seen", 2**62), ("value", np.nan), ("value", np.inf), ("restarts", -3), ("restarts", 2**63 - 1)],
)
def test_a_row_that_none_of_ours_has_made_begins_anew(field: str, value: float) -> None:
    model = river_model("Moody")
    bank = np.zeros(1, model.state)
    play(model, bank, noise(3 * EPOCH), model.begin())
    bank[0][field] = value

    play(model, bank, [PANIC], model.begin())

    assert bank[0]["seen"] == 0
    assert 1 <= bank[0]["restarts"] <= 2**62
    assert not bank[0]["value"].any()


@pytest.mark.parametrize("field", ["same", "far", "epochs", "tail", "excess", "top"])
@pytest.mark.parametrize("value", [-(2**62), 2**62])
def test_a_row_with_any_number_in_it_gives_a_score(field: str, value: int) -> None:
    model = river_model("GaussianScorer")
    bank = np.zeros(1, model.state)
    play(model, bank, noise(3 * EPOCH), model.begin())
    bank[0][field] = value

    assert min(play(model, bank, noise(2 * EPOCH), model.begin())) >= 0.0

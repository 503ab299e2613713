"""What each model has to find, and how seldom it may cry wolf."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.contract.class_settings import DEFAULT_MODELS
from models.base import Model
from tests.conformance.scoring import NAMES, noise, scores, usual_model
from tests.unit.stream.logs import MODELS, S_US, START_US, as_row

MINUTE_US = 60 * S_US
DAY = 1_440  # minutes

each_model = pytest.mark.parametrize("name", NAMES)


# --- faults -------------------------------------------------------------------------------------------------------

USUAL = noise(1_500)
FAULTS: dict[str, Any] = {
    "spike": [60.0],
    "level shift": noise(100, 2, 40.0),
    "small shift": noise(200, 2, 23.0),
    "drift": noise(2_500, 2, 0.0) + 20.0 + np.arange(2_500) * 0.02,
    "stuck": np.full(100, 20.3),
    "noise burst": noise(50, 2, 20.0, 20.0),
}
FINDS = {
    "ewma_horizons": {"spike", "level shift", "noise burst"},
    "ewma_z": {"spike", "level shift", "noise burst"},
    "level_shift": {"level shift", "small shift", "drift", "noise burst"},
    "rate_of_change": {"spike", "level shift", "noise burst"},
    "robust_band": {"spike", "level shift", "noise burst"},
    "running_range": {"spike", "level shift", "small shift", "noise burst"},
    "seasonal": {"spike", "level shift", "noise burst"},
    "short_long": {"spike", "level shift", "small shift", "drift", "noise burst"},
    "stuck": {"stuck"},
    "time_of_day": {"spike", "level shift", "small shift", "drift", "noise burst"},
}


@each_model
@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_finds_what_it_is_for_and_knows_what_it_is_not_for(name: str, fault: str) -> None:
    assert name in FINDS, f"say in FINDS what {name} finds"

    found = scores(usual_model(name), [*USUAL, *FAULTS[fault]])

    assert max(found[: USUAL.size]) < 1.0
    assert (max(found[USUAL.size :]) > 1.0) == (fault in FINDS[name])


each_for_spikes = pytest.mark.parametrize("name", [name for name in NAMES if "spike" in FINDS.get(name, ())])


@each_for_spikes
@pytest.mark.parametrize(("level", "spread"), [(20.0, 1.0), (0.0, 1e-6), (101_325.0, 50.0), (1e9, 1e-3), (-1e30, 1e27)])
def test_usual_readings_stay_below_the_boundary_and_a_spike_does_not(name: str, level: float, spread: float) -> None:
    for seed in range(5):
        usual = noise(2_000, seed, level, spread)
        *before, spike = scores(usual_model(name), [*usual, level + 40 * spread])

        assert max(before) < 1.0 < spike


@each_for_spikes
def test_a_spike_does_not_hide_the_next_one(name: str) -> None:
    usual = noise(1_000)
    found = scores(usual_model(name), [*usual, 80.0, *usual[:30], 80.0])

    assert found[1_000] > 1.0
    assert found[-1] > 1.0


@each_for_spikes
@pytest.mark.parametrize("wild", [65_535.0, -9_999.0, 1e30])
def test_one_sentinel_does_not_blind_a_model(name: str, wild: float) -> None:
    usual = noise(1_000)
    found = scores(usual_model(name), [*usual, wild, *usual, 80.0])

    assert found[1_000] > 1.0
    assert max(found[1_100:-1]) < 1.0
    assert found[-1] > 1.0


# --- false alarms -------------------------------------------------------------------------------------------------


def of_many(model: Model, series: NDArray[np.float64], step_us: int = MINUTE_US) -> NDArray[np.float64]:
    """The scores of one sensor's long series, by the loop over a batch."""
    rows = series.size
    score, scored_by = np.zeros(rows), np.full(rows, -1, np.int16)
    model.run(
        np.zeros(1, model.state),
        np.zeros(rows, np.int32),
        START_US + np.arange(rows) * step_us,
        series,
        np.zeros(rows, np.uint8),
        np.zeros(1, np.int32),
        np.ones(1, np.bool_),
        model.params[None, :],
        0,
        score,
        scored_by,
        np.full((rows, 2), np.nan),
    )
    return score


def autoregression(count: int, keeps: float) -> NDArray[np.float64]:
    """Noise that keeps so much of its last value."""
    found = noise(count, 5, 0.0)
    for at in range(1, count):
        found[at] += keeps * found[at - 1]
    return found


QUIET = {
    "normal": noise(200_000, 5),
    "exponential tails": np.random.default_rng(5).laplace(20.0, 1.0, 200_000),
    "an autoregression": autoregression(200_000, 0.9),
    "rounded": np.round(noise(200_000, 5)),
    "uniform": np.random.default_rng(5).random(200_000),
    "a day's rhythm": noise(200_000, 5) + 10.0 * np.sin(np.arange(200_000) * 2.0 * np.pi / DAY),
}


@each_model
@pytest.mark.parametrize("kind", QUIET)
def test_a_model_hardly_ever_cries_wolf(name: str, kind: str) -> None:
    """One sensor of usual noise, a reading a minute for 139 days."""
    found = of_many(MODELS.create(name, {}), QUIET[kind])

    assert (found >= 1.0).sum() <= 1


@pytest.mark.parametrize("name", [one.name for one in DEFAULT_MODELS])
@pytest.mark.parametrize("kind", ["normal", "exponential tails", "an autoregression"])
def test_new_sensors_do_not_cry_wolf_with_the_default_models(name: str, kind: str) -> None:
    """A hundred of them from their first reading on, two thousand readings each: their ranges are hardly known yet."""
    model = MODELS.create(name, {})

    found = [of_many(model, series) for series in QUIET[kind].reshape(100, -1)]

    assert (np.concatenate(found) >= 1.0).sum() <= 1


# --- of single models ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outliers", [35.0, 1_000.0, 65_535.0])
def test_a_robust_band_stands_a_fifth_of_nonsense(outliers: float) -> None:
    model, chance = usual_model("robust_band"), np.random.default_rng(6)
    clean, nonsense = noise(10_000), chance.random(10_000) < 0.2
    row = as_row(model.state)

    scores(model, np.where(nonsense, outliers, clean), row)
    low, high = model.band(row, model.params)

    # The median of what is left lies at the 62.5 % quantile of the clean ones.
    assert row["median"] == pytest.approx(20.3, abs=0.2)
    assert -6.0 < low < 15.0
    assert 25.0 < high < 46.0


@pytest.mark.parametrize("name", ["ewma_horizons", "level_shift", "rate_of_change"])
def test_what_recurs_is_usual(name: str) -> None:
    """A machine that starts for a minute every ten; one that starts at twice the speed is odd all the same."""
    recurring = noise(60_000)
    recurring[np.arange(recurring.size) % 600 >= 540] += 60.0
    again, worse = recurring.copy(), recurring.copy()
    worse[-60:] += 120.0

    found = of_many(usual_model(name), again, S_US)
    found_worse = of_many(usual_model(name), worse, S_US)

    reported = found.reshape(-1, 600).max(axis=1) > 1.0
    assert reported[:10].any()
    assert reported.sum() <= 12  # of a hundred
    assert reported[-50:].sum() <= 3
    assert (found_worse[-60:].max() > 1.0) == (name != "level_shift")  # its evidence of one reading is bounded


def test_what_gave_way_comes_back() -> None:
    model = usual_model("rate_of_change")
    row = np.zeros(1, model.state)
    scores(model, [*noise(500), *[*noise(20), 60.0] * 20, *noise(5)], row[0])
    given = float(row["extra"][0])

    scores(model, noise(100_000), row[0])

    assert given > 0.3
    assert row["extra"][0] < 0.5 * given


@pytest.mark.parametrize("keeps", [0.0, 0.9, 0.99])
def test_a_level_shift_learns_how_much_a_reading_keeps_of_the_last(keeps: float) -> None:
    model = usual_model("level_shift")
    row = as_row(model.state)

    scores(model, autoregression(20_000, keeps), row)

    assert row["covariance"] / row["variance"] == pytest.approx(keeps, abs=0.07)
    assert row["noise"] == pytest.approx(1.0, rel=0.2)


def test_a_level_shift_starts_anew_from_the_level_that_lasts() -> None:
    model = usual_model("level_shift")

    found = np.array(scores(model, [*noise(1_000), *noise(1_000, 2, 25.0), *noise(100, 3, 20.0)]))

    (shifted,) = np.nonzero(found > 1.0)
    assert 1_000 < shifted[0] < 1_010
    assert not (found[1_000 + 250 : 2_000] > 1.0).any()
    assert (found[2_000:] > 1.0).any()


def test_a_rate_counts_the_time_that_passed() -> None:
    model = usual_model("rate_of_change")
    row = np.zeros(1, model.state)
    scores(model, noise(500), row[0])
    soon, late = row.copy(), row.copy()
    at_us = START_US + 499 * S_US

    (quick,) = scores(model, [60.0], soon[0], ts_us=np.array([at_us + S_US]))
    (slow,) = scores(model, [60.0], late[0], ts_us=np.array([at_us + 60 * S_US]))

    assert quick > 1.0 > slow
    assert slow == pytest.approx(quick / 60.0)


def test_noise_over_next_to_no_time_is_no_rate() -> None:
    chance = np.random.default_rng(8)
    gaps = np.where(chance.random(3_000) < 0.05, 1_000, S_US) * (chance.random(3_000) > 0.05)

    assert max(scores(usual_model("rate_of_change"), noise(3_000), ts_us=START_US + np.cumsum(gaps))) < 1.0


def day_of(minute: NDArray[np.int64]) -> NDArray[np.float64]:
    """A plant of two shifts, from six to ten in the evening."""
    of_day = minute % DAY
    return np.where((of_day >= 360) & (of_day < 1_320), 80.0, 20.0)


def test_seasonal_finds_a_night_shift_that_never_was() -> None:
    minute = np.arange(20 * DAY)
    usual = day_of(minute) + noise(minute.size, 9, 0.0)
    odd = usual.copy()
    odd[19 * DAY + 120 : 19 * DAY + 180] += 60.0
    start_us = np.int64(START_US - START_US % (7 * DAY * MINUTE_US))

    for values, is_odd in ((usual, False), (odd, True)):
        model = MODELS.create("seasonal", {})
        found = scores(model, values, ts_us=start_us + minute * MINUTE_US)
        assert (max(found) > 1.0) == is_odd
    assert max(found[: 19 * DAY + 120]) < 1.0 < min(found[19 * DAY + 120 : 19 * DAY + 180])


def test_seasonal_learns_the_weekend_as_well() -> None:
    minute = np.arange(9 * 7 * DAY, step=5)
    working = minute // DAY % 7 < 5
    values = np.where(working, day_of(minute), 20.0) + noise(minute.size, 9, 0.0)
    start_us = START_US - START_US % (7 * DAY * MINUTE_US)
    ts_us = start_us + minute * MINUTE_US

    model = MODELS.create("seasonal", {})
    row = as_row(model.state)
    found = scores(model, values, row, ts_us=ts_us)
    at_noon = start_us + (9 * 7 * DAY + np.array([1, 6]) * DAY + 720) * MINUTE_US
    expected = [np.mean(model.band(row, one_us, model.params)) for one_us in at_noon]

    assert max(found) < 1.0
    assert expected[0] == pytest.approx(80.0, abs=6.0)
    assert expected[1] == pytest.approx(20.0, abs=6.0)


@pytest.mark.parametrize("name", ["seasonal", "time_of_day"])
@pytest.mark.parametrize(("zone", "offset"), [("Etc/GMT+5", -300), ("UTC", 0), ("Asia/Kathmandu", 345)])
def test_the_zone_moves_the_bins(name: str, zone: str, offset: int) -> None:
    """The same local times make the same of everything."""
    minute = np.arange(9 * DAY, step=10)
    values = day_of(minute) + noise(minute.size, 9, 0.0)
    here, there = MODELS.create(name, {}), MODELS.create(name, {"zone": zone})
    rows = [np.zeros(1, here.state), np.zeros(1, here.state)]

    expected = scores(here, values, rows[0][0], ts_us=START_US + minute * MINUTE_US)
    found = scores(there, values, rows[1][0], ts_us=START_US + (minute - offset) * MINUTE_US)

    assert found == expected
    for field in here.state.names or ():
        if not field.endswith("_us"):
            assert rows[0][field].tobytes() == rows[1][field].tobytes()


@pytest.mark.parametrize("name", ["seasonal", "time_of_day"])
def test_a_rhythm_of_people_goes_on_when_the_clocks_change(name: str) -> None:
    zone, first = ZoneInfo("Europe/Berlin"), datetime(2026, 3, 20, tzinfo=UTC)  # the clocks change on the 29th
    at_us = np.array([int(first.timestamp()) * S_US + minute * 5 * MINUTE_US for minute in range(13 * 288)])
    hours = np.array([datetime.fromtimestamp(one / 1e6, zone).hour for one in at_us])
    values = np.where((hours >= 6) & (hours < 18), 80.0, 20.0) + noise(at_us.size, 4, 0.0)
    found = {
        told: scores(model := MODELS.create(name, {"zone": told}), values, as_row(model.state), ts_us=at_us)
        for told in ("Europe/Berlin", "UTC")
    }

    assert max(found["Europe/Berlin"]) < 1.0
    assert max(found["Europe/Berlin"][9 * 288 :]) < max(found["UTC"][9 * 288 :])


def test_a_zone_that_there_is_not_is_refused() -> None:
    assert "no time zone 'Europe/Berlinn'" in str(MODELS.problems("time_of_day", {"zone": "Europe/Berlinn"}))


def test_rows_take_no_more_than_they_say() -> None:
    assert MODELS.create("seasonal", {}).state.itemsize == 1_536
    assert MODELS.create("time_of_day", {}).state.itemsize == 320
    assert MODELS.create("running_range", {}).state.itemsize == 56


def test_a_record_is_nearly_odd_and_what_is_within_the_range_is_not() -> None:
    model = usual_model("running_range")
    row = np.zeros(1, model.state)
    scores(model, noise(1_000), row[0])
    high = float(row["high"][0])
    inside, record = row.copy(), row.copy()

    assert scores(model, [high - 0.01], inside[0]) == [0.0]
    assert 0.85 < scores(model, [high + 0.1], record[0])[0] < 0.9


def test_a_swing_of_the_mean_is_seen_though_no_reading_is_out_of_range() -> None:
    model, odd = usual_model("running_range"), noise(60, 2, 22.0)

    found = scores(model, [*noise(2_000), *odd])

    assert odd.max() < noise(2_000).max() + 1.0
    assert max(found[:2_000]) < 1.0 < max(found[2_000:])


def test_the_time_of_day_is_known_from_the_second_day_on() -> None:
    minute = np.arange(6 * DAY)
    usual = day_of(minute) + noise(minute.size, 9, 0.0)
    odd = usual.copy()
    odd[5 * DAY + 120 : 5 * DAY + 180] += 60.0
    start_us = np.int64(START_US - START_US % (DAY * MINUTE_US))

    for values, is_odd in ((usual, False), (odd, True)):
        found = scores(MODELS.create("time_of_day", {}), values, ts_us=start_us + minute * MINUTE_US)
        assert max(found[:DAY]) == 0.0
        assert max(found[: 5 * DAY + 120]) < 1.0
        assert (max(found[5 * DAY + 120 : 5 * DAY + 180]) > 1.0) == is_odd


def test_what_recurs_at_any_time_of_day_is_reported_ever_less() -> None:
    recurring = noise(60_000)
    recurring[np.arange(recurring.size) % 1_000 >= 970] += 8.0

    found = of_many(MODELS.create("time_of_day", {}), recurring, MINUTE_US)

    reported = found.reshape(-1, 1_000).max(axis=1) > 1.0
    assert reported[2:6].sum() >= 3
    assert reported[-20:].sum() <= 8


def test_a_sentinel_does_not_become_the_usual_for_its_hour() -> None:
    minute = np.arange(4 * DAY)
    values = noise(minute.size)
    values[3 * DAY - 30] = 65_535.0
    row = as_row(MODELS.create("time_of_day", {}).state)

    scores(MODELS.create("time_of_day", {}), values, row, ts_us=START_US + minute * MINUTE_US)

    assert np.abs(row["level"] - 20.0).max() < 1.0


@pytest.mark.parametrize(("days", "is_new"), [(2, False), (4, True)])
def test_a_weekend_is_no_reason_to_forget_the_rhythm(days: int, is_new: bool) -> None:
    """But another level that has lasted for three days is the usual one."""
    minute = np.arange((6 + days) * DAY, step=5)
    values = day_of(minute) + noise(minute.size, 9, 0.0)
    values[minute >= 6 * DAY] += 500.0
    row = as_row(MODELS.create("time_of_day", {}).state)

    scores(MODELS.create("time_of_day", {}), values, row, ts_us=START_US + minute * MINUTE_US)

    assert (row["level"].min() > 400.0) == is_new

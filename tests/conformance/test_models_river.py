"""Models against river's answer, where it has the same algorithm or a relative of it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conformance.scoring import noise, scores
from tests.unit.stream.logs import MODELS, as_row


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


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ewma_horizons_learns_what_river_learns_at_each_of_them() -> None:
    from river import stats

    alphas = (0.5, 0.1, 0.01)
    model = MODELS.create("ewma_horizons", {"alphas": alphas, "warm_up": 10**6})
    row, series = as_row(model.state), noise(2_000)
    scores(model, series, row)

    for at, alpha in enumerate(alphas):
        mean, variance = stats.EWMean(alpha), stats.EWVar(alpha)
        for value in series.tolist():
            mean.update(value)
            variance.update(value)
        assert row["mean"][at] == pytest.approx(mean.get(), rel=1e-9)
        assert row["variance"][at] == pytest.approx(variance.get(), rel=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_long_window_starts_as_rivers_mean_and_variance_do() -> None:
    """While the window is longer than the series, its weights are equal."""
    from river import stats

    model = MODELS.create("short_long", {"long": 10**9, "short": 2, "warm_up": 10**6})
    row, series = as_row(model.state), noise(2_000)
    short, distances, long = stats.EWMean(2.0 / 3.0), stats.Mean(), stats.Mean()
    for value in series.tolist():
        before = long.get()
        short.update(value)
        long.update(short.get())
        if before:
            distances.update((short.get() - before) ** 2)
    scores(model, series, row)

    assert row["long"] == pytest.approx(long.get(), rel=1e-9)
    assert row["variance"] == pytest.approx(distances.get(), rel=0.01)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_robust_median_is_near_rivers_quantile() -> None:
    from river import stats

    model = MODELS.create("robust_band", {})
    row, series = as_row(model.state), np.random.default_rng(3).exponential(10.0, 5_000)
    median, half = stats.Quantile(0.5), stats.Quantile(0.5)
    scores(model, series, row)
    for value in series.tolist():
        median.update(value)
    for value in series.tolist():
        half.update(abs(value - median.get()))

    assert row["median"] == pytest.approx(median.get(), rel=0.15)
    assert row["half"] == pytest.approx(half.get(), rel=0.15)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("shift", [2.0, 5.0, -3.0])
def test_a_level_shift_is_found_when_rivers_page_hinkley_finds_it(shift: float) -> None:
    from river import drift

    model = MODELS.create("level_shift", {})
    peer = drift.PageHinkley(delta=0.75, threshold=15.0, alpha=1.0)
    series = [*noise(1_000, 3, 0.0), *noise(100, 4, shift)]
    found = int(np.argmax(np.array(scores(model, series)) > 1.0))
    peer_found = 0
    for at, value in enumerate(series):
        peer.update(value)
        if peer.drift_detected:
            peer_found = at
            break

    assert peer_found > 1_000
    assert abs(found - peer_found) <= 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_running_range_learns_what_river_learns_while_it_warms_up() -> None:
    from river import stats

    model = MODELS.create("running_range", {"short": 5, "long": 10**9, "warm_up": 10**6})
    row, series = as_row(model.state), noise(2_000)
    low, high, short, long = stats.Min(), stats.Max(), stats.EWMean(1.0 / 3.0), stats.Mean()
    for value in series.tolist():
        for one in (low, high, short, long):
            one.update(value)
    scores(model, series, row)

    assert (row["low"], row["high"]) == (low.get(), high.get())
    assert row["short"] == pytest.approx(short.get(), rel=1e-9)
    assert row["long"] == pytest.approx(long.get(), rel=1e-9)

"""Waveforms that are short, constant, broken or sampled too slowly; and what can be set."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.sensors import check_path, machine_of
from ingest.contract.waveform_options import WaveformOptions
from ingest.waveforms import feature_sensors, feature_units, features

SINE = np.sin(2 * np.pi * 50 * np.arange(1_000) / 1_000)


def refused(reason: Reason, call: Callable[[], object]) -> str:
    with pytest.raises(QuarantineError) as caught:
        call()
    assert caught.value.reason is reason
    return caught.value.detail


def values(*args: Any) -> list[float]:
    return list(features(*args).values())


def test_features_of_a_sine() -> None:
    options = WaveformOptions(bands=[(10, 100), (100, 500)])
    rms, peak, crest, kurtosis, low, high = values(3 * SINE, 1_000.0, options)
    assert rms == pytest.approx(3 / math.sqrt(2))
    assert peak == pytest.approx(3.0)
    assert crest == pytest.approx(math.sqrt(2))
    assert kurtosis == pytest.approx(1.5)
    assert low == pytest.approx(rms)
    assert high == pytest.approx(0.0, abs=1e-9)


def test_kurtosis_of_gaussian_noise_is_three_and_of_knocks_far_more() -> None:
    noise = np.random.default_rng(1).normal(size=100_000)
    (plain,) = values(noise, None, WaveformOptions(features=["kurtosis"]))
    assert plain == pytest.approx(3.0, abs=0.1)
    noise[::1_000] += 10
    (knocking,) = values(noise, None, WaveformOptions(features=["kurtosis"]))
    assert knocking > 10


@pytest.mark.parametrize("level", [0.0, 0.1, -1e300, 1e-300, 12_345.678])
def test_a_signal_that_does_not_vary_has_no_ratios_and_no_frequency(level: float) -> None:
    options = WaveformOptions(
        features=["mean", "rms", "peak", "peak_to_peak", "crest", "kurtosis", "skewness", "dominant_hz"],
        bands=[(0, 500)],
        rate_hz=1_000,
    )
    found = features(np.full(1_000, level), None, options)
    assert found.pop("mean") == pytest.approx(level, rel=1e-12)
    assert found == {"rms": 0.0, "peak": 0.0, "peak_to_peak": 0.0, "band_0_500": 0.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_sample_that_is_not_finite_spoils_the_waveform(bad: float) -> None:
    samples = SINE.copy()
    samples[500] = bad
    assert "not finite" in refused(Reason.NUMBER, lambda: features(samples, None, WaveformOptions()))


def test_values_beyond_all_numbers_are_refused() -> None:
    extreme = np.where(np.arange(100) % 2, 1.7e308, -1.7e308)
    assert values(extreme, None, WaveformOptions(features=["rms"])) == pytest.approx([1.7e308])
    assert "beyond" in refused(
        Reason.NUMBER, lambda: features(extreme, None, WaveformOptions(features=["peak_to_peak"]))
    )


def test_a_short_waveform_has_no_statistics() -> None:
    assert "63 samples, at least 64" in refused(Reason.NO_VALUE, lambda: features(np.ones(63), None, WaveformOptions()))


def test_frequencies_need_a_rate_and_the_payload_knows_it_best() -> None:
    options = WaveformOptions(features=["dominant_hz"])
    assert "no sampling rate" in refused(Reason.NO_VALUE, lambda: features(SINE, None, options))
    assert values(SINE, 1_000.0, options) == pytest.approx([50.0], abs=0.01)
    assert values(SINE, 2_000.0, options.model_copy(update={"rate_hz": 1_000.0})) == pytest.approx([100.0], abs=0.02)
    for rate_hz in (0.0, -1.0, math.nan, math.inf):
        assert "sampling rate" in refused(Reason.NUMBER, partial(features, SINE, rate_hz, options))
    # What needs none does without.
    assert values(SINE, None, WaveformOptions(features=["rms"])) == pytest.approx([math.sqrt(0.5)])


def test_a_band_that_this_waveform_cannot_show_is_refused() -> None:
    beyond = WaveformOptions(features=[], bands=[(10, 1_000)])
    assert "half the sampling rate" in refused(Reason.NUMBER, lambda: features(SINE, 1_000.0, beyond))
    between = WaveformOptions(features=[], bands=[(10.1, 10.9)])
    assert "between two lines" in refused(Reason.NUMBER, lambda: features(SINE, 1_000.0, between))


def test_features_are_sensors_of_the_same_machine() -> None:
    options = WaveformOptions(features=["rms", "dominant_hz", "crest"], bands=[(0.5, 10), (1e6, 2.5e7)])
    names = feature_sensors("demo/press-01/vibration", options)
    assert names == [
        "demo/press-01/vibration.rms",
        "demo/press-01/vibration.dominant_hz",
        "demo/press-01/vibration.crest",
        "demo/press-01/vibration.band_0.5_10",
        "demo/press-01/vibration.band_1000000_25000000",
    ]
    assert {machine_of(check_path(name)) for name in names} == {"demo/press-01"}
    assert feature_units("mm/s", options) == ["mm/s", "Hz", "1", "mm/s", "mm/s"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ["rmss"]}, "'rms'"),
        ({"features": ["rms", "rms"]}, "named twice: rms"),
        ({"bands": [[100, 10]]}, "the lower first"),
        ({"bands": [[10, 10]]}, "the lower first"),
        ({"bands": [[-1, 10]]}, "0.001 to 1e9"),
        ({"bands": [[1, "inf"]]}, "0.001 to 1e9"),
        ({"bands": [["nan", 10]]}, "0.001 to 1e9"),
        ({"bands": [[1, 10], [1, 10]]}, "there twice"),
        ({"bands": [[n, n + 1] for n in range(1, 40)]}, "at most 32"),
        ({"bands": [[10, 1000]], "rate_hz": 1000}, "goes beyond 500 Hz"),
        ({"rate_hz": 0}, "greater than 0"),
        ({"rate_hz": "nan"}, "finite number"),
        ({"features": []}, "nothing is made of the waveform"),
        ({"min_samples": 2}, "greater than or equal to 8"),
        ({"keep": True}, "Extra inputs"),
    ],
)
def test_mistakes_in_the_settings_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WaveformOptions.model_validate(options)


def test_raw_waveforms_alone_are_a_choice() -> None:
    assert WaveformOptions(features=[], keep_raw=True).names == ()
    assert values(SINE, None, WaveformOptions(features=[], keep_raw=True)) == []

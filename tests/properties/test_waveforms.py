"""Features of waveforms: they scale, do not mind a shift, and agree with the plain formulas and with Parseval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.waveform_options import FeatureName, WaveformOptions
from ingest.waveforms import features

few = settings(max_examples=150, deadline=None)

EVERY: list[FeatureName] = ["mean", "rms", "peak", "peak_to_peak", "crest", "kurtosis", "skewness", "dominant_hz"]
RATE_HZ = 1_000.0
BANDS = [(0.0, 60.0), (60.0, 200.0), (200.0, 500.0)]
ALL = WaveformOptions(features=EVERY, bands=BANDS, rate_hz=RATE_HZ, min_samples=64)
NAMES = ALL.names
IN_UNIT = [NAMES.index(name) for name in NAMES if name in ("mean", "rms", "peak", "peak_to_peak") or "band" in name]
RATIOS = [NAMES.index(name) for name in ("crest", "kurtosis", "dominant_hz")]
SKEW = NAMES.index("skewness")

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(64, 700)
magnitudes = st.floats(1e-100, 1e100)


def signal(seed: int, size: int) -> NDArray[np.float64]:
    """Noise, tones and bursts."""
    rng = np.random.default_rng(seed)
    at_s = np.arange(size) / RATE_HZ
    tone = rng.uniform(0, 3) * np.sin(2 * np.pi * rng.uniform(5, 450) * at_s + rng.uniform(0, 6))
    return rng.normal(size=size) * rng.uniform(0.1, 2) + tone + (rng.random(size) < 0.01) * rng.uniform(-20, 20)


def of(samples: NDArray[np.float64], options: WaveformOptions = ALL) -> NDArray[np.float64]:
    found = features(samples, None, options)
    assert list(found) == list(options.names)
    return np.array(list(found.values()))


@few
@given(seed=seeds, size=sizes, factor=magnitudes, sign=st.sampled_from([-1.0, 1.0]))
def test_a_louder_signal_has_larger_values_and_the_same_ratios(
    seed: int, size: int, factor: float, sign: float
) -> None:
    plain = of(signal(seed, size))
    louder = of(signal(seed, size) * factor * sign)
    expected = plain[IN_UNIT] * factor
    expected[0] *= sign  # the mean
    np.testing.assert_allclose(louder[IN_UNIT], expected, rtol=1e-9, atol=1e-12 * factor)
    np.testing.assert_allclose(louder[RATIOS], plain[RATIOS], rtol=1e-9)
    assert louder[SKEW] == pytest.approx(plain[SKEW] * sign, rel=1e-9, abs=1e-9)


@few
@given(seed=seeds, size=sizes, shift=st.floats(-1e3, 1e3))
def test_a_constant_added_moves_the_mean_only(seed: int, size: int, shift: float) -> None:
    plain, moved = of(signal(seed, size)), of(signal(seed, size) + shift)
    assert moved[0] == pytest.approx(plain[0] + shift, abs=1e-9)
    np.testing.assert_allclose(moved[1:], plain[1:], rtol=1e-8, atol=1e-8)


@few
@given(seed=seeds, size=sizes)
def test_values_are_those_of_the_plain_formulas(seed: int, size: int) -> None:
    samples = signal(seed, size)
    x = samples - samples.mean()
    window = np.hanning(size + 1)[:-1]
    power = np.abs(np.fft.fft(x * window)) ** 2 / (size * np.sum(window**2))
    line = np.arange(size)
    at_hz = np.minimum(line, size - line) * RATE_HZ / size
    bands = [math.sqrt(power[(at_hz >= low) & ((at_hz < high) | (high == RATE_HZ / 2))].sum()) for low, high in BANDS]
    rms = math.sqrt(np.mean(x**2))
    peak = np.abs(x).max()
    expected = [samples.mean(), rms, peak, np.ptp(x), peak / rms, np.mean(x**4) / rms**4, np.mean(x**3) / rms**3]
    got = of(samples)
    np.testing.assert_allclose(got[:7], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(got[8:], bands, rtol=1e-9, atol=1e-12)


@few
@given(seed=seeds, size=sizes)
def test_squares_of_bands_add_up_to_the_windowed_signal(seed: int, size: int) -> None:
    samples = signal(seed, size)
    window = np.hanning(size + 1)[:-1]
    windowed = (samples - samples.mean()) * window
    assert np.sum(of(samples)[8:] ** 2) == pytest.approx(np.sum(windowed**2) / np.sum(window**2), rel=1e-9)
    whole = of(samples, WaveformOptions(features=[], bands=[(0, 500)], rate_hz=RATE_HZ))
    assert whole[0] ** 2 == pytest.approx(np.sum(of(samples)[8:] ** 2), rel=1e-9)


@few
@given(
    amplitude=magnitudes,
    line=st.integers(20, 500),
    phase=st.floats(0, 6.28),
    offset=st.floats(-10, 10),
    count=st.sampled_from([1021, 1499, 2003]),  # primes: no harmonic falls on the signal itself
)
def test_a_sine_is_known_by_its_amplitude_and_frequency(
    amplitude: float, line: int, phase: float, offset: float, count: int
) -> None:
    frequency = line * RATE_HZ / count
    samples = amplitude * (np.sin(2 * np.pi * line * np.arange(count) / count + phase) + offset)
    low, high = frequency - 5, min(frequency + 5, 500.0)
    options = WaveformOptions(
        features=["rms", "peak", "crest", "kurtosis", "skewness", "dominant_hz"],
        bands=[(low, high), (0, low - 1)],
        rate_hz=RATE_HZ,
    )
    rms, peak, crest, kurtosis, skewness, dominant, inside, outside = of(samples, options)
    assert rms == pytest.approx(amplitude / math.sqrt(2), rel=1e-6)
    assert inside == pytest.approx(rms, rel=1e-6)
    assert outside <= 1e-6 * rms
    assert dominant == pytest.approx(frequency, abs=0.01 * RATE_HZ / count)
    assert kurtosis == pytest.approx(1.5, rel=1e-6)
    assert skewness == pytest.approx(0.0, abs=1e-6)
    # Samples miss the top of the wave by half a step at the most.
    least = math.cos(math.pi * frequency / RATE_HZ) - 1e-9
    assert least * amplitude <= peak <= amplitude * (1 + 1e-6)
    assert least * math.sqrt(2) <= crest <= math.sqrt(2) * (1 + 1e-6)


@few
@given(frequency=st.floats(20, 480))
def test_a_frequency_between_two_lines_is_found_within_a_tenth_of_a_line(frequency: float) -> None:
    samples = np.sin(2 * np.pi * frequency * np.arange(2048) / RATE_HZ)
    (found,) = of(samples, WaveformOptions(features=["dominant_hz"], rate_hz=RATE_HZ))
    assert found == pytest.approx(frequency, abs=0.1 * RATE_HZ / 2048)


@few
@given(
    samples=hnp.arrays(
        np.float64,
        st.integers(0, 80),
        elements=st.one_of(st.floats(), st.sampled_from([0.0, 1.0, 1e308, -1.7e308, 5e-324])),
    ),
    rate_hz=st.one_of(st.none(), st.floats()),
)
def test_any_samples_and_any_rate_are_features_or_a_reason(samples: NDArray[np.float64], rate_hz: float | None) -> None:
    options = WaveformOptions(features=EVERY, bands=[(0, 100)], min_samples=8)
    try:
        found = features(samples, rate_hz, options)
    except QuarantineError as error:
        reason = error.reason
    else:
        assert [name for name in options.names if name in found] == list(found)
        assert set(options.names) - set(found) <= {"crest", "kurtosis", "skewness", "dominant_hz"}
        assert all(map(math.isfinite, found.values()))
        return
    assert reason in (Reason.NO_VALUE, Reason.NUMBER)

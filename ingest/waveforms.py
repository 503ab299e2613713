"""Waveforms → features: a few figures instead of thousands of readings. Pure; no Python object per sample."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.waveform_options import WaveformOptions, band_name

_PLAIN: Final = frozenset({"crest", "kurtosis", "skewness"})  # ratios: of dimension one
# Rounding leaves this much of a constant's own size when its mean is taken away.
_NOISE: Final = 64 * float(np.finfo(np.float64).eps)


def feature_sensors(sensor: str, options: WaveformOptions) -> list[str]:
    """The paths of a waveform's features, in the order of `options.names`: on the same machine as the waveform.

    >>> feature_sensors("press-01/vibration", WaveformOptions(features=["rms"], bands=[(10, 1000)]))
    ['press-01/vibration.rms', 'press-01/vibration.band_10_1000']
    """
    return [f"{sensor}.{name}" for name in options.names]


def feature_units(unit: str, options: WaveformOptions) -> list[str]:
    """The features' units in UCUM, in the order of `options.names`, for samples in `unit`; "" where that is "".

    >>> feature_units("mm/s", WaveformOptions(features=["rms", "crest", "dominant_hz"]))
    ['mm/s', '1', 'Hz']
    """
    return ["1" if name in _PLAIN else "Hz" if name == "dominant_hz" else unit for name in options.names]


def features(samples: NDArray[np.float64], rate_hz: float | None, options: WaveformOptions) -> dict[str, float]:
    """The features of one waveform: name → finite value, in the order of `options.names`.

    samples: shape (n,), in the sensor's unit, evenly spaced. rate_hz: what the payload says; None: `options.rate_hz`.

    Of x = samples − mean: rms = √mean(x²), peak = max|x|, peak_to_peak = max − min, crest = peak / rms,
    kurtosis = mean(x⁴) / rms⁴ (Pearson's, 3 for Gaussian noise), skewness = mean(x³) / rms³; `band_…` is the RMS of
    what lies between two frequencies, dominant_hz the strongest frequency, both from a spectrum through a periodic Hann
    window whose loss of energy is made up for. The squares of bands side by side add up.

    A signal that does not vary has no crest, kurtosis, skewness and dominant_hz: they are left out.

    Raises QuarantineError: NO_VALUE for fewer than `options.min_samples`, or if a frequency is asked for and nobody
    knows the rate; NUMBER for samples or a rate that are not finite, results beyond a float64, and bands beyond half
    the rate or between two lines of the spectrum (`rate_hz / n` apart).
    """
    count = samples.size
    if count < options.min_samples:
        raise QuarantineError(Reason.NO_VALUE, f"{count} samples, at least {options.min_samples}")
    largest = float(np.max(np.abs(samples)))
    if not math.isfinite(largest):  # NaN is what max() makes of any NaN
        raise QuarantineError(Reason.NUMBER, "a sample that is not finite")
    # Of size 1, so that no square or fourth power leaves the range of a float64.
    unit = samples / largest if largest else np.zeros(count)
    mean = float(np.mean(unit))
    signal = unit - mean
    still = float(np.max(np.abs(signal))) <= _NOISE
    if still:
        signal = np.zeros(count)
    found = _shape(signal, largest, still=still)
    found["mean"] = mean * largest
    if options.bands or "dominant_hz" in options.features:
        rate_hz = _rate(rate_hz, options)
        power = _spectrum(signal)
        for band in options.bands:
            found[band_name(band)] = math.sqrt(_within(power, band, count, rate_hz)) * largest
        if not still:
            found["dominant_hz"] = _strongest(power) * rate_hz / count
    wanted = {name: found[name] for name in options.names if name in found}
    if not all(map(math.isfinite, wanted.values())):
        raise QuarantineError(Reason.NUMBER, "a feature beyond the range of a float64")
    return wanted


def _shape(signal: NDArray[np.float64], largest: float, *, still: bool) -> dict[str, float]:
    squares = signal * signal
    power = float(np.mean(squares))
    rms = math.sqrt(power)
    low, high = float(signal.min()), float(signal.max())
    peak = max(-low, high)
    found = {"rms": rms * largest, "peak": peak * largest, "peak_to_peak": (high - low) * largest}
    if not still:
        found["crest"] = peak / rms
        found["kurtosis"] = float(np.dot(squares, squares)) / signal.size / (power * power)
        found["skewness"] = float(np.dot(squares, signal)) / signal.size / (power * rms)
    return found


def _rate(rate_hz: float | None, options: WaveformOptions) -> float:
    rate_hz = options.rate_hz if rate_hz is None else rate_hz
    if rate_hz is None:
        raise QuarantineError(Reason.NO_VALUE, "no sampling rate: neither the payload nor `rate_hz` tells")
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise QuarantineError(Reason.NUMBER, "a sampling rate that is no positive number")
    return rate_hz


@lru_cache(maxsize=8)
def _hann(count: int) -> NDArray[np.float64]:
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(count) / count)
    # Of mean square 1: what the window takes of a steady signal's energy is given back.
    window /= math.sqrt(float(np.mean(window * window)))
    window.flags.writeable = False
    return window


def _spectrum(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean square of each line, shape (n // 2 + 1,); in sum that of the windowed signal (Parseval)."""
    count = signal.size
    lines = np.fft.rfft(signal * _hann(count))
    power = (lines.real**2 + lines.imag**2) * (2.0 / count**2)
    power[0] /= 2
    if count % 2 == 0:
        power[-1] /= 2
    return power


def _within(power: NDArray[np.float64], band: tuple[float, float], count: int, rate_hz: float) -> float:
    low, high = band
    # Line k is at k × rate / count. Half the rate itself belongs to the band that ends there.
    half_hz = rate_hz / 2
    if high > half_hz:
        raise QuarantineError(Reason.NUMBER, f"{band_name(band)} goes beyond {half_hz:g} Hz, half the sampling rate")
    first, end = math.ceil(low * count / rate_hz), math.ceil(high * count / rate_hz)
    if high == half_hz:
        end = power.size
    if first >= end:
        raise QuarantineError(Reason.NUMBER, f"{band_name(band)} lies between two lines, {rate_hz / count:g} Hz apart")
    return float(np.sum(power[first:end]))


def _strongest(power: NDArray[np.float64]) -> float:
    """The strongest line but the first, in lines, refined by a parabola through the logarithms of its neighbours."""
    at = int(np.argmax(power[1:])) + 1
    if at == power.size - 1 or min(power[at - 1], power[at + 1]) <= 0.0:
        return float(at)
    left, middle, right = np.log(power[at - 1 : at + 2]).tolist()
    bend = left - 2 * middle + right
    # The first line holds what the mean left behind; the shift is at most half a line.
    return float(at + max(-0.5, min(0.5, 0.5 * (left - right) / bend))) if bend < 0 else float(at)

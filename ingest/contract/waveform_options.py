"""What can be set about waveforms: the features that are made of them instead of thousands of readings."""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from ingest.contract.section import Section

FeatureName = Literal["mean", "rms", "peak", "peak_to_peak", "crest", "kurtosis", "skewness", "dominant_hz"]

DEFAULT_FEATURES: Final[list[FeatureName]] = ["rms", "peak", "crest", "kurtosis"]
_LOWEST_HZ = 0.001
_HIGHEST_HZ = 1e9


class WaveformOptions(Section):
    """Features of the waveforms of a class. Each becomes a sensor: `press-01/vibration.rms`."""

    features: list[FeatureName] = DEFAULT_FEATURES
    """All but `mean` are of the signal without its mean. `kurtosis` is 3 for noise (Pearson's)."""
    bands: Annotated[list[tuple[float, float]], Field(max_length=32)] = []
    """RMS within frequencies in Hz: `[[10, 1000]]` gives `vibration.band_10_1000`. The upper end is not included,
    unless it is half the rate."""
    rate_hz: Annotated[float, Field(gt=0, le=_HIGHEST_HZ, allow_inf_nan=False)] | None = None
    """Samples a second, where the payload does not say."""
    min_samples: int = Field(64, ge=8)
    """Shorter waveforms are quarantined: they carry no statistics."""
    keep_raw: bool = False
    """Whether the samples themselves go to the waveforms topic; not those that a record (`gateway.max_record_bytes`)
    cannot hold: they leave a stub in quarantine."""

    @field_validator("features")
    @classmethod
    def _each_once(cls, features: list[FeatureName]) -> list[FeatureName]:
        twice = sorted({name for name in features if features.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return features

    @field_validator("bands")
    @classmethod
    def _bands_of_frequencies(cls, bands: list[tuple[float, float]]) -> list[tuple[float, float]]:
        for low, high in bands:
            if not (math.isfinite(high) and (low == 0 or low >= _LOWEST_HZ) and low < high <= _HIGHEST_HZ):
                raise ValueError(
                    f"[{low:g}, {high:g}]: a band is two frequencies in Hz, the lower first; 0, or 0.001 to 1e9"
                )
        if len(set(map(band_name, bands))) < len(bands):
            raise ValueError("a band is there twice")
        return bands

    @model_validator(mode="after")
    def _something_that_can_be_had(self) -> WaveformOptions:
        if not (self.features or self.bands or self.keep_raw):
            raise ValueError("nothing is made of the waveform: name features or bands, or set keep_raw")
        for low, high in self.bands:
            if self.rate_hz is not None and high > self.rate_hz / 2:
                raise ValueError(
                    f"bands: [{low:g}, {high:g}] goes beyond {self.rate_hz / 2:g} Hz, "
                    f"half of rate_hz: faster changes are not in the samples"
                )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in the order of their sensors.

        >>> WaveformOptions(features=["rms", "crest"], bands=[(0.5, 10), (10, 1000)]).names
        ('rms', 'crest', 'band_0.5_10', 'band_10_1000')
        """
        return (*self.features, *map(band_name, self.bands))


def band_name(band: tuple[float, float]) -> str:
    """What a band's feature is called; a valid part of a sensor's path."""
    low, high = (np.format_float_positional(edge, trim="-") for edge in band)
    return f"band_{low}_{high}"

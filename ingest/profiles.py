"""What the settings say of a sensor that matters before it is in Kafka: its unit, its device's clock, its waveform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ingest.contract.class_settings import EVERYTHING_ELSE
from ingest.contract.classes import ClassTable, Kind, glob
from ingest.contract.gateway_settings import SourceSettings
from ingest.contract.waveform_options import WaveformOptions
from ingest.device_clock import ClockRule

TRUSTED = ClockRule()


@dataclass(frozen=True, slots=True)
class Profile:
    """One sensor's.

    unit: what its readings are converted to; "" for whatever its first reading comes in.
    said: the unit of what it sends, over what its payloads say; "" to believe them.
    clock: how its device's clock is taken. waveform: None where arrays are a mistake.
    """

    unit: str = ""
    said: str = ""
    clock: ClockRule = TRUSTED
    waveform: WaveformOptions | None = None


class Profiles:
    """The profiles of all sensors, by path."""

    def __init__(self, classes: ClassTable, sources: Sequence[SourceSettings] = ()) -> None:
        self._classes = classes
        self._sources = [([glob(pattern) for pattern in one.match], one.unit, _rule(one)) for one in sources]

    @classmethod
    def none(cls) -> Profiles:
        """Where nothing is known of any sensor."""
        return cls(ClassTable([EVERYTHING_ELSE]))

    def of(self, sensor: str) -> Profile:
        """A sensor's profile; the first `[[source]]` that matches counts."""
        one = self._classes.classes[self._classes.index_of(sensor)]
        waveform = one.waveform or WaveformOptions() if one.kind is Kind.WAVEFORM else None
        for patterns, said, rule in self._sources:
            if any(pattern.fullmatch(sensor) for pattern in patterns):
                return Profile(one.unit, said, rule, waveform)
        return Profile(one.unit, waveform=waveform)


def _rule(source: SourceSettings) -> ClockRule:
    return ClockRule(source.clock.rule, source.clock.tolerance, source.clock.max_offset)

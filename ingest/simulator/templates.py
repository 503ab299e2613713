"""A sensor as it is described: what it measures, how its value comes about, how often it is sent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ingest.contract.durations import DurationUs
from ingest.contract.errors import QuarantineError
from ingest.contract.section import Section
from ingest.contract.sensors import check_path
from ingest.simulator.ranges import Names

_SECOND_US = 1_000_000
_HOUR_US = 3_600 * _SECOND_US
_MS_US = 1_000

Kind = Literal["gauge", "counter", "bool", "enum", "waveform"]
Reporting = Literal["periodic", "on-change"]
Positive = Annotated[float, Field(gt=0, le=1e15)]
Finite = Annotated[float, Field(ge=-1e15, le=1e15)]
Drawn = Finite | tuple[Finite, Finite]
"""A number for all, or two between which each sensor draws its own."""


def check_names(names: Names) -> None:
    """Raises ValueError for names that no sensor can have."""
    for one in (next(names.round(0)), *names.words):
        try:
            check_path(one)
        except QuarantineError as error:
            raise ValueError(f"no sensor can be called {one!r}: {error.detail}") from error


def check_times(at_us: list[int]) -> None:
    """Raises ValueError for times that are not those of one day, in order."""
    if sorted(set(at_us)) != at_us or at_us[-1] >= 24 * _HOUR_US:
        raise ValueError("the times of a day are below 24h and in order")


class NoiseSection(Section):
    """What differs from reading to reading: `sigma` in the sensor's unit, or `share` of its base.

    Laplace's has heavy tails: six sigma once in 5,000 readings, and never more.
    """

    kind: Literal["normal", "lognormal", "uniform", "laplace"] = "normal"
    sigma: Positive | None = None
    share: Annotated[float, Field(gt=0, le=2)] | None = None

    @model_validator(mode="after")
    def _one_size(self) -> NoiseSection:
        if (self.sigma is None) == (self.share is None):
            raise ValueError("noise has exactly one of `sigma` and `share`")
        if self.kind == "lognormal" and self.share is None:
            raise ValueError("lognormal noise has a `share`: it multiplies")
        return self


class WanderSection(Section):
    """A slow wandering about the base, which forgets where it was with the time constant `tau`."""

    sigma: Positive
    tau: Annotated[DurationUs, Field(ge=_MS_US)] = 120 * _SECOND_US


class DailySection(Section):
    """A rhythm of the day: highest at `peak` (since midnight UTC), lowest twelve hours later."""

    amplitude: Positive
    peak: DurationUs = 15 * 3_600 * _SECOND_US


class WalkSection(Section):
    """A random walk between `low` and `high`, about `step` a minute."""

    low: Finite
    high: Finite
    step: Positive

    @model_validator(mode="after")
    def _low_and_high(self) -> WalkSection:
        if not self.low < self.high:
            raise ValueError("low must be less than high")
        return self


class StepsSection(Section):
    """A setpoint that somebody changes: one of `levels` for about `stay`, then another, reached after `settle`."""

    levels: Annotated[list[Finite], Field(min_length=2, max_length=1_000)]
    stay: Annotated[DurationUs, Field(ge=_MS_US)]
    settle: DurationUs = 0


class ShiftsSection(Section):
    """What each shift does in its own way: from each time of the day (since midnight UTC) on, its level is added."""

    at: Annotated[list[DurationUs], Field(min_length=2, max_length=24)] = [
        6 * _HOUR_US,
        14 * _HOUR_US,
        22 * _HOUR_US,
    ]
    levels: Annotated[list[Finite], Field(min_length=2, max_length=24)]
    settle: DurationUs = 0
    """How long the value takes to follow."""

    @model_validator(mode="after")
    def _a_level_each(self) -> ShiftsSection:
        check_times(self.at)
        if len(self.levels) != len(self.at):
            raise ValueError(f"{len(self.at)} shifts have {len(self.levels)} levels")
        return self


class StoppedSection(Section):
    """Where the value goes while its machines stop as planned (`duty.stop`), some three `settle` of it."""

    value: Finite
    settle: Annotated[DurationUs, Field(ge=_MS_US)] = 600 * _SECOND_US


class LoadSection(Section):
    """What follows the machine's work: `on` under load, a share of it idling, nothing at rest."""

    on: Drawn
    light: Annotated[float, Field(ge=0, le=1)] = 0.3


class Tone(Section):
    """A tone of a waveform."""

    hz: Positive
    amplitude: Positive


_FOR: dict[str, set[str]] = {
    "gauge": {
        "base",
        "noise",
        "wander",
        "daily",
        "walk",
        "steps",
        "shifts",
        "load",
        "stopped",
        "deadband",
        "may_fall",
        "decimals",
        "range",
    },
    "counter": {"count_s", "duty", "range"},
    "bool": {"stay", "duty"},
    "enum": {"states", "duty"},
    "waveform": {"samples", "rate_hz", "tones", "noise", "decimals"},
}
"""What can be said of a kind, besides what can be said of all."""
_FOR_ALL = {"name", "kind", "unit", "period", "reporting"}


class SensorTemplate(Section):
    """One sensor of each machine of a group; several, if its name has a range."""

    name: str
    kind: Kind = "gauge"
    unit: str = ""
    """UCUM."""
    period: Annotated[DurationUs, Field(ge=_MS_US, le=86_400 * _SECOND_US, multiple_of=_MS_US)] | None = None
    """Default: the group's."""
    reporting: Reporting = "periodic"
    """Default: bools and enums on change, all others periodic."""
    range: tuple[float | None, float | None] = (None, None)
    """Physically possible values, for the formats that tell them and for `--settings`."""

    base: Drawn = 0.0
    decimals: int = Field(2, ge=0, le=9)
    noise: NoiseSection | None = None
    wander: WanderSection | None = None
    daily: DailySection | None = None
    walk: WalkSection | None = None
    steps: StepsSection | None = None
    shifts: ShiftsSection | None = None
    load: LoadSection | None = None
    stopped: StoppedSection | None = None
    deadband: float = Field(0.0, ge=0, allow_inf_nan=False)
    """On change: sent when it is further than this from what was sent last."""
    may_fall: bool = True
    """Whether a fault may be downwards: no vibration falls below nothing."""

    duty: bool = False
    """A bool: whether it runs. An enum: its state. A counter: its parts."""
    count_s: tuple[Positive, Positive] = (1.0, 1.0)
    """A counter that does not follow the duty cycle: time for one count, drawn per sensor."""
    stay: tuple[DurationUs, DurationUs] | None = None
    """A bool that does not follow the duty cycle: the mean time off and on."""
    states: Annotated[dict[str, DurationUs], Field(min_length=2, max_length=64)] | None = None
    """An enum that does not follow the duty cycle: the mean time in each."""
    samples: int = Field(256, ge=2, le=65_536)
    rate_hz: Positive = 2_560.0
    tones: list[Tone] = []

    @field_validator("name")
    @classmethod
    def _one_level(cls, name: str) -> str:
        names = Names.parse(name)
        if names.is_open:
            raise ValueError("a machine's sensors cannot be without an end")
        if names.per_round > 10_000:
            raise ValueError("a machine has at most 10,000 sensors of one sort")
        check_names(names)
        if "/" in name:
            raise ValueError("a sensor's name is one level of its path")
        return name

    @model_validator(mode="after")
    def _fits_its_kind(self) -> SensorTemplate:
        for key in sorted(self.model_fields_set - _FOR_ALL - _FOR[self.kind]):
            kinds = " and ".join(f"{kind}s" for kind, keys in _FOR.items() if key in keys)
            raise ValueError(f"`{key}` is for {kinds}; {self.name!r} is a {self.kind}")
        if self.kind == "bool" and not self.duty and self.stay is None:
            raise ValueError(f"{self.name!r}: say `duty = true`, or `stay`, the mean times off and on")
        if self.kind == "enum" and not self.duty and self.states is None:
            raise ValueError(f"{self.name!r}: say `duty = true`, or `states` and the mean times in them")
        if self.kind == "waveform" and self.is_on_change:
            raise ValueError(f"{self.name!r}: a waveform is never the same twice: it is periodic")
        return self

    @property
    def is_on_change(self) -> bool:
        """Whether only changes are sent."""
        if "reporting" not in self.model_fields_set:
            return self.kind in ("bool", "enum")
        return self.reporting == "on-change"

    @property
    def follows_duty(self) -> bool:
        """Whether its value depends on what its machine is doing."""
        return self.duty or self.load is not None

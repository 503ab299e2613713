"""What can be set about sensors: any number of `[[class]]`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ingest.contract.classes import Kind, Reporting
from ingest.contract.durations import DurationUs, format_duration
from ingest.contract.section import Name, Section, hold_against_registry
from ingest.contract.waveform_options import WaveformOptions

_SECOND_US = 1_000_000
_MINUTE_US = 60 * _SECOND_US
_DAY_US = 86_400 * _SECOND_US
_RESOLVE_US = 30 * _SECOND_US
MOST_SENTINELS = 8


Finite = Annotated[float, Field(allow_inf_nan=False)]


class RuleSettings(Section):
    """When a sensor's signal becomes an alert."""

    name: Name
    signal: Literal["score", "value", "silence"] = "score"
    """`silence`: how long nothing was heard of the sensor, as a multiple of what is too long for it."""
    above: Annotated[float, Field(allow_inf_nan=False)] | None = None
    below: Annotated[float, Field(allow_inf_nan=False)] | None = None
    hysteresis: float = Field(0.0, ge=0, allow_inf_nan=False)
    """How far back inside the limit the signal must come before it counts as over."""
    hold: DurationUs = 0
    """How long the signal must stay outside before the alert fires."""
    resolve_after: DurationUs = _RESOLVE_US
    """How long it must stay inside before the alert is resolved."""
    severity: Literal["info", "warning", "critical"] = "warning"

    @model_validator(mode="after")
    def _one_limit(self) -> RuleSettings:
        if (self.above is None) == (self.below is None):
            raise ValueError("a rule has exactly one of `above` and `below`")
        if self.signal == "silence":
            self._of_silence()
        return self

    def _of_silence(self) -> None:
        if self.above is None or self.above < 1.0:
            raise ValueError("a rule on silence has `above`, of at least 1.0, which is the boundary")
        if self.hysteresis or self.resolve_after not in (0, _RESOLVE_US):
            raise ValueError("a rule on silence has no `hysteresis` and no `resolve_after`: a reading ends it")


class ModelSettings(Section):
    """A model and its options."""

    name: str
    options: dict[str, Any] = {}

    @field_validator("name")
    @classmethod
    def _known_model(cls, name: str, info: ValidationInfo) -> str:
        hold_against_registry(info, "model", name)
        return name

    @field_validator("options")
    @classmethod
    def _known_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        hold_against_registry(info, "model", info.data.get("name"), options)
        return options


def _as_model(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


ANOMALY = RuleSettings(name="anomaly", above=1.0, hysteresis=0.2)
SILENT = RuleSettings(name="silent", signal="silence", above=1.0)
DEFAULT_MODELS = [ModelSettings(name=name) for name in ("running_range", "time_of_day", "ewma_horizons", "stuck")]
DEFAULT_ON_CHANGE = [one for one in DEFAULT_MODELS if one.name != "stuck"]
"""Those who report on change do not repeat themselves."""
Series = Literal[
    "value",
    "mean",
    "stddev",
    "min",
    "max",
    "score",
    "samples",
    "timestamp",
    "first",
    "last",
    "slope",
    "covered",
    "unchanged",
    "p50",
    "p90",
    "p99",
    "refused",
    "quality",
]
DEFAULT_SERIES: list[Series] = ["value", "mean", "stddev", "min", "max", "score"]


class ClassSettings(Section):
    """Sensors that share settings. The first class whose `match` fits a path is the sensor's."""

    name: Name
    match: Annotated[list[str], Field(min_length=1)]
    """Path patterns: `*` within a level, `**` over levels."""
    kind: Kind = Kind.GAUGE
    reporting: Reporting | None = None
    """When its sensors send. Default: as their source does, on change for Sparkplug B, else periodically."""
    unit: str = ""
    """UCUM: Cel, bar, mm/s, 1/min."""
    armed: bool | None = None
    """Whether alerts of these sensors go out; default: as the plant."""
    range: tuple[float | None, float | None] = (None, None)
    """Physically possible values; what is outside is shown and counted, but neither folded nor learned. Where neither
    end is given, that which the device described in its birth counts; `[-inf, inf]` believes everything."""
    sentinels: Annotated[list[Finite], Field(max_length=MOST_SENTINELS)] | None = None
    """Numbers that mean "no value": never folded. Default: none, but for gauges the ends of 16 and 32 bits and -9999
    where they are out of all proportion to what the sensor has said; `[]` believes everything."""
    max_rate: Annotated[Finite, Field(gt=0)] | None = None
    """The largest believable change per second, in the sensor's unit (of a counter: its largest increase). What moves
    faster is not folded, for as long as the way from the last value takes at this rate, and `staleness` at most."""
    windows: list[DurationUs] = [10 * _SECOND_US, _MINUTE_US, 10 * _MINUTE_US, 60 * _MINUTE_US]
    shown_windows: list[DurationUs] | None = None
    """Those of the windows that `/metrics/sensors` shows. Default: the minute, or else the shortest."""
    quantiles: list[DurationUs] = []
    """Those of the windows that have p50, p90 and p99, too: 10 kB a sensor for each."""
    staleness: DurationUs = 3_600 * _SECOND_US
    """How long the last value of an on-change sensor holds when nothing more is heard; and holds against `max_rate`."""
    heartbeat: DurationUs = 0
    """What the source promises: each sensor sends at least so often, changed or not; two missed are silence. Default:
    nothing; the silence of an on-change sensor says nothing then, and that of a periodic one what it has learned."""
    models: list[ModelSettings] | None = None
    """A model's name, or a table of name and options. Default: `running_range`, `time_of_day`, `ewma_horizons` and,
    unless they report on change, `stuck` for gauges; none for the other kinds, in which a rare value is no anomaly."""
    rules: list[RuleSettings] = [ANOMALY, SILENT]
    waveform: WaveformOptions | None = None
    """For kind `waveform`: which features an array becomes, `{ features = ["rms", "peak"], rate_hz = 25600 }`."""
    series: list[Series] = DEFAULT_SERIES
    """What `/metrics/sensors` shows."""
    warm_up: int = Field(0, ge=0, le=10**9)
    """How many readings of a sensor are learned before its score counts; models have their own besides."""
    level_after: int = Field(300, ge=0, le=10**6)
    """After so many readings that stay elsewhere, where an alert was open, the level has changed, if it lasts: one
    event says so, and models learn anew. 0: never."""
    level_lasts: DurationUs = _DAY_US
    """For so long, at least, it has to be elsewhere: what comes back with the shift or the night is no other level."""

    @field_validator("models", mode="before")
    @classmethod
    def _names_are_models(cls, value: object) -> object:
        return [_as_model(one) for one in value] if isinstance(value, list) else value

    @field_validator("rules")
    @classmethod
    def _named_apart(cls, rules: list[RuleSettings]) -> list[RuleSettings]:
        names = [rule.name for rule in rules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two rules are called {name!r}: their alerts could not be told apart")
        if sum(rule.signal == "silence" for rule in rules) > 1:
            raise ValueError("two rules on silence: one sensor's silence is one alert")
        return rules

    @field_validator("windows")
    @classmethod
    def _sane_windows(cls, windows: list[int]) -> list[int]:
        for window_us in windows:
            if not _SECOND_US <= window_us <= 7 * _DAY_US:
                raise ValueError("a window is between 1s and 7d")
        return sorted(set(windows))

    @field_validator("quantiles", "shown_windows")
    @classmethod
    def _of_its_windows(cls, chosen: list[int] | None, info: ValidationInfo) -> list[int] | None:
        if chosen is None or "windows" not in info.data:
            return chosen
        windows = info.data["windows"]
        for window_us in chosen:
            if window_us not in windows:
                has = ", ".join(map(format_duration, windows)) or "none"
                raise ValueError(f"{format_duration(window_us)} is not among the class's windows, which are {has}")
        return sorted(set(chosen))

    @field_validator("range")
    @classmethod
    def _low_and_high(cls, limits: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
        low, high = limits
        if low is not None and high is not None and not low < high:
            raise ValueError("the first number must be less than the second")
        return limits

    @model_validator(mode="after")
    def _fits_its_kind(self) -> ClassSettings:
        if self.waveform is not None and self.kind is not Kind.WAVEFORM:
            raise ValueError(f'[class.waveform] is for kind = "waveform", and this class is of kind {self.kind}')
        if self.quantiles and not self.kind.numeric:
            raise ValueError(f"quantiles need numbers, and this class is of kind {self.kind}")
        if self.models and not self.kind.numeric:
            raise ValueError(f"models need numbers, and this class is of kind {self.kind}")
        if self.sentinels and not self.kind.numeric:
            raise ValueError(f"sentinels are numbers, and this class is of kind {self.kind}")
        if self.max_rate is not None and self.kind not in (Kind.GAUGE, Kind.COUNTER):
            raise ValueError(f"max_rate is for gauges and counters, and this class is of kind {self.kind}")
        return self

    @property
    def shown_list(self) -> list[int]:
        """The windows that are shown."""
        if self.shown_windows is not None:
            return self.shown_windows
        return [_MINUTE_US] if _MINUTE_US in self.windows else self.windows[:1]

    @property
    def model_list(self) -> list[ModelSettings]:
        """The models in force."""
        if self.models is not None:
            return self.models
        if self.kind is not Kind.GAUGE:
            return []
        return DEFAULT_ON_CHANGE if self.reporting is Reporting.ON_CHANGE else DEFAULT_MODELS


EVERYTHING_ELSE = ClassSettings(name="default", match=["**"])

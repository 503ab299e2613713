"""A plant as it is described in TOML: groups of machines, what they measure, and how they send it."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ingest.contract.durations import DurationUs
from ingest.contract.registry import did_you_mean
from ingest.contract.section import Name, Section, hold_against_registry
from ingest.contract.sensors import MAX_DEPTH
from ingest.simulator.faults.catalogue import KINDS
from ingest.simulator.ranges import Names
from ingest.simulator.templates import Drawn, Positive, SensorTemplate, check_names, check_times

_SECOND_US = 1_000_000
_MINUTE_US = 60 * _SECOND_US
_MS_US = 1_000

Period = Annotated[DurationUs, Field(ge=_MS_US, le=86_400 * _SECOND_US, multiple_of=_MS_US)]


class PlantSection(Section):
    """The plant as a whole."""

    levels: Annotated[list[str], Field(min_length=2, max_length=MAX_DEPTH)] = [
        "site",
        "area",
        "line",
        "machine",
        "quantity",
    ]
    """Names of a path's segments; the last one is the sensor's."""
    prefix: str = "factory"
    """`{prefix}` in topics."""
    sensors: Annotated[int, Field(ge=1, le=2_000_000)] | None = None
    """How many there are, unless told otherwise: for plants that have a range without an end."""

    @field_validator("levels")
    @classmethod
    def _names_of_levels(cls, levels: list[str]) -> list[str]:
        for level in levels:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", level) or level in ("field", "id"):
                raise ValueError(f"{level!r} is no name of a level: lower case letters, digits and _, not field or id")
        if len(set(levels)) < len(levels):
            raise ValueError("a level is named twice")
        return levels


class FaultSection(Section):
    """Which faults befall it."""

    every: DurationUs = 20 * _SECOND_US
    """Mean time between faults of the whole plant; 0s for none."""
    kinds: list[str] | None = None
    """Default: every kind that some sensor can have."""
    warm_up: DurationUs | None = None
    """Health before a sensor's first fault and between two; default: 150 readings, and at least 150 s."""

    @field_validator("kinds")
    @classmethod
    def _known_kinds(cls, kinds: list[str] | None) -> list[str] | None:
        for kind in kinds or []:
            check_kind(kind)
        return kinds


def check_kind(kind: str) -> None:
    """Raises ValueError if there is no such kind of fault."""
    if kind not in KINDS:
        raise ValueError(f"no fault is called {kind!r}{did_you_mean(kind, KINDS)}; there are: {', '.join(KINDS)}")


class BreakSection(Section):
    """When all machines rest for a while, day by day, as a shift changes; each a little later than the first."""

    at: Annotated[list[DurationUs], Field(min_length=1, max_length=24)] = [
        6 * 60 * _MINUTE_US,
        14 * 60 * _MINUTE_US,
        22 * 60 * _MINUTE_US,
    ]
    """Since midnight UTC."""
    last: Annotated[DurationUs, Field(gt=0)] = 15 * _MINUTE_US
    within: DurationUs = 5 * _MINUTE_US
    """The last machine stops, and starts again, so much later than the first."""

    @field_validator("at")
    @classmethod
    def _of_one_day(cls, at_us: list[int]) -> list[int]:
        check_times(at_us)
        return at_us


class StopSection(Section):
    """A planned stop of all machines of the group, once: their values go where `stopped` says."""

    after: Annotated[DurationUs, Field(ge=0)]
    """Since the plant's start."""
    last: Annotated[DurationUs, Field(gt=0)]


class DutySection(Section):
    """What the group's machines are doing: they go from state to state, and make a part per cycle while they run."""

    states: Annotated[dict[str, DurationUs], Field(min_length=2, max_length=64)] = {
        "idle": _MINUTE_US,
        "run": 10 * _MINUTE_US,
        "setup": 90 * _SECOND_US,
        "fault": 45 * _SECOND_US,
    }
    """The mean time in each."""
    next: dict[str, Annotated[dict[str, Positive], Field(min_length=1)]] = {
        "idle": {"run": 0.8, "setup": 0.2},
        "run": {"idle": 0.6, "setup": 0.25, "fault": 0.15},
        "setup": {"idle": 0.1, "run": 0.9},
        "fault": {"idle": 0.5, "setup": 0.5},
    }
    """Weights of what comes after a state; a state that is not named here goes to any other."""
    run: str = "run"
    """The state in which it works."""
    cycle_s: tuple[Positive, Positive] = (6.0, 30.0)
    """Time for one part; drawn per machine."""
    load_share: tuple[float, float] = (0.4, 0.7)
    """Share of the cycle under load; drawn per machine."""
    breaks: BreakSection | None = None
    """In a break, and in a planned stop, all are in the first state that is not `run`."""
    stop: StopSection | None = None

    @model_validator(mode="before")
    @classmethod
    def _own_states_have_own_ways(cls, data: Any) -> Any:
        if isinstance(data, dict) and "states" in data and "next" not in data:
            return {**data, "next": {}}
        return data

    @model_validator(mode="after")
    def _states_are_known(self) -> DutySection:
        for state in (self.run, *self.next, *(after for choices in self.next.values() for after in choices)):
            if state not in self.states:
                raise ValueError(f"{state!r} is none of the states: {', '.join(self.states)}")
        if not 0 < self.cycle_s[0] <= self.cycle_s[1] or not 0 <= self.load_share[0] <= self.load_share[1] <= 1:
            raise ValueError("cycle_s is above 0 and load_share from 0 to 1, the lower number first")
        return self


class GroupSection(Section):
    """Machines of one sort."""

    name: Name
    machines: Annotated[list[str], Field(min_length=1)]
    """Their paths, `demo/line-{01..40}/press-{1..5}`; one or several such templates."""
    device_levels: Annotated[int, Field(ge=1)] | None = None
    """So many levels of the path name the device that speaks for all below it; default: the machine itself."""
    format: str = "json"
    options: dict[str, Any] = {}
    """The encoder's own options."""
    topic: str | None = None
    """With {prefix}, {path}, {device}; default: as is usual in the format."""
    period: Period = _SECOND_US
    jitter: DurationUs = 0
    """A reading is up to so much later than its turn; less than the period."""
    clock_offset_s: Drawn = 0.0
    """How far the devices' clocks are ahead; two numbers: drawn per device."""
    duty: DutySection = DutySection()
    sensors_of: str | None = None
    """The sensors are those of another group."""
    sensor: Annotated[list[SensorTemplate], Field(min_length=1)]

    @field_validator("machines", mode="before")
    @classmethod
    def _one_is_a_list(cls, machines: object) -> object:
        return [machines] if isinstance(machines, str) else machines

    @field_validator("machines")
    @classmethod
    def _can_be_paths(cls, machines: list[str]) -> list[str]:
        for one in machines:
            check_names(Names.parse(one))
        if len({one.count("/") for one in machines}) > 1:
            raise ValueError("the paths of a group's machines have equally many levels")
        return machines

    @field_validator("format")
    @classmethod
    def _known_format(cls, name: str, info: ValidationInfo) -> str:
        hold_against_registry(info, "encoder", name)
        return name

    @field_validator("options")
    @classmethod
    def _known_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        hold_against_registry(info, "encoder", info.data.get("format"), options)
        return options

    @model_validator(mode="after")
    def _fits_together(self) -> GroupSection:
        if self.device_levels is not None and self.device_levels > self.depth:
            raise ValueError(f"device_levels is {self.device_levels}, but the machines' paths have {self.depth} levels")
        names = [name for one in self.sensor for name in Names.parse(one.name).round(0)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sensors of a machine are called {name!r}")
        for one in self.sensor:
            period = one.period or self.period
            if self.jitter >= period:
                raise ValueError(f"the jitter is not less than the period of {one.name!r}")
            if one.follows_duty and period != self.period:
                raise ValueError(f"{one.name!r} follows the duty cycle, so its period is the group's")
        return self

    @property
    def depth(self) -> int:
        """Levels of a machine's path."""
        return self.machines[0].count("/") + 1


class PlantDescription(Section):
    """All of it."""

    plant: PlantSection = PlantSection()
    faults: FaultSection = FaultSection()
    group: Annotated[list[GroupSection], Field(min_length=1)]

    @field_validator("group", mode="before")
    @classmethod
    def _sensors_of_others(cls, groups: Any) -> Any:
        if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
            return groups
        by_name = {group["name"]: group for group in groups if isinstance(group.get("name"), str)}
        found = []
        for group in groups:
            other = group.get("sensors_of")
            if other is not None and "sensor" in group:
                raise ValueError(f"group {group.get('name')!r} has sensors_of and sensors of its own")
            if other is not None and (not isinstance(other, str) or "sensor" not in by_name.get(other, {})):
                raise ValueError(
                    f"sensors_of: no group with sensors is called {other!r}{did_you_mean(str(other), by_name)}"
                )
            found.append(group if other is None else {**group, "sensor": by_name[other]["sensor"]})
        return found

    @field_validator("group")
    @classmethod
    def _groups_fit_the_plant(cls, groups: list[GroupSection], info: ValidationInfo) -> list[GroupSection]:
        names = [one.name for one in groups]
        levels = info.data["plant"].levels if "plant" in info.data else None
        for one in groups:
            if names.count(one.name) > 1:
                raise ValueError(f"two groups are called {one.name!r}")
            if levels is not None and one.depth + 1 != len(levels):
                said = f"the sensors of {one.name!r} have {one.depth + 1} levels"
                raise ValueError(f"{said}, but plant.levels names {len(levels)}: {', '.join(levels)}")
        return groups

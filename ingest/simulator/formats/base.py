"""What an encoder takes and gives: rows in columns in, messages out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ingest.simulator.roster import Roster
from ingest.simulator.rows import Rows


class Message(NamedTuple):
    """What is published, and when: true time in µs UTC."""

    at_us: int
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Route:
    """The `[[route]]` that reads what an encoder writes."""

    topic: str
    path: str | None
    decoder: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Sensors:
    """What encoders know of the sensors: one entry per number in the roster.

    topic: where it is published, the device's if it speaks for several at once. kind, unit: as described.
    levels: names of a path's levels. own: numbers of those that send in the format.
    """

    roster: Roster
    levels: Sequence[str]
    own: NDArray[np.int64]
    topic: Sequence[str]
    kind: Sequence[str]
    unit: Sequence[str]

    @classmethod
    def of(cls, roster: Roster, levels: Sequence[str], topics: Sequence[str]) -> Sensors:
        """topics: per group, a template with {path} or {device} in it."""
        template, group = roster.template.tolist(), roster.group.tolist()
        device_topics = [topics[of].replace("{device}", path) for of, path in roster.devices]
        topic = [
            device_topics[device].replace("{path}", path) if "{path}" in topics[of] else device_topics[device]
            for of, device, path in zip(group, roster.device.tolist(), roster.paths, strict=True)
        ]
        return cls(
            roster,
            levels,
            np.arange(len(roster)),
            topic,
            [roster.templates[at].said.kind for at in template],
            [roster.templates[at].said.unit for at in template],
        )

    def of_group(self, group: int) -> Sensors:
        """With only those of a group as their own."""
        return replace(self, own=np.flatnonzero(self.roster.group == group).astype(np.int64))

    def own_path(self, wrong: Callable[[str], bool]) -> str | None:
        """The first own path that is wrong; None if none is."""
        return next((path for path in map(self.roster.paths.__getitem__, self.own.tolist()) if wrong(path)), None)

    def have_waveforms(self) -> bool:
        """Whether some of their own are waveforms."""
        return any(self.kind[sensor] == "waveform" for sensor in self.own.tolist())


class Session(Protocol):
    """The devices of a group at work; what a format makes them remember is here."""

    def encode(self, rows: Rows) -> list[Message]:
        """Messages for rows of the group, in the order of the rows."""
        ...

    def silence(self, device: int, at_us: int) -> list[Message]:
        """What is published when a device dies: its last will, if the format has one."""
        ...

    def command(self, topic: str, payload: bytes, at_us: int) -> list[Message]:
        """Answers to what was published on one of `commands`."""
        ...


class Encoder(Protocol):
    """A payload format. Instances hold its options."""

    @property
    def together(self) -> bool:
        """Whether a device's readings of one moment are one message."""
        ...

    @property
    def usual_topic(self) -> str:
        """A template with {prefix}, and {path} or {device}; both become the names of levels in a route."""
        ...

    @property
    def commands(self) -> Sequence[str]:
        """Topic filters of what the devices listen to."""
        ...

    def route(self, topic: str, device: str, below: str) -> Route:
        """How it is read. topic: a pattern; device, below: the named levels of a device's path and those below it."""
        ...

    def open(self, sensors: Sensors) -> Session:
        """Devices that were just switched on. Raises ValueError for names that the format cannot carry."""
        ...


class Stateless:
    """Sessions of formats in which each message stands for itself."""

    commands: Sequence[str] = ()

    def silence(self, device: int, at_us: int) -> list[Message]:
        """Nobody says anything."""
        return []

    def command(self, topic: str, payload: bytes, at_us: int) -> list[Message]:
        """Nobody listens."""
        return []


class Reading(NamedTuple):
    """A row as Python objects: a number, a bool, a text or an array, as the sensor's kind calls for."""

    sensor: int
    ts_us: int
    value: Any


def value_of(kind: str, value: float, other: Any) -> Any:
    """What a payload says for a row of a sensor of this kind.

    >>> value_of("counter", 3.0, None), value_of("bool", 1.0, None), value_of("enum", 0.0, "run")
    (3, True, 'run')
    """
    if other is not None:
        return other if isinstance(other, str) else other.tolist()
    if kind == "counter":
        return int(value)
    return value != 0.0 if kind == "bool" else value


def by_device(sensors: Sensors, rows: Rows) -> list[tuple[int, int, list[Reading]]]:
    """(device, at_us, readings) of what goes into one message: of one device, at one moment."""
    found: dict[tuple[int, int], list[Reading]] = {}
    kinds = sensors.kind
    columns = (rows.sensor.tolist(), rows.at_us.tolist(), rows.ts_us.tolist(), rows.value.tolist(), rows.other.tolist())
    devices = sensors.roster.device[rows.sensor].tolist()
    for device, sensor, at_us, ts_us, value, other in zip(devices, *columns, strict=True):
        readings = found.setdefault((device, at_us), [])
        readings.append(Reading(sensor, ts_us, value_of(kinds[sensor], value, other)))
    return [(device, at_us, readings) for (device, at_us), readings in found.items()]


def each_once(readings: list[Reading]) -> list[list[Reading]]:
    """Readings dealt out so that no sensor is twice in a list: for formats with one place for each.

    >>> each_once([Reading(1, 0, 5), Reading(2, 0, 6), Reading(1, 1, 7)])
    [[Reading(sensor=1, ts_us=0, value=5), Reading(sensor=2, ts_us=0, value=6)], [Reading(sensor=1, ts_us=1, value=7)]]
    """
    seen: dict[int, int] = {}
    found: list[list[Reading]] = []
    for reading in readings:
        at = seen[reading.sensor] = seen.get(reading.sensor, -1) + 1
        if at == len(found):
            found.append([])
        found[at].append(reading)
    return found

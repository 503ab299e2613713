"""InfluxDB line protocol: a line per device and moment, its fields the sensors, its tags the levels of the path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ingest.simulator.formats.base import Message, Reading, Route, Sensors, Stateless, by_device, each_once
from ingest.simulator.rows import Rows

_ESCAPE = re.compile(r"([,= ])")


@dataclass(frozen=True, slots=True)
class Influx:
    """Lines as Telegraf writes them, times in ns.

    measurement: what the lines are called.
    """

    measurement: str = "plant"

    together = True
    usual_topic = "{prefix}/{device}"
    commands = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.measurement):
            raise ValueError("measurement: only letters, digits and _ . -")

    def route(self, topic: str, device: str, below: str) -> Route:
        """The tags name the device, the field what is below it."""
        name = "/".join(f"{{tag.{level[1:-1]}}}" for level in device.split("/"))
        return Route(topic, "{field}", "influx", {"name": f"{name}/{{field}}"})

    def open(self, sensors: Sensors) -> Lines:
        """No waveforms, and no backslashes, which escape."""
        if sensors.have_waveforms():
            raise ValueError("line protocol carries no waveforms")
        wrong = sensors.own_path(lambda path: "\\" in path)
        if wrong is not None:
            raise ValueError(f"the name {wrong} has a backslash, which escapes")
        return Lines(sensors, self.measurement)


class Lines(Stateless):
    """A message per device and moment."""

    def __init__(self, sensors: Sensors, measurement: str) -> None:
        self._sensors, self._measurement = sensors, measurement

    def encode(self, rows: Rows) -> list[Message]:
        """`plant,site=demo,machine=press-1 speed=12.5,parts=3i 1700000000250000000`."""
        sensors, found = self._sensors, []
        for device, at_us, readings in by_device(sensors, rows):
            path = sensors.roster.devices[device][1].split("/")
            tags = "".join(f",{level}={_escaped(one)}" for level, one in zip(sensors.levels, path, strict=False))
            by_time: dict[int, list[Reading]] = {}
            for reading in readings:
                by_time.setdefault(reading.ts_us, []).append(reading)
            lines = [
                f"{self._measurement}{tags} {self._fields(once)} {ts_us * 1_000}"
                for ts_us, of_time in by_time.items()
                for once in each_once(of_time)
            ]
            found.append(Message(at_us, sensors.topic[readings[0].sensor], "\n".join(lines).encode()))
        return found

    def _fields(self, readings: list[Reading]) -> str:
        roster = self._sensors.roster
        return ",".join(f"{_escaped(roster.field(one.sensor))}={_written(one.value)}" for one in readings)


def _escaped(name: str) -> str:
    return _ESCAPE.sub(r"\\\1", name)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{value}i" if isinstance(value, int) else repr(value)

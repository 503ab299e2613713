"""What JSON, CBOR and MessagePack have in common: documents with named fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ingest.simulator.formats.base import Message, Reading, Route, Sensors, Stateless, by_device, each_once
from ingest.simulator.rows import Rows

_PER_US = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}
TimeUnit = Literal["s", "ms", "us", "ns"]


@dataclass(frozen=True, slots=True)
class Documents:
    """Names of fields; as the decoder's options of the same names.

    several:   one document for all readings of a device at one moment, a field each.
    value, time, quality: names of the fields. time_unit: s (with a fraction), ms, us or ns.
    unit:      name of a field with the unit; none by default. rate_hz: of one with a waveform's sampling rate.
    """

    several: bool = False
    value: str = "value"
    time: str = "ts"
    time_unit: TimeUnit = "ms"
    quality: str = "quality"
    unit: str | None = None
    rate_hz: str | None = None

    def __post_init__(self) -> None:
        names = [name for name in (self.value, self.time, self.quality, self.unit, self.rate_hz) if name is not None]
        if len(set(names)) < len(names) or not all(names) or any(name.startswith("/") for name in names):
            raise ValueError("the fields have different names, not empty and without a slash at the beginning")
        if self.several and (self.unit or self.rate_hz):
            raise ValueError("unit and rate_hz are for documents with one value")

    @property
    def together(self) -> bool:
        """If they are several."""
        return self.several

    @property
    def usual_topic(self) -> str:
        """The sensor's, or the device's."""
        return "{prefix}/{device}" if self.several else "{prefix}/{path}"

    @property
    def commands(self) -> tuple[str, ...]:
        """None."""
        return ()

    def _route(self, decoder: str, topic: str, device: str) -> Route:
        options: dict[str, Any] = {"time_unit": self.time_unit}
        usual = Documents()
        for name in ("value", "time", "quality", "unit", "rate_hz"):
            if getattr(self, name) != getattr(usual, name) and not (name == "value" and self.several):
                options[name] = getattr(self, name)
        if not self.several:
            return Route(topic, None, decoder, options)
        return Route(topic, f"{device}/{{field}}", decoder, {"values": ["*"], **options})

    def time_of(self, ts_us: int) -> int | float:
        """A time in the unit of the document."""
        if self.time_unit == "s":
            return ts_us / 1e6
        return ts_us * 1_000 if self.time_unit == "ns" else ts_us // _PER_US[self.time_unit]


class Writing(Stateless):
    """Documents, by way of Python objects."""

    def __init__(self, said: Documents, sensors: Sensors, dump: Callable[[Any], bytes]) -> None:
        self._said, self._sensors, self._dump = said, sensors, dump

    def encode(self, rows: Rows) -> list[Message]:
        """One for each row, or for each device and moment."""
        said, sensors, dump = self._said, self._sensors, self._dump
        found = []
        for _, at_us, readings in by_device(sensors, rows):
            topic = sensors.topic[readings[0].sensor]
            if said.several:
                found += [Message(at_us, topic, dump(one)) for one in self._several(readings)]
            else:
                found += [Message(at_us, sensors.topic[one.sensor], dump(self._one(one))) for one in readings]
        return found

    def _one(self, reading: Reading) -> dict[str, Any]:
        said, sensor = self._said, reading.sensor
        document = {said.time: said.time_of(reading.ts_us), said.value: reading.value, said.quality: "good"}
        if said.unit is not None and self._sensors.unit[sensor]:
            document[said.unit] = self._sensors.unit[sensor]
        if said.rate_hz is not None and self._sensors.kind[sensor] == "waveform":
            document[said.rate_hz] = self._sensors.roster.said(sensor).rate_hz
        return document

    def _several(self, readings: list[Reading]) -> list[dict[str, Any]]:
        """A document for each time that readings say, and one more for a sensor's second reading."""
        said, field, found = self._said, self._sensors.roster.field, []
        by_time: dict[int, list[Reading]] = {}
        for reading in readings:
            by_time.setdefault(reading.ts_us, []).append(reading)
        for ts_us, of_time in by_time.items():
            found += [
                {said.time: said.time_of(ts_us), **{field(one.sensor): one.value for one in once}}
                for once in each_once(of_time)
            ]
        return found

"""KEPServerEX IoT Gateway: all tags of a device in one JSON object, named by dotted ids."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ingest.simulator.formats.base import Message, Route, Sensors, Stateless, by_device
from ingest.simulator.rows import Rows

_DUMP = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Kepware:
    """As its templates are delivered; no options."""

    together = True
    usual_topic = "{prefix}/{device}"
    commands = ()

    def route(self, topic: str, device: str, below: str) -> Route:
        """The id is the whole path."""
        return Route(topic, "{id}", "kepware")

    def open(self, sensors: Sensors) -> Tags:
        """Dots separate, so they cannot be in a name."""
        dotted = sensors.own_path(lambda path: "." in path)
        if dotted is not None:
            raise ValueError(f"the name {dotted} has a dot, which separates levels in a Kepware id")
        return Tags(sensors)


class Tags(Stateless):
    """A message per device and moment."""

    def __init__(self, sensors: Sensors) -> None:
        self._sensors = sensors

    def encode(self, rows: Rows) -> list[Message]:
        """`{"timestamp": …, "values": [{"id": …, "v": …, "q": true, "t": …}]}`."""
        paths, topics, found = self._sensors.roster.paths, self._sensors.topic, []
        for _, at_us, readings in by_device(self._sensors, rows):
            values = [
                {"id": paths[one.sensor].replace("/", "."), "v": one.value, "q": True, "t": one.ts_us // 1_000}
                for one in readings
            ]
            payload = _DUMP({"timestamp": max(one.ts_us for one in readings) // 1_000, "values": values})
            found.append(Message(at_us, topics[readings[0].sensor], payload))
        return found

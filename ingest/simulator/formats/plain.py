"""A bare value as text; the time is that of its arrival."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.simulator.formats.base import Message, Route, Sensors, Stateless, value_of
from ingest.simulator.rows import Rows


@dataclass(frozen=True, slots=True)
class Plain:
    """Numbers, `true` and `false`, words.

    decimal_comma: write 21.5 as `21,5`.
    """

    decimal_comma: bool = False

    together = False
    usual_topic = "{prefix}/{path}"
    commands = ()

    def route(self, topic: str, device: str, below: str) -> Route:
        """The topic names the sensor."""
        return Route(topic, None, "plain", {"decimal_comma": True} if self.decimal_comma else {})

    def open(self, sensors: Sensors) -> Speaking:
        """No waveforms: a value is one word."""
        if sensors.have_waveforms():
            raise ValueError("plain text carries no waveforms")
        return Speaking(sensors, self.decimal_comma)


class Speaking(Stateless):
    """A message a row."""

    def __init__(self, sensors: Sensors, decimal_comma: bool) -> None:
        self._sensors, self._comma = sensors, decimal_comma

    def encode(self, rows: Rows) -> list[Message]:
        """One for each."""
        kinds, topics = self._sensors.kind, self._sensors.topic
        found = []
        columns = (rows.sensor.tolist(), rows.at_us.tolist(), rows.value.tolist(), rows.other.tolist())
        for sensor, at_us, number, other in zip(*columns, strict=True):
            value = value_of(kinds[sensor], number, other)
            if isinstance(value, bool):
                text = "true" if value else "false"
            else:
                text = str(value)
                if self._comma and isinstance(value, float):
                    text = text.replace(".", ",")
            found.append(Message(at_us, topics[sensor], text.encode()))
        return found

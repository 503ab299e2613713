"""OPC UA PubSub in JSON (Part 14, 7.2.5): a network message per device and moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ingest.simulator.formats.base import Message, Reading, Route, Sensors, Stateless, by_device, each_once
from ingest.simulator.rows import Rows

_DUMP = msgspec.json.Encoder().encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OpcuaJson:
    """Data values with their source's time; no options."""

    together = True
    usual_topic = "{prefix}/{device}"
    commands = ()

    def route(self, topic: str, device: str, below: str) -> Route:
        """The topic names the device, the field what is below it."""
        return Route(topic, f"{device}/{{field}}", "opcua_json")

    def open(self, sensors: Sensors) -> Publisher:
        """`=` makes a node id of a name."""
        wrong = sensors.own_path(lambda path: "=" in path)
        if wrong is not None:
            raise ValueError(f"the name {wrong} would be taken for a node id")
        return Publisher(sensors)


class Publisher(Stateless):
    """A message per device and moment; as many data sets in it as a sensor has readings."""

    def __init__(self, sensors: Sensors) -> None:
        self._sensors = sensors
        self._number = 0

    def encode(self, rows: Rows) -> list[Message]:
        """`{"MessageType": "ua-data", "Messages": [{"Payload": {"speed": {"Value": 12.5, …}}}]}`."""
        sensors, found = self._sensors, []
        for device, at_us, readings in by_device(sensors, rows):
            self._number += 1
            document = {
                "MessageId": str(self._number),
                "MessageType": "ua-data",
                "PublisherId": sensors.roster.devices[device][1],
                "Messages": [
                    {"DataSetWriterId": 1, "Timestamp": _iso(at_us), "Payload": self._payload(once)}
                    for once in each_once(readings)
                ],
            }
            found.append(Message(at_us, sensors.topic[readings[0].sensor], _DUMP(document)))
        return found

    def _payload(self, readings: list[Reading]) -> dict[str, Any]:
        field = self._sensors.roster.field
        return {field(one.sensor): {"Value": one.value, "SourceTimestamp": _iso(one.ts_us)} for one in readings}


def _iso(at_us: int) -> str:
    at = _EPOCH + timedelta(microseconds=at_us)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

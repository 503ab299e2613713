"""SenML packs (RFC 8428) in JSON or CBOR: a record per reading of a device."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import cbor2
import msgspec

from ingest.simulator.formats.base import Message, Reading, Route, Sensors, Stateless, by_device
from ingest.simulator.rows import Rows

_DUMP = msgspec.json.Encoder().encode
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]*").fullmatch  # RFC 8428, 4.5.1
# RFC 8428, table 4.
_LABELS = {"bn": -2, "bt": -3, "n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "t": 6}


@dataclass(frozen=True, slots=True)
class Senml:
    """The device's path is the base name, the time of its first record the base time.

    encoding: json or cbor.
    """

    encoding: Literal["json", "cbor"] = "json"

    together = True
    usual_topic = "{prefix}/{device}"
    commands = ()

    def route(self, topic: str, device: str, below: str) -> Route:
        """Base name and name are the whole path."""
        return Route(topic, "{field}", "senml", {"encoding": self.encoding})

    def open(self, sensors: Sensors) -> Packs:
        """Names of letters, digits and `- : . / _`, and no waveforms."""
        if sensors.have_waveforms():
            raise ValueError("SenML carries no waveforms")
        wrong = sensors.own_path(lambda path: not _NAME(path))
        if wrong is not None:
            raise ValueError(f"SenML has no such name: {wrong}")
        return Packs(sensors, self.encoding == "cbor")


class Packs(Stateless):
    """A pack per device and moment."""

    def __init__(self, sensors: Sensors, binary: bool) -> None:
        self._sensors, self._binary = sensors, binary

    def encode(self, rows: Rows) -> list[Message]:
        """`[{"bn": "works/pump-1/", "bt": 1700000000.25, "n": "flow", "u": "m3/h", "v": 12.5}, …]`."""
        roster, found = self._sensors.roster, []
        for device, at_us, readings in by_device(self._sensors, rows):
            pack = [self._record(one, readings[0].ts_us) for one in readings]
            pack[0] = {"bn": roster.devices[device][1] + "/", "bt": readings[0].ts_us / 1e6, **pack[0]}
            payload = cbor2.dumps([_labelled(record) for record in pack]) if self._binary else _DUMP(pack)
            found.append(Message(at_us, self._sensors.topic[readings[0].sensor], payload))
        return found

    def _record(self, reading: Reading, base_us: int) -> dict[str, Any]:
        record: dict[str, Any] = {"n": self._sensors.roster.field(reading.sensor)}
        if unit := self._sensors.unit[reading.sensor]:
            record["u"] = unit
        value = reading.value
        record["vb" if isinstance(value, bool) else "vs" if isinstance(value, str) else "v"] = value
        if reading.ts_us != base_us:
            record["t"] = (reading.ts_us - base_us) / 1e6
        return record


def _labelled(record: dict[str, Any]) -> dict[int, Any]:
    return {_LABELS[key]: value for key, value in record.items()}

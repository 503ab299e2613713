"""Sparkplug B 3.0 edge nodes: births, data by alias, deaths, and births anew when a host asks for them.

A path is `group/node/metric` or `group/node/device/metric…`; what is below the device stays in the metric's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from ingest.decoders.sparkplug.births import BD_SEQ, REBIRTH
from ingest.decoders.sparkplug.schema import Payload
from ingest.decoders.sparkplug.topics import NAMESPACE
from ingest.simulator.formats.base import Message, Reading, Route, Sensors, by_device, each_once
from ingest.simulator.formats.sparkplug_metrics import DATATYPES, properties, put_value
from ingest.simulator.rows import Rows

_INT64: Final = 4
_BOOLEAN: Final = 11


@dataclass(frozen=True, slots=True)
class SparkplugB:
    """No options: the specification leaves little open."""

    together = True
    usual_topic = NAMESPACE + "/{device}"
    commands = (f"{NAMESPACE}/+/NCMD/#",)

    def route(self, topic: str, device: str, below: str) -> Route:
        """One for the whole namespace: a node's numbers run over all its messages."""
        return Route(f"{NAMESPACE}/{{rest...}}", "{field}", "sparkplug_b")

    def open(self, sensors: Sensors) -> Nodes:
        """Devices, which speak for all below them, are edge nodes."""
        wrong = next((path for _, path in self._speakers(sensors) if path.count("/") != 1), None)
        if wrong is not None:
            raise ValueError(f"{wrong} is to be an edge node, group/node: set device_levels = 2")
        return Nodes(sensors)

    @staticmethod
    def _speakers(sensors: Sensors) -> list[tuple[int, str]]:
        return [sensors.roster.devices[device] for device in np.unique(sensors.roster.device[sensors.own]).tolist()]


@dataclass(slots=True)
class _Node:
    """An edge node. sensors: its metrics; their alias is the place here. last: what each said last."""

    group: str
    name: str
    sensors: list[int] = field(default_factory=list)
    last: dict[int, Reading] = field(default_factory=dict)
    alive: bool = False
    bd_seq: int = 0
    seq: int = 0


class Nodes:
    """The sessions of the edge nodes of a group."""

    def __init__(self, sensors: Sensors) -> None:
        self._sensors = sensors
        self._nodes: dict[int, _Node] = {}
        self._by_name: dict[tuple[str, str], int] = {}
        self._alias: dict[int, int] = {}
        self._device: dict[int, str] = {}
        self._metric: dict[int, str] = {}
        self._properties: dict[int, bytes] = {}

    def encode(self, rows: Rows) -> list[Message]:
        """Births at first, then data: a message per node or device and moment."""
        found: list[Message] = []
        for number, at_us, readings in by_device(self._sensors, rows):
            node = self._nodes.get(number) or self._meet(number)
            for once in each_once(readings):
                node.last.update((one.sensor, one) for one in once)
                if not node.alive:
                    found += self._bear(node, at_us)
                    continue
                by_name: dict[str, list[Reading]] = {}
                for reading in once:
                    by_name.setdefault(self._device[reading.sensor], []).append(reading)
                found += [self._data(node, device, of_device, at_us) for device, of_device in by_name.items()]
        return found

    def silence(self, device: int, at_us: int) -> list[Message]:
        """The will that the broker publishes: NDEATH with the number of the session."""
        node = self._nodes.get(device)
        if node is None or not node.alive:
            return []
        node.alive = False
        payload = Payload(timestamp=at_us // 1_000)
        payload.metrics.add(name=BD_SEQ, datatype=_INT64, long_value=node.bd_seq)
        node.bd_seq = (node.bd_seq + 1) % 256
        return [Message(at_us, f"{NAMESPACE}/{node.group}/NDEATH/{node.name}", _written(payload))]

    def command(self, topic: str, payload: bytes, at_us: int) -> list[Message]:
        """NCMD `Node Control/Rebirth`: the node is born anew in the same session."""
        parts = topic.split("/")
        number = self._by_name.get((parts[1], parts[3])) if len(parts) == 4 and parts[2] == "NCMD" else None
        if number is None or not self._nodes[number].alive:
            return []
        try:
            asked = Payload.FromString(payload)
        except DecodeError:
            return []
        if not any(metric.name == REBIRTH and metric.boolean_value for metric in asked.metrics):
            return []
        return self._bear(self._nodes[number], at_us)

    def _meet(self, number: int) -> _Node:
        roster = self._sensors.roster
        group, _, name = roster.devices[number][1].partition("/")
        node = self._nodes[number] = _Node(group, name)
        self._by_name[group, name] = number
        node.sensors = (roster.device == number).nonzero()[0].tolist()
        for alias, sensor in enumerate(node.sensors, 1):
            device, _, metric = roster.field(sensor).rpartition("/")
            device, _, more = device.partition("/")
            self._alias[sensor], self._device[sensor] = alias, device
            self._metric[sensor] = f"{more}/{metric}" if more else metric
            self._properties[sensor] = properties(self._sensors.unit[sensor], roster.said(sensor).range)
        return node

    def _bear(self, node: _Node, at_us: int) -> list[Message]:
        """NBIRTH, then a DBIRTH for each device."""
        node.alive, node.seq = True, 0
        by_name: dict[str, list[int]] = {"": []}
        for sensor in node.sensors:
            by_name.setdefault(self._device[sensor], []).append(sensor)
        found = []
        for device, sensors in by_name.items():
            payload = self._payload(node, at_us)
            if not device:
                payload.metrics.add(name=BD_SEQ, timestamp=at_us // 1_000, datatype=_INT64, long_value=node.bd_seq)
                payload.metrics.add(name=REBIRTH, timestamp=at_us // 1_000, datatype=_BOOLEAN, boolean_value=False)
            for sensor in sensors:
                kind = self._sensors.kind[sensor]
                metric = payload.metrics.add(name=self._metric[sensor], alias=self._alias[sensor])
                metric.datatype = DATATYPES[kind]
                if self._properties[sensor]:
                    metric.properties = self._properties[sensor]
                last = node.last.get(sensor)
                metric.timestamp = (at_us if last is None else last.ts_us) // 1_000
                if last is None:
                    metric.is_null = True
                else:
                    put_value(metric, kind, last.value)
            found.append(self._message("BIRTH", node, device, at_us, payload))
        return found

    def _data(self, node: _Node, device: str, readings: list[Reading], at_us: int) -> Message:
        payload = self._payload(node, at_us)
        for reading in readings:
            metric = payload.metrics.add(alias=self._alias[reading.sensor], timestamp=reading.ts_us // 1_000)
            kind = self._sensors.kind[reading.sensor]
            metric.datatype = DATATYPES[kind]
            put_value(metric, kind, reading.value)
        return self._message("DATA", node, device, at_us, payload)

    @staticmethod
    def _payload(node: _Node, at_us: int) -> Any:
        # The edge node's own time is right; what is wrong with a device's clock shows in its metrics.
        payload = Payload(timestamp=at_us // 1_000, seq=node.seq)
        node.seq = (node.seq + 1) % 256
        return payload

    @staticmethod
    def _message(sort: str, node: _Node, device: str, at_us: int, payload: Any) -> Message:
        kind, below = ("D", f"/{device}") if device else ("N", "")
        return Message(at_us, f"{NAMESPACE}/{node.group}/{kind}{sort}/{node.name}{below}", _written(payload))


def _written(payload: Any) -> bytes:
    written: bytes = payload.SerializeToString(deterministic=True)
    return written

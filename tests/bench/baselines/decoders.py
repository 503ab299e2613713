"""Each payload format the usual way: one message at a time, the format's usual library, an object per reading.

They check what any careful gateway checks (a number is a number, and finite) and no more: names, lengths and nesting go
unbounded, strings and arrays and line protocol's escapes are not read, and a message that is not as expected raises. On
what `tests/bench/decoders.py` measures, both ways read the same readings.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import cbor2
import msgspec

from ingest.decoders.sparkplug.schema import Payload


@dataclass(slots=True)
class Reading:
    sensor: str
    at: datetime
    value: float
    quality: str
    unit: str = ""


Decode = Callable[[bytes, bytes], list[Reading]]
"""Of a topic and a payload."""


def number(value: Any) -> float:
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"not a number: {value!r}")
    return float(value)


def from_ms(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1_000, UTC)


def _document(topic: bytes, document: dict[str, Any]) -> list[Reading]:
    quality = document.get("quality", "good")
    return [Reading(topic.decode(), from_ms(document["ts"]), number(document["value"]), quality)]


def decode_json(topic: bytes, payload: bytes) -> list[Reading]:
    return _document(topic, json.loads(payload))


def decode_cbor(topic: bytes, payload: bytes) -> list[Reading]:
    return _document(topic, cbor2.loads(payload))


def decode_msgpack(topic: bytes, payload: bytes) -> list[Reading]:
    return _document(topic, msgspec.msgpack.decode(payload))


def decode_plain(topic: bytes, payload: bytes) -> list[Reading]:
    text = payload.decode().strip()
    value = float(text == "true") if text in ("true", "false") else float(text)
    return [Reading(topic.decode(), datetime.now(UTC), number(value), "good")]


def decode_kepware(topic: bytes, payload: bytes) -> list[Reading]:
    return [
        Reading(one["id"], from_ms(one["t"]), number(one["v"]), "good" if one["q"] else "bad")
        for one in json.loads(payload)["values"]
    ]


def decode_senml(topic: bytes, payload: bytes) -> list[Reading]:
    found = []
    name, unit, base_s, base_value = "", "", 0.0, 0.0
    for record in json.loads(payload):
        name, unit = record.get("bn", name), record.get("bu", unit)
        base_s, base_value = record.get("bt", base_s), record.get("bv", base_value)
        value = record["vb"] if "vb" in record else record["v"] + base_value
        at = datetime.fromtimestamp(base_s + record.get("t", 0), UTC)
        found.append(Reading(name + record.get("n", ""), at, number(value), "good", record.get("u", unit)))
    return found


def decode_opcua_json(topic: bytes, payload: bytes) -> list[Reading]:
    found = []
    for message in json.loads(payload)["Messages"]:
        for name, field in message["Payload"].items():
            at = datetime.fromisoformat(field.get("SourceTimestamp") or message["Timestamp"])
            # The two upper bits of a status code (Part 4, 7.39).
            quality = ("good", "uncertain", "bad", "bad")[field.get("StatusCode", 0) >> 30]
            found.append(Reading(f"{topic.decode()}/{name}", at, number(field["Value"]), quality))
    return found


def decode_influx(topic: bytes, payload: bytes) -> list[Reading]:
    found = []
    for line in payload.decode().splitlines():
        head, fields, nanoseconds = line.split(" ")
        _, *tags = head.split(",")
        names = dict(tag.split("=") for tag in tags)
        at = from_ms(int(nanoseconds) / 1_000_000)
        for field in fields.split(","):
            name, text = field.split("=")
            value = float(text == "true") if text in ("true", "false") else float(text.removesuffix("i"))
            found.append(Reading("/".join([*names.values(), name]), at, number(value), "good"))
    return found


class SparkplugB:
    """protobuf, message by message; what births say of aliases is remembered."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, int], str] = {}

    def __call__(self, topic: bytes, payload: bytes) -> list[Reading]:
        _, group, kind, node, *device = topic.decode().split("/")
        message = Payload()
        message.ParseFromString(payload)
        found = []
        for metric in message.metrics:
            if kind in ("NBIRTH", "DBIRTH"):
                self._names[f"{group}/{node}", metric.alias] = metric.name
            name = self._names[f"{group}/{node}", metric.alias]
            which = metric.WhichOneof("value")
            if which is None:
                continue
            value = getattr(metric, which)
            if which == "long_value" and value >= 1 << 63:
                value -= 1 << 64
            at = from_ms(metric.timestamp or message.timestamp)
            found.append(Reading("/".join([group, node, *device, name]), at, number(value), "good"))
        return found


NAIVE: dict[str, Callable[[], Decode]] = {
    "cbor": lambda: decode_cbor,
    "influx": lambda: decode_influx,
    "json": lambda: decode_json,
    "kepware": lambda: decode_kepware,
    "msgpack": lambda: decode_msgpack,
    "opcua_json": lambda: decode_opcua_json,
    "plain": lambda: decode_plain,
    "senml": lambda: decode_senml,
    "sparkplug_b": SparkplugB,
}

"""Payload formats of simulated devices: one file each and one line in the table, by the names of their decoders."""

from __future__ import annotations

from ingest.contract.registry import Registry
from ingest.simulator.formats.base import Encoder, Message, Route, Sensors, Session

ENCODERS: Registry[Encoder] = Registry(
    "encoder",
    {
        "cbor": "ingest.simulator.formats.cbor:Cbor",
        "influx": "ingest.simulator.formats.influx:Influx",
        "json": "ingest.simulator.formats.json:Json",
        "kepware": "ingest.simulator.formats.kepware:Kepware",
        "msgpack": "ingest.simulator.formats.msgpack:Msgpack",
        "opcua_json": "ingest.simulator.formats.opcua_json:OpcuaJson",
        "plain": "ingest.simulator.formats.plain:Plain",
        "senml": "ingest.simulator.formats.senml:Senml",
        "sparkplug_b": "ingest.simulator.formats.sparkplug_b:SparkplugB",
    },
)

__all__ = ["ENCODERS", "Encoder", "Message", "Route", "Sensors", "Session"]

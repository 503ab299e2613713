"""Payload formats: one file each and one line in the table. Decoders are pure and know nothing of MQTT."""

from __future__ import annotations

from ingest.contract.registry import Registry
from ingest.decoders.base import Decoded, Decoder, Messages, Rejected

DECODERS: Registry[Decoder] = Registry(
    "decoder",
    {
        "cbor": "ingest.decoders.cbor:Cbor",
        "influx": "ingest.decoders.influx:Influx",
        "json": "ingest.decoders.json:Json",
        "kepware": "ingest.decoders.kepware:Kepware",
        "msgpack": "ingest.decoders.msgpack:Msgpack",
        "opcua_json": "ingest.decoders.opcua_json:OpcUaJson",
        "plain": "ingest.decoders.plain:Plain",
        "senml": "ingest.decoders.senml:Senml",
        "sparkplug_b": "ingest.decoders.sparkplug:SparkplugB",
    },
)

__all__ = ["DECODERS", "Decoded", "Decoder", "Messages", "Rejected"]

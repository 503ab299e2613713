"""Payload formats: one file each and one line in the table. Decoders are pure and know nothing of MQTT."""

from __future__ import annotations

from ingest.contract.registry import Registry
from ingest.decoders.base import Decoded, Decoder, Messages, Rejected

DECODERS: Registry[Decoder] = Registry(
    "decoder",
    {
        "json": "ingest.decoders.json:Json",
        "plain": "ingest.decoders.plain:Plain",
    },
)

__all__ = ["DECODERS", "Decoded", "Decoder", "Messages", "Rejected"]

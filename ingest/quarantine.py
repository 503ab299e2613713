"""What could not be read, as records of the quarantine topic: never lost, never in the way."""

from __future__ import annotations

import hashlib

from ingest.batcher import Refused
from ingest.contract.log_writer import Outgoing
from ingest.contract.partition import murmur2
from ingest.contract.wire import SCHEMA_VERSION

MAX_KEPT_BYTES = 65_536
_MAX_DETAIL = 500


def quarantine_record(refused: Refused, source: str, arrival_us: int, partitions: int) -> tuple[int, Outgoing]:
    """(partition, record): the payload's first 64 KiB, and headers that say where it came from and what is wrong.

    Headers: schema, topic, route, reason, detail, size (bytes), digest (BLAKE2b-128, hex), source, arrival. The key is
    the MQTT topic, so that one noisy sensor fills one partition.
    """
    topic = refused.topic[:MAX_KEPT_BYTES]
    headers = [
        ("schema", SCHEMA_VERSION.encode()),
        ("topic", topic),
        ("route", refused.route.encode()),
        ("reason", refused.reason.encode()),
        ("detail", refused.detail[:_MAX_DETAIL].encode(errors="replace")),
        ("size", b"%d" % len(refused.payload)),
        ("digest", hashlib.blake2b(refused.payload, digest_size=16).hexdigest().encode()),
        ("source", source.encode()),
        ("arrival", b"%d" % arrival_us),
    ]
    record = Outgoing(refused.payload[:MAX_KEPT_BYTES], topic, headers, arrival_us // 1000)
    return (murmur2(topic) & 0x7FFFFFFF) % partitions, record

"""What could not be read, as records of the quarantine topic: never lost, never in the way."""

from __future__ import annotations

import hashlib

from ingest.contract.errors import QuarantineError
from ingest.contract.log_writer import Outgoing
from ingest.contract.partition import murmur2
from ingest.contract.wire import SCHEMA_VERSION

MAX_KEPT_BYTES = 65_536
_MAX_DETAIL = 500


def quarantine_record(
    origin: bytes, payload: bytes, error: QuarantineError, *, route: str, source: str, arrival_us: int, partitions: int
) -> tuple[int, Outgoing]:
    """(partition, record): the payload's first 64 KiB, and headers that say where it came from and what is wrong.

    origin: the MQTT topic, or `topic/partition/offset` of a Kafka record. Headers: schema, topic (the origin), route,
    reason, detail, size (bytes), digest (BLAKE2b-128, hex; of all that was received), source, arrival. The key is the
    origin, so that one noisy sensor fills one partition.
    """
    key = origin[:MAX_KEPT_BYTES]
    headers = [
        ("schema", SCHEMA_VERSION.encode()),
        ("topic", key),
        ("route", route.encode()),
        ("reason", error.reason.encode()),
        ("detail", error.detail[:_MAX_DETAIL].encode(errors="replace")),
        ("size", b"%d" % len(payload)),
        ("digest", hashlib.blake2b(payload, digest_size=16).hexdigest().encode()),
        ("source", source.encode()),
        ("arrival", b"%d" % arrival_us),
    ]
    record = Outgoing(payload[:MAX_KEPT_BYTES], key, headers, arrival_us // 1000)
    return (murmur2(key) & 0x7FFFFFFF) % partitions, record

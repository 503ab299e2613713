"""What could not be read is kept as it came, with what is known about it, in bounded size."""

from __future__ import annotations

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.quarantine import MAX_KEPT_BYTES, quarantine_record

NOW_US = 1_700_000_000_123_456


def record(
    topic: bytes, payload: bytes, reason: Reason, detail: str = "", partitions: int = 3
) -> tuple[int, bytes, dict[str, bytes]]:
    error = QuarantineError(reason, detail)
    partition, outgoing = quarantine_record(
        topic, payload, error, route="f/{machine}", source="gateway-1", arrival_us=NOW_US, partitions=partitions
    )
    assert outgoing.value is not None
    assert outgoing.timestamp_ms == NOW_US // 1000
    return partition, outgoing.value, dict(outgoing.headers)


@settings(max_examples=100, deadline=None)
@given(
    topic=st.binary(max_size=50),
    payload=st.binary(max_size=50) | st.sampled_from([b"x" * MAX_KEPT_BYTES, b"x" * (MAX_KEPT_BYTES + 1)]),
    reason=st.sampled_from(Reason),
    detail=st.text(st.characters(), max_size=20) | st.sampled_from(["\ud800", "x" * 100_000]),
    partitions=st.integers(1, 50),
)
def test_anything_can_be_set_aside(topic: bytes, payload: bytes, reason: Reason, detail: str, partitions: int) -> None:
    partition, value, headers = record(topic, payload, reason, detail, partitions)
    assert 0 <= partition < partitions
    assert value == payload[:MAX_KEPT_BYTES]
    assert headers["topic"] == topic
    assert headers["route"] == b"f/{machine}"
    assert headers["reason"] == reason.value.encode()
    assert headers["source"] == b"gateway-1"
    assert headers["arrival"] == str(NOW_US).encode()
    # Of the whole payload, so that a device's file can be recognised.
    assert headers["size"] == str(len(payload)).encode()
    assert headers["digest"] == hashlib.blake2b(payload, digest_size=16).hexdigest().encode()
    assert sum(map(len, headers.values())) < 5_000
    headers["detail"].decode()


def test_a_noisy_topic_fills_one_partition() -> None:
    found = {record(b"f/noisy", b"%d" % at, Reason.SYNTAX, partitions=50)[0] for at in range(20)}
    assert len(found) == 1
    spread = {record(b"f/%d" % at, b"", Reason.EMPTY, partitions=50)[0] for at in range(100)}
    assert len(spread) > 10

"""What could not be read is kept as it came, with what is known about it, in bounded size; and can be read again."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.quarantine import (
    MAX_KEPT_BYTES,
    Entry,
    Mark,
    Replayed,
    quarantine_record,
    read_quarantine,
    replayed_record,
)
from ingest.contract.readings import Flag

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


def entry(topic: bytes = b"f/a", payload: bytes = b"x", reason: Reason = Reason.SYNTAX) -> Entry:
    partition, value, headers = record(topic, payload, reason)
    found = read_quarantine(partition, 7, headers.items(), value)
    assert isinstance(found, Entry)
    return found


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
    # And read again.
    found = read_quarantine(partition, 7, headers.items(), value)
    assert isinstance(found, Entry)
    assert (found.origin, found.payload, found.reason, found.arrival_us) == (topic, value, reason, NOW_US)
    assert found.id == f"{partition}/7"
    assert found.cut == (len(payload) > MAX_KEPT_BYTES or reason is Reason.TOO_LARGE)


def test_a_noisy_topic_fills_one_partition() -> None:
    found = {record(b"f/noisy", b"%d" % at, Reason.SYNTAX, partitions=50)[0] for at in range(20)}
    assert len(found) == 1
    spread = {record(b"f/%d" % at, b"", Reason.EMPTY, partitions=50)[0] for at in range(100)}
    assert len(spread) > 10


def test_what_the_broker_said_of_a_message_is_kept_and_its_place_among_its_fellows() -> None:
    error = QuarantineError(Reason.SYNTAX)
    found = []
    for position in (1, 0):
        partition, outgoing = quarantine_record(
            b"f/a", b"x", error, route="r", source="g", arrival_us=NOW_US, partitions=3, position=position,
            flags=Flag.RETAINED | Flag.REPLAYED,
        )  # fmt: skip
        one = read_quarantine(partition, 9 - position, outgoing.headers, outgoing.value)
        assert isinstance(one, Entry)
        assert one.flags == Flag.RETAINED
        found.append(one)
    assert [one.position for one in sorted(found, key=lambda one: one.order)] == [0, 1]


def test_entries_of_an_older_gateway_are_read() -> None:
    partition, value, headers = record(b"f/a", b"x", Reason.SYNTAX)
    del headers["position"], headers["flags"]
    found = read_quarantine(partition, 7, headers.items(), value)
    assert isinstance(found, Entry)
    assert (found.position, found.flags) == (0, 0)


def test_a_workers_record_is_told_from_a_message_on_a_topic_that_looks_like_it() -> None:
    _, outgoing = quarantine_record(
        b"m.readings/3/41", b"x", QuarantineError(Reason.RECORD), route="m.readings", source="w", arrival_us=NOW_US,
        partitions=1,
    )  # fmt: skip
    worker = read_quarantine(0, 0, outgoing.headers, outgoing.value)
    assert isinstance(worker, Entry)
    assert worker.of_kafka("m.readings")
    assert not worker.of_kafka("other.readings")
    assert not entry(b"m.readings/3/41").of_kafka("m.readings")


@settings(max_examples=200, deadline=None)
@given(
    headers=st.dictionaries(
        st.sampled_from(["schema", "kind", "topic", "route", "reason", "size", "digest", "source", "arrival", "flags"]),
        st.sampled_from([b"1.0", b"0", b"2.0", b"-1", b"replayed", b"\xff", b""]) | st.none(),
    ),
    value=st.none() | st.binary(max_size=20) | st.just(b'{"partition":0,"offsets":[[3,1]]}'),
)
def test_anybodys_record_is_an_entry_or_a_mark_or_refused(
    headers: dict[str, bytes | None], value: bytes | None
) -> None:
    try:
        found = read_quarantine(0, 1, headers.items(), value)
    except QuarantineError:
        return
    assert headers["schema"] == b"1.0"
    assert isinstance(found, Mark) == (headers.get("kind") == b"replayed")


def test_a_mark_of_another_partition_and_one_of_a_newer_version_are_refused() -> None:
    mark = replayed_record(1, [5], source="replay", arrival_us=NOW_US)
    assert isinstance(read_quarantine(1, 9, mark.headers, mark.value), Mark)
    with pytest.raises(QuarantineError):
        read_quarantine(2, 9, mark.headers, mark.value)
    newer = {**dict(mark.headers), "schema": b"2.0"}
    with pytest.raises(QuarantineError):
        read_quarantine(1, 9, newer.items(), mark.value)


@settings(max_examples=100, deadline=None)
@given(
    replays=st.lists(st.tuples(st.integers(0, 2), st.frozensets(st.integers(0, 40))), max_size=8),
    look_between=st.booleans(),
)
def test_exactly_what_marks_name_was_replayed(replays: list[tuple[int, frozenset[int]]], look_between: bool) -> None:
    expected: set[tuple[int, int]] = set()
    found = Replayed()
    for partition, offsets in replays:
        outgoing = replayed_record(partition, offsets, source="replay", arrival_us=NOW_US)
        mark = read_quarantine(partition, 1_000, outgoing.headers, outgoing.value)
        assert isinstance(mark, Mark)
        found.add(mark)
        expected |= {(partition, offset) for offset in offsets}
        if look_between:
            assert ((partition, 0) in found) == ((partition, 0) in expected)
    places = {(partition, offset) for partition in range(4) for offset in range(-1, 43)}
    assert {place for place in places if place in found} == expected


def test_a_mark_of_many_entries_is_small() -> None:
    mark = replayed_record(0, range(1_000_000), source="replay", arrival_us=NOW_US)
    assert len(mark.value or b"") < 100


def test_a_run_that_ends_before_it_begins_names_nothing() -> None:
    found = Replayed()
    found.add(Mark(0, [(9, 3), (5, 5)]))
    assert [offset for offset in range(12) if (0, offset) in found] == [5]

"""What was set aside is read again with other settings: as the gateway would have read it, and marked as late news."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.quarantine.compose import remembered_here, replayer_of
from ingest.contract.errors import QuarantineError, Reason, StopError
from ingest.contract.partition import partition_of
from ingest.contract.quarantine import Entry, Mark, Replayed, quarantine_record, read_quarantine
from ingest.contract.readings import Flag, Readings, Words
from ingest.contract.settings import Settings
from ingest.contract.wire import decode_readings, encode_readings, envelope_of
from ingest.decoders import Messages
from ingest.decoders.sparkplug import SparkplugB
from ingest.memory import memory_name
from ingest.replay import SOURCE, Chunk, Fate, Replayer, Tally, Tried
from ingest.state_files import StateFiles
from tests.conformance.payloads import sparkplug_b as sparkplug

NOW_US = 1_700_000_000_000_000
S_US = 1_000_000
PARTITIONS = 5
READINGS = "m.readings"


def replayer(*routes: dict[str, Any], partly: bool = False, memory: dict[str, bytes] | None = None) -> Replayer:
    kafka = {"topics": {"readings": {"name": READINGS, "partitions": PARTITIONS}}}
    found = Settings.model_validate({"route": list(routes), "kafka": kafka})
    return replayer_of(found, {}, partly=partly, memory=memory or {})


ONE = {"topic": "one/{machine}/{quantity}"}
SPARKPLUG = {"topic": "spBv1.0/{rest...}", "path": "{field}", "decoder": "sparkplug_b"}
MANY = {"topic": "many/{machine}", "path": "{machine}/{field}", "options": {"values": ["*"]}}


def entry(
    topic: bytes = b"one/press/temp",
    payload: bytes = b'{"value":1}',
    *,
    reason: Reason = Reason.NO_ROUTE,
    arrival_us: int = NOW_US,
    offset: int = 0,
    route: str = "none",
    flags: int = 0,
) -> Entry:
    """As the gateway writes it and the command reads it."""
    partition, record = quarantine_record(
        topic, payload, QuarantineError(reason), route=route, source="g", arrival_us=arrival_us, partitions=2,
        flags=flags,
    )  # fmt: skip
    found = read_quarantine(partition, offset, record.headers, record.value)
    assert isinstance(found, Entry)
    return found


def rows(tried: Tried) -> list[tuple[int, str | None, int, float, int]]:
    """(partition, sensor, time, value, flags)."""
    return [
        (partition, *row)
        for partition, readings in tried.blocks
        for row in zip(
            readings.sensor.decode(),
            readings.ts_us.tolist(),
            readings.value.tolist(),
            readings.flags.tolist(),
            strict=True,
        )
    ]


def test_a_message_whose_route_was_missing_becomes_a_reading_where_its_sensor_lives() -> None:
    tried = replayer(ONE).take(entry(payload=b'{"value":21.5,"ts":1600000000000}'))
    assert (tried.fate, tried.done, tried.rows) == (Fate.READ, True, 1)
    home = partition_of("press/temp", PARTITIONS)
    assert rows(tried) == [(home, "press/temp", 1_600_000_000_000_000, 21.5, int(Flag.REPLAYED))]


def test_without_a_time_of_its_own_a_reading_has_that_of_its_arrival_then() -> None:
    found = replayer(ONE)
    tried = [found.take(entry(payload=b'{"value":%d}' % at, offset=at)) for at in range(3)]
    stamps = [row[2] for one in tried for row in rows(one)]
    # Several may share the arrival time of their batch; they stay apart, and the same at each replay.
    assert stamps == [NOW_US, NOW_US + 1, NOW_US + 2]
    assert all(row[4] == Flag.REPLAYED | Flag.ARRIVAL_STAMPED for one in tried for row in rows(one))


def test_a_retained_message_stays_old_news() -> None:
    (row,) = rows(replayer(ONE).take(entry(flags=Flag.RETAINED)))
    assert row[4] & Flag.RETAINED


def test_what_is_still_wrong_stays_with_its_new_reason() -> None:
    tried = replayer(ONE).take(entry(payload=b"hello"))
    assert (tried.fate, tried.done, tried.blocks, tried.reason) == (Fate.REFUSED, False, [], "syntax")
    tried = replayer(MANY).take(entry())
    assert (tried.fate, tried.reason) == (Fate.REFUSED, "no_route")


def test_a_message_that_is_refused_in_part_stays_as_a_whole_unless_told_otherwise() -> None:
    half = entry(b"many/press", b'{"temp":1,"load":{"a":2}}', reason=Reason.TYPE)
    whole = replayer(MANY).take(half)
    assert (whole.fate, whole.done, whole.blocks, whole.reason) == (Fate.PARTLY, False, [], "type")
    part = replayer(MANY, partly=True).take(half)
    assert (part.fate, part.done, part.reason) == (Fate.PARTLY, True, "type")
    assert [row[1] for row in rows(part)] == ["press/temp"]


def test_what_is_not_all_there_is_never_read() -> None:
    for cut in (entry(payload=b"1" * 70_000), entry(payload=b"1", reason=Reason.TOO_LARGE)):
        tried = replayer({**ONE, "decoder": "plain"}).take(cut)
        assert (tried.fate, tried.done, tried.blocks) == (Fate.CUT, False, [])


def test_data_is_read_after_a_birth_in_the_same_replay_or_in_what_is_remembered() -> None:
    birth = sparkplug.payload(sparkplug.bd_seq(1), sparkplug.metric("a", 1.0, alias=1), seq=0)
    data = sparkplug.payload(sparkplug.metric(None, 5.0, alias=1, born=False), seq=1)
    born = entry(sparkplug.NBIRTH, birth, offset=0)
    told = entry(sparkplug.NDATA, data, reason=Reason.NO_BIRTH, offset=1, arrival_us=NOW_US + 1)
    together = replayer(SPARKPLUG)
    assert [together.take(one).fate for one in (born, told)] == [Fate.READ, Fate.READ]
    assert replayer(SPARKPLUG).take(told).reason == "no_birth"
    decoder = SparkplugB()
    decoder.decode(Messages([sparkplug.NBIRTH], [birth], [NOW_US]))
    tried = replayer(SPARKPLUG, memory={SPARKPLUG["topic"]: decoder.snapshot()}).take(told)
    assert [(row[1], row[3]) for row in rows(tried)] == [("G/N/a", 5.0)]


def test_what_the_gateway_here_remembers_is_found_for_its_routes(tmp_path: Path) -> None:
    found = Settings.model_validate({"route": [ONE, SPARKPLUG], "gateway": {"state_dir": str(tmp_path)}})
    assert remembered_here(found) == {}
    decoder = SparkplugB()
    decoder.decode(
        Messages([sparkplug.NBIRTH], [sparkplug.payload(sparkplug.metric("a", 1.0, alias=1), seq=0)], [NOW_US])
    )
    files = StateFiles(tmp_path / found.gateway_folder)
    name = memory_name(found.brokers[0].name, SPARKPLUG["topic"], "sparkplug_b", {})
    files.write(name, decoder.snapshot())
    assert remembered_here(found) == {SPARKPLUG["topic"]: decoder.snapshot()}
    files.write(name, b"?")
    with pytest.raises(StopError, match="cannot be read"):
        remembered_here(found)


def test_a_message_that_was_understood_and_has_no_readings_is_done() -> None:
    command = entry(b"spBv1.0/G/NCMD/N", sparkplug.payload(sparkplug.metric("Node Control/Rebirth", True, "Boolean")))
    tried = replayer(SPARKPLUG).take(command)
    assert (tried.fate, tried.done, tried.blocks) == (Fate.NO_READINGS, True, [])


@settings(max_examples=60, deadline=None)
@given(
    topic=st.sampled_from([b"one/a/b", b"many/a", b"", b"\xff", b"x" * 3_000, b"one//x", b"m.readings/0/0"]),
    payload=st.binary(max_size=30) | st.sampled_from([b'{"value":1}', b'{"a":1,"b":[]}', b"[" * 10_000]),
    reason=st.sampled_from(Reason),
    arrival_us=st.sampled_from([NOW_US, 0, -1, 2**62]),
    route=st.sampled_from(["none", READINGS]),
    partly=st.booleans(),
)
def test_nothing_that_was_set_aside_stops_a_replay(
    topic: bytes, payload: bytes, reason: Reason, arrival_us: int, route: str, partly: bool
) -> None:
    one = entry(topic, payload, reason=reason, arrival_us=arrival_us, route=route)
    tried = replayer(ONE, MANY, partly=partly).take(one)
    assert tried.done == (tried.fate in (Fate.READ, Fate.NO_READINGS) or (partly and tried.fate is Fate.PARTLY))
    assert tried.done or not tried.blocks
    for _, readings in tried.blocks:
        assert np.all(readings.flags & Flag.REPLAYED)


# --- what a worker could not read ------------------------------------------------------------------------------


def table(sensors: Sequence[str]) -> Readings:
    count = len(sensors)
    return Readings(
        Words.encode(sensors),
        np.full(count, NOW_US, np.int64),
        np.arange(count, dtype=np.float64),
        np.zeros(count, np.uint8),
        np.zeros(count, np.uint8),
    )


def of_kafka(payload: bytes) -> Entry:
    return entry(f"{READINGS}/3/41".encode(), payload, reason=Reason.RECORD, route=READINGS)


def test_a_record_that_can_be_read_now_goes_where_its_sensors_live() -> None:
    sensors = [f"line/press-{at}/temp" for at in range(8)]
    tried = replayer(ONE).take(of_kafka(encode_readings(table(sensors))))
    assert tried.fate is Fate.READ
    assert sorted(row[3] for row in rows(tried)) == list(range(8))
    assert {(row[1], row[0]) for row in rows(tried)} == {(one, partition_of(one, PARTITIONS)) for one in sensors}
    assert all(row[4] == Flag.REPLAYED for row in rows(tried))


def test_a_record_that_still_cannot_be_read_stays() -> None:
    for payload, reason in ((b"hello", "record"), (encode_readings(table(["a//b"])), "name")):
        tried = replayer(ONE).take(of_kafka(payload))
        assert (tried.fate, tried.reason, tried.blocks) == (Fate.REFUSED, reason, [])


def test_a_record_is_no_message_even_if_a_route_fits_its_origin() -> None:
    tried = replayer({"topic": "{rest...}", "decoder": "plain"}).take(of_kafka(b"21.5"))
    assert tried.fate is Fate.REFUSED


# --- chunks ----------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    arrivals_s=st.lists(st.integers(0, 40), min_size=1, max_size=30),
    machines=st.lists(st.sampled_from("abcdef"), min_size=30, max_size=30),
)
def test_every_entry_is_written_once_and_marked_once(arrivals_s: list[int], machines: list[str]) -> None:
    found, chunks = replayer(ONE), [Chunk()]
    entries = [
        entry(b"one/%s/temp" % machine.encode(), b'{"value":%d}' % at, arrival_us=NOW_US + arrival_s * S_US, offset=at)
        for at, (arrival_s, machine) in enumerate(zip(sorted(arrivals_s), machines, strict=False))
    ]
    for one in entries:
        tried = found.take(one)
        if not chunks[-1].takes(tried):
            chunks.append(Chunk())
        chunks[-1].add(tried)
    written: list[float] = []
    seqs: list[int] = []
    marks = Replayed()
    for chunk in chunks:
        arrivals_us = []
        records = chunk.records(len(seqs), partitions=PARTITIONS, max_record_bytes=900_000)
        for partition, some in records.items():
            for record in some:
                envelope = envelope_of(record.headers)
                seqs.append(envelope.seq)
                arrivals_us.append(envelope.arrival_us)
                assert (envelope.source, envelope.partitions) == (SOURCE, PARTITIONS)
                assert record.timestamp_ms == envelope.arrival_us // 1000
                readings = decode_readings(record.value or b"")
                written += readings.value.tolist()
                assert {partition_of(one or "", PARTITIONS) for one in readings.sensor.decode()} == {partition}
                # What is from the future is judged by the record's arrival: it is never much later than a reading's.
                assert int(readings.ts_us.min()) >= envelope.arrival_us - Chunk.MAX_SPAN_US
        assert len(set(arrivals_us)) == 1
        for partition, record in chunk.marks(NOW_US).items():
            mark = read_quarantine(partition, 1_000, record.headers, record.value)
            assert isinstance(mark, Mark)
            marks.add(mark)
    assert sorted(written) == list(range(len(entries)))
    assert seqs == list(range(len(seqs)))
    assert all((one.partition, one.offset) in marks for one in entries)
    assert not any((1 - one.partition, one.offset) in marks for one in entries)


def test_a_chunk_is_bounded_in_entries_rows_and_time() -> None:
    chunk = Chunk()
    tried = Tried(entry(), Fate.READ, [(0, table(["a/b"] * 10_000))])
    for _ in range(Chunk.MAX_ROWS // 10_000):
        assert chunk.takes(tried)
        chunk.add(tried)
    assert not chunk.takes(tried)
    chunk = Chunk()
    chunk.add(Tried(entry(), Fate.READ))
    assert not chunk.takes(Tried(entry(arrival_us=NOW_US + Chunk.MAX_SPAN_US + 1), Fate.READ))
    # The wall clock of a gateway may have stepped back.
    assert not chunk.takes(Tried(entry(arrival_us=NOW_US - Chunk.MAX_SPAN_US - 1), Fate.READ))
    for _ in range(Chunk.MAX_ENTRIES - 1):
        chunk.add(Tried(entry(), Fate.NO_READINGS))
    assert not chunk.takes(Tried(entry(), Fate.NO_READINGS))
    assert chunk.records(0, partitions=PARTITIONS, max_record_bytes=900_000) == {}


def test_a_tally_counts_each_entry_once() -> None:
    tally, found = Tally(), replayer(ONE)
    for one in (entry(), entry(payload=b"hello"), of_kafka(b"?"), entry(payload=b"1" * 70_000)):
        tally.add(found.take(one), of_kafka=one.of_kafka(READINGS))
    assert (tally.entries, tally.rows, tally.kafka, tally.anything) == (4, 1, 1, True)
    assert tally.refused == {("syntax", "none"): 1, ("record", READINGS): 1}
    assert not Tally().anything

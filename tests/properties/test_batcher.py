"""Every message taken in comes out: as readings at their sensor's place, or refused with a reason."""

from __future__ import annotations

import gc
import re
import tracemalloc
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.batch import Batch
from ingest.batcher import NO_ROUTE, Batcher
from ingest.contract.errors import Reason
from ingest.contract.partition import partition_of
from ingest.contract.readings import Flag
from ingest.contract.sensors import TopicPattern
from ingest.contract.wire import decode_readings, encode_readings
from ingest.decoders import DECODERS
from ingest.packets import DUP_BIT, RETAIN_BIT, Burst
from ingest.topic_table import Route
from tests.unit.stream.logs import examples

few = examples(150)

PARTITIONS = 5
LIMIT = 100
NOW_US = 1_700_000_000_000_000


def route(topic: str, path: str | None = None, decoder: str = "json", **options: Any) -> Route:
    return Route(topic, TopicPattern.parse(topic, path), DECODERS.create(decoder, options))


ONE = route("one/{machine}/{quantity}")
MANY = route("many/{machine}", "{machine}/{field}", values=["*"])
IDS = route("ids/{site}", "{site}/{id}", values=["*"])
BARE = route("bare/{rest...}", decoder="plain")
ROUTES = [ONE, MANY, IDS, BARE]


def batcher(max_sensors: int = 1_000, routes: list[Route] = ROUTES) -> Batcher:
    return Batcher.alone(routes, PARTITIONS, max_sensors, LIMIT)


@dataclass(frozen=True)
class Message:
    """A topic and what to send there; `%d` in the payload is the message's number, so that rows can be traced."""

    topic: bytes
    payload: bytes
    first: int = 0x30


ANY_TOPIC = [
    b"one/press-01/temp",
    b"one/press-02/temp",
    b"one/press-02/current",
    b"one/press-02/\xff",
    b"one/press-02/..",
    b"one/press-02/{id}",
    b"one/press-02",
    b"many/press-01",
    b"many/press 01 ",
    b"ids/demo",
    b"bare/press-01/temp",  # the same sensor on another route
    b"bare/a/b/c/d",
    b"bare",
    b"other",
    b"$SYS/x",
    b"",
]
ANY_PAYLOAD = [
    b'{"value":%d}',
    b'{"value":%d,"ts":1700000000000}',
    b'{"value":%d,"quality":"bad"}',
    b'{"value":"%d"}',
    b"%d",
    b'{"temp":%d,"current":%d}',
    b'{"temp":%d,"../current":%d,"x":[]}',
    b'{"Press.A.temp":%d,"Press/A/temp":%d}',
    b'{"value":[%d]}',
    b"{%d",
    b"",
    b"9" * (LIMIT + 1),
]
MESSAGES = st.builds(
    Message,
    st.sampled_from(ANY_TOPIC),
    st.sampled_from(ANY_PAYLOAD),
    st.sampled_from([0x30, 0x32, 0x30 | RETAIN_BIT, 0x32 | DUP_BIT, 0x32 | DUP_BIT | RETAIN_BIT]),
)
BURSTS = st.lists(st.lists(MESSAGES, min_size=1, max_size=12), min_size=1, max_size=4)


def payload_of(message: Message, number: int) -> bytes:
    return message.payload.replace(b"%d", b"%d" % number)


def burst_of(messages: list[Message], first_number: int = 0) -> Burst:
    return Burst(
        [one.topic for one in messages],
        [payload_of(one, first_number + at) for at, one in enumerate(messages)],
        [one.first for one in messages],
        [],
    )


def first_number(text: str) -> int:
    found = re.search(r"\d+", text)
    return -1 if found is None else int(found[0])


def rows_of(batch: Batch) -> list[dict[str, Any]]:
    """The rows of all blocks; `number` is the message's, wherever the value has it."""
    rows = []
    for block in batch.blocks:
        readings = decode_readings(encode_readings(block.readings))  # what leaves must be fit for the wire
        texts = [None] * len(readings) if readings.text is None else readings.text.decode()
        for at, sensor in enumerate(readings.sensor.decode()):
            value, text = float(readings.value[at]), texts[at]
            rows.append(
                {
                    "partition": block.partition,
                    "sensor": sensor,
                    "ts_us": int(readings.ts_us[at]),
                    "flags": int(readings.flags[at]),
                    "number": int(value) if text is None else first_number(text),
                }
            )
    return rows


def assert_ledger(batch: Batch) -> None:
    """Per route: received = in blocks + quarantined + dropped, each message once."""
    accounted = sum((Counter(block.messages) for block in batch.blocks), Counter[str]())
    for (name, _), count in [*batch.quarantined.items(), *batch.dropped.items()]:
        accounted[name] += count
    assert +accounted == batch.received


def still(messages: list[Message]) -> Any:
    """Arrival times of a clock that stands."""
    return np.full(len(messages), NOW_US, np.int64)


@few
@given(BURSTS)
def test_every_message_comes_out_as_readings_or_refused(bursts: list[list[Message]]) -> None:
    sut, number = batcher(), 1
    for messages in bursts:
        batch = sut.batch(burst_of(messages, number), still(messages))
        read = {row["number"] for row in rows_of(batch)}
        refused = Counter((one.topic, one.payload) for one in batch.refused)
        # Numbers are unique, so a message is known by topic and payload unless the payload has none.
        for at, one in enumerate(messages, number):
            assert at in read or refused[one.topic, payload_of(one, at)]
        assert read <= set(range(number, number + len(messages)))
        assert sum(batch.received.values()) == len(messages)
        assert sum(batch.quarantined.values()) == len(batch.refused) <= len(messages)
        assert Counter((one.route, one.reason) for one in batch.refused) == Counter(batch.quarantined)
        assert_ledger(batch)
        number += len(messages)


@few
@given(BURSTS)
def test_a_sensors_readings_stay_in_order_and_on_its_partition(bursts: list[list[Message]]) -> None:
    sut, number = batcher(), 1
    numbers: dict[str, list[int]] = {}
    for messages in bursts:
        batch = sut.batch(burst_of(messages, number), still(messages))
        assert len({block.partition for block in batch.blocks}) == len(batch.blocks)
        for row in rows_of(batch):
            assert row["partition"] == partition_of(row["sensor"], PARTITIONS)
            numbers.setdefault(row["sensor"], []).append(row["number"])
        number += len(messages)
    assert all(column == sorted(column) for column in numbers.values())


@few
@given(BURSTS, st.lists(st.integers(-3, 3), min_size=1))
def test_arrival_stamps_of_a_sensor_increase_whatever_the_clock_does(
    bursts: list[list[Message]], steps: list[int]
) -> None:
    sut, now_us = batcher(), NOW_US
    stamps: dict[str, list[int]] = {}
    for at, messages in enumerate(bursts):
        now_us += steps[at % len(steps)]  # it stands still, or is set back
        batch = sut.batch(burst_of(messages), np.full(len(messages), now_us, np.int64))
        assert batch.arrival_us == now_us
        for row in rows_of(batch):
            if row["flags"] & Flag.ARRIVAL_STAMPED:
                stamps.setdefault(row["sensor"], []).append(row["ts_us"])
            else:
                assert row["ts_us"] == 1_700_000_000_000_000
    for column in stamps.values():
        assert all(earlier < later for earlier, later in pairwise(column))
        assert NOW_US - 12 <= column[0] <= column[-1] <= NOW_US + 200


def test_an_arrival_stamp_is_the_time_of_arrival() -> None:
    messages = [Message(b"one/a/x", b'{"value":1}'), Message(b"one/a/y", b'{"value":1}')]
    batch = batcher().batch(burst_of(messages), np.array([NOW_US, NOW_US + 7]))
    assert {row["sensor"]: row["ts_us"] for row in rows_of(batch)} == {"a/x": NOW_US, "a/y": NOW_US + 7}
    assert batch.arrival_us == NOW_US + 7


@pytest.mark.parametrize("own_time", [True, False])
@pytest.mark.parametrize(
    ("first", "flags"),
    [
        (0x30, 0),
        (0x32, 0),
        (0x31, Flag.RETAINED),
        (0x3A, Flag.REDELIVERED),
        (0x3B, Flag.RETAINED | Flag.REDELIVERED),
    ],
)
def test_flags_say_how_a_message_came(first: int, flags: int, own_time: bool) -> None:
    payload = b'{"value":1,"ts":1700000000}' if own_time else b'{"value":1}'
    one = Message(b"one/a/x", payload, first)
    (row,) = rows_of(batcher().batch(burst_of([one]), still([one])))
    assert row["flags"] == flags | (0 if own_time else Flag.ARRIVAL_STAMPED)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "payload", "route_name", "reason"),
    [
        (b"other", b"1", NO_ROUTE, Reason.NO_ROUTE),
        (b"", b"1", NO_ROUTE, Reason.NO_ROUTE),
        (b"one/a", b"1", NO_ROUTE, Reason.NO_ROUTE),
        (b"one/a/..", b'{"value":1}', ONE.name, Reason.NAME),
        (b"one/a/\xff", b'{"value":1}', NO_ROUTE, Reason.NAME),
        (b"one/a/\xed\xa0\x80", b'{"value":1}', NO_ROUTE, Reason.NAME),
        (b"one/a/" + b"x" * 65_529, b'{"value":1}', ONE.name, Reason.NAME),
        (b"one/a/x\n", b'{"value":1}', ONE.name, Reason.NAME),
        (b"bare/+/#", b"1", BARE.name, Reason.NAME),
        (b"many/a", b'{"a b\\n":1}', MANY.name, Reason.NAME),
        (b"many/a", b'{"":1}', MANY.name, Reason.NAME),
        (b"ids/a", b'{"x..y":1}', IDS.name, Reason.NAME),
        (b"one/a/x", b"", ONE.name, Reason.EMPTY),
        (b"one/a/x", b"9" * (LIMIT + 1), ONE.name, Reason.TOO_LARGE),
        (b"bare/x", b"x" * 10_000_000, BARE.name, Reason.TOO_LARGE),
    ],
    ids=lambda one: ascii(one)[:30],
)
def test_what_cannot_be_a_reading_is_refused_with_its_route(
    topic: bytes, payload: bytes, route_name: str, reason: Reason
) -> None:
    usual = Message(b"one/a/x", b'{"value":2}')
    batch = batcher().batch(burst_of([usual, Message(topic, payload), usual]), still([usual] * 3))
    assert [(one.topic, one.payload, one.route, one.reason) for one in batch.refused] == [
        (topic, payload, route_name, reason)
    ]
    assert batch.quarantined == {(route_name, reason): 1}
    assert [row["sensor"] for row in rows_of(batch)] == ["a/x", "a/x"]


def test_a_message_half_bad_is_both_read_and_refused_once() -> None:
    one = Message(b"many/a", b'{"x":1,"y":[],"z":{}}')
    batch = batcher().batch(burst_of([one]), still([one]))
    assert [row["sensor"] for row in rows_of(batch)] == ["a/x"]
    assert [refused.reason for refused in batch.refused] == [Reason.TYPE]


def test_a_topic_that_is_not_utf_8_harms_nobody_whatever_the_first_route_is() -> None:
    bad, good = Message(b"\xff", b'{"value":1}'), Message(b"one/a/x", b'{"value":1}')
    for routes in (ROUTES, ROUTES[::-1]):
        batch = batcher(routes=routes).batch(burst_of([bad, good]), still([bad, good]))
        assert [one.reason for one in batch.refused if one.topic == b"\xff"] == [Reason.NAME]
        assert len(rows_of(batch)) == 1


# --- budgets --------------------------------------------------------------------------------------------------------


def test_known_sensors_are_not_harmed_by_a_flood_of_names() -> None:
    sut = batcher(max_sensors=2)
    known = Message(b"one/a/x", b'{"value":1}')
    for at in range(30):
        flood = [Message(b"one/b/%d" % number, b'{"value":1}') for number in range(20 * at, 20 * at + 20)]
        batch = sut.batch(burst_of([known, *flood, known]), still([known] * 22))
        rows = rows_of(batch)
        assert [row["sensor"] for row in rows if row["sensor"] != "b/0"] == ["a/x", "a/x"]
        assert batch.quarantined == {(ONE.name, Reason.OVER_BUDGET): 21 - len(rows) + 1}
    assert sut.sensors == 2


FLOODS = {
    "topics": lambda number: (b"one/m/%d" % number, b'{"value":1}'),
    "topics without a route": lambda number: (b"%d" % number, b"1"),
    # Kept as an error once, raised again for each message, and every frame with it.
    "one bad topic on a route with fields": lambda _: (b"many/{m}", b'{"x":1}'),
    "bad names": lambda number: (b"one/m/%d\n" % number, b'{"value":1}'),
    "fields": lambda number: (b"many/m", b'{"%d":1}' % number),
    # 2^17 spellings of one sensor: `a.a` and `a/a` are the same id.
    "spellings": lambda number: (
        b"ids/m",
        b'{"a%sa":1}' % b"a".join(b"." if number >> bit & 1 else b"/" for bit in range(13)),
    ),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_memory_is_bounded_whatever_comes(flood: Any) -> None:
    sut, size = batcher(max_sensors=100, routes=[MANY, ONE, IDS]), 500

    def send(numbers: range) -> None:
        for start in range(numbers.start, numbers.stop, size):
            pairs = [flood(number) for number in range(start, start + size)]
            burst = Burst([topic for topic, _ in pairs], [payload for _, payload in pairs], [0x30] * size, [])
            sut.batch(burst, np.full(size, NOW_US, np.int64))

    send(range(1_000))
    tracemalloc.start()
    try:
        send(range(1_000, 8_000))
        gc.collect()
        now, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 7,000 entries take more than a megabyte; 200 topics and 100 sensors, whatever they are called, far less.
    assert now < 400_000
    assert sut.sensors <= 100


def test_long_topics_count_for_what_they_are() -> None:
    sut = batcher(max_sensors=100)
    tracemalloc.start()
    try:
        for number in range(190):  # fewer than are remembered of usual length
            messages = [Message(b"one/m/%d" % number + b"x" * 60_000, b'{"value":1}')]
            sut.batch(burst_of(messages), still(messages))
        gc.collect()
        now, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now < 400_000


def test_a_hundred_thousand_topics_leave_a_hundred_sensors() -> None:
    sut, size = batcher(max_sensors=100), 5_000
    refused = 0
    for start in range(0, 100_000, size):
        topics = [b"one/m%d/x" % number for number in range(start, start + size)]
        batch = sut.batch(Burst(topics, [b'{"value":1}'] * size, [0x30] * size, []), np.full(size, NOW_US))
        refused += batch.quarantined.get((ONE.name, Reason.OVER_BUDGET), 0)
    assert sut.sensors == 100
    assert refused == 100_000 - 100

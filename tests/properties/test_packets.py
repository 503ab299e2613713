"""A stream of MQTT packets gives the same messages wherever it is cut, and nothing in it can do harm."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest.contract.errors import ReconnectError
from ingest.packets import DUP_BIT, RETAIN_BIT, Burst, PacketReader

few = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

LIMIT = 300
both_versions = pytest.mark.parametrize("version5", [True, False], ids=["MQTT 5", "MQTT 3.1.1"])


def varint(value: int) -> bytes:
    """A variable byte integer (MQTT 5, 1.5.5)."""
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + varint(len(body)) + body


@dataclass(frozen=True)
class Message:
    """A PUBLISH packet. mid: None for QoS 0. properties: as bytes, MQTT 5 only."""

    topic: bytes
    payload: bytes
    mid: bytes | None = None
    flags: int = 0
    properties: bytes = b""

    @property
    def first(self) -> int:
        return 0x30 | self.flags | (0 if self.mid is None else 0x02)

    def encode(self, *, version5: bool) -> bytes:
        properties = varint(len(self.properties)) + self.properties if version5 else b""
        head = len(self.topic).to_bytes(2, "big") + self.topic + (self.mid or b"") + properties
        return packet(self.first, head + self.payload)


def user_property(size: int) -> bytes:
    return b"\x26\x00\x01k" + size.to_bytes(2, "big") + b"v" * size


MESSAGES = st.builds(
    Message,
    topic=st.binary(min_size=1, max_size=30) | st.sampled_from([b"f/demo/press/temp", b"t" * 200, b"\0"]),
    payload=st.binary(max_size=LIMIT) | st.sampled_from([b"", b"21.5", b"x" * 127, b"x" * LIMIT]),
    mid=st.none() | st.binary(min_size=2, max_size=2),
    flags=st.sampled_from([0, RETAIN_BIT, DUP_BIT, RETAIN_BIT | DUP_BIT]),
    properties=st.sampled_from([b"", b"\x02\0\0\0\x05", user_property(100), user_property(121), user_property(20_000)]),
)
OTHERS = st.sampled_from(
    [
        b"\xd0\x00",  # PINGRESP
        b"\x20\x02\x00\x00",  # CONNACK
        b"\x40\x02\x00\x07",  # PUBACK
        b"\x90\x04\x00\x01\x00\x01",  # SUBACK
        packet(0x90, b"\0\x01" + b"\x01" * 500),
        b"\xe0\x00",  # DISCONNECT
    ]
)
STREAMS = st.lists(MESSAGES | OTHERS, max_size=8)


def wire(stream: list[Message | bytes], *, version5: bool) -> bytes:
    return b"".join(one if isinstance(one, bytes) else one.encode(version5=version5) for one in stream)


def feed(reader: PacketReader, chunks: Iterable[bytes], burst: Burst) -> list[bytes]:
    return [other for chunk in chunks for other in reader.feed(chunk, burst)]


def read(chunks: Iterable[bytes], *, version5: bool, limit: int = LIMIT) -> tuple[Burst, list[bytes]]:
    reader, burst = PacketReader(version5=version5, max_payload_bytes=limit), Burst()
    return burst, feed(reader, chunks, burst)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def assert_read(stream: list[Message | bytes], found: tuple[Burst, list[bytes]], limit: int = LIMIT) -> None:
    burst, others = found
    messages = [one for one in stream if isinstance(one, Message)]
    assert burst.topics == [one.topic for one in messages]
    assert burst.payloads == [one.payload[: limit + 1] for one in messages]
    assert burst.first == [one.first for one in messages]
    assert burst.mids == [one.mid for one in messages if one.mid is not None]
    assert others == [one for one in stream if isinstance(one, bytes)]
    assert len(burst) == len(messages)


@both_versions
@few
@given(stream=STREAMS, places=st.lists(st.integers(0, 100_000), max_size=12))
def test_any_cut_of_a_stream_gives_the_same_packets(
    version5: bool, stream: list[Message | bytes], places: list[int]
) -> None:
    assert_read(stream, read(cut(wire(stream, version5=version5), places), version5=version5))


@both_versions
@settings(few, max_examples=20)
@given(stream=STREAMS)
def test_byte_by_byte_is_a_cut_too(version5: bool, stream: list[Message | bytes]) -> None:
    data = wire(stream, version5=version5)[:5_000]
    whole = read([data], version5=version5)
    assert read((data[at : at + 1] for at in range(len(data))), version5=version5) == whole


@both_versions
@few
@given(streams=st.lists(STREAMS, max_size=3), places=st.lists(st.integers(0, 100_000), max_size=12))
def test_the_bytes_that_were_taken_are_counted(
    version5: bool, streams: list[list[Message | bytes]], places: list[int]
) -> None:
    together, apart = Burst(), Burst()
    for stream in streams:
        data = wire(stream, version5=version5)
        burst, _ = read(cut(data, places), version5=version5)
        assert burst.size_bytes == len(data)
        together.extend(burst)
        feed(PacketReader(version5=version5, max_payload_bytes=LIMIT), [data], apart)
    assert together == apart
    # A part of a packet counts when the packet does.
    assert read([b"\x30\x05\0\x01"], version5=version5)[0].size_bytes == 0


def test_a_message_is_there_as_soon_as_its_last_byte_is() -> None:
    data = Message(b"t", b"payload", b"\0\x01").encode(version5=True)
    assert len(read([data[:-1]], version5=True)[0]) == 0
    assert len(read([data], version5=True)[0]) == 1
    assert len(read([data + data[:3]], version5=True)[0]) == 1


# --- oversized ------------------------------------------------------------------------------------------------------


@both_versions
@settings(few, max_examples=40)
@given(
    size=st.sampled_from([LIMIT, LIMIT + 1, LIMIT + 2, 5_000, 131_000, 131_372, 131_373, 140_000, 600_000]),
    mid=st.sampled_from([None, b"\0\x07"]),
    chunk=st.sampled_from([997, 20_000, 65_536, 262_144, 10**6]),
    around=st.tuples(MESSAGES | OTHERS, MESSAGES | OTHERS),
)
def test_an_oversized_message_is_cut_and_the_stream_goes_on(
    version5: bool, size: int, mid: bytes | None, chunk: int, around: tuple[Message | bytes, Message | bytes]
) -> None:
    large = Message(b"f/demo/large", bytes(range(256)) * (size // 256) + b"x" * (size % 256), mid)
    stream = [around[0], large, around[1], large, around[0]]
    data = wire(stream, version5=version5)
    assert_read(stream, read([data[at : at + chunk] for at in range(0, len(data), chunk)], version5=version5))


def test_a_message_of_256_mib_does_not_fill_memory() -> None:
    length = 268_435_455
    head = b"\x32" + varint(length) + b"\0\x01t\0\x07\0"
    chunk, after = b"x" * 1_048_576, Message(b"after", b"1").encode(version5=True)
    reader, burst = PacketReader(version5=True, max_payload_bytes=262_144), Burst()
    tracemalloc.start()
    try:
        reader.feed(head, burst)
        left = length - 6
        while left:
            reader.feed(chunk[: min(left, len(chunk))], burst)
            left -= min(left, len(chunk))
        reader.feed(after, burst)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert burst.topics == [b"t", b"after"]
    assert [len(one) for one in burst.payloads] == [262_145, 1]
    assert burst.mids == [b"\0\x07"]
    assert peak < 8 * 1_048_576


# --- streams that are none ------------------------------------------------------------------------------------------

GOOD = Message(b"t", b"1", b"\0\x01").encode(version5=True)


@pytest.mark.parametrize(
    "broken",
    [
        packet(0x34, b"\0\x01t\0\x01\0"),  # QoS 2
        packet(0x36, b"\0\x01t\0\x01\0"),  # QoS 3
        packet(0x30, b"\0\0\x03\x23\0\x01payload"),  # a topic alias
        packet(0x30, b""),
        packet(0x30, b"\0"),
        packet(0x30, b"\0\x05t"),  # a topic longer than the packet
        packet(0x30, b"\xff\xfft"),
        packet(0x30, b"\0\x01t"),  # no properties
        packet(0x32, b"\0\x01t\0"),  # half a message id
        packet(0x32, b"\0\x01t\0\x01"),
        packet(0x30, b"\0\x01t\x05"),  # properties longer than the packet
        packet(0x30, b"\0\x01t\x85"),
        packet(0x30, b"\0\x01t\xff\xff\xff\xff\x01"),
        b"\x30\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\xd0\x80\x80\x80\x80",
        b"\x90" + varint(10**6),  # not a message, and too large for anything else
    ],
    ids=bytes.hex,
)
@pytest.mark.parametrize("after", [b"", b"\0" * 8, GOOD * 30], ids=["alone", "zeros", "more"])
def test_what_is_not_mqtt_as_agreed_ends_the_connection(broken: bytes, after: bytes) -> None:
    data = GOOD + b"\xd0\x00" + broken + after
    for chunks in ([data], [data[: len(GOOD)], data[len(GOOD) :]], [data[at : at + 1] for at in range(len(data))]):
        reader, burst = PacketReader(version5=True, max_payload_bytes=LIMIT), Burst()
        with pytest.raises(ReconnectError):
            feed(reader, chunks, burst)
        assert burst.payloads == [b"1"]  # what came before it counts


@both_versions
@settings(few, max_examples=300)
@given(
    junk=st.lists(
        st.binary(max_size=40) | st.sampled_from([GOOD, b"\x30", b"\x32\x80", b"\0\x01", b"\xff"]), max_size=8
    )
)
@example(junk=[b"\x30\x02", b"\0\x01"])
def test_arbitrary_bytes_are_packets_or_end_the_connection(version5: bool, junk: list[bytes]) -> None:
    reader, burst = PacketReader(version5=version5, max_payload_bytes=LIMIT), Burst()
    try:
        feed(reader, junk, burst)
    except ReconnectError as error:
        assert str(error)  # noqa: PT017  # the message is what people see
    assert len(burst.topics) == len(burst.payloads) == len(burst.first) >= len(burst.mids)
    assert all(len(mid) == 2 for mid in burst.mids)
    assert all(burst.topics)


@both_versions
@few
@given(stream=st.lists(MESSAGES, min_size=1, max_size=3), at=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_one_damaged_byte_does_no_harm(version5: bool, stream: list[Message | bytes], at: int, flip: int) -> None:
    data = bytearray(wire(stream, version5=version5))
    data[at % len(data)] ^= flip
    outcomes: set[object] = set()
    for chunks in ([bytes(data)], cut(bytes(data), [at, at // 2, at // 3])):
        reader, burst = PacketReader(version5=version5, max_payload_bytes=LIMIT), Burst()
        try:
            others: object = tuple(feed(reader, chunks, burst))
        except ReconnectError:
            others = "the end"
        outcomes.add((tuple(burst.payloads), tuple(burst.mids), others))
    assert len(outcomes) == 1

"""WebSocket frames are an envelope: whatever they cut, and wherever they are cut, the packets in them are the same."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.contract.errors import ReconnectError
from ingest.packets import Burst, PacketReader
from ingest.websocket import FrameReader, WebSocket, check_upgrade, frame, upgrade_request
from tests.properties.test_packets import LIMIT, MESSAGES, assert_read, cut, feed, few, wire

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
PLACES = st.lists(st.integers(0, 100_000), max_size=12)


def server_frame(kind: int, payload: bytes, *, final: bool = True) -> bytes:
    """A frame as a server sends it: without a mask (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 65_536:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    return bytes([(0x80 if final else 0) | kind]) + length + payload


DATA = st.tuples(st.sampled_from([BINARY, CONTINUATION]), st.binary(max_size=40) | st.just(b"x" * 126), st.booleans())
LARGE = st.tuples(st.just(BINARY), st.sampled_from([b"y" * 65_535, b"z" * 65_536]), st.just(True))
CONTROL = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125), st.just(True))


@few
@given(frames=st.lists(DATA | CONTROL | LARGE, max_size=10), places=PLACES)
def test_any_cut_of_the_frames_gives_the_same_bytes(frames: list[tuple[int, bytes, bool]], places: list[int]) -> None:
    data = b"".join(server_frame(kind, payload, final=final) for kind, payload, final in frames)
    reader = FrameReader()
    assert b"".join(map(reader.feed, cut(data, places))) == b"".join(
        payload for kind, payload, _ in frames if kind in (BINARY, CONTINUATION)
    )
    assert reader.pings == [payload for kind, payload, _ in frames if kind == PING]
    assert not reader.closed


@few
@given(stream=st.lists(MESSAGES, max_size=6), at_frames=PLACES, at_reads=PLACES, version5=st.booleans())
def test_packets_are_the_same_whatever_frames_they_came_in(
    stream: list[object], at_frames: list[int], at_reads: list[int], version5: bool
) -> None:
    packets = wire(stream, version5=version5)  # type: ignore[arg-type]
    framed = b"".join(server_frame(BINARY, part) for part in cut(packets, at_frames))
    frames, burst = FrameReader(), Burst()
    reader = PacketReader(version5=version5, max_payload_bytes=LIMIT)
    others = feed(reader, map(frames.feed, cut(framed, at_reads)), burst)
    assert_read(stream, (burst, others))  # type: ignore[arg-type]


@given(places=PLACES, after=st.binary(max_size=20))
def test_nothing_counts_after_a_goodbye(places: list[int], after: bytes) -> None:
    data = server_frame(BINARY, b"last") + server_frame(CLOSE, b"\x03\xe8") + after
    reader = FrameReader()
    assert b"".join(map(reader.feed, cut(data, places))) == b"last"
    assert reader.closed


@pytest.mark.parametrize(
    "broken",
    [
        server_frame(TEXT, b"hello"),
        server_frame(3, b""),
        server_frame(11, b""),
        server_frame(PING, b"x" * 126),
        server_frame(PING, b"", final=False),
        b"\xc2\x01x",  # compressed, which was not offered
        b"\x82\x81\0\0\0\0x",  # masked
    ],
    ids=bytes.hex,
)
@settings(few, max_examples=30)
@given(places=PLACES)
def test_what_no_server_may_send_ends_the_connection(broken: bytes, places: list[int]) -> None:
    reader = FrameReader()
    data = server_frame(BINARY, b"good") + broken + b"\0" * 8
    with pytest.raises(ReconnectError, match="WebSocket"):
        b"".join(map(reader.feed, cut(data, places)))


@few
@given(junk=st.lists(st.binary(max_size=40), max_size=8))
@example(junk=[b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", b"x" * 40])
def test_arbitrary_bytes_are_frames_or_end_the_connection(junk: list[bytes]) -> None:
    reader = FrameReader()
    taken = 0
    try:
        for part in junk:
            taken += len(reader.feed(part))
    except ReconnectError:
        return
    assert taken + sum(map(len, reader.pings)) <= sum(map(len, junk))


@given(
    payload=st.binary(max_size=300) | st.sampled_from([b"a" * 65_535, b"b" * 65_536]),
    mask=st.binary(min_size=4, max_size=4),
)
def test_a_frame_of_ours_is_what_a_server_unmasks(payload: bytes, mask: bytes) -> None:
    whole = frame(BINARY, payload, mask)
    head = server_frame(BINARY, payload)
    head = head[: len(head) - len(payload)]
    assert whole[0] == head[0]
    assert whole[1] == head[1] | 0x80
    assert whole[2 : len(head)] == head[2:]
    assert whole[len(head) : len(head) + 4] == mask
    masked = whole[len(head) + 4 :]
    assert len(masked) == len(payload)
    for at in {0, 1, 2, 3, 4, 5, len(payload) // 2, len(payload) - 1} & set(range(len(payload))):
        assert masked[at] ^ mask[at % 4] == payload[at]


# --- the socket -------------------------------------------------------------------------------------------------------

# The example of RFC 6455, 1.3.
KEY, ACCEPT = b"the sample nonce", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class Below:
    """Accepts the upgrade; takes as many bytes at a time as it is told, 0: it would block."""

    def __init__(self, takes: list[int]) -> None:
        self.takes = takes
        self.comes: list[bytes] = []
        self.written = b""

    def recv(self, size: int) -> bytes:
        if not self.comes:
            raise BlockingIOError
        return self.comes.pop(0)

    def send(self, data: bytes | bytearray) -> int:
        take = self.takes.pop(0) if self.takes else len(data)
        if not take:
            raise BlockingIOError
        self.written += data[:take]
        return min(take, len(data))

    def close(self) -> None: ...

    def fileno(self) -> int:
        return -1

    def setblocking(self, flag: bool) -> None: ...

    def settimeout(self, value: float | None) -> None: ...


ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s"


def opened(monkeypatch: pytest.MonkeyPatch, takes: list[int]) -> tuple[WebSocket, Below]:
    monkeypatch.setattr("ingest.websocket.os.urandom", lambda size: KEY[:size])
    below = Below([])
    below.comes.append(ACCEPTED % ACCEPT + b"\r\n\r\n")
    opened = WebSocket(below, "broker", 80, "/mqtt", 5.0)
    assert below.written == upgrade_request("broker", 80, "/mqtt", KEY)
    below.written, below.takes = b"", takes
    return opened, below


@given(
    packets=st.lists(st.binary(min_size=1, max_size=300), max_size=5), takes=st.lists(st.integers(0, 200), max_size=30)
)
def test_packets_are_written_whole_however_little_the_network_takes(packets: list[bytes], takes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        sock, below = opened(patch, takes)
        for packet in packets:
            while True:
                try:
                    assert sock.send(packet) == len(packet)
                    break
                except BlockingIOError:
                    below.comes.append(server_frame(PING, b"?"))
                    with pytest.raises(BlockingIOError):
                        sock.recv(100)
        pong = frame(PONG, b"?", KEY[:4])
        wanted = b"".join(frame(BINARY, packet, KEY[:4]) for packet in packets)
        assert below.written.replace(pong, b"") == wanted


def test_a_ping_is_answered_and_only_the_last_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    sock, below = opened(monkeypatch, [])
    below.comes.append(server_frame(PING, b"1") + server_frame(BINARY, b"data") + server_frame(PING, b"2"))
    assert sock.recv(100) == b"data"
    assert below.written == frame(PONG, b"2", KEY[:4])


def test_the_end_is_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    sock, below = opened(monkeypatch, [])
    below.comes += [server_frame(BINARY, b""), server_frame(BINARY, b"x") + server_frame(CLOSE, b""), b"", b""]
    with pytest.raises(BlockingIOError):
        sock.recv(100)
    assert [sock.recv(100), sock.recv(100), sock.recv(100)] == [b"x", b"", b""]


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"HTTP/1.1 404 Not Found", "does not speak WebSocket at this path: 'HTTP/1.1 404 Not Found'"),
        (b"SSH-2.0", "does not speak WebSocket"),
        (b"", "does not speak WebSocket"),
        (ACCEPTED % b"AAAA", "another request"),
        (b"HTTP/1.1 101 OK", "another request"),
    ],
)
def test_an_answer_that_is_no_upgrade_is_refused(head: bytes, said: str) -> None:
    with pytest.raises(ReconnectError, match=said):
        check_upgrade(head, KEY)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([b"x" * 9_000, b"x" * 9_000], "does not end"),
        ([ACCEPTED % ACCEPT + b"\r\n\r\nearly"], "spoke before"),
    ],
)
def test_a_broker_that_says_too_much_is_refused(
    monkeypatch: pytest.MonkeyPatch, answer: list[bytes], said: str
) -> None:
    monkeypatch.setattr("ingest.websocket.os.urandom", lambda size: KEY[:size])
    below = Below([])
    below.comes = answer
    with pytest.raises(ReconnectError, match=said):
        WebSocket(below, "::1", 80, "/", 5.0)
    assert b"Host: [::1]:80" in below.written

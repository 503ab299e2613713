"""A TLS socket whose bytes are all where the event loop sees them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingest.sockets import Deadline, TlsSocket
from tests.servers.certificates import Authority

TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The client's and the server's."""
    directory: Path = tmp_path_factory.mktemp("certificates")
    authority = Authority(directory)
    certificate = authority.sign("server")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.path, certificate.key)
    return ssl.create_default_context(cafile=str(authority.path)), server


@contextlib.contextmanager
def connected(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], serve: Callable[[ssl.SSLSocket], None]
) -> Iterator[TlsSocket]:
    """A client, and a server in a thread that does `serve` and hangs up without a goodbye."""
    ours, theirs = socket.socketpair()

    def answer() -> None:
        theirs.settimeout(TIMEOUT_S)
        with contexts[1].wrap_socket(theirs, server_side=True) as wrapped:
            serve(wrapped)

    serving = threading.Thread(target=answer)
    serving.start()
    with ours:
        yield TlsSocket(ours, contexts[0], "127.0.0.1", TIMEOUT_S)
        serving.join()


def test_one_read_takes_all_records_that_are_there(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    written = threading.Event()

    def serve(server: ssl.SSLSocket) -> None:
        for at in range(50):
            server.sendall(b"%03d" % at)
        written.set()
        assert server.recv(10) == b"thanks"

    with connected(contexts, serve) as client:
        assert written.wait(TIMEOUT_S)
        client.setblocking(False)
        assert client.recv(262_144) == b"".join(b"%03d" % at for at in range(50))
        with pytest.raises(BlockingIOError):
            client.recv(262_144)
        assert client.send(b"thanks") == 6
        client.settimeout(TIMEOUT_S)
        assert client.recv(100) == b""
        assert client.recv(100) == b""


def test_records_cut_anywhere_come_whole(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    sent = bytes(range(256)) * 400

    def serve(server: ssl.SSLSocket) -> None:
        server.sendall(sent)
        server.recv(1)

    with connected(contexts, serve) as client:
        client.settimeout(TIMEOUT_S)
        got = b""
        while len(got) < len(sent):
            with contextlib.suppress(BlockingIOError):
                got += client.recv(1_000 + len(got) % 777)
        assert got == sent
        assert client.send(b"x") == 1


def test_a_large_packet_is_written_whole_however_slowly_it_is_read(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    packet, read, blocked = b"0123456789" * 200_000, bytearray(), threading.Event()

    def serve(server: ssl.SSLSocket) -> None:
        assert blocked.wait(TIMEOUT_S)
        while len(read) < len(packet) + 1:
            read.extend(server.recv(65_536))

    with connected(contexts, serve) as client:
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.send(packet)
        blocked.set()
        client.settimeout(TIMEOUT_S)
        assert client.send(packet) == len(packet)
        assert client.send(b"!") == 1
    assert bytes(read) == packet + b"!"


def test_what_came_before_a_broken_record_counts(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    written = threading.Event()

    def serve(server: ssl.SSLSocket) -> None:
        server.sendall(b"good")
        # Below the encryption: not a record.
        assert socket.socket.send(server, b"\x17\x03\x03\x00\x05hello") == 10
        written.set()
        with contextlib.suppress(OSError):
            server.recv(1)

    with connected(contexts, serve) as client:
        assert written.wait(TIMEOUT_S)
        assert client.recv(1_000) == b"good"
        for _ in range(2):
            with pytest.raises(ssl.SSLError):
                client.recv(1_000)


class Slow:
    """Sends a byte a call, and time passes with each."""

    def __init__(self, now_s: list[float]) -> None:
        self._now_s = now_s

    def settimeout(self, value: float | None) -> None:
        assert value is not None
        assert value > 0

    def recv(self, size: int) -> bytes:
        self._now_s[0] += 1.0
        return b"x"


def test_a_handshake_ends_however_slowly_the_other_side_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("ingest.sockets.time.monotonic", lambda: now_s[0])
    deadline = Deadline(Slow(now_s), 5.0)  # type: ignore[arg-type]
    assert b"".join(deadline.recv(100) for _ in range(5)) == b"xxxxx"
    with pytest.raises(TimeoutError, match="handshake took too long"):
        deadline.recv(100)


def test_the_end_of_a_stream_ends_a_handshake() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(ConnectionResetError, match="closed during the handshake"):
        Deadline(ours, TIMEOUT_S).recv(100)

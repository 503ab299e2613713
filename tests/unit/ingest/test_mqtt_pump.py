"""The pump between a socket and the event loop: nothing stays lying, and a rest is kept where little comes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from ingest.pump import Pump

TIMEOUT_S = 10.0


@dataclass
class Client:
    """Reads from a real socket and notes what it found, nothing included."""

    sock: socket.socket
    after_read: Callable[[], None] = lambda: None
    reads: list[int] = field(default_factory=list)
    last_read_bytes: int = 0
    out: bytes = b""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def loop_read(self) -> None:
        self.last_read_bytes = 0
        with contextlib.suppress(BlockingIOError):
            self.last_read_bytes = len(self.sock.recv(262_144))
        self.reads.append(self.last_read_bytes)
        self.changed.set()
        self.after_read()

    def loop_write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.out = self.out[self.sock.send(self.out) :]
        self.changed.set()

    def want_write(self) -> bool:
        return bool(self.out)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def rig() -> AsyncIterator[tuple[Pump, Client, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        pump, client = Pump(asyncio.get_running_loop(), 0.004), Client(ours)
        pump.attach(client, ours)
        yield pump, client, theirs
        pump.detach()
        assert not pump.is_open


Rig = tuple[Pump, Client, socket.socket]


async def test_whatever_comes_is_read_and_then_the_socket_is_watched_again(rig: Rig) -> None:
    _, client, theirs = rig
    for round_ in range(1, 4):
        theirs.sendall(b"abc")
        await client.until(lambda: sum(client.reads) == 3 * round_ and client.reads[-1] == 0)  # noqa: B023
    assert client.reads == [3, 0] * 3


async def test_nothing_is_read_while_paused_and_everything_afterwards(rig: Rig) -> None:
    pump, client, theirs = rig
    client.after_read = pump.pause  # as a receiver does that has had enough
    theirs.sendall(b"1")
    await client.until(lambda: client.reads == [1])
    theirs.sendall(b"22")
    await asyncio.sleep(0.02)  # longer than a breath
    assert (client.reads, pump.paused) == ([1], True)
    client.after_read = lambda: None
    pump.resume()
    pump.resume()
    await client.until(lambda: client.reads[:3] == [1, 2, 0])


async def test_a_pause_within_a_breath_ends_it(rig: Rig) -> None:
    pump, client, theirs = rig
    theirs.sendall(b"1")
    await client.until(lambda: client.reads == [1])
    pump.pause()
    pump.resume()
    theirs.sendall(b"22")
    await client.until(lambda: client.reads == [1, 2, 0])


async def test_a_full_socket_is_read_on_at_once(rig: Rig) -> None:
    _, client, theirs = rig
    sent = 0
    theirs.setblocking(False)
    while sent < 65_536:
        try:
            sent += theirs.send(b"x" * 65_536)
        except BlockingIOError:
            pytest.skip("this system's sockets hold less than a large read")
    await client.until(lambda: sum(client.reads) == sent)
    theirs.sendall(b"more")
    await client.until(lambda: sum(client.reads) == sent + 4)


async def test_a_rest_grows_while_little_comes_and_ends_when_more_is_expected(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pump, client, theirs = rig
    loop, rests = asyncio.get_running_loop(), []
    call_later = loop.call_later

    def noting(delay_s: float, *rest: object) -> asyncio.TimerHandle:
        rests.append(delay_s)
        return call_later(delay_s, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_later", noting)
    client.after_read = lambda: theirs.sendall(b"x") if len(client.reads) < 4 else None
    theirs.sendall(b"x")
    await client.until(lambda: client.reads == [1, 1, 1, 1, 0])
    assert rests == [0.002, 0.004, 0.004, 0.004]
    pump.expect()
    client.after_read = lambda: None
    theirs.sendall(b"x")
    await client.until(lambda: client.reads[5:] == [1, 0])
    assert rests[4:] == [0.002]


async def test_what_cannot_be_written_at_once_is_written_when_it_can(rig: Rig) -> None:
    pump, client, theirs = rig
    client.out = b"x" * 3_000_000
    pump.write_soon()
    await client.until(lambda: len(client.out) < 3_000_000)
    assert client.out
    theirs.setblocking(False)
    loop, got = asyncio.get_running_loop(), 0
    async with asyncio.timeout(TIMEOUT_S):
        while got < 3_000_000:
            got += len(await loop.sock_recv(theirs, 262_144))
    pump.written()
    assert client.out == b""


async def test_another_thread_may_ask_for_a_write(rig: Rig) -> None:
    pump, client, theirs = rig
    client.out = b"hello"
    await asyncio.to_thread(pump.write_soon)
    await client.until(lambda: client.out == b"")
    assert theirs.recv(10) == b"hello"

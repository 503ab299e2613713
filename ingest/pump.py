"""Moves bytes between a client's socket and the event loop, with as few calls on the system as can be."""

from __future__ import annotations

import asyncio
import threading
from typing import Protocol

# To wake up costs as much as a hundred messages. So after a read that found little, the next is put off: a little, and
# longer while still little comes, as long as nobody at the other side waits for an acknowledgement of ours.
_SMALL_READ_BYTES = 65_536
_QUIET_READ_BYTES = 16_384
_BREATH_S = 0.002


class Watched(Protocol):
    """A socket, as far as an event loop needs it."""

    def fileno(self) -> int:
        """The descriptor to watch."""
        ...


class Pumped(Protocol):
    """What reads and writes."""

    last_read_bytes: int
    """What the last `loop_read` found."""

    def loop_read(self) -> object:
        """Read once."""
        ...

    def loop_write(self) -> object:
        """Write what can be written."""
        ...

    def want_write(self) -> bool:
        """Whether something is left to write."""
        ...


class Pump:
    """Reads and writes one client's socket when that is possible. Made in the thread of the event loop.

    longest_breath_s: how long what comes may lie in the socket, while little comes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, longest_breath_s: float) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._client: Pumped | None = None
        self._socket: Watched | None = None
        self._breath: asyncio.TimerHandle | None = None
        self._longest_breath_s = longest_breath_s
        self._breath_s = min(_BREATH_S, longest_breath_s)
        self._paused = False

    @property
    def is_open(self) -> bool:
        """Whether there is a socket."""
        return self._socket is not None

    def attach(self, client: Pumped, sock: Watched) -> None:
        """Begin with a new socket: read, and write what waits."""
        self._client, self._socket, self._paused = client, sock, False
        self._loop.add_reader(sock, self._readable)
        self._write()

    def detach(self) -> None:
        """Let go of the socket, which is about to be closed."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self._socket = None
        self._no_breath()

    def holds(self, sock: object) -> bool:
        """Whether this is the socket."""
        return sock is not None and sock is self._socket

    @property
    def paused(self) -> bool:
        """Whether nothing is read at the moment."""
        return self._paused

    def pause(self) -> None:
        """Stop reading."""
        if not self._paused and self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._no_breath()
        self._paused = True

    def resume(self) -> None:
        """Read again."""
        if self._paused and self._socket is not None:
            self._loop.add_reader(self._socket, self._readable)
        self._paused = False

    def expect(self) -> None:
        """What was just sent makes the other side send more: look for it soon."""
        self._breath_s = min(_BREATH_S, self._longest_breath_s)
        if self._breath is not None and self._breath.when() > self._loop.time() + self._breath_s:
            self._breath.cancel()
            self._take_breath()

    def write_soon(self) -> None:
        """Something is to be written; from any thread."""
        if threading.get_ident() == self._thread:
            self._loop.call_soon(self._write)
        else:
            self._loop.call_soon_threadsafe(self._write)

    def written(self) -> None:
        """Nothing is left to write."""
        if self._socket is not None:
            self._loop.remove_writer(self._socket)

    # --- the event loop's callbacks ------------------------------------------------------------------------------

    def _readable(self) -> None:
        client, sock = self._client, self._socket
        if client is None or sock is None:
            return
        client.loop_read()
        if client.last_read_bytes < _SMALL_READ_BYTES and self._socket is sock and not self._paused:
            self._loop.remove_reader(sock)
            self._take_breath()

    def _read_on(self) -> None:
        """After a breath there is most often something to read, and to try costs less than to be told."""
        client, sock = self._client, self._socket
        if client is None or sock is None:
            return
        self._breath = None
        client.loop_read()
        if self._socket is not sock or self._paused:
            return
        if 0 < client.last_read_bytes < _SMALL_READ_BYTES:
            if client.last_read_bytes < _QUIET_READ_BYTES:
                self._breath_s = min(2 * self._breath_s, self._longest_breath_s)
            self._take_breath()
        else:
            self._loop.add_reader(sock, self._readable)

    def _take_breath(self) -> None:
        self._breath = self._loop.call_later(self._breath_s, self._read_on)

    def _no_breath(self) -> None:
        if self._breath is not None:
            self._breath.cancel()
            self._breath = None

    def _write(self) -> None:
        if self._client is None or self._socket is None:
            return
        self._client.loop_write()
        if self._client.want_write() and self._socket is not None:
            self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        if self._client is not None:
            self._client.loop_write()

"""Sockets that wrap their bytes: TLS here, WebSocket in `websocket.py`; read in large pieces, and nothing is kept back.

Python's own TLS socket makes two calls on the system for each record, and a broker puts each message into a record of
its own; here one call takes whatever there is, and all of it is decrypted at once. An event loop may therefore watch
the descriptor: no byte is left where the loop cannot see it.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from abc import ABC, abstractmethod
from typing import Protocol

_RECORD_BYTES = 16_384


class ByteSocket(Protocol):
    """What a client uses of a socket."""

    def recv(self, size: int, /) -> bytes:
        """Some bytes, none at the end. Raises BlockingIOError while there are none."""
        ...

    def send(self, data: bytes | bytearray, /) -> int:
        """Write a part; how much. Raises BlockingIOError while nothing can be written."""
        ...

    def close(self) -> None:
        """End it."""
        ...

    def fileno(self) -> int:
        """The descriptor to watch."""
        ...

    def setblocking(self, flag: bool, /) -> None:
        """Whether calls wait."""
        ...

    def settimeout(self, value: float | None, /) -> None:
        """How long calls wait, in seconds."""
        ...


class Deadline:
    """Reads from a socket during a handshake, which is over in time, however slowly the other side sends."""

    def __init__(self, sock: ByteSocket, timeout_s: float) -> None:
        self._sock = sock
        self._end_s = time.monotonic() + timeout_s

    def recv(self, size: int) -> bytes:
        """Some bytes. Raises TimeoutError at the deadline and ConnectionError at the end of the stream."""
        while (left_s := self._end_s - time.monotonic()) > 0:
            self._sock.settimeout(left_s)
            try:
                data = self._sock.recv(size)
            except BlockingIOError:
                continue  # bytes came, and there was nothing in them for us
            except ConnectionResetError:
                data = b""
            if not data:
                raise ConnectionResetError("the connection was closed during the handshake")
            return data
        raise TimeoutError("the handshake took too long")


class WrappingSocket(ABC):
    """A socket on top of another; `_wrap` makes of bytes to send what the other is to send."""

    def __init__(self, below: ByteSocket) -> None:
        self._below = below
        self._out = bytearray()
        self._taken = 0

    def send(self, data: bytes | bytearray) -> int:
        """Write all of it; its length. Raises BlockingIOError until all is written: come again with the same bytes."""
        if not self._taken:
            self._out += self._wrap(data)
            self._taken = len(data)
        self._flush()
        taken, self._taken = self._taken, 0
        return taken

    def close(self) -> None:
        """Close the descriptor."""
        self._below.close()

    def fileno(self) -> int:
        """The descriptor, below everything."""
        return self._below.fileno()

    def setblocking(self, flag: bool) -> None:
        """Whether calls wait."""
        self._below.setblocking(flag)

    def settimeout(self, value: float | None) -> None:
        """How long calls wait, in seconds."""
        self._below.settimeout(value)

    @abstractmethod
    def _wrap(self, data: bytes | bytearray) -> bytes | bytearray:
        """What goes below for these bytes."""

    def _flush(self) -> None:
        while self._out:
            del self._out[: self._below.send(self._out)]

    def _answer(self, data: bytes) -> None:
        """Send what the protocol itself has to say, now or before whatever is sent next."""
        self._out += data
        # A broken connection shows at the next read, which may still bring something.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self._flush()


class TlsSocket(WrappingSocket):
    """TLS over a connected socket, as a client. Raises ssl.SSLError or OSError when there is no agreement.

    host: for the certificate and the name that the server is told. timeout_s: for the whole handshake.
    """

    def __init__(self, below: ByteSocket, context: ssl.SSLContext, host: str, timeout_s: float) -> None:
        super().__init__(below)
        self._encrypted, self._answers = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._encrypted, self._answers, server_hostname=host)
        self._failure: ssl.SSLError | None = None
        self._handshake(Deadline(below, timeout_s))

    def _handshake(self, deadline: Deadline) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._answer(self._answers.read())
                self._encrypted.write(deadline.recv(_RECORD_BYTES))
            except ssl.SSLError:
                self._answer(self._answers.read())  # tells the server why
                raise
            else:
                self._answer(self._answers.read())
                return

    def recv(self, size: int) -> bytes:
        """All that one read of at most `size` bytes decrypts to. Raises ssl.SSLError."""
        if self._failure is not None:
            raise self._failure
        data = self._below.recv(size)
        if data:
            self._encrypted.write(data)
        else:
            self._encrypted.write_eof()
        parts: list[bytes] = []
        ended = False
        try:
            while part := self._tls.read(_RECORD_BYTES):
                parts.append(part)
            ended = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            ended = True
        except ssl.SSLError as error:
            # What came before it counts. The server closes next, which wakes the reader.
            self._failure = error
        if self._answers.pending:
            self._answer(self._answers.read())
        if parts or ended:
            return b"".join(parts)
        raise self._failure or BlockingIOError

    def send(self, data: bytes | bytearray) -> int:
        """As below. Raises ssl.SSLError instead if the server has said why it closed."""
        try:
            return super().send(data)
        except ConnectionError:
            # One that refuses our certificate does so after the handshake, and does not wait for what we say next.
            with contextlib.suppress(BlockingIOError, ConnectionError):
                self.recv(_RECORD_BYTES)
            raise

    def _wrap(self, data: bytes | bytearray) -> bytes:
        written = 0
        while written < len(data):
            written += self._tls.write(data[written:])
        return self._answers.read()

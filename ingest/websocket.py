"""MQTT over WebSocket (RFC 6455, MQTT 5.0 section 6), as a client: frames are an envelope to be taken off.

Packets may be cut anywhere by frames, and frames anywhere by reads.
"""

from __future__ import annotations

import base64
import hashlib
import os

from ingest.contract.errors import ReconnectError
from ingest.sockets import ByteSocket, Deadline, WrappingSocket

_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x2, 0x8, 0x9, 0xA
_FINAL_BIT = 0x80
_RESERVED_BITS = 0x70
_LONGEST_CONTROL_BYTES = 125
_MAX_HEAD_BYTES = 16_384
_MAX_UNSENT_ANSWERS_BYTES = 65_536
_END_OF_HEAD = b"\r\n\r\n"
_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class FrameReader:
    """Takes the payload out of a server's frames.

    pings: payloads that are to be answered; the reader's user empties it. closed: the server said goodbye.
    """

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        self.pings: list[bytes] = []
        self.closed = False

    def feed(self, data: bytes) -> bytes:
        """The payload bytes in `data`, as far as they are there.

        Raises ReconnectError for frames that no server may send (RFC 6455, 5.1, 5.2, 5.5; text: MQTT-6.0.0-1).

        >>> FrameReader().feed(bytes([0x82, 3]) + b"abc" + bytes([0x82, 2]) + b"d")
        b'abcd'
        """
        if self._held:
            data = self._held + data
        parts: list[bytes] = []
        at, end = 0, len(data)
        while not self.closed:
            if self._left:
                parts.append(data[at : at + self._left])
                at += len(parts[-1])
                self._left -= len(parts[-1])
            if end - at < 2:
                break
            first, length, body = data[at], data[at + 1], at + 2
            if length > 125:
                if length > 127:
                    raise ReconnectError("WebSocket: a masked frame from the server")
                body += 2 if length == 126 else 8
                if body > end:
                    break
                length = int.from_bytes(data[at + 2 : body], "big")
            if first & _RESERVED_BITS:
                raise ReconnectError("WebSocket: an extension that was not asked for")
            kind = first & 0x0F
            if kind in (_BINARY, _CONTINUATION):
                self._left, at = length, body
                continue
            if not self._is_control(kind, first, length):
                raise ReconnectError(f"WebSocket: a frame of kind {kind}, where MQTT needs binary ones")
            if body + length > end:
                break
            at = body + length
            if kind == _PING:
                self.pings.append(data[body:at])
            self.closed = kind == _CLOSE
        self._held = b"" if self.closed else data[at:]
        return b"".join(parts)

    @staticmethod
    def _is_control(kind: int, first: int, length: int) -> bool:
        return kind in (_CLOSE, _PING, _PONG) and bool(first & _FINAL_BIT) and length <= _LONGEST_CONTROL_BYTES


def frame(kind: int, data: bytes | bytearray, mask: bytes) -> bytes:
    """One whole frame, as a client sends it. mask: 4 bytes that nobody can foretell (RFC 6455, 5.3).

    >>> frame(2, b"ab", bytes(4)).hex()
    '8282000000006162'
    """
    size = len(data)
    if size <= 125:
        head = bytes([_FINAL_BIT | kind, 0x80 | size])
    elif size < 65_536:
        head = bytes([_FINAL_BIT | kind, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([_FINAL_BIT | kind, 0x80 | 127]) + size.to_bytes(8, "big")
    # As one long number: byte by byte it would cost more than all the rest of an acknowledgement.
    key = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(data, "little") ^ int.from_bytes(key, "little")
    return head + mask + masked.to_bytes(size, "little")


def upgrade_request(host: str, port: int, path: str, key: bytes) -> bytes:
    """What the client says first (RFC 6455, 4.1). key: 16 random bytes."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {where}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(key).decode()}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mqtt",
    ]
    return "\r\n".join(lines).encode() + _END_OF_HEAD


def check_upgrade(head: bytes, key: bytes) -> None:
    """Hold the server's answer against the request. Raises ReconnectError, which repeats its first line."""
    status, *lines = head.decode("latin-1").split("\r\n")
    if status.split(" ")[1:2] != ["101"]:
        raise ReconnectError(f"the broker does not speak WebSocket at this path: {status[:100]!r}")
    accepted = hashlib.sha1(base64.b64encode(key) + _ACCEPT_GUID, usedforsecurity=False).digest()
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if fields.get("sec-websocket-accept") != base64.b64encode(accepted).decode():
        raise ReconnectError("WebSocket: the answer belongs to another request; is there a proxy that keeps answers?")


class WebSocket(WrappingSocket):
    """WebSocket over a connected socket. Raises OSError or ReconnectError when there is no agreement."""

    def __init__(self, below: ByteSocket, host: str, port: int, path: str, timeout_s: float) -> None:
        super().__init__(below)
        self._frames = FrameReader()
        key, deadline, head = os.urandom(16), Deadline(below, timeout_s), b""
        self._answer(upgrade_request(host, port, path, key))
        while _END_OF_HEAD not in head:
            head += deadline.recv(_MAX_HEAD_BYTES)
            if len(head) > _MAX_HEAD_BYTES:
                raise ReconnectError("WebSocket: the broker's answer does not end")
        head, rest = head.split(_END_OF_HEAD, 1)
        check_upgrade(head, key)
        if rest:
            raise ReconnectError("WebSocket: the broker spoke before it was spoken to")

    def recv(self, size: int) -> bytes:
        """The payload of what one read of at most `size` bytes brings. Raises ReconnectError for broken frames."""
        data = self._below.recv(size)
        payload = self._frames.feed(data)
        if self._frames.pings:
            # Only the last needs an answer (RFC 6455, 5.5.3); to one who does not read them, none is owed.
            last = self._frames.pings.pop()
            self._frames.pings.clear()
            if len(self._out) < _MAX_UNSENT_ANSWERS_BYTES:
                self._answer(frame(_PONG, last, os.urandom(4)))
        if payload or self._frames.closed or not data:
            return payload
        raise BlockingIOError

    def _wrap(self, data: bytes | bytearray) -> bytes:
        return frame(_BINARY, data, os.urandom(4))

"""A wire between gateway and MQTT broker that notes what is received and what is acknowledged, and can be cut.

It shows what neither end tells: PUBACKs leave in the order of their PUBLISHes, on the connection these came on (I6).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from dataclasses import dataclass, field

_PUBLISH, _PUBACK = 0x30, 0x40
_CHUNK = 65_536


@dataclass
class Connection:
    """Message ids in the order seen: PUBLISHes of QoS 1 to the gateway, PUBACKs from it."""

    published: list[int] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)

    def assert_in_order(self) -> None:
        """PUBACKs are the first of the PUBLISHes, in their order (MQTT-4.6.0-2)."""
        assert self.acknowledged == self.published[: len(self.acknowledged)]


class _Packets:
    """Whole packets of one direction: (first byte, body)."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        self._held += data
        found, at = [], 0
        while True:
            length, place, shift = 0, at + 1, 0
            while place < len(self._held):
                length |= (self._held[place] & 127) << shift
                shift += 7
                place += 1
                if self._held[place - 1] < 128:
                    break
            else:
                break
            if len(self._held) < place + length:
                break
            found.append((self._held[at], self._held[place : place + length]))
            at = place + length
        self._held = self._held[at:]
        return found


class Tap:
    """Listens on `port` and passes everything on to the broker at `target`, until closed."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[Connection] = []
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Tap:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Break every connection."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def assert_in_order(self) -> None:
        """On every connection there was."""
        for one in self.connections:
            one.assert_in_order()

    @property
    def acknowledged(self) -> int:
        """PUBACKs seen."""
        return sum(len(one.acknowledged) for one in self.connections)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                gateway, _ = self._listener.accept()
                try:
                    broker = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    gateway.close()
                    continue
                self._open += [gateway, broker]
                connection = Connection()
                self.connections.append(connection)
                threading.Thread(target=self._pass_on, args=(gateway, broker, connection), daemon=True).start()

    @staticmethod
    def _pass_on(gateway: socket.socket, broker: socket.socket, connection: Connection) -> None:
        down, up = _Packets(), _Packets()
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as selector:
            selector.register(gateway, selectors.EVENT_READ, (broker, up))
            selector.register(broker, selectors.EVENT_READ, (gateway, down))
            while True:
                for key, _ in selector.select():
                    other, packets = key.data
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    data = source.recv(_CHUNK)
                    if not data:
                        other.shutdown(socket.SHUT_WR)
                        selector.unregister(source)
                        if not selector.get_map():
                            return
                        continue
                    # Noted before it is passed on, so that nobody acknowledges what was not noted yet.
                    _note(connection, packets.feed(data), to_gateway=packets is down)
                    other.sendall(data)
        gateway.close()
        broker.close()


def _note(connection: Connection, packets: list[tuple[int, bytes]], *, to_gateway: bool) -> None:
    for first, body in packets:
        if to_gateway and first & 0xF0 == _PUBLISH and first & 0x06 == 0x02:
            at = 2 + int.from_bytes(body[:2], "big")
            connection.published.append(int.from_bytes(body[at : at + 2], "big"))
        elif not to_gateway and first & 0xF0 == _PUBACK:
            connection.acknowledged.append(int.from_bytes(body[:2], "big"))

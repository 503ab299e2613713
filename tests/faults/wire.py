"""A wire to Kafka that can go dead: connections stay open, and nothing gets through until it is well again."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import Self

_CHUNK = 65_536


class Wire:
    """Listens on `port` and passes everything on to `target`, "127.0.0.1:port".

    up, down: whether anything gets through, to the target and from it. What does not is passed on when it does again.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.up, self.down = threading.Event(), threading.Event()
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        self.mend()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.mend()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def cut(self) -> None:
        """From now on it is a black hole."""
        self.up.clear()
        self.down.clear()

    def mend(self) -> None:
        """What was held up arrives now."""
        self.up.set()
        self.down.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                # Who dials while it is dead is accepted, and hears nothing: no reset tells it more.
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                for source, sink, open_ in ((near, far, self.up), (far, near, self.down)):
                    threading.Thread(target=_pass_on, args=(source, sink, open_), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket, open_: threading.Event) -> None:
    with suppress(OSError), selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        while True:
            selector.select()
            open_.wait()
            data = source.recv(_CHUNK)
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(data)

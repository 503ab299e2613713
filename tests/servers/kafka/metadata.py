"""Ask a broker which brokers it knows: one Metadata request over a plain socket.

A client library would do, but none works both with and without a running event loop, and this is all that
readiness needs.
"""

import socket
import struct

_METADATA, _VERSION = 3, 1
_LARGEST_ANSWER_BYTES = 1 << 20


def known_broker_ports(port: int, timeout_s: float = 2.0) -> frozenset[int]:
    """Client ports of the brokers that the one at 127.0.0.1:port holds to be alive; empty if it is silent."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            # correlation id 1, no client id, no topics
            body = struct.pack(">hhihi", _METADATA, _VERSION, 1, -1, 0)
            connection.sendall(struct.pack(">i", len(body)) + body)
            (size,) = struct.unpack(">i", _read(connection, 4))
            if not 0 < size <= _LARGEST_ANSWER_BYTES:
                return frozenset()
            return _ports(_read(connection, size))
    except OSError:
        return frozenset()


def _ports(answer: bytes) -> frozenset[int]:
    # correlation id, then an array of (node id, host, port, rack); what follows is of no interest
    (brokers,) = struct.unpack_from(">i", answer, 4)
    offset = 8
    ports = []
    for _ in range(brokers):
        (host_length,) = struct.unpack_from(">h", answer, offset + 4)
        offset += 6 + host_length
        port, rack_length = struct.unpack_from(">ih", answer, offset)
        offset += 6 + max(rack_length, 0)
        ports.append(port)
    return frozenset(ports)


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionError("closed in the middle of an answer")
        data += chunk
    return data

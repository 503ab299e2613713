"""Load: an MQTT 3.1.1 publisher on a bare socket, cheap enough to share two cores with what it loads.

python -m tests.bench.raw_publisher --mqtt host:port --qos 1 --count 20000 --sensors 1000 [--rate 5000]
"""

import argparse
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator

PRESSES_PER_LINE = 20
CHUNK_MESSAGES = 500
CHUNKS_PER_S = 500  # at a given rate: many sensors, each with its own moment
READING_INTERVAL_MS = 1_000
# Packet ids are 16 bits and must not come round while one is still unacknowledged.
MAXIMUM_UNACKNOWLEDGED = 60_000
PUBACK_BYTES = 4
DEADLINE_S = 120.0


def sensor_topics(sensors: int) -> list[str]:
    """Distinct topics of five levels."""
    return [f"f/site1/line{k // PRESSES_PER_LINE}/press{k % PRESSES_PER_LINE}/temp" for k in range(sensors)]


def remaining_length(length: int) -> bytes:
    encoded = bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | 128 if length else digit)
        if not length:
            return bytes(encoded)


def packet(header: int, body: bytes) -> bytes:
    return bytes((header,)) + remaining_length(len(body)) + body


def connect(host: str, port: int) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=DEADLINE_S)
    client_id = b"raw-publisher"
    # Keep-alive 0: a slow broker must not be taken for a dead publisher, nobody sends pings here.
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack(">H", len(client_id)) + client_id
    connection.sendall(packet(0x10, body))
    answer = connection.recv(4, socket.MSG_WAITALL)
    if answer[:2] != b"\x20\x02" or answer[3:] != b"\x00":
        raise ConnectionError(f"CONNECT refused: {answer.hex()}")
    return connection


def publish_packets(count: int, sensors: int, qos: int) -> Iterator[bytes]:
    """Readings in rounds over all sensors, one second of sensor time a round, the last round now."""
    topics = [struct.pack(">H", len(topic)) + topic.encode() for topic in sensor_topics(sensors)]
    header = 0x30 | qos << 1
    noise = random.Random(1)
    rounds = -(-count // sensors)
    first_ms = time.time_ns() // 1_000_000 - rounds * READING_INTERVAL_MS
    for i in range(count):
        reading_round, k = divmod(i, sensors)
        packet_id = struct.pack(">H", i % MAXIMUM_UNACKNOWLEDGED + 1) if qos else b""
        timestamp_ms = first_ms + reading_round * READING_INTERVAL_MS
        payload = b'{"ts":%d,"value":%.3f}' % (timestamp_ms, 20.0 + noise.random())
        yield packet(header, topics[k] + packet_id + payload)


class Acknowledged:
    """Counts PUBACKs; on this connection nothing else arrives, so bytes are enough to count."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._drain, daemon=True).start()

    def wait(self, at_least: int) -> None:
        def settled() -> bool:
            return self._closed or self._bytes // PUBACK_BYTES >= at_least

        with self._changed:
            in_time = self._changed.wait_for(settled, DEADLINE_S)
            count = self._bytes // PUBACK_BYTES
        if not in_time or count < at_least:
            raise ConnectionError(f"{count} PUBACKs, {at_least} wanted")

    def _drain(self) -> None:
        while received := self._receive():
            with self._changed:
                self._bytes += len(received)
                self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _receive(self) -> bytes:
        try:
            return self._connection.recv(65_536)
        except OSError:  # closed from our side, or the broker is gone
            return b""


def messages_per_chunk(rate_per_s: float | None) -> int:
    if rate_per_s is None:
        return CHUNK_MESSAGES
    return max(1, min(CHUNK_MESSAGES, int(rate_per_s / CHUNKS_PER_S)))


def publish(host: str, port: int, count: int, sensors: int, qos: int, rate_per_s: float | None = None) -> None:
    """Send `count` messages, at `rate_per_s` if given; return when QoS 1 has been acknowledged."""
    connection = connect(host, port)
    connection.settimeout(None)
    acknowledged = Acknowledged(connection)
    chunk_messages = messages_per_chunk(rate_per_s)
    started = time.monotonic()
    sent = 0
    chunk: list[bytes] = []
    for message in publish_packets(count, sensors, qos):
        chunk.append(message)
        if len(chunk) < chunk_messages and sent + len(chunk) < count:
            continue
        if rate_per_s is not None:
            time.sleep(max(0.0, started + sent / rate_per_s - time.monotonic()))
        if qos:
            acknowledged.wait(sent + len(chunk) - MAXIMUM_UNACKNOWLEDGED)
        connection.sendall(b"".join(chunk))
        sent += len(chunk)
        chunk = []
    if qos:
        acknowledged.wait(count)
    connection.sendall(b"\xe0\x00")  # DISCONNECT
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish readings as fast as the broker takes them.")
    parser.add_argument("--mqtt", required=True, metavar="HOST:PORT")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--sensors", type=int, default=1_000)
    parser.add_argument("--qos", type=int, choices=(0, 1), default=1)
    parser.add_argument("--rate", type=float, default=None, help="messages a second")
    options = parser.parse_args()
    host, _, port = options.mqtt.rpartition(":")
    publish(host, int(port), options.count, options.sensors, options.qos, options.rate)


if __name__ == "__main__":
    main()

"""`ingest/mqtt.py` reads the socket itself and so relies on parts of paho that are not its public interface.

Each is named here. When paho is upgraded, this file says first what has to be looked at again.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from ingest.bulk_client import READ_BYTES, BulkClient
from ingest.packets import PacketReader


def test_paho_is_the_version_whose_source_was_read() -> None:
    assert version("paho-mqtt").startswith("2.2.")


@pytest.mark.parametrize(
    ("method", "signature"),
    [
        ("_create_socket", "(self) -> 'SocketLike'"),
        ("_create_socket_connection", "(self) -> '_socket.socket'"),
        ("_sock_recv", "(self, bufsize: 'int') -> 'bytes'"),
        ("_sock_send", "(self, buf: 'bytes | bytearray') -> 'int'"),
        ("_packet_read", "(self) -> 'MQTTErrorCode'"),
        (
            "_packet_queue",
            "(self, command: 'int', packet: 'bytes | bytearray', mid: 'int', qos: 'int', "
            "info: 'MQTTMessageInfo | None' = None) -> 'MQTTErrorCode'",
        ),
        ("_loop_rc_handle", "(self, rc: 'MQTTErrorCode') -> 'MQTTErrorCode'"),
        ("_send_pingreq", "(self) -> 'MQTTErrorCode'"),
        ("_sock_close", "(self) -> 'None'"),
        ("loop_read", "(self, max_packets: 'int' = 1) -> 'MQTTErrorCode'"),
        ("loop_write", "(self) -> 'MQTTErrorCode'"),
        ("loop_misc", "(self) -> 'MQTTErrorCode'"),
        ("want_write", "(self) -> 'bool'"),
    ],
)
def test_a_method_we_call_or_replace_is_as_it_was(method: str, signature: str) -> None:
    assert str(inspect.signature(getattr(paho.Client, method))) == signature


def test_the_attributes_we_read_and_write_are_there() -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    assert client._sock is None
    assert client._ping_t == 0.0
    assert len(client._out_messages) == 0
    assert len(client._out_packet) == 0
    assert (client._host, client._port) == ("", 1883)
    # Keep-alive compares it with the clock we set it from.
    assert abs(client._last_bytes_received - time.monotonic()) < 60


@pytest.mark.parametrize(
    ("method", "uses"),
    [
        (paho.Client._packet_read, ["self._sock_recv(", "self._packet_handle("]),
        (paho.Client._check_keepalive, ["self._last_bytes_received", "self._ping_t", "self._send_pingreq("]),
        (paho.Client.loop_misc, ["self._ping_t"]),
        (paho.Client._sock_close, ["self._call_socket_close("]),
        (paho.Client.reconnect, ["self._sock = self._create_socket()"]),
        # Our sockets block until a packet is written whole, for a length of 0 makes paho forget it.
        (
            paho.Client._packet_write,
            ["self._sock_send(", "except BlockingIOError:\n                self._out_packet.appendleft"],
        ),
    ],
)
def test_paho_itself_uses_what_we_replace(method: Callable[..., Any], uses: list[str]) -> None:
    source = inspect.getsource(method)
    assert [use for use in uses if use not in source] == []


# --- what our reader makes of it ------------------------------------------------------------------------------------


class Socket:
    """Gives prepared pieces, then would block; keeps what is written."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.written = b""

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            raise BlockingIOError
        assert len(self.pieces[0]) <= size
        return self.pieces.pop(0)

    def send(self, data: bytes) -> int:
        self.written += data
        return len(data)

    def close(self) -> None:
        pass

    def fileno(self) -> int:
        return -1


class Client(BulkClient):
    """Connected to a socket of ours, and noting what happens."""

    def __init__(self, socket: Socket, *, version5: bool = True) -> None:
        protocol = MQTTProtocolVersion.MQTTv5 if version5 else MQTTProtocolVersion.MQTTv311
        super().__init__(CallbackAPIVersion.VERSION2, client_id="test", protocol=protocol, manual_ack=True)
        self.reader = PacketReader(version5=version5, max_payload_bytes=1_000)
        self._sock: Any = socket
        self.happened: list[Any] = []
        self.on_burst = lambda burst: self.happened.append(burst.payloads)
        self.on_connect = lambda *_: self.happened.append("connected")
        self.on_subscribe = lambda *_: self.happened.append("subscribed")
        self.on_disconnect = lambda *_: self.happened.append("disconnected")
        self.on_socket_register_write = lambda *_: None  # an event loop writes later


def publish(payload: bytes) -> bytes:
    return bytes([0x32, 6 + len(payload)]) + b"\0\x01t\0\x01\0" + payload


CONNACK = b"\x20\x03\x00\x00\x00"
SUBACK = b"\x90\x04\x00\x01\x00\x01"
PINGRESP = b"\xd0\x00"


def test_every_packet_but_publish_is_pahos() -> None:
    client = Client(Socket(CONNACK + publish(b"1") + SUBACK[:2], SUBACK[2:] + publish(b"2") + PINGRESP + publish(b"3")))
    client._ping_t = 1.0
    assert client.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert client.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert client.happened == ["connected", [b"1"], "subscribed", [b"2", b"3"]]
    assert client._ping_t == 0  # the answer was heard


def test_acknowledgements_leave_as_queued_and_in_turn() -> None:
    socket = Socket()
    client = Client(socket)
    client.queue_raw(b"\x40\x02\x00\x01")
    client.queue_raw(b"\x40\x02\x00\x02\x40\x02\x00\x03")
    assert socket.written == b""
    assert client.want_write()
    client.loop_write()
    assert socket.written == b"\x40\x02\x00\x01\x40\x02\x00\x02\x40\x02\x00\x03"


def test_the_end_of_the_connection_is_told_once() -> None:
    client = Client(Socket(publish(b"1"), b""))
    client.loop_read()
    assert client.loop_read() == MQTTErrorCode.MQTT_ERR_CONN_LOST
    client.loop_read()
    assert client.happened == [[b"1"], "disconnected"]


def test_messages_before_a_broken_packet_count() -> None:
    client = Client(Socket(publish(b"1") + b"\x34\x05\0\x01t\0\x01" + publish(b"2")))
    assert client.loop_read() == MQTTErrorCode.MQTT_ERR_PROTOCOL
    assert [b"1"] in client.happened
    assert "disconnected" in client.happened


@pytest.mark.parametrize("kind", [kind for kind in range(16) if kind << 4 != paho.PUBLISH])
@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0", b"\xff\xff\xff", b"\0\x01\xff\x80\x80"], ids=bytes.hex)
@pytest.mark.parametrize("version5", [True, False])
def test_a_malformed_packet_ends_the_connection_at_the_worst(kind: int, body: bytes, version5: bool) -> None:
    client = Client(Socket(bytes([kind << 4, len(body)]) + body + publish(b"1")), version5=version5)
    client.loop_read()
    assert client._in_packet["command"] == 0  # nothing is left to confuse the next packet


def test_a_socket_that_is_always_full_does_not_hold_the_loop() -> None:
    # A flood of QoS 0 messages over a fast network once kept the reader reading, and everyone else waiting.
    full = publish(b"x" * 120) * (READ_BYTES // 128)
    client = Client(Socket(full, full, full))
    socket = client._sock
    client.loop_read()
    assert len(full) == READ_BYTES
    assert len(socket.pieces) == 2


def test_why_a_write_failed_is_kept() -> None:
    class Broken(Socket):
        def send(self, data: bytes) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    client = Client(Broken())
    client.queue_raw(b"\x40\x02\x00\x01")
    client.loop_write()
    assert client.wrong == "[Errno 32] Broken pipe"
    assert client.happened == ["disconnected"]


def test_what_waits_can_be_counted() -> None:
    client = Client(Socket())
    client.queue_raw(PINGRESP)
    client.publish("t", b"", 1)
    assert (client.unwritten, client.unconfirmed) == (2, 1)
    client.loop_write()
    assert (client.unwritten, client.unconfirmed) == (0, 1)


def test_a_paused_reader_still_shows_that_it_lives() -> None:
    socket = Socket()
    client = Client(socket)
    client._last_bytes_received = 0.0
    client.keep_alive_without_reading()
    client.loop_write()
    assert socket.written == b"\xc0\x00"
    assert client._ping_t == 0  # no answer is waited for
    assert client._last_bytes_received > 0


def test_an_empty_burst_is_not_handed_on() -> None:
    client = Client(Socket(PINGRESP))
    client.loop_read()
    assert client.happened == []

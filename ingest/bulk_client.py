"""paho's client with a reader of our own; every paho internal that we rely on is used here or in `mqtt.py`."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

from ingest.contract.errors import ReconnectError
from ingest.contract.tls import tls_failure
from ingest.packets import Burst, PacketReader
from ingest.sockets import ByteSocket, TlsSocket
from ingest.websocket import WebSocket

READ_BYTES = 262_144


class BulkClient(paho.Client):
    """paho's client, whose reader takes PUBLISH packets out in bulk and leaves every other packet to paho.

    tls, path: encryption, and where WebSocket is spoken; None without. Both count at the next connection. paho's own
    are not used: they read a record or a frame at a time, and paho forgets a packet that its WebSocket could not write
    whole.
    """

    tls: ssl.SSLContext | None = None
    path: str | None = None
    reader: PacketReader
    on_burst: Callable[[Burst], None]
    last_read_bytes = 0
    wrong = ""
    _fed = b""
    _fed_at = 0

    def _create_socket(self) -> Any:
        sock = self._create_socket_connection()
        try:
            stream: ByteSocket = sock
            if self.tls is not None:
                stream = TlsSocket(stream, self.tls, self._host, self.connect_timeout)
            if self.path is not None:
                stream = WebSocket(stream, self._host, self._port, self.path, self.connect_timeout)
        except BaseException:
            sock.close()
            raise
        return stream

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """One large read. The loop calls again for what is left in the socket, and serves others in between."""
        burst = Burst()
        rc = MQTTErrorCode.MQTT_ERR_SUCCESS
        self.last_read_bytes = 0
        try:
            if self._sock is not None:
                if data := super()._sock_recv(READ_BYTES):
                    self._last_bytes_received = time.monotonic()
                    self.last_read_bytes = len(data)
                    for packet in self.reader.feed(data, burst):
                        self._hand_over(packet)
                else:
                    rc = self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        except BlockingIOError:
            pass
        except (OSError, ReconnectError) as error:
            self.wrong = _said(error)
            rc = self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)
        finally:
            # Whatever else went wrong: what was taken out of the socket is taken over.
            if len(burst):
                self.on_burst(burst)
        return rc

    def _hand_over(self, packet: bytes) -> None:
        self._fed, self._fed_at = packet, 0
        while self._fed_at < len(packet) and self._sock is not None:
            rc = self._packet_read()
            if rc > 0:
                self._loop_rc_handle(rc)
                return

    def _sock_recv(self, bufsize: int) -> bytes:
        part = self._fed[self._fed_at : self._fed_at + bufsize]
        if not part:
            raise BlockingIOError
        self._fed_at += len(part)
        return part

    def _sock_send(self, buf: bytes | bytearray) -> int:
        try:
            return super()._sock_send(buf)
        except BlockingIOError:
            raise
        except OSError as error:
            self.wrong = _said(error)  # paho only notes that the connection was lost
            raise

    @property
    def unconfirmed(self) -> int:
        """Messages of QoS 1 that the broker has not confirmed."""
        return len(self._out_messages)

    @property
    def unwritten(self) -> int:
        """Packets that wait to be written."""
        return len(self._out_packet)

    def end(self) -> None:
        """Close the connection, without a word."""
        self._sock_close()

    def queue_raw(self, packet: bytes) -> None:
        """Send bytes in their turn, after what is queued already."""
        self._packet_queue(paho.PUBACK, packet, 0, 0)

    def keep_alive_without_reading(self) -> None:
        """Show the broker that we live, while nothing is read from it and no answer can be seen."""
        self._send_pingreq()
        self._ping_t = 0.0
        self._last_bytes_received = time.monotonic()


def _said(error: Exception) -> str:
    return tls_failure(error) if isinstance(error, ssl.SSLError) else str(error)

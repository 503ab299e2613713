"""paho's client with a reader of our own; every paho internal that we rely on is used here or in `mqtt.py`."""

from __future__ import annotations

import time
from collections.abc import Callable

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

from ingest.contract.errors import ReconnectError
from ingest.packets import Burst, PacketReader

READ_BYTES = 262_144


class BulkClient(paho.Client):
    """paho's client, whose reader takes PUBLISH packets out in bulk and leaves every other packet to paho."""

    reader: PacketReader
    on_burst: Callable[[Burst], None]
    last_read_bytes = 0
    wrong = ""
    _fed = b""
    _fed_at = 0

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """One large read, or several while an encrypted connection holds decrypted bytes."""
        burst = Burst()
        rc = MQTTErrorCode.MQTT_ERR_SUCCESS
        try:
            while self._sock is not None:
                data = super()._sock_recv(READ_BYTES)
                if not data:
                    rc = self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
                    break
                self._last_bytes_received = time.monotonic()
                self.last_read_bytes = len(data)
                for packet in self.reader.feed(data, burst):
                    self._hand_over(packet)
                # The loop calls again for what is left in the socket, and serves others in between.
                if not self._pending_bytes():
                    break
        except BlockingIOError:
            pass
        except (OSError, ReconnectError) as error:
            self.wrong = str(error)
            rc = self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)
        finally:
            # Whatever else went wrong: what was taken out of the socket is taken over.
            if len(burst):
                self.on_burst(burst)
        return rc

    def _pending_bytes(self) -> bool:
        pending = getattr(self._sock, "pending", None)
        return bool(pending()) if callable(pending) else False

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

    def queue_raw(self, packet: bytes) -> None:
        """Send bytes in their turn, after what is queued already."""
        self._packet_queue(paho.PUBACK, packet, 0, 0)

    def keep_alive_without_reading(self) -> None:
        """Show the broker that we live, while nothing is read from it and no answer can be seen."""
        self._send_pingreq()
        self._ping_t = 0.0
        self._last_bytes_received = time.monotonic()

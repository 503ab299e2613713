"""MQTT on asyncio; this file and `bulk_client.py` are the only ones that know paho.

`MqttLink` keeps one connection alive (MQTT 5 first, 3.1.1 where the broker has no other; back-off with jitter) and
hands on messages in bursts. It acknowledges only what its user says, and only on the connection that a message came
on: every connection has an epoch, and message ids mean nothing outside theirs (they restart with a session, so a
late acknowledgement would drop another message).
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from ingest.bulk_client import BulkClient
from ingest.contract.errors import ReconnectError
from ingest.contract.mqtt_settings import MqttSettings
from ingest.contract.tls import tls_context
from ingest.packets import Burst, PacketReader

CONNECT_TIMEOUT_S = 10.0
_SMALL_READ_BYTES = 65_536
_BREATH_S = 0.002
_MAX_BACKOFF_S = 30.0
_TICK_S = 0.5
_UNSUPPORTED_PROTOCOL = {"Unsupported protocol version", "Connection Refused: unacceptable protocol version."}


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic filter and its QoS."""

    filter: str
    qos: int


class Receiver(Protocol):
    """Who uses a link."""

    def received(self, burst: Burst) -> None:
        """Messages came in, in order; called in the event loop."""
        ...

    def connecting(self, epoch: int) -> None:
        """A new connection begins; message ids of what follows belong to `epoch`."""
        ...

    def connected(self, epoch: int, protocol: str, session_present: bool) -> None:
        """A connection is up and subscribed."""
        ...

    def disconnected(self, reason: str, retry_in_s: float) -> None:
        """The connection was lost or refused; the next try comes in `retry_in_s`."""
        ...


class MqttLink:
    """One MQTT connection, kept up until `close`.

    persistent: keep the session (and its queue) at the broker while away; then the client id must be ours alone.
    """

    def __init__(
        self,
        settings: MqttSettings,
        receiver: Receiver,
        subscriptions: Sequence[Subscription] = (),
        *,
        persistent: bool = True,
        max_payload_bytes: int = 262_144,
    ) -> None:
        self._settings = settings
        self._receiver = receiver
        self._subscriptions = list(subscriptions)
        self._persistent = persistent
        self._max_payload_bytes = max_payload_bytes
        self._version5 = settings.protocol != "3.1.1"
        self._knows_5 = True
        self._client: BulkClient | None = None
        self._socket: Any = None
        self._loop = asyncio.get_running_loop()
        self._up: asyncio.Future[bool] | None = None
        self._down: asyncio.Future[str] | None = None
        self._paused = False
        self._closing = False
        self._session_present = False
        self._agreed = False
        self.epoch = 0
        self.is_up = False

    # --- what users of a link call -------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, and connect again whenever the connection is lost, until `close` or cancelled."""
        backoff_s = 0.0
        try:
            while True:
                try:
                    await self._connect()
                    backoff_s = 0.0
                    reason = await self._serve()
                except TimeoutError:
                    reason = f"no answer within {CONNECT_TIMEOUT_S:.0f} s"
                except ssl.SSLError as error:
                    reason = f"TLS: {error.reason or error}"
                except (OSError, ReconnectError) as error:
                    reason = str(error) or type(error).__name__
                self._drop()
                if self._closing:
                    return
                backoff_s = min(_MAX_BACKOFF_S, max(0.5, backoff_s * 2))
                retry_in_s = backoff_s * random.uniform(0.5, 1.0)
                self._receiver.disconnected(reason, retry_in_s)
                await asyncio.sleep(retry_in_s)
        finally:
            self._drop()

    def ack(self, epoch: int, mids: Sequence[bytes]) -> bool:
        """Send PUBACKs for message ids of that epoch, in that order, in one write; False if its connection is gone."""
        if epoch != self.epoch or self._socket is None or self._client is None or not mids:
            return False
        # PUBACK, remaining length 2, message id: reason code "success" is implied (MQTT 5, 3.4.2.1).
        self._client.queue_raw(b"\x40\x02" + b"\x40\x02".join(mids))
        return True

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> None:
        """Queue a message; QoS 1 is sent again after a reconnect until the broker has it."""
        if self._client is None:
            raise ReconnectError("not connected yet")
        self._client.publish(topic, payload, qos)

    @property
    def unconfirmed(self) -> int:
        """Published QoS 1 messages that the broker has not confirmed."""
        return 0 if self._client is None else len(self._client._out_messages)

    def pause(self) -> None:
        """Stop reading: the broker's sends back up. The connection is kept alive."""
        if not self._paused and self._socket is not None:
            self._loop.remove_reader(self._socket)
        self._paused = True

    def resume(self) -> None:
        """Read again."""
        if self._paused and self._socket is not None:
            self._loop.add_reader(self._socket, self._readable)
        self._paused = False

    async def close(self, timeout_s: float = 2.0) -> None:
        """Say goodbye, once all that is queued has been written."""
        self._closing = True
        if self._client is None or self._down is None or not self.is_up:
            return
        self._client.disconnect()
        await asyncio.wait([self._down], timeout=timeout_s)

    # --- one connection ---------------------------------------------------------------------------------------

    def _new_client(self) -> BulkClient:
        settings = self._settings
        protocol = MQTTProtocolVersion.MQTTv5 if self._version5 else MQTTProtocolVersion.MQTTv311
        client = BulkClient(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            clean_session=None if self._version5 else not self._persistent,
            protocol=protocol,
            manual_ack=True,
        )
        client.max_inflight_messages_set(1_000)
        if settings.username is not None:
            secret = settings.password.get_secret_value() if settings.password else None
            client.username_pw_set(settings.username, secret)
        if settings.tls.enabled:
            client.tls_set_context(tls_context(settings.tls))
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write
        client.on_burst = lambda burst: self._receiver.received(burst)
        return client

    async def _connect(self) -> None:
        """From nothing to subscribed. Raises OSError or ReconnectError."""
        settings = self._settings
        if self._agreed and not self._version5 and self._knows_5 and settings.protocol == "auto" and self._persistent:
            # 3.1.1 was what worked after a hang-up, which may have had another reason.
            self._version5, self._client = True, None
        self._agreed = False
        if self._client is None:
            self._client = self._new_client()
        client = self._client
        # Now, not at CONNACK: a broker may send what it kept for us before it answers the subscription.
        self.epoch += 1
        self._receiver.connecting(self.epoch)
        client.reader = PacketReader(version5=self._version5, max_payload_bytes=self._max_payload_bytes)
        self._up, self._down = self._loop.create_future(), self._loop.create_future()
        extra: dict[str, Any] = {}
        if self._version5:
            properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum = settings.receive_maximum
            if self._persistent:
                properties.SessionExpiryInterval = min(settings.session_expiry // 1_000_000, 0xFFFFFFFF)
            extra = {"clean_start": not self._persistent, "properties": properties}
        keepalive_s = max(1, settings.keepalive // 1_000_000)
        # Name look-up, TCP and TLS block, so they have a thread. It is waited for however long it takes: abandoned, it
        # would swap the socket under a later connection.
        await asyncio.to_thread(client.connect, settings.host, settings.port, keepalive_s, **extra)
        self._socket = client.socket()
        if self._socket is None:
            raise ReconnectError("the connection was closed at once")
        self._paused = False
        self._loop.add_reader(self._socket, self._readable)
        self._arm_writer()
        try:
            # Not wait_for: it may swallow a cancellation that comes together with the answer (Python 3.11).
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                session_present = await self._up
        except ReconnectError as error:
            self._fall_back(error)
            raise
        self.is_up = self._agreed = True
        self._receiver.connected(self.epoch, "5" if self._version5 else "3.1.1", session_present)

    def _fall_back(self, error: ReconnectError) -> None:
        """After a refusal: which protocol to try next.

        Old brokers either say that they do not know MQTT 5, or hang up on it; but a broker that is just starting, or a
        load balancer without one, hangs up too. So a hang-up is answered with one try of 3.1.1, and then with 5 again.
        """
        if self._settings.protocol != "auto":
            return
        if self._version5 and str(error) in _UNSUPPORTED_PROTOCOL:
            self._knows_5 = False
        if self._version5 or self._knows_5:
            self._version5, self._client = not self._version5, None

    async def _serve(self) -> str:
        """Keep-alive, until the connection is lost; returns why."""
        assert self._client is not None
        assert self._down is not None
        keepalive_s = max(1, self._settings.keepalive // 1_000_000)
        pinged_s = time.monotonic()
        while not self._down.done():
            await asyncio.wait([self._down], timeout=_TICK_S)
            if self._paused:
                if time.monotonic() - pinged_s > keepalive_s / 2:
                    self._client.keep_alive_without_reading()
                    pinged_s = time.monotonic()
            else:
                self._client.loop_misc()
        return self._down.result()

    def _drop(self) -> None:
        self.is_up = False
        if self._client is not None:
            self._client._sock_close()
        self._socket = None

    # --- paho's callbacks -----------------------------------------------------------------------------------------

    def _on_connect(self, client: Any, _userdata: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if self._up is None or self._up.done():
            return
        if reason.is_failure:
            self._up.set_exception(ReconnectError(str(reason)))
        elif not self._subscriptions:
            self._up.set_result(bool(flags.session_present))
        else:
            self._session_present = bool(flags.session_present)
            client.subscribe([(one.filter, self._options(one)) for one in self._subscriptions])

    def _options(self, one: Subscription) -> Any:
        if not self._version5:
            return one.qos
        # A reconnect is no reason to hear all retained messages again.
        return SubscribeOptions(one.qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)

    def _on_subscribe(self, _client: Any, _userdata: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        if self._up is None or self._up.done():
            return
        refused = [
            f"{one.filter}: {reason}"
            for one, reason in zip(self._subscriptions, reasons, strict=False)
            if reason.is_failure
        ]
        if refused:
            self._up.set_exception(ReconnectError(f"subscription refused: {'; '.join(refused)}"))
        else:
            self._up.set_result(self._session_present)

    def _on_disconnect(self, client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        said, client.wrong = client.wrong or str(reason), ""
        self._loop.call_soon_threadsafe(self._lost, said)

    def _lost(self, reason: str) -> None:
        self.is_up = False
        if self._up is not None and not self._up.done():
            self._up.set_exception(ReconnectError(f"closed before it was accepted: {reason}"))
        if self._down is not None and not self._down.done():
            self._down.set_result("closed by us" if self._closing else reason)

    def _on_register_write(self, *_: Any) -> None:
        # paho also calls this from the thread that connects.
        self._loop.call_soon_threadsafe(self._arm_writer)

    def _on_unregister_write(self, *_: Any) -> None:
        if self._socket is not None:
            self._loop.remove_writer(self._socket)

    def _on_socket_close(self, _client: Any, _userdata: Any, sock: Any) -> None:
        if sock is self._socket and sock is not None:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            self._socket = None

    # --- the event loop's callbacks ------------------------------------------------------------------------------

    def _readable(self) -> None:
        client, sock = self._client, self._socket
        if client is None:
            return
        client.loop_read()
        # A broker sends a few messages at a time; waking up for each few costs more than the messages do.
        if client.last_read_bytes < _SMALL_READ_BYTES and self._socket is sock and sock is not None:
            self._loop.remove_reader(sock)
            self._loop.call_later(_BREATH_S, self._read_on, sock)

    def _read_on(self, sock: Any) -> None:
        if sock is self._socket and not self._paused:
            self._loop.add_reader(sock, self._readable)

    def _arm_writer(self) -> None:
        if self._client is None or self._socket is None:
            return
        self._client.loop_write()
        if self._client.want_write() and self._socket is not None:
            self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        if self._client is not None:
            self._client.loop_write()

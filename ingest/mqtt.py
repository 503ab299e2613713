"""MQTT on asyncio; this file, `bulk_client.py` and `subscribing.py` are the only ones that know paho.

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
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ingest.bulk_client import BulkClient
from ingest.contract.errors import ReconnectError, StopError
from ingest.contract.mqtt_settings import MqttSettings
from ingest.contract.tls import tls_context, tls_failure
from ingest.credentials import credentials
from ingest.packets import Burst, PacketReader
from ingest.pump import Pump
from ingest.subscribing import RefusedError, Subscriber
from ingest.subscriptions import SessionFilters, Subscription

__all__ = ["MqttLink", "Receiver", "Subscription"]

CONNECT_TIMEOUT_S = 10.0
MAX_UNCONFIRMED = 10_000
_MAX_BACKOFF_S = 30.0
_TICK_S = 0.5
_UNSUPPORTED_PROTOCOL = {"Unsupported protocol version", "Connection Refused: unacceptable protocol version."}


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
    patience_s: at low rates, how long messages may lie in the socket for company; waking up for each few is what costs
    then, so it should be as much of a later wait for company as can be borne (a tenth of the linger).
    remembered, remember: the filters that our MQTT session may hold, from an earlier life and for the next one (see
    `SessionFilters`); those that are not wanted any more are unsubscribed before the link counts as up.
    """

    def __init__(
        self,
        settings: MqttSettings,
        receiver: Receiver,
        subscriptions: Sequence[Subscription] = (),
        *,
        persistent: bool = True,
        max_payload_bytes: int = 262_144,
        patience_s: float = 0.008,
        remembered: Iterable[str] = (),
        remember: Callable[[list[str]], None] | None = None,
    ) -> None:
        self._settings = settings
        self._receiver = receiver
        self._subscriber = Subscriber(SessionFilters(self._shared(subscriptions), remembered, remember))
        self._persistent = persistent
        self._max_payload_bytes = max_payload_bytes
        self._version5 = settings.protocol != "3.1.1"
        self._knows_5 = True
        self._client: BulkClient | None = None
        self._loop = asyncio.get_running_loop()
        self._pump = Pump(self._loop, patience_s)
        self._up: asyncio.Future[bool] | None = None
        self._down: asyncio.Future[str] | None = None
        self._prepared = False
        self._closing = False
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
                    reason = tls_failure(error)
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
        if epoch != self.epoch or self._client is None or not self._pump.is_open or not mids:
            return False
        # PUBACK, remaining length 2, message id: reason code "success" is implied (MQTT 5, 3.4.2.1).
        self._client.queue_raw(b"\x40\x02" + b"\x40\x02".join(mids))
        self._pump.expect()
        return True

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> bool:
        """Queue a message, of QoS 0 or 1; False if it was not taken. Never waits and never raises.

        QoS 1 is sent again after a reconnect until the broker has it, and is taken as long as fewer than
        MAX_UNCONFIRMED wait for that; before the first connection nothing is. QoS 0 is taken only while connected.
        A topic that none can be (empty, with a wildcard, of more than 65,535 bytes) is not taken.
        """
        client = self._client
        if client is None or client.unwritten >= MAX_UNCONFIRMED or client.unconfirmed >= MAX_UNCONFIRMED:
            return False
        if not topic or (qos == 0 and not self.is_up):
            return False
        try:
            client.publish(topic, payload, qos)
        except ValueError:
            return False
        return True

    @property
    def unconfirmed(self) -> int:
        """Published QoS 1 messages that the broker has not confirmed."""
        return 0 if self._client is None else self._client.unconfirmed

    @property
    def filters(self) -> list[str]:
        """All filters, as the broker knows them, that it may hold for our MQTT session."""
        return self._subscriber.filters.held

    async def resubscribe(self, subscriptions: Sequence[Subscription]) -> bool:
        """Change to other topics: subscribe what is new, then unsubscribe what is gone.

        True once the broker has confirmed; False if there is no connection, or none any more: the next one does it.
        Raises ReconnectError if the broker refuses some; it is connected on, and these are not asked for again.
        """
        self._subscriber.filters.want(self._shared(subscriptions))
        if self._client is None or not self.is_up:
            return False
        try:
            return await self._subscriber.change(self._client, version5=self._version5)
        except RefusedError as error:
            self._subscriber.filters.give_up(error.filters)
            raise

    def pause(self) -> None:
        """Stop reading: the broker's sends back up. The connection is kept alive."""
        self._pump.pause()

    def resume(self) -> None:
        """Read again."""
        self._pump.resume()

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
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.path = settings.path if settings.transport == "websockets" else None
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_answer
        client.on_unsubscribe = self._on_answer
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
            # No Topic Alias Maximum: the broker may use none. And no Maximum Packet Size: a broker must drop what is
            # larger without a word (MQTT 5, 3.1.2.11.4), while with us a stub of it shows in quarantine.
            properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum = settings.receive_maximum
            if self._persistent:
                properties.SessionExpiryInterval = min(settings.session_expiry // 1_000_000, 0xFFFFFFFF)
            extra = {"clean_start": not self._persistent, "properties": properties}
        keepalive_s = max(1, settings.keepalive // 1_000_000)
        # Name look-up, TCP and TLS block, so they have a thread. It is waited for however long it takes: abandoned, it
        # would swap the socket under a later connection.
        await asyncio.to_thread(self._open, client, keepalive_s, extra)
        sock = client.socket()
        if sock is None:
            raise ReconnectError("the connection was closed at once")
        self._pump.attach(client, sock)
        # Not wait_for: it may swallow a cancellation that comes together with the answer (Python 3.11).
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            try:
                session_present = await self._up
            except ReconnectError as error:
                self._fall_back(error)
                raise
            self._agreed = True
            begun = self._subscriber.begin(client, session_present=session_present, version5=self._version5)
            if not await begun:
                reason = self._down.result() if self._down.done() else "the connection was lost"
                raise ReconnectError(f"closed before the subscriptions were confirmed: {reason}")
        self.is_up = True
        self._receiver.connected(self.epoch, "5" if self._version5 else "3.1.1", session_present)

    def _open(self, client: BulkClient, keepalive_s: int, extra: dict[str, Any]) -> None:
        """In a thread. Secrets and certificates are read each time, so that they can be exchanged while we run.

        Raises OSError or ReconnectError, and StopError for files that were of no use from the beginning.
        """
        settings = self._settings
        try:
            client.username_pw_set(*credentials(settings))
            client.tls = tls_context(settings.tls) if settings.tls.enabled else None
        except StopError as error:
            if not self._prepared:
                raise
            raise ReconnectError(str(error)) from error
        self._prepared = True
        try:
            client.connect(settings.host, settings.port, keepalive_s, **extra)
        except UnicodeError as error:
            raise ReconnectError(f"mqtt.host cannot be the name of a host: {error}") from error

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
            if self._pump.paused:
                if time.monotonic() - pinged_s > keepalive_s / 2:
                    self._client.keep_alive_without_reading()
                    pinged_s = time.monotonic()
            else:
                self._client.loop_misc()
        return self._down.result()

    def _drop(self) -> None:
        self.is_up = False
        if self._client is not None:
            self._client.end()
        self._subscriber.lost()

    def _shared(self, subscriptions: Sequence[Subscription]) -> list[Subscription]:
        group = self._settings.shared_group
        if group is None:
            return list(subscriptions)
        return [Subscription(f"$share/{group}/{one.filter}", one.qos) for one in subscriptions]

    # --- paho's callbacks -----------------------------------------------------------------------------------------

    def _on_connect(self, client: Any, _userdata: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if self._up is None or self._up.done():
            return
        if reason.is_failure:
            self._up.set_exception(ReconnectError(str(reason)))
        else:
            self._up.set_result(bool(flags.session_present))

    def _on_answer(self, _client: Any, _userdata: Any, mid: int, reasons: Any, _properties: Any) -> None:
        self._subscriber.answered(mid, reasons)

    def _on_disconnect(self, client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        said, client.wrong = client.wrong or str(reason), ""
        self._loop.call_soon_threadsafe(self._lost, said)

    def _lost(self, reason: str) -> None:
        self.is_up = False
        if self._up is not None and not self._up.done():
            self._up.set_exception(ReconnectError(f"closed before it was accepted: {reason}"))
        if self._down is not None and not self._down.done():
            self._down.set_result("closed by us" if self._closing else reason)
        self._subscriber.lost()

    def _on_register_write(self, *_: Any) -> None:
        self._pump.write_soon()

    def _on_unregister_write(self, *_: Any) -> None:
        self._pump.written()

    def _on_socket_close(self, _client: Any, _userdata: Any, sock: Any) -> None:
        if self._pump.holds(sock):
            self._pump.detach()

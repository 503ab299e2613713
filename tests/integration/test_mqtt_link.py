"""The link against real Mosquitto: every transport, refusals of TLS, secrets from files, filters that come and go."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from ingest.contract.mqtt_settings import MqttSettings
from ingest.mqtt import MqttLink, Subscription
from ingest.packets import Burst
from tests.bench.raw_publisher import connect, packet
from tests.servers.certificates import Authority
from tests.servers.mosquitto import Mosquitto
from tests.servers.require import require

pytestmark = pytest.mark.real

TIMEOUT_S = 30.0
COUNT = 20_000
# Around every length at which an encoding changes, and now and then one that spans many reads, records and frames.
SIZES = (0, 1, 21, 118, 119, 120, 125, 126, 127, 128, 300, 1_000)
LARGE_BYTES = 204_800
EVERY = 800


@dataclass
class Heard:
    """Keeps what a link says and brings, and acknowledges it."""

    link: MqttLink | None = None
    topics: list[bytes] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    sessions: list[bool] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def received(self, burst: Burst) -> None:
        self.topics += burst.topics
        self.payloads += burst.payloads
        assert self.link is not None
        assert self.link.ack(self.link.epoch, burst.mids) == bool(burst.mids)
        self.changed.set()

    def connecting(self, epoch: int) -> None:
        """Of no interest."""

    def connected(self, epoch: int, protocol: str, session_present: bool) -> None:
        self.sessions.append(session_present)
        self.changed.set()

    def disconnected(self, reason: str, retry_in_s: float) -> None:
        self.reasons.append(reason)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@contextlib.asynccontextmanager
async def linked(
    settings: MqttSettings, subscriptions: Sequence[Subscription] = (), *, wait: bool = True, **options: Any
) -> AsyncIterator[tuple[MqttLink, Heard]]:
    heard = Heard()
    heard.link = link = MqttLink(settings, heard, subscriptions, **options)
    running = asyncio.create_task(link.run())
    try:
        if wait:
            await heard.until(lambda: bool(heard.sessions or heard.reasons))
            assert not heard.reasons
        yield link, heard
        await link.close()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def publish(port: int, messages: list[tuple[bytes, bytes]]) -> None:
    """Publish at QoS 1 and wait until the broker has confirmed all."""
    stream = b"".join(
        packet(0x32, struct.pack(">H", len(topic)) + topic + struct.pack(">H", 1 + at % 65_535) + payload)
        for at, (topic, payload) in enumerate(messages)
    )
    connection = connect("127.0.0.1", port)

    def write() -> None:
        connection.sendall(stream)

    with connection:
        writer = threading.Thread(target=write)
        writer.start()
        left = 4 * len(messages)
        while left:
            got = len(connection.recv(min(left, 65_536)))
            assert got
            left -= got
        writer.join()


async def publish_one(broker: Mosquitto, *topics: str) -> None:
    await asyncio.to_thread(publish, broker.port, [(topic.encode(), topic.encode()) for topic in topics])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Mosquitto]:
    """A broker that listens in all four ways."""
    require("mosquitto")
    directory = tmp_path_factory.mktemp("mosquitto")
    with Mosquitto(directory, websockets=True, certificate=authority.sign("server")) as broker:
        yield broker


def transports(broker: Mosquitto, authority: Authority) -> dict[str, dict[str, Any]]:
    tls = {"enabled": True, "ca_file": str(authority.path)}
    return {
        "tcp": {"port": broker.port},
        "tls": {"port": broker.tls_port, "tls": tls},
        "ws": {"port": broker.websockets_port, "transport": "websockets"},
        "wss": {"port": broker.tls_websockets_port, "transport": "websockets", "tls": tls},
    }


@pytest.mark.parametrize(("qos", "protocol"), [(0, "5"), (1, "5"), (1, "3.1.1")])
async def test_every_transport_brings_everything_in_order(
    everywhere: Mosquitto, authority: Authority, qos: int, protocol: Literal["5", "3.1.1"]
) -> None:
    sizes = [LARGE_BYTES if at % EVERY == EVERY // 2 else SIZES[at % len(SIZES)] for at in range(COUNT)]
    body = bytes(range(256)) * (LARGE_BYTES // 256)
    messages = [(b"f/%d" % at, body[:size]) for at, size in enumerate(sizes)]
    async with contextlib.AsyncExitStack() as stack:
        links: dict[str, Heard] = {}
        for name, options in transports(everywhere, authority).items():
            # With fewer in flight than there are messages, the rest comes only for acknowledgements.
            # Pings, because Mosquitto's WebSocket forgets the rest of a large message until somebody speaks.
            window = {"receive_maximum": 1_000, "keepalive": "1s"}
            settings = MqttSettings.model_validate({"client_id": name, "protocol": protocol, **window, **options})
            filters = [Subscription("f/#", qos)]
            _, links[name] = await stack.enter_async_context(linked(settings, filters, persistent=False))
        await asyncio.to_thread(publish, everywhere.port, messages)
        for name, heard in links.items():
            await heard.until(lambda heard=heard: len(heard.payloads) >= COUNT)  # type: ignore[misc]
            assert list(zip(heard.topics, heard.payloads, strict=True)) == messages, name
            assert heard.reasons == [], name


async def test_a_message_larger_than_allowed_comes_as_a_stub(everywhere: Mosquitto, authority: Authority) -> None:
    ways = transports(everywhere, authority)
    for name, options in (("tcp", ways["tcp"]), ("tls", ways["tls"])):
        settings = MqttSettings.model_validate({"client_id": name, **options})
        async with linked(settings, [Subscription("f/#", 1)], persistent=False, max_payload_bytes=10_000) as (_, heard):
            large = (b"f/large", b"x" * 3_000_000)
            await asyncio.to_thread(publish, everywhere.port, [large, (b"f/after", b"1")])
            await heard.until(lambda heard=heard: len(heard.payloads) == 2)  # type: ignore[misc]
            assert heard.payloads == [b"x" * 10_001, b"1"]


# --- TLS refuses ------------------------------------------------------------------------------------------------------


async def refusal(settings: MqttSettings) -> str:
    """Why the first try failed."""
    async with linked(settings, wait=False, persistent=False) as (_, heard):
        await heard.until(lambda: bool(heard.sessions or heard.reasons))
        assert not heard.sessions
        return heard.reasons[0]


@pytest.mark.parametrize(
    ("address", "days", "said"),
    [
        ("127.0.0.2", 2, "IP address mismatch"),
        ("127.0.0.1", -1, "certificate has expired"),
        ("127.0.0.1", 2, "unable to get local issuer certificate"),
    ],
    ids=["another host's", "expired", "of an unknown authority"],
)
async def test_a_brokers_certificate_that_is_not_good_is_refused(
    tmp_path: Path, authority: Authority, address: str, days: int, said: str
) -> None:
    require("mosquitto")
    signer, trusted = authority, authority
    if "issuer" in said:
        signer = Authority(tmp_path / "other", "other")
    certificate = signer.sign(f"server{days}{address}", address=address, days=days)
    with Mosquitto(tmp_path / "mosquitto", certificate=certificate) as broker:
        tls = {"enabled": True, "ca_file": str(trusted.path)}
        reason = await refusal(MqttSettings.model_validate({"port": broker.tls_port, "tls": tls}))
    assert reason.startswith(f"TLS: the certificate of the other side is refused: {said}")
    assert "CERTIFICATE_VERIFY_FAILED" in reason


async def test_a_broker_that_wants_our_certificate_says_so(tmp_path: Path, authority: Authority) -> None:
    require("mosquitto")
    own, strange = authority.sign("gateway"), Authority(tmp_path / "other", "other").sign("stranger")
    certificate = authority.sign("server")
    with Mosquitto(tmp_path / "mosquitto", certificate=certificate, client_authority=authority.path) as broker:
        tls = {"enabled": True, "ca_file": str(authority.path)}
        settings = MqttSettings.model_validate({"port": broker.tls_port, "tls": tls})
        reason = await refusal(settings)
        assert "TLS: the other side wants a client certificate: set tls.cert_file and tls.key_file" in reason
        stranger = {**tls, "cert_file": str(strange.path), "key_file": str(strange.key)}
        reason = await refusal(MqttSettings.model_validate({"port": broker.tls_port, "tls": stranger}))
        assert "TLS: the other side does not trust our client certificate" in reason
        known = {**tls, "cert_file": str(own.path), "key_file": str(own.key), "alpn": ["mqtt", "x-other"]}
        async with linked(MqttSettings.model_validate({"port": broker.tls_port, "tls": known})) as (link, _):
            assert link.is_up


async def test_an_encryption_that_is_too_old_and_a_port_without_any_are_refused(
    everywhere: Mosquitto, authority: Authority
) -> None:
    certificate = authority.sign("old")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.key)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    tls = {"enabled": True, "ca_file": str(authority.path)}
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer_once() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                context.wrap_socket(connection, server_side=True)

        answering = threading.Thread(target=answer_once)
        answering.start()
        reason = await refusal(MqttSettings.model_validate({"port": port, "tls": tls}))
        answering.join()
    assert reason.startswith("TLS: there is no version of TLS that both sides speak")
    for wrong in ({"tls": tls}, {"transport": "websockets"}):
        reason = await refusal(MqttSettings.model_validate({"port": everywhere.port, **wrong}))
        assert "closed during the handshake" in reason


# --- secrets in files -------------------------------------------------------------------------------------------------


async def test_a_secret_that_is_exchanged_counts_from_the_next_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("mosquitto")
    monkeypatch.setattr("ingest.mqtt.random.uniform", lambda _a, _b: 0.0)
    user, secret = tmp_path / "user", tmp_path / "secret"
    user.write_text("gateway\n")
    secret.write_text("first secret\r\n")
    with Mosquitto(tmp_path / "mosquitto", users={"gateway": "first secret"}) as broker:
        settings = MqttSettings(port=broker.port, username_file=str(user), password_file=str(secret))
        async with linked(settings) as (link, heard):
            broker.set_users({"gateway": "second secret"})
            await asyncio.to_thread(broker.restart)
            await heard.until(lambda: any("uthor" in reason for reason in heard.reasons))
            assert not link.is_up
            secret.unlink()
            await heard.until(lambda: f"mqtt.password_file = {secret}: No such file or directory" in heard.reasons)
            secret.write_text("second secret")
            await heard.until(lambda: len(heard.sessions) == 2)
            assert not any("first secret" in reason or "second secret" in reason for reason in heard.reasons)


# --- filters come and go ----------------------------------------------------------------------------------------------


def on(*filters: str) -> list[Subscription]:
    return [Subscription(one, 1) for one in filters]


async def test_a_reload_subscribes_what_is_new_and_unsubscribes_what_is_gone(mosquitto: Mosquitto) -> None:
    async with linked(MqttSettings(port=mosquitto.port), on("kept/#", "gone/#")) as (link, heard):
        assert link.filters == ["gone/#", "kept/#"]
        assert await link.resubscribe(on("kept/#", "new/#"))
        assert link.filters == ["kept/#", "new/#"]
        await publish_one(mosquitto, "gone/1", "kept/1", "new/1")
        await heard.until(lambda: len(heard.topics) == 2)
        assert heard.topics == [b"kept/1", b"new/1"]
        assert heard.reasons == []


async def test_a_filter_removed_while_we_were_away_does_not_go_on_filling_the_queue(mosquitto: Mosquitto) -> None:
    stored: list[list[str]] = []
    settings = MqttSettings(port=mosquitto.port)
    async with linked(settings, on("kept/#", "gone/#"), remember=stored.append):
        assert stored == [["gone/#", "kept/#"]]
    async with linked(settings, on("kept/#", "new/#"), remembered=stored[-1], remember=stored.append) as (_, heard):
        assert heard.sessions == [True]
        assert stored[1:] == [["gone/#", "kept/#", "new/#"], ["kept/#", "new/#"]]
        await publish_one(mosquitto, "gone/1", "kept/1", "new/1")
        await heard.until(lambda: len(heard.topics) == 2)
        assert heard.topics == [b"kept/1", b"new/1"]
    # The session itself has lost it: who asks for nothing and remembers nothing gets what is left.
    async with linked(settings, on("kept/#")) as (_, heard):
        await publish_one(mosquitto, "gone/1", "new/1", "kept/1")
        await heard.until(lambda: b"kept/1" in heard.topics)
        assert heard.topics == [b"new/1", b"kept/1"]


async def test_a_reload_without_a_connection_is_done_by_the_next(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.mqtt.random.uniform", lambda _a, _b: 0.0)
    async with linked(MqttSettings(port=mosquitto.port), on("kept/#", "gone/#")) as (link, heard):
        await asyncio.to_thread(mosquitto.stop)
        await heard.until(lambda: bool(heard.reasons))
        assert not await link.resubscribe(on("kept/#"))
        await asyncio.to_thread(mosquitto.start)
        await heard.until(lambda: len(heard.sessions) == 2)
        assert (heard.sessions, link.filters) == ([False, True], ["kept/#"])
        await publish_one(mosquitto, "gone/1", "kept/1")
        await heard.until(lambda: bool(heard.topics))
        assert heard.topics == [b"kept/1"]


async def test_many_filters_are_asked_for_in_portions(mosquitto: Mosquitto) -> None:
    filters = [f"f/{at}/#" for at in range(100)]
    async with linked(MqttSettings(port=mosquitto.port), on(*filters)) as (link, heard):
        await publish_one(mosquitto, *(f"f/{at}/x" for at in range(100)))
        await heard.until(lambda: len(heard.topics) == 100)
        assert await link.resubscribe([])
        assert link.filters == []


async def test_a_shared_subscription_is_shared(mosquitto: Mosquitto) -> None:
    def member(name: str) -> MqttSettings:
        shared = {"shared_group": "gateways", "shared_dispatch": "topic-hash"}
        return MqttSettings.model_validate({"port": mosquitto.port, "client_id": name, **shared})

    async with linked(member("a"), on("f/#")) as (link, one), linked(member("b"), on("f/#")) as (_, other):
        assert link.filters == ["$share/gateways/f/#"]
        await publish_one(mosquitto, *(f"f/{at}" for at in range(20)))
        await one.until(lambda: bool(one.topics))
        await other.until(lambda: len(one.topics) + len(other.topics) == 20)
        assert sorted(one.topics + other.topics) == sorted(b"f/%d" % at for at in range(20))


async def test_a_broker_that_grants_less_than_asked_is_not_taken_for_granted(tmp_path: Path) -> None:
    require("mosquitto")
    with Mosquitto(tmp_path / "mosquitto", extra=["max_qos 0"]) as broker:
        async with linked(MqttSettings(port=broker.port), on("f/#"), wait=False) as (_, heard):
            await heard.until(lambda: bool(heard.sessions or heard.reasons))
            assert "f/#: QoS 0 is all the broker grants" in heard.reasons[0]


# --- publishing -------------------------------------------------------------------------------------------------------


async def test_a_request_is_published_while_connected_and_refused_otherwise(mosquitto: Mosquitto) -> None:
    async with linked(MqttSettings(port=mosquitto.port), wait=False) as (link, heard):
        assert not link.publish("spBv1.0/g/NCMD/n", b"rebirth", 1)
        await heard.until(lambda: bool(heard.sessions))
        settings = MqttSettings(port=mosquitto.port, client_id="device")
        async with linked(settings, on("spBv1.0/#")) as (_, device):
            assert link.publish("spBv1.0/g/NCMD/n", b"rebirth", 0)
            assert link.publish("spBv1.0/g/NCMD/n", b"again", 1)
            for impossible in ("a/+/b", "a/#", "", "x" * 65_536, "\ud800"):
                assert not link.publish(impossible, b"")
            await device.until(lambda: len(device.payloads) == 2)
            assert sorted(device.payloads) == [b"again", b"rebirth"]
        await asyncio.to_thread(mosquitto.stop)
        await heard.until(lambda: bool(heard.reasons))
        assert not link.publish("f", b"", 0)


async def test_what_is_published_while_away_waits_in_a_queue_that_ends(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.mqtt.MAX_UNCONFIRMED", 5)
    monkeypatch.setattr("ingest.mqtt.random.uniform", lambda _a, _b: 0.0)
    async with linked(MqttSettings(port=mosquitto.port)) as (link, heard):
        await asyncio.to_thread(mosquitto.stop)
        await heard.until(lambda: bool(heard.reasons))
        assert [link.publish("f", b"", 1) for _ in range(7)] == [True] * 5 + [False] * 2
        assert link.unconfirmed == 5
        await asyncio.to_thread(mosquitto.start)
        await heard.until(lambda: len(heard.sessions) == 2)
        async with asyncio.timeout(TIMEOUT_S):
            while link.unconfirmed:
                await asyncio.sleep(0.01)

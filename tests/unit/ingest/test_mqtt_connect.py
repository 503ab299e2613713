"""What a link announces when it connects, and what it does when the broker does not keep to it."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ingest.contract.mqtt_settings import MqttSettings
from ingest.mqtt import MqttLink
from ingest.packets import Burst

ACCEPT_5 = b"\x20\x03\x00\x00\x00"
TIMEOUT_S = 10.0


class Heard:
    """Waits for the first end of a connection."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.payloads: list[bytes] = []

    def received(self, burst: Burst) -> None:
        self.payloads += burst.payloads

    def connecting(self, epoch: int) -> None: ...

    def connected(self, epoch: int, protocol: str, session_present: bool) -> None: ...

    def disconnected(self, reason: str, retry_in_s: float) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)


async def meet(says: bytes, protocol: Literal["5", "3.1.1"] = "5", **settings: Any) -> tuple[bytes, Heard]:
    """(CONNECT packet, what was heard) of a link that meets a broker which says this and then hangs up."""
    first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packet = await reader.read(1_024)
        if not first.done():
            first.set_result(packet)
        writer.write(says)
        writer.close()

    heard = Heard()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(TIMEOUT_S):
        port = server.sockets[0].getsockname()[1]
        link = MqttLink(MqttSettings.model_validate({"port": port, "protocol": protocol, **settings}), heard)
        running = asyncio.create_task(link.run())
        packet = await first
        await heard.lost
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return packet, heard


async def test_no_topic_alias_and_no_largest_packet_are_announced() -> None:
    packet, _ = await meet(ACCEPT_5, receive_maximum=77, session_expiry="1h")
    at = packet.index(b"MQTT\x05") + 5 + 1 + 2  # then flags and keep-alive
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.unpack(packet[at:])  # type: ignore[no-untyped-call]
    assert properties.json() == {"SessionExpiryInterval": 3_600, "ReceiveMaximum": 77}  # type: ignore[no-untyped-call]


async def test_a_topic_alias_ends_the_connection() -> None:
    good, alias = b"\x30\x05\0\x01t\0" + b"1", b"\x30\x07\0\0\x03\x23\0\x01" + b"2"
    _, heard = await meet(ACCEPT_5 + good + alias)
    assert heard.payloads == [b"1"]
    assert "a topic alias, which was not offered" in await heard.lost


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_who_and_the_secret_are_sent_from_files(tmp_path: Any, protocol: Literal["5", "3.1.1"]) -> None:
    for name in ("anna", "open"):
        (tmp_path / name).write_text(f"{name}\n")
    files = {"username_file": str(tmp_path / "anna"), "password_file": str(tmp_path / "open")}
    packet, _ = await meet(b"", protocol, **files)
    assert packet.endswith(b"\x00\x04anna\x00\x04open")


async def test_a_host_that_cannot_be_one_is_an_error_that_is_told() -> None:
    heard = Heard()
    link = MqttLink(MqttSettings(host="x" * 70 + ".example"), heard)
    running = asyncio.create_task(link.run())
    async with asyncio.timeout(TIMEOUT_S):
        assert (await heard.lost).startswith("mqtt.host cannot be the name of a host")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

"""Which protocol a link tries next: a broker that hangs up may be old or just starting, one that says so is old."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from ingest.contract.mqtt_settings import MqttSettings
from ingest.mqtt import MqttLink
from ingest.packets import Burst
from tests.servers.mosquitto import Mosquitto
from tests.servers.ports import free_port
from tests.servers.require import require

HANG_UP = b""
ACCEPT = {4: b"\x20\x02\x00\x00", 5: b"\x20\x03\x00\x00\x00"}
UNKNOWN_PROTOCOL = b"\x20\x02\x00\x01"


@dataclass
class Heard:
    """Keeps what a link says."""

    protocols: list[str] = field(default_factory=list)
    up: asyncio.Event = field(default_factory=asyncio.Event)

    def received(self, burst: Burst) -> None:
        """Nothing is subscribed."""

    def connecting(self, epoch: int) -> None:
        """Of no interest."""

    def connected(self, epoch: int, protocol: str, session_present: bool) -> None:
        self.protocols.append(protocol)
        self.up.set()

    def disconnected(self, reason: str, retry_in_s: float) -> None:
        """Of no interest."""


@pytest.fixture(autouse=True)
def _no_waiting_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.mqtt.random.uniform", lambda _a, _b: 0.0)


@asynccontextmanager
async def linked(port: int, heard: Heard, protocol: Literal["auto", "5", "3.1.1"] = "auto") -> AsyncIterator[MqttLink]:
    link = MqttLink(MqttSettings(port=port, protocol=protocol), heard)
    running = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        # Python 3.11's wait_for drops a cancellation that comes together with the hang-up it waits for.
        while not running.done():
            running.cancel()
            await asyncio.wait([running], timeout=0.1)


async def levels(answers: list[bytes | None], protocol: Literal["auto", "5", "3.1.1"] = "auto") -> list[int]:
    """The protocol levels of a link's tries; each is answered (None: accepted) and then hung up on."""
    seen: list[int] = []
    enough = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(seen) < len(answers):
            head = await reader.read(1_024)
            level, answer = head[head.index(b"MQTT") + 4], answers[len(seen)]
            seen.append(level)
            writer.write(ACCEPT[level] if answer is None else answer)
        if len(seen) == len(answers):
            enough.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, linked(server.sockets[0].getsockname()[1], Heard(), protocol):
        await asyncio.wait_for(enough.wait(), 5)
    return seen


async def test_a_hang_up_is_answered_with_one_try_of_the_old_protocol_and_then_the_new_again() -> None:
    assert await levels([HANG_UP] * 5) == [5, 4, 5, 4, 5]


async def test_what_worked_after_a_hang_up_is_not_kept_for_the_next_connection() -> None:
    assert await levels([HANG_UP, None, None]) == [5, 4, 5]


async def test_a_broker_that_says_it_does_not_know_the_protocol_is_believed() -> None:
    assert await levels([UNKNOWN_PROTOCOL, None, HANG_UP, None]) == [5, 4, 4, 4]


async def test_a_protocol_that_was_asked_for_is_never_left() -> None:
    assert await levels([HANG_UP, UNKNOWN_PROTOCOL, HANG_UP], "5") == [5, 5, 5]
    assert await levels([HANG_UP] * 3, "3.1.1") == [4, 4, 4]


@pytest.mark.real
async def test_a_gateway_that_met_a_starting_broker_speaks_the_new_protocol_in_the_end(tmp_path: Path) -> None:
    require("mosquitto")
    port, heard, tries = free_port(), Heard(), 0
    hung_up = asyncio.Event()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            hung_up.set()
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", port)
    async with linked(port, heard) as link:
        await asyncio.wait_for(hung_up.wait(), 5)
        server.close()
        await server.wait_closed()
        broker = Mosquitto(tmp_path / "mosquitto", port=port, persistence=True)
        await asyncio.to_thread(broker.start)
        try:
            await asyncio.wait_for(heard.up.wait(), 5)
            if heard.protocols == ["3.1.1"]:  # the last hang-up was of a try of 5
                heard.up.clear()
                await asyncio.to_thread(broker.restart)
                await asyncio.wait_for(heard.up.wait(), 5)
            assert heard.protocols[-1] == "5"
            assert link.is_up
        finally:
            await asyncio.to_thread(broker.stop)

"""Plays a simulated plant to a real broker: some history at full speed, then event time follows the wall clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.contract.clock import Clock
from ingest.contract.errors import StopError
from ingest.contract.mqtt_settings import MqttSettings
from ingest.contract.observe import log
from ingest.mqtt import MqttLink, Subscription
from ingest.packets import Burst
from ingest.simulator.faults.truth import write_truth_csv
from ingest.simulator.feed import Feed
from ingest.simulator.formats import Message
from ingest.simulator.plant import Plant

_STEP_S = 0.1
_CATCH_UP_US = 1_000_000
# Messages on their way to the broker: paho looks through all of them at each confirmation, so more would be slower.
_MAX_UNCONFIRMED = 512
_SLICE = 128
_POLL_S = 0.001
_MAX_ANSWERS = 10_000
_LAST_WORDS_S = 5.0
_TRUTH_EVERY_S = 1.0
# Writing the truth takes at most a twentieth of the time, however long it has become.
_TRUTH_SHARE = 20.0


@dataclass(frozen=True, slots=True)
class Play:
    """How long to play: stop `duration_s` after the start, after `messages`, or never (None).

    truth: where to write the faults that were injected, as CSV; an earlier file is replaced. qos: 1, or 0, which is
    three times as fast and loses what is under way when the connection breaks.
    """

    duration_s: float | None = None
    messages: int | None = None
    truth: Path | None = None
    qos: int = 1


class Publisher:
    """A plant, its devices and their connection."""

    def __init__(self, settings: MqttSettings, plant: Plant, feed: Feed, play: Play, clock: Clock) -> None:
        self.plant = plant
        self._feed, self._play, self._clock = feed, play, clock
        self._log = log("simulator")
        self._up = asyncio.Event()
        self._asked: list[tuple[str, bytes]] = []
        own = {"client_id": f"{settings.client_id}-simulator", "shared_group": None, "shared_dispatch": None}
        # QoS 0: what was asked before a reconnect is asked again.
        listening = [Subscription(topic, 0) for topic in feed.commands]
        self.link = MqttLink(settings.model_copy(update=own), self, listening, persistent=False)
        self.sent = 0
        """Messages handed to the connection; the broker has `sent - link.unconfirmed` of them."""
        self._known_faults = 0
        self._next_truth_s = 0.0

    # --- the link's receiver ----------------------------------------------------------------------------------

    def received(self, burst: Burst) -> None:
        """Commands: remembered, and answered in their turn."""
        for topic, payload in zip(burst.topics, burst.payloads, strict=True):
            if len(self._asked) < _MAX_ANSWERS:
                self._asked.append((topic.decode(errors="replace"), payload))

    def connecting(self, epoch: int) -> None:
        """What is unconfirmed is sent again by the client."""

    def connected(self, epoch: int, protocol: str, session_present: bool) -> None:
        """Play on."""
        self._log.info("simulator connected", protocol=protocol)
        self._up.set()

    def disconnected(self, reason: str, retry_in_s: float) -> None:
        """Wait."""
        self._up.clear()
        self._log.warning("simulator not connected", reason=reason, retry_in_s=round(retry_in_s, 1))

    # --- playing ----------------------------------------------------------------------------------------------

    async def run(self, show: Callable[[], None] | None = None) -> None:
        """Play to the end, and wait until the broker has confirmed everything. Raises StopError.

        show: called several times a second.
        """
        connection = asyncio.create_task(self.link.run())
        try:
            await self._wait(self._up.wait(), connection)
            await self._wait(self._play_all(show), connection)
        finally:
            # Asked to stop or at the end: what was handed over is not abandoned while the broker answers.
            until_s = self._clock.monotonic_s() + _LAST_WORDS_S
            while self.link.unconfirmed and self.link.is_up and self._clock.monotonic_s() < until_s:
                await asyncio.sleep(_STEP_S / 10)
            await self.link.close()
            connection.cancel()
            await asyncio.gather(connection, return_exceptions=True)
            self._write_truth()

    @staticmethod
    async def _wait(work: Coroutine[Any, Any, Any], connection: asyncio.Task[None]) -> None:
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait([task, connection], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                connection.result()
        finally:
            task.cancel()
            outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        if isinstance(outcome, Exception):
            raise outcome

    async def _play_all(self, show: Callable[[], None] | None) -> None:
        started_s = self._clock.monotonic_s()
        while not self._over(started_s):
            now_us = self._clock.now_us()
            # The past in pieces: hours of it would not fit into memory.
            until_us = min(now_us, self.plant.now_us + _CATCH_UP_US)
            asked, self._asked = self._asked, []
            messages = [answer for topic, payload in asked for answer in self._feed.command(topic, payload)]
            await self._send(messages + self._feed.advance(until_us), started_s)
            self._remark_faults()
            if show is not None:
                show()
            await asyncio.sleep(_STEP_S if until_us == now_us else 0)
        while self.link.unconfirmed:
            await asyncio.sleep(_STEP_S / 10)

    def _over(self, started_s: float) -> bool:
        play = self._play
        if play.messages is not None and self.sent >= play.messages:
            return True
        return play.duration_s is not None and self._clock.monotonic_s() - started_s >= play.duration_s

    async def _send(self, messages: list[Message], started_s: float) -> None:
        if self._play.messages is not None:
            messages = messages[: self._play.messages - self.sent]
        qos = self._play.qos
        for begin in range(0, len(messages), _SLICE):
            if self._over(started_s):
                return
            while self.link.unconfirmed > _MAX_UNCONFIRMED or not self._up.is_set():
                await asyncio.sleep(_POLL_S if self._up.is_set() else _STEP_S)
            for _, topic, payload in messages[begin : begin + _SLICE]:
                while not self.link.publish(topic, payload, qos):
                    await asyncio.sleep(_POLL_S if self._up.is_set() else _STEP_S)
                self.sent += 1
            await asyncio.sleep(0)

    # --- the truth --------------------------------------------------------------------------------------------

    def _remark_faults(self) -> None:
        faults = len(self.plant.faults)
        if faults != self._known_faults and self._clock.monotonic_s() >= self._next_truth_s:
            self._known_faults = faults
            self._write_truth()

    def _write_truth(self) -> None:
        if self._play.truth is None:
            return
        began_s = self._clock.monotonic_s()
        try:
            write_truth_csv(self.plant.labels(self.plant.faults), self._play.truth)
        except OSError as error:
            raise StopError(f"{self._play.truth}: {error.strerror or error}") from error
        took_s = self._clock.monotonic_s() - began_s
        self._next_truth_s = began_s + max(_TRUTH_EVERY_S, _TRUTH_SHARE * took_s)

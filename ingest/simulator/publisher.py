"""Plays a simulated plant to a real broker: some history at full speed, then event time follows the wall clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ingest.contract.clock import Clock
from ingest.contract.mqtt_settings import MqttSettings
from ingest.contract.observe import log
from ingest.mqtt import MqttLink
from ingest.packets import Burst as MqttBurst
from ingest.simulator.faults import Fault, write_truth_csv
from ingest.simulator.payloads import encode_json
from ingest.simulator.plant import Plant

_STEP_S = 0.1
# Messages on their way to the broker; more would only fill its queues and ours.
_MAX_UNCONFIRMED = 2_000
_SLICE = 500
_LAST_WORDS_S = 5.0


@dataclass(frozen=True, slots=True)
class Play:
    """What to play.

    topic_prefix: topics are `<prefix>/<sensor path>`. history_s: event time before now that is sent at once.
    duration_s: stop so long after the start; messages: stop after so many; None for no end. truth: where to write the
    faults that were injected, as CSV.
    """

    sensors: int = 200
    seed: int = 1
    period_s: float = 1.0
    fault_every_s: float | None = 20.0
    history_s: float = 0.0
    duration_s: float | None = None
    messages: int | None = None
    topic_prefix: str = "factory"
    truth: Path | None = None


class Publisher:
    """A plant and its connection."""

    def __init__(self, settings: MqttSettings, play: Play, clock: Clock) -> None:
        self._play = play
        self._clock = clock
        self._log = log("simulator")
        self._up = asyncio.Event()
        self.link = MqttLink(
            settings.model_copy(update={"client_id": f"{settings.client_id}-simulator"}), self, persistent=False
        )
        self.plant = Plant(
            play.sensors,
            play.seed,
            clock.now_us() - round(play.history_s * 1e6),
            period_s=play.period_s,
            fault_every_s=play.fault_every_s,
        )
        self.sent = 0
        """Messages handed to the connection; the broker has `sent - link.unconfirmed` of them."""
        self._known_faults = 0

    # --- the link's receiver ----------------------------------------------------------------------------------

    def received(self, burst: MqttBurst) -> None:
        """Nothing is subscribed."""

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

    async def run(self, on_fault: Callable[[Fault], None] | None = None) -> None:
        """Play to the end, and wait until the broker has confirmed everything."""
        connection = asyncio.create_task(self.link.run())
        try:
            await self._wait(self._up.wait(), connection)
            await self._wait(self._play_all(on_fault), connection)
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
    async def _wait(work: object, connection: asyncio.Task[None]) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        await asyncio.wait([task, connection], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            connection.result()
        await task

    async def _play_all(self, on_fault: Callable[[Fault], None] | None) -> None:
        play = self._play
        started_s = self._clock.monotonic_s()
        while not self._over(started_s):
            burst = self.plant.advance(self._clock.now_us())
            for begin in range(0, len(burst), _SLICE):
                part = burst[begin : begin + _SLICE]
                if play.messages is not None:
                    part = part[: play.messages - self.sent]
                await self._send(part.sensor.tolist(), part.ts_us.tolist(), part.value.tolist(), part.text.tolist())
            for fault in self.plant.faults[self._known_faults :]:
                self._known_faults += 1
                if on_fault is not None:
                    on_fault(fault)
                self._write_truth()
            await asyncio.sleep(_STEP_S)
        while self.link.unconfirmed:
            await asyncio.sleep(_STEP_S / 10)

    def _over(self, started_s: float) -> bool:
        play = self._play
        if play.messages is not None and self.sent >= play.messages:
            return True
        return play.duration_s is not None and self._clock.monotonic_s() - started_s >= play.duration_s

    async def _send(self, sensor: list[int], ts_us: list[int], value: list[float], text: list[str | None]) -> None:
        while self.link.unconfirmed > _MAX_UNCONFIRMED or not self._up.is_set():
            await asyncio.sleep(_STEP_S / 10)
        for at, time_us, number, word in zip(sensor, ts_us, value, text, strict=True):
            one = self.plant.sensors[at]
            payload = encode_json(time_us, number, word, one.kind)
            self.link.publish(f"{self._play.topic_prefix}/{one.path}", payload)
            self.sent += 1
        await asyncio.sleep(0)

    def _write_truth(self) -> None:
        if self._play.truth is not None:
            write_truth_csv(self.plant.faults, self._play.truth)

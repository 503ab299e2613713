"""Listening: a connection that only reads, at QoS 0 and with a session of its own, for so long."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from ingest.contract.clock import Clock
from ingest.contract.errors import ReconnectError, StopError
from ingest.contract.mqtt_settings import MqttSettings
from ingest.discover.heard import Hearing
from ingest.mqtt import MqttLink, Subscription
from ingest.packets import Burst

_TICK_S = 0.25


class Listener:
    """Hears a broker. `remark` says what is wrong with the connection at the moment, if anything is."""

    def __init__(self, settings: MqttSettings, filters: Sequence[str], hearing: Hearing, clock: Clock) -> None:
        own = settings.model_copy(update={"client_id": f"millstream-discover-{uuid.uuid4().hex[:8]}"})
        self._hearing = hearing
        self._clock = clock
        self._encrypted = settings.tls.enabled
        scheme = "mqtt" if settings.transport == "tcp" else "ws"
        self._other = f"{scheme}://" if self._encrypted else f"{scheme}s://"
        self._up = asyncio.Event()
        self._refused: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._hung_up = 0
        self._link = MqttLink(
            own,
            self,
            [Subscription(one, 0) for one in filters],
            persistent=False,
            max_payload_bytes=hearing.max_payload_bytes,
        )
        self.seconds = 0.0
        """How long it has listened."""
        self.remark = ""

    # --- the link's receiver ----------------------------------------------------------------------------------

    def received(self, burst: Burst) -> None:
        """Remember it."""
        self._hearing.take(burst, self._clock.now_us())

    def connecting(self, epoch: int) -> None:
        """Nothing to prepare."""

    def connected(self, epoch: int, protocol: str, session_present: bool) -> None:
        """Time runs from the first of these."""
        self.remark = ""
        self._up.set()

    def disconnected(self, reason: str, retry_in_s: float) -> None:
        """Before the first connection it is the end; later the broker may come back."""
        self.remark = f"not connected: {reason}"
        if self._up.is_set() or self._refused.done():
            return
        self._hung_up += 1
        # A broker without MQTT 5 may just hang up; the link then tries 3.1.1.
        if "before it was accepted" not in reason or self._hung_up > 1:
            self._refused.set_result(self._explained(reason))

    def _explained(self, reason: str) -> str:
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            return f"{reason}: the broker's certificate is not trusted; --ca-file names the one that signed it"
        if self._encrypted and ("TLS" in reason or "closed" in reason or "reset" in reason.lower()):
            return f"{reason}; does the broker speak TLS on this port? {self._other} is without"
        if not self._encrypted and ("before it was accepted" in reason or "reset" in reason.lower()):
            return f"{reason}; does the broker want TLS on this port? That is {self._other}"
        if "uthori" in reason or "password" in reason:
            return f"{reason}; the user and the password go before the host: mqtt://user:password@host"
        return reason

    # --- listening --------------------------------------------------------------------------------------------

    async def listen(self, duration_s: float, stop: asyncio.Event, progress: Callable[[Listener], None]) -> None:
        """Listen for so long, or until `stop`; `progress` is called a few times a second.

        Raises ReconnectError when there is no first connection, and StopError when TLS cannot be set up.
        """
        running = asyncio.create_task(self._link.run())
        up, stopped = asyncio.create_task(self._up.wait()), asyncio.create_task(stop.wait())
        try:
            first: list[asyncio.Future[Any]] = [running, up, stopped, self._refused]
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            if self._refused.done():
                raise ReconnectError(self._refused.result())
            started_s = self._clock.monotonic_s()
            while not stop.is_set() and self.seconds < duration_s:
                left_s = duration_s - self.seconds
                await asyncio.wait(
                    {stopped, running}, timeout=min(_TICK_S, left_s), return_when=asyncio.FIRST_COMPLETED
                )
                if running.done():
                    running.result()
                self.seconds = self._clock.monotonic_s() - started_s
                progress(self)
        finally:
            await self._link.close()
            for task in (running, up, stopped):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, StopError):
                    await task

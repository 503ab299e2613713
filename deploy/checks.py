"""`millstream check`: are the settings right, do the connections work, what will it need?"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

from deploy.topics import MissingTopicsError, try_topics
from ingest.contract.errors import ReconnectError, StopError
from ingest.contract.settings import Settings
from ingest.mqtt import MqttLink
from ingest.packets import Burst

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. ok: None for a remark that is neither good nor bad."""

    what: str
    ok: bool | None
    said: str


class _Probe:
    """Connects once, subscribes to nothing, leaves no session behind."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Finding] = asyncio.get_running_loop().create_future()

    def received(self, burst: Burst) -> None:
        """Nothing is subscribed."""

    def connecting(self, epoch: int) -> None:
        """Nothing to prepare."""

    def connected(self, epoch: int, protocol: str, session_present: bool) -> None:
        """It works."""
        if not self.answer.done():
            self.answer.set_result(Finding("mqtt", True, f"connected, MQTT {protocol}"))

    def disconnected(self, reason: str, retry_in_s: float) -> None:
        """It does not, unless a broker without MQTT 5 just hung up on us."""
        if "before it was accepted" not in reason and not self.answer.done():
            self.answer.set_result(Finding("mqtt", False, reason))


async def check_mqtt(settings: Settings) -> Finding:
    """Connect as the gateway would, under a client id of its own."""
    probe = _Probe()
    mqtt = settings.mqtt.model_copy(update={"client_id": f"{settings.mqtt.client_id}-check"})
    link = MqttLink(mqtt, probe, persistent=False)
    where = f"{mqtt.host}:{mqtt.port}"
    running = asyncio.create_task(link.run())
    try:
        waiting: list[asyncio.Future[Any]] = [probe.answer, running]
        await asyncio.wait(waiting, timeout=_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        if not probe.answer.done():
            return Finding("mqtt", False, f"{where}: no connection within {_TIMEOUT_S:.0f} s")
        finding = probe.answer.result()
        return Finding("mqtt", finding.ok, f"{where}: {finding.said}")
    except StopError as error:
        return Finding("mqtt", False, str(error))
    finally:
        await link.close()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopError):
            await running


async def check_kafka(settings: Settings) -> list[Finding]:
    """Reach Kafka and look at the topics, without creating any."""
    where = ",".join(settings.kafka.bootstrap)
    try:
        topics = await asyncio.wait_for(
            try_topics(settings.kafka, create=False, waveforms=settings.keeps_waveforms), _TIMEOUT_S
        )
    except (ReconnectError, TimeoutError) as error:
        return [Finding("kafka", False, f"{where}: {str(error) or 'no answer'}")]
    except MissingTopicsError as error:
        if settings.kafka.topics.create:
            return [Finding("kafka", None, f"{where}: reached; the daemons will create the topics")]
        return [Finding("kafka", False, str(error))]
    except StopError as error:
        return [Finding("kafka", False, str(error))]
    found = [
        Finding("kafka", True, f"{where}: reached; {settings.kafka.topics.readings.partitions} partitions of readings")
    ]
    return found + [Finding("kafka", None, remark) for remark in topics.remarks]

"""The alerts topic, followed: what is open, what has fired."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from deploy.up.balance import Fired
from deploy.up.children import Say
from ingest.contract.kafka_client import client_options
from ingest.contract.kafka_settings import KafkaSettings
from stream.notify.digest import DIGEST

_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that fires now."""

    sensor: str
    value: float
    score: float
    model: str
    since_us: int


class Alerts:
    """Follows the topic from its end at the start."""

    def __init__(self, kafka: KafkaSettings, say: Say) -> None:
        self._kafka = kafka
        self._say = say
        self.open: dict[str, OpenAlert] = {}
        self.fired: dict[str, Fired] = {}

    async def follow(self) -> None:
        """Until cancelled; Kafka may come and go."""
        while True:
            consumer = AIOKafkaConsumer(
                self._kafka.topics.alerts.name,
                # A topic that is new has nothing to skip, and one that is old should not tell old stories.
                auto_offset_reset="latest",
                enable_auto_commit=False,
                **client_options(self._kafka, "millstream-up"),
            )
            try:
                await consumer.start()
                await consumer.seek_to_end()
                async for record in consumer:
                    self.take(msgspec.json.decode(record.value))
            except KafkaError as error:
                self._say(f"alerts      cannot be read: {error}")
                await asyncio.sleep(_RETRY_S)
            finally:
                await consumer.stop()

    def take(self, alert: dict[str, Any]) -> None:
        """Note, and say, what a record says."""
        who, phase = alert["id"], alert["phase"]
        if phase == DIGEST:
            self._say(f"alerts      {alert['count']} came and went at {alert['site']} while data was late")
            return
        by = alert["model"] or alert["rule"]
        if phase == "firing":
            self.open[who] = OpenAlert(alert["sensor"], alert["value"], alert["score"], by, alert["since_us"])
            self.fired[who] = Fired(alert["sensor"], alert["since_us"])
        elif phase == "resolved":
            self.open.pop(who, None)
        self._say(
            f"alert       {phase:<9}{alert['sensor']}  value {alert['value']:.4g}  score {alert['score']:.2f}  ({by})"
        )

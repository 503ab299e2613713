"""A gateway between a link and a log of the test's own: no network, and nothing happens unless a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from ingest.contract.log_writer import Outgoing
from ingest.contract.sensors import TopicPattern
from ingest.contract.settings import Settings
from ingest.decoders import DECODERS, Decoder
from ingest.delivery import Outcome
from ingest.gateway import Gateway
from ingest.gateway_events import GatewayEvents
from ingest.packets import Burst
from ingest.profiles import Profiles
from ingest.topic_table import Route

NOW_US = 1_700_000_000_000_000
READINGS, QUARANTINE = "millstream.readings", "millstream.quarantine"


@dataclass
class StillClock:
    """Time is what a test sets."""

    us: int = NOW_US
    s: float = 0.0

    def now_us(self) -> int:
        return self.us

    def monotonic_s(self) -> float:
        return self.s


@dataclass
class Write:
    """A delivery that a test confirms or fails."""

    topic: str
    partition: int
    records: list[Outgoing]
    done: asyncio.Future[Outcome]

    def confirm(self, outcome: Outcome = Outcome.PRODUCED) -> None:
        self.done.set_result(outcome)


@dataclass
class Log:
    """Stands for the delivery to Kafka or the spool."""

    writes: list[Write] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    backlog_bytes: int = 0

    def deliver(self, topic: str, partition: int, records: Sequence[Outgoing]) -> asyncio.Future[Outcome]:
        write = Write(topic, partition, list(records), asyncio.get_running_loop().create_future())
        self.writes.append(write)
        return write.done

    def backlog_seconds(self, now_us: int) -> float:
        return 0.0

    def unready(self) -> list[str]:
        return self.wrong

    def open(self) -> list[Write]:
        return [write for write in self.writes if not write.done.done()]


@dataclass
class Link:
    """Stands for the MQTT connection: notes what is acknowledged on which, and whether it reads."""

    epoch: int = 1
    is_up: bool = True
    reading: bool = True
    acknowledged: list[tuple[int, bytes]] = field(default_factory=list)
    published: list[tuple[str, bytes]] = field(default_factory=list)

    def ack(self, epoch: int, mids: Sequence[bytes]) -> bool:
        if epoch != self.epoch or not self.is_up or not mids:
            return False
        self.acknowledged += [(epoch, mid) for mid in mids]
        return True

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> bool:
        self.published.append((topic, payload))
        return self.is_up

    def pause(self) -> None:
        self.reading = False

    def resume(self) -> None:
        self.reading = True


class Bench:
    """A gateway, its surroundings, and what a broker would do to it."""

    def __init__(self, decoder: Decoder | None = None, **gateway: Any) -> None:
        options = {"max_batch": 1, "linger": "200ms", **gateway}
        mqtt = {"receive_maximum": options.pop("receive_maximum", 20)}
        settings = Settings.model_validate({"route": [{"topic": "f/{m}/{q}"}], "gateway": options, "mqtt": mqtt})
        route = Route("r", TopicPattern.parse("f/{m}/{q}"), decoder or DECODERS.create("json", {}))
        self.registry, self.clock, self.log, self.link = CollectorRegistry(), StillClock(), Log(), Link()
        log: Any = self.log
        events = GatewayEvents(self.registry)
        self.gateway = Gateway(settings, Profiles.none(), (4, 2, 1), log, events, self.clock)
        self.intake = self.gateway.add_broker(settings.mqtt, [route])
        self.intake.link = self.link
        self.intake.connecting(self.link.epoch)

    def receive(self, *mids: bytes, payload: bytes = b'{"value":1}', topic: bytes = b"f/a/x") -> None:
        """QoS 1 messages come in, in one read."""
        count = len(mids)
        self.intake.received(Burst([topic] * count, [payload] * count, [0x32] * count, list(mids)))

    def reconnect(self) -> None:
        self.link.epoch += 1
        self.link.reading = True
        self.intake.connecting(self.link.epoch)

    def total(self, name: str) -> float:
        """A counter over all its labels."""
        return sum(
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == f"millstream_gateway_{name}"
        )


async def turn() -> None:
    """Let everything that can go on, go on."""
    for _ in range(20):
        await asyncio.sleep(0)

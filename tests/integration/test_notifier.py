"""Apache Kafka → notifier → a receiver that verifies with the official library; kill -9 of the notifier on the way."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from deploy.topics import ensure_topics
from ingest.contract.log_writer import Outgoing
from ingest.contract.settings import Settings
from stream.effects import Description, alert_record, alerts_partition
from stream.fold.alerts import Phase, Transition
from tests.deployment.plant import PlantUnderTest
from tests.servers.ports import free_port, port_is_free
from tests.servers.processes import Server
from tests.servers.waiting import wait_until
from tests.unit.notify import receiver
from tests.unit.notify.rig import OLD_SECRET, SECRET

ALERTS = 240
SITES = ("bremen", "ulm", "lyon", "gent")
TOKEN = "token-of-the-url"
ENDPOINTS = ("good", "flaky", "old", "hang")
NOW_US = 1_750_000_000_000_000  # event time; what counts for the age of an alert is when it was published

DAEMON = """
import asyncio, json, sys
from pathlib import Path
from deploy.commands.notifier import run_notifier
from ingest.contract.observe import configure_log
from ingest.contract.settings import Settings

configure_log("debug")
config = json.loads(Path(sys.argv[1]).read_text())
settings = {**config["settings"], "notifier": config["notifier"], "webhook": config["webhook"]}
asyncio.run(run_notifier(Settings.model_validate(settings)))
"""


@dataclass(frozen=True)
class Request:
    endpoint: str
    id: str
    status: int
    got: Any


class Site:
    """The notifier, the receiver and what was published."""

    def __init__(self, directory: Path, kafka: str, prefix: str) -> None:
        directory.mkdir(parents=True)
        topics = {name: {"name": f"{prefix}.{name}"} for name in ("readings", "alerts", "quarantine")}
        settings = {"route": [{"topic": "{site}/{quantity}"}], "kafka": {"bootstrap": [kafka], "topics": topics}}
        self.settings = Settings.model_validate(settings)
        self.kafka = kafka
        self.port, receiver_port = free_port(), free_port()
        # The directory of the log comes with the process: it must be there before.
        self.requests_path = directory / "requests.jsonl"
        self.requests_path.touch()
        self._webhooks = [
            {
                "name": name,
                "url": f"http://127.0.0.1:{receiver_port}/{name}/{TOKEN}",
                "secret": SECRET,
                "old_secret": OLD_SECRET if name == "old" else None,
                "allow_private": True,
                "timeout": "1s" if name == "hang" else "15s",
            }
            for name in ENDPOINTS
        ]
        notifier = {
            "http": f"127.0.0.1:{self.port}",
            "group": f"{prefix}-notifier",
            "state_dir": str(directory / "state"),
            "retry_first": "50ms",
            "retry_longest": "200ms",
        }
        config = directory / "notifier.json"
        config.write_text(json.dumps({"settings": settings, "notifier": notifier, "webhook": self._webhooks}))
        self.notifier = Server(
            "notifier",
            [sys.executable, "-c", DAEMON, str(config)],
            directory=directory,
            ready=lambda: PlantUnderTest.is_ready(self.port),
        )
        arguments = [str(receiver_port), SECRET, OLD_SECRET, str(self.requests_path)]
        self.receiver = Server(
            "receiver",
            [sys.executable, str(Path(receiver.__file__)), *arguments],
            directory=directory,
            ready=lambda: not port_is_free(receiver_port),
        )

    def requests(self) -> list[Request]:
        """What the receiver got, in order."""
        # What the receiver is just writing is no line yet.
        lines = self.requests_path.read_text().rpartition("\n")[0].splitlines()
        return [Request(**json.loads(line)) for line in lines]

    def accepted(self, endpoint: str) -> list[str]:
        return [one.id for one in self.requests() if one.endpoint == endpoint and one.status == 204]

    def queue_depth(self, webhook: str) -> float:
        """As the notifier says."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(PlantUnderTest.page(self.port))
            for sample in family.samples
            if sample.name == "millstream_notifier_queue_depth" and sample.labels["webhook"] == webhook
        )

    async def publish(self, records: Sequence[tuple[str, Outgoing]]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka, acks="all")
        await producer.start()
        try:
            alerts = self.settings.kafka.topics.alerts
            for sensor, one in records:
                partition = alerts_partition(sensor, alerts.partitions)
                await producer.send(alerts.name, one.value, one.key, partition, headers=list(one.headers))
            await producer.flush()
        finally:
            await producer.stop()


@pytest.fixture
def site(kafka: str, tmp_path: Path, topic_prefix: str) -> Iterator[Site]:
    one = Site(tmp_path / "site", kafka, topic_prefix)
    with one.receiver:
        yield one
        one.notifier.kill()


def record(alert: str, phase: Phase, number: int, *, generation: int = 7) -> tuple[str, Outgoing]:
    sensor = f"{SITES[number % len(SITES)]}/line-01/press-{number:03}/temperature"
    at_us = NOW_US + number * 1_000_000
    one = Transition(alert, phase, sensor, "anomaly", "r1", "warning", at_us, NOW_US, 80.0 + number, 1.5, "ewma_z")
    # The partition of the readings: any function of the sensor will do.
    what = Description({}, "", "", "default", armed=True)
    return sensor, alert_record(one, what, partition=number % 4, generation=generation, group="worker", offset=number)


def unarmed(number: int) -> tuple[str, Outgoing]:
    sensor, one = record(f"unarmed{number}", Phase.FIRING, number)
    assert one.value is not None
    return sensor, one._replace(value=json.dumps({**json.loads(one.value), "armed": False}).encode())


@pytest.mark.timeout(240)
async def test_kill_9_loses_nothing_repeats_once_at_most_and_keeps_the_order_of_each_alert(site: Site) -> None:
    await ensure_topics(site.settings.kafka, lambda *_: None)
    await site.publish([record(f"ancient{n}", Phase.FIRING, n) for n in range(8)])
    site.notifier.start()
    assert "new group: what was published before is not sent" in site.notifier.log()

    def some(begin: int, end: int) -> list[tuple[str, Outgoing]]:
        found = []
        for n in range(begin, end):
            found += [record(f"a{n}", Phase.PENDING, n), record(f"a{n}", Phase.FIRING, n), unarmed(n)]
            found += [record(f"late{n}", Phase.FIRING, n, generation=6), record(f"a{n}", Phase.RESOLVED, n)]
        return found

    def wait_accepted(count: int) -> None:
        wait_until(lambda: len(site.accepted("good")) >= count, timeout_s=60, what=f"{count} deliveries")

    third = ALERTS // 3
    await site.publish(some(0, third))
    wait_accepted(20)
    site.notifier.kill()
    first_kill = len(set(site.accepted("good")))
    assert first_kill < 2 * third
    await site.publish(some(third, 2 * third))
    # What the outbox has goes on at once; the group gives the partitions back when the dead member's session is over.
    site.notifier.start()
    wait_accepted(2 * third + 40)
    site.notifier.kill()
    assert len(set(site.accepted("good"))) < 4 * third
    site.notifier.start()
    await site.publish(some(2 * third, ALERTS))

    wanted = {f"a{n}_{phase}" for n in range(ALERTS) for phase in ("firing", "resolved")}
    for endpoint in ("good", "flaky", "old"):
        wait_until(lambda endpoint=endpoint: set(site.accepted(endpoint)) >= wanted, timeout_s=90, what=endpoint)  # type: ignore[misc]
    # Whatever hangs has delayed nobody, and all of it still waits.
    wait_until(lambda: site.queue_depth("good") == 0, timeout_s=30, what="nothing left")
    wait_until(
        lambda: site.queue_depth("hang") == len(wanted),
        timeout_s=30,
        what="the queue of the webhook that hangs",
    )
    site.notifier.terminate(timeout_s=30)
    assert '"event": "stopped"' in site.notifier.log()

    requests = site.requests()
    assert {one.status for one in requests} == {0, 204, 500}  # no 401: every signature was right
    for endpoint in ("good", "flaky", "old"):
        _check(site.accepted(endpoint), wanted)
    written = site.notifier.log_path.read_text()
    assert TOKEN not in written
    assert SECRET not in written
    assert SECRET[6:] not in written


def _check(accepted: list[str], wanted: set[str]) -> None:
    times: defaultdict[str, int] = defaultdict(int)
    for one in accepted:
        times[one] += 1
    # Nothing that is late, only observed, only pending or older than the group; all the rest, at most twice.
    assert set(times) == wanted
    assert max(times.values()) <= 2
    place: dict[str, int] = {one: at for at, one in enumerate(accepted)}  # the last of each
    first = {one: len(accepted) - 1 - at for at, one in enumerate(reversed(accepted))}
    for n in range(ALERTS):
        assert place[f"a{n}_firing"] < first[f"a{n}_resolved"]

"""`millstream check`: are the settings right, do the connections work, what will it need?"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.topics import MissingTopicsError, try_topics
from ingest.contract.classes import Reporting
from ingest.contract.errors import ReconnectError, StopError
from ingest.contract.filters import overlaps
from ingest.contract.mqtt_settings import MqttSettings
from ingest.contract.settings import Settings, route_filters
from ingest.contract.tags import Tag
from ingest.contract.units import check_unit
from ingest.mqtt import MqttLink
from ingest.packets import Burst

_TIMEOUT_S = 10.0
# In Arrow, lz4; docs/spool.md has the table.
_BYTES_PER_READING = 30
_BYTES_PER_RECORD = 1_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. ok: None for a remark that is neither good nor bad."""

    what: str
    ok: bool | None
    said: str


class _Probe:
    """Connects once, subscribes to nothing, leaves no session behind."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[bool, str]] = asyncio.get_running_loop().create_future()

    def received(self, burst: Burst) -> None:
        """Nothing is subscribed."""

    def connecting(self, epoch: int) -> None:
        """Nothing to prepare."""

    def connected(self, epoch: int, protocol: str, session_present: bool) -> None:
        """It works."""
        if not self.answer.done():
            self.answer.set_result((True, f"connected, MQTT {protocol}"))

    def disconnected(self, reason: str, retry_in_s: float) -> None:
        """It does not, unless a broker without MQTT 5 just hung up on us."""
        if "before it was accepted" not in reason and not self.answer.done():
            self.answer.set_result((False, reason))


async def check_mqtt(settings: Settings) -> list[Finding]:
    """Connect to every broker as the gateway would, under a client id of its own."""
    return list(await asyncio.gather(*(_check_broker(settings, broker) for broker in settings.brokers)))


async def _check_broker(settings: Settings, broker: MqttSettings) -> Finding:
    probe = _Probe()
    mqtt = broker.model_copy(update={"client_id": f"{settings.client_id_at(broker)}-check"})
    link = MqttLink(mqtt, probe, persistent=False)
    where = f"{mqtt.host}:{mqtt.port}"
    running = asyncio.create_task(link.run())
    try:
        waiting: list[asyncio.Future[Any]] = [probe.answer, running]
        await asyncio.wait(waiting, timeout=_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        if not probe.answer.done():
            return Finding(broker.name, False, f"{where}: no connection within {_TIMEOUT_S:.0f} s")
        good, said = probe.answer.result()
        return Finding(broker.name, good, f"{where}: {said}")
    except StopError as error:
        return Finding(broker.name, False, str(error))
    finally:
        await link.close()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopError):
            await running


def check_routes(settings: Settings) -> list[Finding]:
    """Topics that two routes of a broker would take: the first in the file gets them."""
    found = []
    for broker in settings.brokers:
        mine = [one for one in settings.route if not one.brokers or broker.name in one.brokers]
        filters = [(one.topic, route_filters(one)) for one in mine]
        for at, (topic, some) in enumerate(filters):
            for later, others in filters[at + 1 :]:
                if next(overlaps(some, others), None) is not None:
                    found.append(Finding("routes", None, f"{later} matches topics of {topic}, which takes them"))
    return list(dict.fromkeys(found))


def check_units(settings: Settings, tags: Mapping[str, Tag]) -> list[Finding]:
    """Units that nobody can convert into: they may still be shown."""
    said = [(one.unit, f"class {one.name}") for one in settings.classes]
    said += [(tag.unit, f"the tag of {tag.path}") for tag in tags.values()]
    found: dict[str, Finding] = {}
    for unit, where in said:
        try:
            check_unit(unit)
        except ValueError as error:
            found.setdefault(unit, Finding("units", None, f"{where}: {error}; readings in another unit are set aside"))
    return list(found.values())


def check_models(settings: Settings) -> list[Finding]:
    """Models that can say nothing of the sensors they are for."""
    return [
        Finding("models", None, f"class {one.name}: stuck says nothing of sensors that report on change")
        for one in settings.classes
        if one.reporting is Reporting.ON_CHANGE and any(model.name == "stuck" for model in one.model_list)
    ]


def check_state_dir(settings: Settings) -> Finding:
    """Whether the spool's disk can be written, and how long it lasts."""
    directory, spool = settings.gateway.state_dir, settings.gateway.spool
    if not spool.enabled:
        return Finding("spool", None, "off: while Kafka is away, messages stay with the MQTT broker")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            free_bytes = shutil.disk_usage(directory).free
    except OSError as error:
        return Finding("spool", False, f"{directory} cannot be written: {error.strerror}; set gateway.state_dir")
    if free_bytes < spool.max_bytes:
        room = f"only {free_bytes / 2**30:,.1f} GiB are free, less than gateway.spool.max_bytes"
        return Finding("spool", None, f"{directory}: {room} ({spool.max_bytes / 2**30:,.1f} GiB)")
    records_per_s = min(settings.kafka.topics.readings.partitions, settings.plant.expected_sensors) * (
        1e6 / max(settings.gateway.linger, 1)
    )
    per_s = (
        settings.plant.expected_sensors * _BYTES_PER_READING
        + min(records_per_s, settings.plant.expected_sensors) * _BYTES_PER_RECORD
    )
    hours = spool.max_bytes / per_s / 3_600
    lasts = f"about {hours:,.0f} h" if hours >= 1 else f"about {hours * 60:,.0f} min"
    return Finding(
        "spool", True, f"{directory}: lasts {lasts} of Kafka's absence at a reading a second of each expected sensor"
    )


async def check_snapshots(settings: Settings) -> Finding:
    """Whether the worker's snapshots can be written where the settings say."""
    # Imported here: the gateway's host need not have what stores need.
    from stream.objects import StoreError
    from stream.snapshot_store import open_objects

    objects = open_objects(settings.worker.snapshots, settings.worker.state_dir)
    try:
        await objects.put("check/check", b"ok")
        await objects.delete("check", ["check"])
    except StoreError as error:
        return Finding("snapshots", False, f"{error}; see worker.snapshots")
    finally:
        objects.close()
    return Finding("snapshots", True, f"{objects.place}: {settings.worker.snapshots.keep} of each partition are kept")


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

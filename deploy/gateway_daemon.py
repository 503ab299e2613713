"""`millstream gateway`, composed: MQTT links → decoders → delivery by way of Kafka or the spool."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from deploy.daemons import remark, until_signal
from deploy.topics import ensure_topics, try_topics
from ingest.contract.classes import ClassTable
from ingest.contract.clock import Clock, SystemClock
from ingest.contract.errors import ReconnectError, SettingsError, StopError
from ingest.contract.http import serve
from ingest.contract.log_writer import LogWriter, Outgoing
from ingest.contract.mqtt_settings import MqttSettings
from ingest.contract.observe import expose, new_registry
from ingest.contract.readings import MIN_TS_US
from ingest.contract.sensors import TopicPattern
from ingest.contract.settings import Settings, route_filters
from ingest.contract.tags import Tag
from ingest.contract.units import prepare as prepare_units
from ingest.decoders import DECODERS
from ingest.delivery import Delivery
from ingest.even_clock import EvenClock
from ingest.gateway import Gateway
from ingest.gateway_events import GatewayEvents
from ingest.memory import Memory, memory_name
from ingest.mqtt import MqttLink, Subscription
from ingest.profiles import Profiles
from ingest.spool import Spool
from ingest.state_files import StateFiles
from ingest.topic_table import Route

_DRAIN_S = 10.0
_ANSWER_S = 10.0
_TOPICS_FILE = "topics.json"
# What a reload cannot change: connections, and what was sized at the start.
_FIXED = ("mqtt", "broker", "kafka", "gateway", "plant")

Reread = Callable[[], tuple[Settings, Mapping[str, Tag]]]


def profiles_of(settings: Settings, tags: Mapping[str, Tag]) -> Profiles:
    """What the settings say of sensors."""
    return Profiles(ClassTable(settings.classes, tags), settings.source)


@dataclass(slots=True)
class _Routes:
    """The routes in force, by broker. A decoder whose route did not change lives on over a reload."""

    by_broker: dict[str, list[Route]] = field(default_factory=dict)
    memories: dict[str, Route] = field(default_factory=dict)

    def of(self, settings: Settings) -> _Routes:
        """The routes of other settings."""
        new = _Routes()
        for broker in settings.brokers:
            mine = new.by_broker[broker.name] = []
            for one in settings.route:
                if one.brokers and broker.name not in one.brokers:
                    continue
                name = memory_name(broker.name, one.topic, one.decoder, one.options)
                before = self.memories.get(name)
                decoder = before.decoder if before is not None else DECODERS.create(one.decoder, one.options)
                new.memories[name] = Route(one.topic, TopicPattern.parse(one.topic, one.path), decoder)
                mine.append(new.memories[name])
        return new


def _subscriptions(settings: Settings, broker: MqttSettings) -> list[Subscription]:
    gateway = settings.gateway
    return [
        Subscription(filter_, one.qos)
        for one in settings.route
        if not one.brokers or broker.name in one.brokers
        for filter_ in route_filters(one, gateway.instance, gateway.instances)
    ]


class _HeldWriter:
    """A writer that waits until the topics are known to be right; until then everything goes to the spool."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._counts: Mapping[str, int] = {}
        self._free = asyncio.Event()

    def release(self, counts: Mapping[str, int]) -> None:
        """Kafka was reached. counts: partitions by topic."""
        self._counts = {**self._counts, **counts}
        self._free.set()

    @property
    def failing(self) -> set[tuple[str, int]]:
        """Partitions that do not confirm."""
        return self._writer.failing

    async def write(self, topic: str, partition: int, records: Sequence[Outgoing]) -> list[int]:
        """As the writer's."""
        await self._free.wait()
        # What was spooled while Kafka was away may have been placed by a count that turned out wrong. That of readings
        # was checked; where the others' records lie does not matter.
        count = self._counts.get(topic, partition + 1)
        return await self._writer.write(topic, partition % count, records)


class _KnownTopics:
    """Partition counts of the topics, kept over restarts: where to spool to while Kafka is away.

    Readings are placed by their topic's count for good. So without Kafka they are only taken by a count that it once
    confirmed, and that the settings agree with.
    """

    def __init__(self, settings: Settings, files: StateFiles) -> None:
        topics = settings.kafka.topics
        self._topics = [topics.readings, topics.quarantine, topics.waveforms]
        self._files = files

    def _seen(self) -> dict[str, int]:
        try:
            return msgspec.json.decode(self._files.read(_TOPICS_FILE) or b"{}", type=dict[str, int])
        except (msgspec.DecodeError, OSError):
            return {}

    @property
    def confirmed(self) -> bool:
        """Whether readings can be placed without asking Kafka."""
        return self._seen().get(self._topics[0].name) == self._topics[0].partitions

    def counts(self) -> tuple[int, int, int]:
        """Of readings as set (and checked), of quarantine and waveforms as last seen, else as set."""
        seen = self._seen()
        quarantine, waveforms = (max(1, seen.get(one.name, one.partitions)) for one in self._topics[1:])
        return self._topics[0].partitions, quarantine, waveforms

    def saw(self, counts: Mapping[str, int]) -> None:
        """Kafka was reached."""
        self._files.write(_TOPICS_FILE, msgspec.json.encode(dict(counts)))


async def run_gateway(settings: Settings, tags: Mapping[str, Tag], reread: Reread) -> None:
    """MQTT → Kafka, until SIGINT or SIGTERM; SIGHUP reads the settings anew. Raises StopError.

    tags: those of `plant.tags`, read. reread: both once more, for a reload; raises SettingsError.
    """
    daemon = _Daemon(settings, tags, reread)
    async with serve(settings.gateway.http, {"/metrics": lambda: expose(daemon.registry)}, list, daemon.unready) as url:
        daemon.events.listening(url)
        await until_signal(daemon.work())


class _Daemon:
    """The parts of a running gateway."""

    def __init__(self, settings: Settings, tags: Mapping[str, Tag], reread: Reread) -> None:
        self.registry = new_registry("gateway")
        self.events = GatewayEvents(self.registry)
        self._settings = settings
        self._tags = tags
        self._reread = reread
        self._clock: Clock = EvenClock(SystemClock())
        self._files = StateFiles(settings.gateway.state_dir / settings.gateway_folder)
        self._memory = Memory(self._files, self.events)
        self._routes = _Routes()
        self._gateway: Gateway | None = None
        self._held: _HeldWriter | None = None
        self._links: dict[str, MqttLink] = {}

    def unready(self) -> list[str]:
        """What keeps it from its work."""
        # Without Kafka, and with a spool that takes messages, it does its work.
        return ["connecting to Kafka"] if self._gateway is None else self._gateway.unready()

    async def work(self) -> None:
        """Until cancelled, or something failed."""
        settings, events = self._settings, self.events
        reload_wanted = asyncio.Event()  # from the first moment: unhandled, SIGHUP ends a process
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_wanted.set)
        if self._clock.now_us() < MIN_TS_US:
            raise StopError("this machine's clock is before 1990: set it, every record carries it")
        brokers = [f"{one.host}:{one.port}" for one in settings.brokers]
        filters = sorted({one.filter for broker in settings.brokers for one in _subscriptions(settings, broker)})
        events.starting(brokers, filters, ",".join(settings.kafka.bootstrap))
        writer = LogWriter(settings.kafka, settings.gateway_id, events, settings.gateway.max_record_bytes)
        self._held = held = _HeldWriter(writer)
        known = _KnownTopics(settings, self._files)
        spool = self._open_spool()
        delivery = Delivery(held, spool, events, self._clock, after_s=settings.gateway.spool.after / 1e6)
        tasks: list[asyncio.Task[None]] = [asyncio.create_task(self._reach_kafka(writer, held, known))]
        try:
            # Without a spool, or a place for readings, nothing can be taken before Kafka is there.
            wait_s = settings.gateway.spool.after / 1e6 if spool is not None and known.confirmed else None
            done, _ = await asyncio.wait(tasks, timeout=wait_s)
            if done:
                done.pop().result()
            else:
                events.kafka_absent(settings.gateway.spool.after / 1e6)
            profiles = profiles_of(settings, self._tags)
            if any(one.unit for one in settings.classes) or any(one.unit for one in settings.source):
                await asyncio.to_thread(prepare_units)  # now rather than at the first conversion
            self._gateway = Gateway(settings, profiles, known.counts(), delivery, events, self._clock)
            self._routes = self._routes.of(settings)
            self._remember(self._gateway)
            for broker in settings.brokers:
                tasks += self._connect(broker)
            tasks += [asyncio.create_task(delivery.run()), asyncio.create_task(self._memory.run())]
            tasks.append(asyncio.create_task(self._reload_when(reload_wanted)))
            await self._until_one_fails(tasks)
        finally:
            try:
                await self._end(tasks, delivery, writer)
            finally:
                if spool is not None:
                    spool.close()

    def _open_spool(self) -> Spool | None:
        spool = self._settings.gateway.spool
        if not spool.enabled:
            return None
        return Spool(self._files.directory / "spool", max_bytes=spool.max_bytes, segment_bytes=spool.segment_bytes)

    async def _reach_kafka(self, writer: LogWriter, held: _HeldWriter, known: _KnownTopics) -> None:
        settings = self._settings
        topics = await ensure_topics(settings.kafka, self.events.kafka_unreachable, waveforms=settings.keeps_waveforms)
        remark("gateway", topics.remarks)
        try:
            known.saw(topics.counts)
        except OSError as error:
            self.events.memory_failed(_TOPICS_FILE, str(error))
        await writer.start()
        held.release(topics.counts)

    def _remember(self, gateway: Gateway) -> None:
        decoders = {name: route.decoder for name, route in self._routes.memories.items()}
        self._memory.watch({**decoders, "clocks": gateway.clocks})

    def _connect(self, broker: MqttSettings) -> list[asyncio.Task[None]]:
        assert self._gateway is not None
        intake = self._gateway.add_broker(broker, self._routes.by_broker[broker.name])
        mine = broker.model_copy(update={"client_id": self._settings.client_id_at(broker)})
        remembered, remember = self._subscriptions_file(broker)
        link = MqttLink(
            mine,
            intake,
            _subscriptions(self._settings, broker),
            max_payload_bytes=self._settings.gateway.max_payload_bytes,
            patience_s=self._settings.gateway.linger / 1e7,  # a tenth of what a reading may wait anyway
            remembered=remembered,
            remember=remember,
        )
        intake.link = self._links[broker.name] = link
        return [asyncio.create_task(link.run()), asyncio.create_task(intake.run())]

    def _subscriptions_file(self, broker: MqttSettings) -> tuple[list[str], Callable[[list[str]], None]]:
        """What our session at a broker holds, kept over restarts: (as it was, a function that writes it down)."""
        name = f"subscriptions-{broker.name}.json"

        def remember(filters: list[str]) -> None:
            try:
                self._files.write(name, msgspec.json.encode(filters))
            except OSError as error:  # no reason not to connect
                self.events.memory_failed(name, str(error))

        try:
            return msgspec.json.decode(self._files.read(name) or b"[]", type=list[str]), remember
        except (msgspec.DecodeError, OSError) as error:
            self.events.memory_failed(name, str(error))
            return [], remember

    @staticmethod
    async def _until_one_fails(tasks: Sequence[asyncio.Task[None]]) -> None:
        """A task that ends well (Kafka was reached) is no reason to stop."""
        waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def _end(self, tasks: Sequence[asyncio.Task[None]], delivery: Delivery, writer: LogWriter) -> None:
        # Connections live on until what they brought is safe and acknowledged.
        for link in self._links.values():
            link.pause()
        left = 0 if self._gateway is None else await self._gateway.drain(_DRAIN_S)
        for link in self._links.values():
            await link.close()
        await delivery.close()
        await writer.close()
        self.events.stopped(left)
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    # --- reload ---------------------------------------------------------------------------------------------------

    async def _reload_when(self, wanted: asyncio.Event) -> None:
        while True:
            await wanted.wait()
            wanted.clear()
            await self._reload()

    async def _reload(self) -> None:
        """Routes, sources, classes and tags from the files as they are now; all else needs a restart."""
        assert self._gateway is not None
        assert self._held is not None
        try:
            settings, tags = self._reread()
            if settings.keeps_waveforms and not self._settings.keeps_waveforms:
                # Before anything is changed: without their topic, raw waveforms have no place.
                topics = await try_topics(self._settings.kafka, waveforms=True)
                self._held.release(topics.counts)
        except SettingsError as error:
            self.events.reload_refused(error.problems)
            return
        except (StopError, ReconnectError) as error:
            self.events.reload_refused([f"the topic of waveforms: {error}"])
            return
        fixed = [name for name in _FIXED if getattr(settings, name) != getattr(self._settings, name)]
        settings = settings.model_copy(update={name: getattr(self._settings, name) for name in _FIXED})
        before, after = (
            {one.filter for broker in found.brokers for one in _subscriptions(found, broker)}
            for found in (self._settings, settings)
        )
        self._routes = self._routes.of(settings)
        self._gateway.reconfigure(profiles_of(settings, tags), lambda broker: self._routes.by_broker[broker])
        self._remember(self._gateway)
        self._settings, self._tags = settings, tags
        await asyncio.gather(*(self._resubscribe(broker) for broker in settings.brokers))
        self.events.reloaded(sorted(after - before), sorted(before - after), fixed)

    async def _resubscribe(self, broker: MqttSettings) -> None:
        try:
            # A link that reads nothing, as too much is in flight, hears no answer either; it is asked all the same.
            async with asyncio.timeout(_ANSWER_S):
                await self._links[broker.name].resubscribe(_subscriptions(self._settings, broker))
        except TimeoutError:
            self.events.reload_refused([f"{broker.name}: the broker has not confirmed the new topics yet"])
        except ReconnectError as error:
            self.events.reload_refused([f"{broker.name}: {error}"])

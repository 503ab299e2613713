"""A replayer from the settings: the gateway's own way from message to readings, without its connections."""

from __future__ import annotations

from collections.abc import Mapping

from ingest.batcher import Batcher
from ingest.contract.classes import ClassTable
from ingest.contract.errors import StopError
from ingest.contract.sensors import TopicPattern
from ingest.contract.settings import Settings
from ingest.contract.tags import Tag
from ingest.decoders import DECODERS
from ingest.decoders.base import Remembering
from ingest.memory import memory_name
from ingest.profiles import Profiles
from ingest.replay import Replayer
from ingest.state_files import StateFiles
from ingest.topic_table import Route

_NOTHING: Mapping[str, bytes] = {}


def remembered_here(settings: Settings) -> dict[str, bytes]:
    """What the gateway on this machine remembers for its decoders, by the route's topic pattern.

    That is the present: data from before a device gave its aliases other meanings would be read wrongly with it. Raises
    StopError for a memory that cannot be read.
    """
    files, found = StateFiles(settings.gateway.state_dir / settings.gateway_folder), dict[str, bytes]()
    for one in settings.route:
        decoder = DECODERS.create(one.decoder, one.options)
        if not isinstance(decoder, Remembering):
            continue
        for broker in settings.brokers:
            if one.topic in found or (one.brokers and broker.name not in one.brokers):
                continue
            try:
                snapshot = files.read(memory_name(broker.name, one.topic, one.decoder, one.options))
                if snapshot is not None:
                    decoder.restore(snapshot)
                    found[one.topic] = snapshot
            except (OSError, ValueError) as error:
                raise StopError(f"what the gateway remembers, in {files.directory}, cannot be read: {error}") from error
    return found


def replayer_of(
    settings: Settings, tags: Mapping[str, Tag], *, partly: bool = False, memory: Mapping[str, bytes] = _NOTHING
) -> Replayer:
    """With decoders that have seen nothing yet: a run that is to be repeated needs another.

    memory: what decoders remember at the start (`Remembering.snapshot`), by the route's topic pattern; a snapshot that
    cannot be read raises ValueError.
    """
    partitions = settings.kafka.topics.readings.partitions
    routes = []
    for one in settings.route:
        decoder = DECODERS.create(one.decoder, one.options)
        if isinstance(decoder, Remembering) and one.topic in memory:
            decoder.restore(memory[one.topic])
        routes.append(Route(one.topic, TopicPattern.parse(one.topic, one.path), decoder))
    profiles = Profiles(ClassTable(settings.classes, tags), settings.source)
    batcher = Batcher.alone(
        routes, partitions, settings.plant.max_sensors, settings.gateway.max_payload_bytes, profiles=profiles
    )
    return Replayer(
        batcher.batch, readings_topic=settings.kafka.topics.readings.name, partitions=partitions, partly=partly
    )

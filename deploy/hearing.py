"""Which sensors a plant has, by listening: the gateway's own routes and decoders, and nothing kept but names."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ingest.batcher import Batcher
from ingest.contract.classes import ClassTable
from ingest.contract.errors import Reason
from ingest.contract.sensors import TopicPattern
from ingest.contract.settings import Settings
from ingest.decoders import DECODERS
from ingest.discover.heard import Hearing
from ingest.packets import Burst
from ingest.profiles import Profiles
from ingest.topic_table import Route


class SensorHearing(Hearing):
    """What `Listener` hears, as sensors; at most `plant.max_sensors`, as in the gateway."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(max_topics=1, max_payload_bytes=settings.gateway.max_payload_bytes)
        routes = [
            Route(one.topic, TopicPattern.parse(one.topic, one.path), DECODERS.create(one.decoder, one.options))
            for one in settings.route
        ]
        profiles = Profiles(ClassTable(settings.classes), settings.source)
        self._batcher = Batcher.alone(
            routes, 1, settings.plant.max_sensors, settings.gateway.max_payload_bytes, profiles
        )
        self.filters = [route.pattern.filter for route in routes]
        self.sensors: set[str] = set()
        self.refused: Counter[Reason] = Counter()

    def take(self, burst: Burst, arrival_us: int) -> None:
        """Note the sensors of these messages."""
        if not len(burst):
            return
        self.messages += len(burst)
        batch = self._batcher.batch(burst, np.full(len(burst), arrival_us, np.int64))
        for block in batch.blocks:
            words = block.readings.sensor
            self.sensors.update(words.words[at] for at in np.unique(words.index).tolist())
        self.refused.update(one.reason for one in batch.refused)

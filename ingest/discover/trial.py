"""What a draft would read of what was heard: its own routes and decoders, run over the samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ingest.batcher import Batcher
from ingest.contract.class_settings import EVERYTHING_ELSE, ClassSettings
from ingest.contract.classes import ClassTable
from ingest.contract.errors import Reason
from ingest.discover.classes import ClassDraft
from ingest.discover.heard import Heard, Sample
from ingest.packets import Burst
from ingest.profiles import Profiles
from ingest.topic_table import Route

_SLICE = 4_096
_MAX_SENSORS = 200_000
_MAX_PAYLOAD_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a topic is not read, and a payload of it."""

    reason: Reason
    detail: str
    payload: bytes


@dataclass(slots=True)
class Trial:
    """read: topics most of whose messages were understood. refused: the others. sensors: how many there were."""

    read: set[bytes] = field(default_factory=set)
    refused: dict[bytes, Refusal] = field(default_factory=dict)
    sensors: int = 0


def try_routes(routes: Sequence[Route], topics: Mapping[bytes, Heard], classes: Sequence[ClassDraft] = ()) -> Trial:
    """Run the routes over all samples, in the order they came; classes say what arrays become, and which units."""
    out, refusals, first = Trial(), Counter[bytes](), dict[bytes, Refusal]()
    batcher = Batcher.alone(routes, 1, _MAX_SENSORS, _MAX_PAYLOAD_BYTES, Profiles(ClassTable(_settings(classes))))
    said = [(topic, sample) for topic, heard in topics.items() for sample in heard.samples]
    said.sort(key=lambda one: one[1].number)
    for burst, arrival_us in _bursts(said):
        batch = batcher.batch(burst, arrival_us)
        for refused in batch.refused:
            refusals[refused.topic] += 1
            first.setdefault(refused.topic, Refusal(refused.reason, refused.detail, refused.payload))
    for topic, heard in topics.items():
        samples = len(heard.samples)
        if samples and 2 * refusals[topic] < samples:
            out.read.add(topic)
        elif topic in first:
            out.refused[topic] = first[topic]
    out.sensors = batcher.sensors
    return out


def _settings(classes: Sequence[ClassDraft]) -> list[ClassSettings]:
    drafted = [
        ClassSettings(name=one.name, match=one.match, kind=one.kind, reporting=one.reporting, unit=one.unit)
        for one in classes
    ]
    return [*drafted, EVERYTHING_ELSE]


def _bursts(said: Iterable[tuple[bytes, Sample]]) -> Iterator[tuple[Burst, NDArray[np.int64]]]:
    rest = iter(said)
    while some := list(islice(rest, _SLICE)):
        burst = Burst([topic for topic, _ in some], [sample.payload for _, sample in some], [0] * len(some))
        yield burst, np.array([sample.arrival_us for _, sample in some], np.int64)

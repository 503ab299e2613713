"""What became of a run of messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import Reason
from ingest.contract.readings import Readings
from ingest.decoders.base import Drop, Request


@dataclass(frozen=True, slots=True)
class Refused:
    """A message, or a part of it, for quarantine. position: its place in the batch. flags: bits of `Flag`."""

    topic: bytes
    payload: bytes
    route: str
    reason: Reason
    detail: str
    arrival_us: int
    position: int
    flags: int


@dataclass(frozen=True, slots=True)
class Block:
    """Readings for one partition, in the order received.

    messages: by route, how many messages' first readings are here, those counted as quarantined left out; so each
    message is counted once, however many partitions its readings go to.
    """

    partition: int
    readings: Readings
    messages: Mapping[str, int]


class RawWaveform(NamedTuple):
    """A waveform as it came, for the topic of waveforms. rate_hz: 0 where nobody knows it.

    message, beside: its message's place in the batch, and the number of a sensor of its features, -1 for none.
    """

    sensor: str
    ts_us: int
    rate_hz: float
    samples: NDArray[np.float64]
    message: int = 0
    beside: int = -1


@dataclass(slots=True)
class Batch:
    """Every message received is in `received`, and in exactly one of blocks' `messages`, `quarantined`, `dropped`.

    blocks: at most one a partition. arrival_us: when the youngest message came. received: by route. quarantined: by
    route and reason; a message is counted there when a part of it is, even if other parts became readings. dropped:
    understood, and without readings, by route and reason. requests: to be published where the messages came from.
    """

    arrival_us: int
    blocks: list[Block] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    waveforms: list[RawWaveform] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    received: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[tuple[str, Reason]] = field(default_factory=Counter)
    dropped: Counter[tuple[str, Drop]] = field(default_factory=Counter)

"""Reading what is in quarantine once more, with the settings as they are now. Pure: entries in, readings out.

One message at a time, in the order of arrival: what became of each has to be known, and formats with a memory (births
before data) need the order. That costs about 0.1 ms a message.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ingest.batch import Batch
from ingest.contract.errors import QuarantineError
from ingest.contract.log_writer import Outgoing
from ingest.contract.partition import partition_of
from ingest.contract.quarantine import Entry, replayed_record
from ingest.contract.readings import MAX_TS_US, MIN_TS_US, Flag, Readings
from ingest.contract.sensors import check_path
from ingest.contract.wire import ARROW, Envelope, Kind, decode_readings
from ingest.packets import DUP_BIT, RETAIN_BIT, Burst
from ingest.records import join_readings, readings_records

SOURCE = "quarantine-replay"
"""Who wrote the records, in their headers."""
_PUBLISH_QOS_1 = 0x32

Decode = Callable[[Burst, NDArray[np.int64]], Batch]
"""`Batcher.batch`: messages and their arrival times → readings by partition, and what is refused."""


class Fate(StrEnum):
    """What becomes of an entry."""

    READ = "read"
    """All of it is readings now."""
    NO_READINGS = "no readings"
    """Understood, and there is nothing in it to keep."""
    PARTLY = "partly"
    """Some of it is readings now, some is still refused."""
    REFUSED = "refused"
    """Still not to be read."""
    CUT = "cut"
    """Only its start was kept, or ever received: it cannot be read again."""


@dataclass(frozen=True, slots=True)
class Tried:
    """An entry, read once more. blocks: (partition, readings), to be written. reason, detail: of what is refused."""

    entry: Entry
    fate: Fate
    blocks: list[tuple[int, Readings]] = field(default_factory=list)
    reason: str = ""
    detail: str = ""

    @property
    def done(self) -> bool:
        """Whether nothing remains to be done with it: then it is marked."""
        return self.fate in (Fate.READ, Fate.NO_READINGS) or (self.fate is Fate.PARTLY and bool(self.blocks))

    @property
    def rows(self) -> int:
        """Readings to be written."""
        return sum(len(readings) for _, readings in self.blocks)


class Replayer:
    """Reads entries anew. partitions: of the readings topic. partly: take what can be read of a message that is refused
    in part, and be done with it; otherwise such a message stays as a whole.
    """

    def __init__(self, decode: Decode, *, readings_topic: str, partitions: int, partly: bool = False) -> None:
        self._decode = decode
        self._readings_topic = readings_topic
        self._partitions = partitions
        self._partly = partly

    def take(self, entry: Entry) -> Tried:
        """Read an entry; entries come in the order of their arrival. Never raises for data."""
        if entry.cut:
            kept = f"{len(entry.payload):,} of {entry.size:,} bytes were kept"
            missing = kept if entry.size > len(entry.payload) else "the gateway took in only its start"
            return Tried(entry, Fate.CUT, [], entry.reason, missing)
        if not MIN_TS_US <= entry.arrival_us < MAX_TS_US:
            return Tried(entry, Fate.REFUSED, [], "record", "an arrival time that is none")
        return self._record(entry) if entry.of_kafka(self._readings_topic) else self._message(entry)

    def _message(self, entry: Entry) -> Tried:
        first = _PUBLISH_QOS_1
        if entry.flags & Flag.RETAINED:
            first |= RETAIN_BIT
        if entry.flags & Flag.REDELIVERED:
            first |= DUP_BIT
        batch = self._decode(
            Burst([entry.origin], [entry.payload], [first], []), np.array([entry.arrival_us], np.int64)
        )
        # Requests (for a birth, say) are not passed on: what is replayed is over.
        blocks = [(block.partition, _replayed(block.readings)) for block in batch.blocks if len(block.readings)]
        if not batch.refused:
            return Tried(entry, Fate.READ if blocks else Fate.NO_READINGS, blocks)
        wrong = batch.refused[0]
        if not blocks:
            return Tried(entry, Fate.REFUSED, [], wrong.reason, wrong.detail)
        return Tried(entry, Fate.PARTLY, blocks if self._partly else [], wrong.reason, wrong.detail)

    def _record(self, entry: Entry) -> Tried:
        """A record that a worker could not read; its sensors' partition is worked out anew, not believed."""
        try:
            readings = decode_readings(entry.payload)
            sensors = np.unique(readings.sensor.index).tolist()
            for at in sensors:
                check_path(readings.sensor.words[at])
        except QuarantineError as error:
            return Tried(entry, Fate.REFUSED, [], error.reason, error.detail)
        if not len(readings):
            return Tried(entry, Fate.NO_READINGS)
        home = np.zeros(len(readings.sensor.words), np.int32)
        for at in sensors:
            home[at] = partition_of(readings.sensor.words[at], self._partitions)
        row_home = home[readings.sensor.index]
        blocks = [
            (number, _replayed(readings.take(np.flatnonzero(row_home == number))))
            for number in np.unique(row_home).tolist()
        ]
        return Tried(entry, Fate.READ, blocks)


def _replayed(readings: Readings) -> Readings:
    return dataclasses.replace(readings, flags=readings.flags | np.uint8(Flag.REPLAYED))


class Chunk:
    """Entries to be written and marked together: first all readings, then, when they are confirmed, all marks.

    Bounded in rows and entries, and in the time it spans: a record has one arrival time, that of its youngest reading,
    by which the worker judges what is from the future.
    """

    MAX_ENTRIES = 2_000
    MAX_ROWS = 20_000
    MAX_SPAN_US = 10_000_000

    def __init__(self) -> None:
        self._blocks: dict[int, list[Readings]] = {}
        self._done: dict[int, list[int]] = {}
        self._first_us: int | None = None
        self._last_us = 0
        self.entries = 0
        self.rows = 0

    def takes(self, tried: Tried) -> bool:
        """Whether there is room for it; an empty chunk takes anything."""
        if self._first_us is None:
            return True
        arrival_us = tried.entry.arrival_us
        span_us = max(self._last_us, arrival_us) - min(self._first_us, arrival_us)
        full = self.entries >= self.MAX_ENTRIES or self.rows + tried.rows > self.MAX_ROWS
        return not full and span_us <= self.MAX_SPAN_US

    def add(self, tried: Tried) -> None:
        """Take what is done."""
        arrival_us = tried.entry.arrival_us
        self._first_us = arrival_us if self._first_us is None else min(self._first_us, arrival_us)
        self._last_us = max(self._last_us, arrival_us)
        self.entries += 1
        self.rows += tried.rows
        for partition, readings in tried.blocks:
            self._blocks.setdefault(partition, []).append(readings)
        self._done.setdefault(tried.entry.partition, []).append(tried.entry.offset)

    def records(self, seq: int, *, partitions: int, max_record_bytes: int) -> dict[int, list[Outgoing]]:
        """Records of the readings topic by partition, numbered from `seq`."""
        found = {}
        for partition, parts in sorted(self._blocks.items()):
            envelope = Envelope(Kind.READINGS, ARROW, SOURCE, seq, self._last_us, partitions)
            found[partition] = readings_records(join_readings(parts), envelope, max_record_bytes)
            seq += len(found[partition])
        return found

    def marks(self, now_us: int) -> dict[int, Outgoing]:
        """Records of the quarantine topic by partition."""
        return {
            partition: replayed_record(partition, offsets, source=SOURCE, arrival_us=now_us)
            for partition, offsets in sorted(self._done.items())
        }


@dataclass(slots=True)
class Tally:
    """What became of all entries; counts by reason stay as few as there are reasons and routes."""

    fates: Counter[Fate] = field(default_factory=Counter)
    rows: int = 0
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Still refused, in whole or in part, by reason now and route then."""
    kafka: int = 0
    """Refused ones that were Kafka records, not MQTT messages."""

    def add(self, tried: Tried, *, of_kafka: bool) -> None:
        """Count an entry."""
        self.fates[tried.fate] += 1
        self.rows += tried.rows
        if tried.fate in (Fate.REFUSED, Fate.PARTLY):
            self.refused[tried.reason, tried.entry.route] += 1
            self.kafka += of_kafka

    @property
    def anything(self) -> bool:
        """Whether there is anything to write or to mark."""
        return bool(self.rows or self.fates[Fate.NO_READINGS])

    @property
    def entries(self) -> int:
        """All that were tried."""
        return self.fates.total()

"""What `ls` and `show` read and print."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from deploy.quarantine.chosen import Chosen
from deploy.quarantine.log import QuarantineLog
from deploy.quarantine.progress import progress
from deploy.quarantine.shown import Counted, Newest, age, aligned, details, json_line, payload_lines, table
from ingest.contract.clock import Clock
from ingest.contract.kafka_settings import KafkaSettings
from ingest.contract.quarantine import Entry, Replayed
from ingest.discover.printing import printable


class Listing:
    """A pass over the topic: the newest entries of those that are meant, or how many there are of each kind."""

    def __init__(self, chosen: Chosen, limit: int, by: str | None) -> None:
        self._chosen = chosen
        self._limit = limit
        self._newest = Newest(limit)
        self._counted = None if by is None else Counted(by)
        self._marks = Replayed()
        self._entries = self._replayed = self._fitting = self._foreign = 0
        self._lost = False

    async def read(self, kafka: KafkaSettings, clock: Clock) -> None:
        """Read all there is. Raises ReconnectError."""
        async with QuarantineLog(kafka, self._chosen.since_us) as log:
            with progress("reading", clock) as show:
                self._marks = await log.replayed(show)
                async for entry in log.entries(show):
                    self._look(entry)
            self._foreign, self._lost = log.foreign, log.lost

    def _look(self, entry: Entry) -> None:
        was = self._was_replayed(entry)
        self._entries += 1
        self._replayed += was
        if self._chosen.fits(entry, replayed=was):
            self._fitting += 1
            self._newest.add(entry)
            if self._counted is not None:
                self._counted.add(entry)

    def _was_replayed(self, entry: Entry) -> bool:
        return (entry.partition, entry.offset) in self._marks

    def json_lines(self) -> Iterator[str]:
        """An object an entry, the newest first."""
        for one in self._newest.found():
            yield json_line(one, replayed=self._was_replayed(one))

    def lines(self, now_us: int) -> Iterator[str]:
        """For people."""
        if not self._fitting:
            yield self._nothing()
            return
        if self._counted is not None:
            yield from self._counts(self._counted, now_us)
            return
        found = self._newest.found()
        replayed = frozenset(one.id for one in found if self._was_replayed(one))
        yield from table(found, now_us, replayed if self._chosen.replayed else None)
        more = "; --limit shows more, --by reason counts" if len(found) < self._fitting else ""
        yield f"{len(found):,} of {self._fitting:,}{more}"

    def _counts(self, counted: Counted, now_us: int) -> Iterator[str]:
        found = counted.found(self._limit)
        rows = [["COUNT", "NEWEST", counted.by.upper()]]
        rows += [[f"{count:,}", age(now_us - at_us), printable(what)] for what, count, at_us in found]
        yield from aligned(rows, right=frozenset({"COUNT", "NEWEST"}))
        if counted.kinds > len(found):
            yield f"and {counted.kinds - len(found):,} more (--limit)"

    def _nothing(self) -> str:
        waiting = self._entries if self._chosen.replayed else self._entries - self._replayed
        lately = "" if self._chosen.since_us is None else " that came in this time"
        if not waiting:
            return f"nothing is in quarantine{lately}"
        return f"nothing of this kind; {waiting:,} others are there{lately}"

    def remarks(self) -> Iterator[str]:
        """What else is to be known."""
        if self._replayed and not self._chosen.replayed:
            yield f"{self._replayed:,} were replayed and are left out (--all)"
        if self._foreign:
            yield f"{self._foreign:,} records are none of this version of Millstream's and are left out"
        if self._lost:
            yield "retention took entries away meanwhile; kafka.topics.quarantine.retention keeps them longer"


async def find(kafka: KafkaSettings, place: tuple[int, int]) -> tuple[Entry | None, bool]:
    """The entry at a (partition, offset), if there is one, and whether it was replayed. Raises ReconnectError."""
    async with QuarantineLog(kafka, ids=[place]) as log:
        if log.holds(place):
            # What is read begins there, with one partition; a mark or a foreign record is passed over.
            async for entry in log.entries():
                if (entry.partition, entry.offset) == place:
                    return entry, place in await log.replayed()
                break
    return None, False


def shown(entry: Entry, *, replayed: bool) -> Iterator[str]:
    """All of an entry, for people."""
    yield from details(entry, replayed=replayed)
    yield ""
    yield from payload_lines(entry.payload)


def write_raw(entry: Entry) -> None:
    """The payload's bytes to standard output."""
    sys.stdout.buffer.write(entry.payload)
    sys.stdout.buffer.flush()

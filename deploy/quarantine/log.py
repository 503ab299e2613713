"""The quarantine topic as it stands, read without a group and without a trace."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from ingest.contract.errors import QuarantineError, ReconnectError
from ingest.contract.kafka_client import client_options
from ingest.contract.kafka_settings import KafkaSettings
from ingest.contract.quarantine import Entry, Mark, Replayed, read_quarantine

Show = Callable[[int, int], None]
"""Progress: records read, and how many there are about."""

_POLL_MS = 500
# Entries have up to 64 KiB each, and one partition's wait for another's.
_AT_ONCE = 200
_SILENCE_POLLS = 60
_CONNECT_S = 30.0


def _no_show(_done: int, _of: int) -> None:
    pass


class QuarantineLog:
    """The records between a time and now. `async with` opens it; raises ReconnectError when Kafka cannot be read.

    What comes after it was opened is not read, so two passes see the same. ids: (partition, offset) of what alone is
    wanted: other partitions, and what stands before the first of these, are not read. ends: those of an earlier look.

    foreign: records that are none of ours, or of a newer version, met in the last pass over entries. lost: whether
    retention took records away during a pass.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        since_us: int | None = None,
        *,
        ids: Collection[tuple[int, int]] = (),
        ends: Mapping[int, int] | None = None,
    ) -> None:
        self.topic = kafka.topics.quarantine.name
        self.foreign = 0
        self.lost = False
        self._kafka = kafka
        self._since_us = since_us
        self._ids = ids
        self._known_ends = ends
        self._consumer: Any = None
        self._begins: dict[TopicPartition, int] = {}
        self._wanted: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}

    async def __aenter__(self) -> Self:
        """Connect, and find out where the topic begins and ends."""
        options = client_options(self._kafka, "quarantine")
        try:
            with self._guarded():
                async with asyncio.timeout(_CONNECT_S):
                    await self._open(options)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._consumer is not None:
            # It raises the cancellation of tasks of its own, and all that matters has been read.
            await asyncio.gather(self._consumer.stop(), return_exceptions=True)

    async def _open(self, options: dict[str, Any]) -> None:
        partitions = await self._partitions(options)
        # Never by itself: a lost place is to be seen, not to become the beginning or the end.
        self._consumer = AIOKafkaConsumer(auto_offset_reset="none", enable_auto_commit=False, **options)
        await self._consumer.start()
        if partitions:
            await self._bounds([TopicPartition(self.topic, number) for number in range(partitions)])

    async def _partitions(self, options: dict[str, Any]) -> int:
        admin = AIOKafkaAdminClient(**options)
        try:
            await admin.start()
            # Asked for by name, a missing topic is created by most brokers; so ask for all of them.
            if self.topic not in await admin.list_topics():
                return 0
            (described,) = await admin.describe_topics([self.topic])
            return len(described["partitions"])
        finally:
            with contextlib.suppress(KafkaError, OSError):
                await admin.close()

    async def _bounds(self, at: list[TopicPartition]) -> None:
        self._ends = dict(await self._consumer.end_offsets(at))
        if self._known_ends is not None:
            self._ends = {one: min(end, self._known_ends.get(one.partition, 0)) for one, end in self._ends.items()}
        begins = dict(await self._consumer.beginning_offsets(at))
        if self._since_us is not None:
            found = await self._consumer.offsets_for_times(dict.fromkeys(at, max(0, self._since_us // 1000)))
            for one, place in found.items():
                begins[one] = self._ends[one] if place is None else max(begins[one], place.offset)
        self._begins = begins
        if self._ids:
            first: dict[int, int] = {}
            for partition, offset in self._ids:
                first[partition] = min(offset, first.get(partition, offset))
            self._wanted = {
                one: max(begin, first[one.partition]) for one, begin in begins.items() if one.partition in first
            }
        else:
            self._wanted = begins

    @property
    def records(self) -> int:
        """How many records there are to read, marks among them."""
        return sum(self._ends[one] - begin for one, begin in self._wanted.items())

    def holds(self, place: tuple[int, int]) -> bool:
        """Whether a (partition, offset) is in the topic still."""
        at = TopicPartition(self.topic, place[0])
        return at in self._begins and self._begins[at] <= place[1] < self._ends[at]

    @property
    def ends(self) -> dict[int, int]:
        """The end of each partition: the offset after its last record."""
        return {at.partition: end for at, end in self._ends.items()}

    # --- passes ---------------------------------------------------------------------------------------------------

    async def replayed(self, show: Show = _no_show) -> Replayed:
        """The marks; needed before entries, because each stands after what it marks."""
        found, done = Replayed(), 0
        open_ = self._start(self._wanted)
        while open_:
            for records in (await self._poll(open_)).values():
                for record in records:
                    if isinstance(one := self._read(record), Mark):
                        found.add(one)
                done += len(records)
            show(done, self.records)
            open_ = await self._unfinished(open_)
        return found

    async def entries(self, show: Show = _no_show) -> AsyncIterator[Entry]:
        """All entries in the order of their arrival, over all partitions; those of one partition as they stand."""
        self.foreign, done = 0, 0
        waiting: dict[TopicPartition, deque[Entry]] = {at: deque() for at in self._start(self._wanted)}
        open_ = list(waiting)
        while waiting:
            # The oldest is known when each partition has shown its next, or its end.
            if hungry := [at for at in open_ if not waiting[at]]:
                for at, records in (await self._poll(hungry)).items():
                    found = [one for record in records if isinstance(one := self._read(record, count=True), Entry)]
                    waiting[at].extend(found)
                    done += len(records)
                show(done, self.records)
                open_ = await self._unfinished(open_)
                waiting = {at: held for at, held in waiting.items() if held or at in open_}
                continue
            oldest = min(waiting, key=lambda at: waiting[at][0].order)
            yield waiting[oldest].popleft()
            if not waiting[oldest] and oldest not in open_:
                del waiting[oldest]

    def _start(self, begins: dict[TopicPartition, int]) -> list[TopicPartition]:
        filled = [at for at, begin in begins.items() if begin < self._ends[at]]
        if filled:
            self._consumer.assign(filled)
            for at in filled:
                self._consumer.seek(at, begins[at])
        return filled

    async def _poll(self, at: list[TopicPartition]) -> dict[TopicPartition, list[Any]]:
        """The next records of some partitions, none from beyond the end as it was."""
        for _ in range(_SILENCE_POLLS):
            try:
                with self._guarded():
                    found = await self._consumer.getmany(*at, timeout_ms=_POLL_MS, max_records=_AT_ONCE)
            except _OutOfRange as error:
                await self._skip_lost(error.at)
                return {}
            if found or len(await self._unfinished(at)) < len(at):
                return {
                    one: [record for record in records if record.offset < self._ends[one]]
                    for one, records in found.items()
                }
        raise ReconnectError(f"{','.join(self._kafka.bootstrap)}: no answer")

    async def _skip_lost(self, at: list[TopicPartition]) -> None:
        self.lost = True
        with self._guarded():
            begins = await self._consumer.beginning_offsets(at)
        for one, begin in begins.items():
            self._consumer.seek(one, begin)

    async def _unfinished(self, at: list[TopicPartition]) -> list[TopicPartition]:
        # Positions, not offsets of records: the last offsets may hold none.
        return [one for one in at if await self._consumer.position(one) < self._ends[one]]

    def _read(self, record: Any, *, count: bool = False) -> Entry | Mark | None:
        try:
            return read_quarantine(record.partition, record.offset, record.headers, record.value)
        except QuarantineError:
            self.foreign += count
            return None

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OffsetOutOfRangeError as error:
            raise _OutOfRange(list(error.args[0])) from error
        except (KafkaError, OSError, TimeoutError) as error:
            raise ReconnectError(f"{','.join(self._kafka.bootstrap)}: {error or 'no answer'}") from error


class _OutOfRange(Exception):  # noqa: N818  # never leaves this file
    def __init__(self, at: list[TopicPartition]) -> None:
        self.at = at
        super().__init__()

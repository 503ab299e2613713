"""Records that the fold does not survive: tried again from the last snapshot, then set aside, even if they end the
process. How often is kept in the snapshot store, where a crash does not lose it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from ingest.contract.clock import Clock
from stream.fold.partition import LogRecord
from stream.objects import StoreError
from stream.owned import Failed, Outcome, OwnedPartition
from stream.tries import Tries

# Then a record is set aside.
MOST_TRIES = 3
# A partition that has been started so often without a snapshot since is folded one record at a time.
CARELESS_STARTS = 2
_CAREFUL_S = 2.0


class SurvivalEvents(Protocol):
    """What there is to say."""

    def fold_failed(self, partition: int, offset: int, tries: int, error: BaseException) -> None:
        """The fold did not survive a record."""
        ...

    def snapshot_failed(self, partition: int, reason: str) -> None:
        """The store does not answer."""
        ...


class Survival:
    """For the partitions of one worker."""

    def __init__(self, tries: Tries, events: SurvivalEvents, clock: Clock) -> None:
        self._tries = tries
        self._events = events
        self._clock = clock
        self._counted: dict[int, tuple[int, int]] = {}
        """(offset, tries) of the record that was noted last, by partition."""

    async def fold(
        self, work: Mapping[int, Sequence[LogRecord]], owned: Mapping[int, OwnedPartition]
    ) -> dict[int, Outcome]:
        """Fold each partition's records, in a thread. Raises IncompatibleError."""
        careful = {at: records for at, records in work.items() if owned[at].careful}

        def fold_all() -> dict[int, Outcome]:
            return {at: owned[at].fold_all(records) for at, records in work.items() if at not in careful}

        outcomes = await asyncio.to_thread(fold_all)
        for at, records in careful.items():
            outcomes[at] = await self._fold_carefully(at, owned[at], records)
        return outcomes

    async def _fold_carefully(self, partition: int, owned: OwnedPartition, records: Sequence[LogRecord]) -> Outcome:
        """One by one, each noted durably before: the one that ends this process is known to the next.

        For some seconds at most; what is left is to be polled again.
        """
        whole = Outcome(next_offset=owned.fold.state.next_offset)
        until_s = self._clock.monotonic_s() + _CAREFUL_S
        for record in records:
            if record.offset < owned.fold.state.next_offset:
                continue
            try:
                tries = await self._tries.begin(partition, record.offset)
                self._counted[partition] = record.offset, tries
                if tries > MOST_TRIES:
                    await self._tries.skip(partition, record.offset)
                    owned.skip(record.offset)
            except StoreError as error:
                self._events.snapshot_failed(partition, str(error))
            whole.add(await asyncio.to_thread(owned.fold_all, [record]))
            if whole.failed is not None:
                return whole
            if self._clock.monotonic_s() >= until_s:
                break
        try:
            # Or another partition's record that ends the process would count against this one's last.
            await self._tries.survived(partition, whole.next_offset - 1)
        except StoreError as error:
            self._events.snapshot_failed(partition, str(error))
        return whole

    async def failed(self, partition: int, failed: Failed) -> None:
        """Count it; a record that has failed often enough is left out when the partition has been restored."""
        offset, tries = failed.record.offset, 0
        counted = self._counted.pop(partition, (-1, 0))
        try:
            if failed.among > 1:
                # Which of them it was is found out one by one, in the next life.
                while await self._tries.started(partition) <= CARELESS_STARTS:
                    pass
            else:
                tries = counted[1] if counted[0] == offset else await self._tries.begin(partition, offset)
                if tries >= MOST_TRIES:
                    await self._tries.skip(partition, offset)
        except StoreError as error:
            self._events.snapshot_failed(partition, str(error))
        self._events.fold_failed(partition, offset, tries, failed.error)

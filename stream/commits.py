"""Commits: how far everything is said, and the group's word that its partitions are still this worker's.

Guarantee: an offset is committed only when what follows from all records before it is published. Without the group's
word for as long as a session lasts, its partitions may be somebody else's: nothing is to be said until it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ingest.contract.clock import Clock
from ingest.contract.errors import ReconnectError
from ingest.contract.failpoints import failpoint
from stream.checkpoints import Checkpoints
from stream.consumer import SESSION_TIMEOUT_MS, LogConsumer, RefusedError
from stream.fold.partition import LogRecord
from stream.notes import Note
from stream.owned import OwnedPartition
from stream.worker_events import WorkerEvents

LEASE_S = SESSION_TIMEOUT_MS / 1000


class Commits:
    """Of one worker; called in its turn only."""

    def __init__(
        self, consumer: LogConsumer, checkpoints: Checkpoints, every_us: int, events: WorkerEvents, clock: Clock
    ) -> None:
        self._consumer = consumer
        self._checkpoints = checkpoints
        self._every_s = every_us / 1e6
        self._events = events
        self._clock = clock
        self._tried_s = self._heard_s = clock.monotonic_s()

    def granted(self) -> None:
        """The group has just given this worker its partitions."""
        self._heard_s = self._clock.monotonic_s()

    @property
    def has_lease(self) -> bool:
        """Whether the group has given its word lately."""
        return self._clock.monotonic_s() - self._heard_s < LEASE_S

    @property
    def due(self) -> bool:
        """Whether it is time for a commit; to ask for the group's word costs no more than one."""
        return self._clock.monotonic_s() - self._tried_s >= min(self._every_s, LEASE_S / 2)

    async def may_speak(self, work: Mapping[int, Sequence[LogRecord]], owned: Mapping[int, OwnedPartition]) -> bool:
        """Whether what follows from these records may be said; asks the group if need be."""
        # Whoever says nothing needs nobody's word.
        if self.has_lease or not any(records[-1].offset >= owned[at].live_from for at, records in work.items()):
            return True
        for at, records in work.items():
            if records[0].offset >= owned[at].live_from:
                # So it can be committed, and the group be asked, where nobody has committed anything yet.
                owned[at].said = max(owned[at].said, owned[at].live_from)
        await self.commit(owned, unmoved=True)
        return self.has_lease

    async def commit(self, owned: Mapping[int, OwnedPartition], *, unmoved: bool = False) -> None:
        """Commit what has moved on; a failure is told and made good by the next commit. unmoved: the rest too."""
        began_s = self._tried_s = self._clock.monotonic_s()
        unmoved = unmoved or began_s - self._heard_s >= LEASE_S / 2
        moved: dict[int, tuple[OwnedPartition, int, str]] = {}
        for partition, one in owned.items():
            # While it is not live, the old commit stands: what follows it has not been published yet.
            if one.said < one.live_from:
                if unmoved and one.committed >= 0:
                    moved[partition] = one, one.committed, one.committed_snapshot_id
            elif unmoved or one.said > one.committed or one.snapshot_id != one.committed_snapshot_id:
                moved[partition] = one, one.said, one.snapshot_id
        if not moved:
            return
        failpoint("before-commit")
        try:
            await self._consumer.commit(
                {
                    at: (offset, str(Note(name, one.fold.state.now_us or None, one.begin)))
                    for at, (one, offset, name) in moved.items()
                }
            )
        except ReconnectError as error:
            self._events.commit_failed(str(error))
            if isinstance(error, RefusedError):
                # Until it is assigned anew, nothing here counts.
                self._heard_s = float("-inf")
            return
        self._heard_s = began_s
        self._events.committed(len(moved))
        named = {}
        for partition, (one, offset, name) in moved.items():
            if name != one.committed_snapshot_id:
                named[partition] = one
                one.careful, one.begin = False, None
            one.committed, one.committed_snapshot_id = offset, name
        if named:
            self._checkpoints.committed(named)

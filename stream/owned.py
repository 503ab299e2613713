"""A partition that this worker owns: its fold, and how far its words count."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import QuarantineError
from stream.fold.gate import Verdict
from stream.fold.partition import Effects, LogRecord, PartitionFold


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that was skipped."""

    record: LogRecord
    error: QuarantineError


@dataclass(slots=True)
class Outcome:
    """What folding some records brought."""

    records: int = 0
    effects: list[Effects] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    verdicts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(Verdict), np.int64))
    rebuilt: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(Verdict), np.int64))
    gap: tuple[int, int] | None = None
    next_offset: int = 0
    """What this covers ends before here."""


class OwnedPartition:
    """Folds in a thread, is read by another. `live_from`: effects of records before it were published by an earlier
    owner or run, and are not published again.
    """

    def __init__(self, fold: PartitionFold) -> None:
        self.fold = fold
        self.lock = threading.Lock()
        """Held while the state changes or is read."""
        self.live_from = 0
        self.ready = False
        self.said = 0
        """All that follows from records before this offset is published; only so far may be committed."""
        self.committed = -1
        self.heard_s = 0.0
        """Monotonic time of the last record."""

    def start_at(self, offset: int, live_from: int) -> None:
        """The next record is the one at `offset`."""
        self.fold.state.next_offset = self.said = offset
        self.live_from = live_from
        self.ready = True

    def fold_all(self, records: list[LogRecord]) -> Outcome:
        """Fold records in order; blocking, for a thread. Raises IncompatibleError."""
        out = Outcome()
        state = self.fold.state
        with self.lock:
            live, before = False, state.counts.copy()
            for record in records:
                if record.offset < state.next_offset:
                    continue
                if record.offset > state.next_offset:
                    out.gap = (state.next_offset, record.offset)
                if not live and record.offset >= self.live_from:
                    live, out.rebuilt, before = True, state.counts - before, state.counts.copy()
                try:
                    effects = self.fold.fold(record)
                except QuarantineError as error:
                    if live:
                        out.unreadable.append(Unreadable(record, error))
                    continue
                if live:
                    out.records += 1
                    if effects.transitions:
                        out.effects.append(effects)
            if live:
                out.verdicts = state.counts - before
            else:
                out.rebuilt = state.counts - before
            out.next_offset = state.next_offset
        return out

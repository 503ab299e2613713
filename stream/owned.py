"""A partition that this worker owns: its fold, and how far its words count."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ingest.contract.errors import IncompatibleError, QuarantineError, Reason
from ingest.contract.failpoints import failpoint
from stream.fold.counters import Turn
from stream.fold.gate import Verdict
from stream.fold.partition import Effects, LogRecord, PartitionFold, Run, run_length
from stream.fold.reconciling import OpenAlert, reconcile
from stream.fold.state import Frozen

EPOCH_BITS = 32
"""A fence is (epoch << EPOCH_BITS) + the group's generation."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A record that was skipped, and why."""

    record: LogRecord
    error: QuarantineError


@dataclass(frozen=True, slots=True)
class Failed:
    """A record that the fold did not survive: the state is torn."""

    record: LogRecord
    error: BaseException
    among: int = 1
    """It is the first of so many that were folded at once; which of them it was is not known."""


@dataclass(slots=True)
class Outcome:
    """What folding some records brought."""

    records: int = 0
    effects: list[Effects] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    verdicts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(Verdict), np.int64))
    rebuilt: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(Verdict), np.int64))
    turns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(Turn), np.int64))
    """Counters that fell, by why; not those of records that were folded again."""
    gap: tuple[int, int] | None = None
    failed: Failed | None = None
    next_offset: int = 0
    """What this covers ends before here."""

    def add(self, later: Outcome) -> None:
        """Take in what the next records brought."""
        self.records += later.records
        self.effects += later.effects
        self.set_aside += later.set_aside
        self.verdicts = self.verdicts + later.verdicts
        self.rebuilt = self.rebuilt + later.rebuilt
        self.turns = self.turns + later.turns
        self.gap = self.gap or later.gap
        self.failed = later.failed
        self.next_offset = later.next_offset


class OwnedPartition:
    """Folds in a thread, is read by another.

    live_from: effects of records before it were published by an earlier owner or run, and are not published again.
    fence: what effects carry; never goes back for a partition, so that readers drop the late words of an owner that
    was. open_alerts: after a rebuild, what the alerts topic says is open: held against the fold's when it is live.
    """

    def __init__(
        self,
        fold: PartitionFold,
        *,
        live_from: int,
        fence: int,
        skip: frozenset[int] = frozenset(),
        careful: bool = False,
        open_alerts: Sequence[OpenAlert] | None = None,
    ) -> None:
        self.fold = fold
        self.live_from = live_from
        self.fence = fence
        self.careful = careful
        """One record at a time, each noted before: something here ended this process before."""
        self.rebuilding = open_alerts is not None
        """The state was lost and is being folded anew: what it says of the time before is not all there was."""
        self.sound = True
        """False: a fold has not come to its end; what the state is now follows from no log."""
        self.lock = threading.Lock()
        """Held while the state changes or is read."""
        self.said = fold.state.next_offset
        """All that follows from records before this offset is published; only so far may be committed."""
        self.committed = -1
        self.snapshot_id = ""
        """The newest that is durable, "" for none; it goes into the next commit."""
        self.snapshot_offset = -1
        self.committed_snapshot_id = ""
        self.begin: int | None = None
        """Where in the log the state began with nothing, as long as no snapshot is committed."""
        self.heard_s = 0.0
        """Monotonic time of the last record."""
        self.defined = False
        """The definitions that this worker wants in force are, or were written to the log since it is ours."""
        self._skip = skip
        self._open_alerts = open_alerts

    @property
    def live(self) -> bool:
        """Whether what it says is published."""
        return self.fold.state.next_offset >= self.live_from

    def skip(self, offset: int) -> None:
        """Set this record aside when it comes."""
        self._skip |= {offset}

    def move_to(self, offset: int, live_from: int) -> None:
        """Go on elsewhere in the log, with all that is known; snapshots of before are of another log."""
        with self.lock:
            back = offset < self.fold.state.next_offset
            self.fold.state.next_offset = self.said = offset
        self.live_from = live_from
        self.committed, self.committed_snapshot_id, self.begin = -1, "", None
        self.snapshot_id, self.snapshot_offset = "", -1
        if back:
            self.fence += 1 << EPOCH_BITS

    @property
    def settled(self) -> bool:
        """Whether the state is what follows from the log, and all that follows from it is said."""
        return self.sound and self.live and self.said == self.fold.state.next_offset

    def freeze(self) -> Frozen:
        """A copy of the state; blocking."""
        with self.lock:
            return self.fold.state.freeze()

    def fold_all(self, records: Sequence[LogRecord]) -> Outcome:
        """Fold records in order; blocking, for a thread. Raises IncompatibleError.

        Ends at a record that the fold does not survive: what came before it counts, the state does not any more.
        """
        out = Outcome()
        state = self.fold.state
        with self.lock:
            self.sound = False
            live, before, at = False, state.counts.copy(), 0
            turns_before = state.turns.copy()
            while at < len(records):
                record = records[at]
                if record.offset < state.next_offset:
                    at += 1
                    continue
                # A hole of one offset is the end of somebody's transaction.
                if record.offset > state.next_offset + 1:
                    out.gap = (state.next_offset, record.offset)
                if not live and record.offset >= self.live_from:
                    live, out.rebuilt, before = True, state.counts - before, state.counts.copy()
                    turns_before = state.turns.copy()
                    self._reconcile(out)
                some = self._together(records, at, live)
                try:
                    run = self._fold(some)
                except IncompatibleError:
                    # It says so before it changes anything.
                    self.sound = True
                    raise
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:  # noqa: BLE001  # whatever a model may think of; Rust's panics too
                    out.failed = Failed(record, error, len(some))
                    break
                at += run.records
                # A record of definitions may have put another state in its place.
                state = self.fold.state
                if live:
                    out.set_aside += [SetAside(*one) for one in run.refused]
                if run.effects is None:
                    continue
                failpoint("folded")
                if live:
                    out.records += run.records - len(run.refused)
                    out.effects.append(run.effects)
            if live:
                out.verdicts = state.counts - before
                out.turns = state.turns - turns_before
            else:
                out.rebuilt = state.counts - before
            self.sound = out.failed is None
            out.next_offset = state.next_offset if out.failed is None else out.failed.record.offset
        return out

    def _together(self, records: Sequence[LogRecord], at: int, live: bool) -> Sequence[LogRecord]:
        """The next records that may be folded at once, or the one: none that is left out, nor the first live one."""
        length = run_length(records, at)
        if length > 1:
            offset, bounds = records[at].offset, [*self._skip, *(() if live else (self.live_from,))]
            length = min([length, *(bound - offset for bound in bounds if offset < bound)])
        return records[at : at + length]

    def _fold(self, records: Sequence[LogRecord]) -> Run:
        first = records[0]
        if first.offset in self._skip:
            self.fold.state.next_offset = first.offset + 1
            return Run(1, [(first, QuarantineError(Reason.RECORD, "the fold did not survive it, several times"))], None)
        if len(records) > 1:
            return self.fold.fold_run(records)
        try:
            return Run(1, [], self.fold.fold(first))
        except QuarantineError as error:
            return Run(1, [(first, error)], None)

    def _reconcile(self, out: Outcome) -> None:
        """After a rebuild: the alerts that are open on the topic, and those that the fold believes open."""
        if self._open_alerts is None:
            return
        transitions = reconcile(self.fold, self._open_alerts)
        self._open_alerts, self.rebuilding = None, False
        if transitions:
            out.effects.append(Effects(self.fold.state.next_offset, transitions))

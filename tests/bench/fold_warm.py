"""Workers' folds in the steady state: windows filled, scorers past their grace period, memory touched.

110 rounds over a million sensors would take minutes to write down. So a thousand sensors of each partition live through
them, and the partition's others get what these know: a frozen state, thawed with more rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np

from deploy.registries import model_registry
from ingest.contract.class_settings import EVERYTHING_ELSE
from ingest.contract.readings import Readings
from stream.fold.definitions import Definitions
from stream.fold.gate import Verdict
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.plan import Plan, make_plan
from stream.fold.state import Frozen, PartitionState
from tests.bench.fold_load import DELAYS, QUANTITIES, ROWS, Part, arrow_records, foreign_records, parts_of

WARM_UP_ROUNDS = 110
# Before those an hour in which they spoke less often, so that the panes of the longest window have something in them
# and scorers are past their grace period; and before that a day, so that all its hours are known.
HISTORY = (*range(-90_000, -3_600, 300), *range(-3_600, 0, 12))
FEW = DELAYS * len(QUANTITIES)  # of every delay one machine
MAX_SENSORS = 2_000_000
FUTURE_US = 300_000_000


def default_plan() -> Plan:
    """What settings without a word on classes mean."""
    return make_plan(Definitions([EVERYTHING_ELSE], MAX_SENSORS, FUTURE_US), model_registry())


def repeated(frozen: Frozen, like: Sequence[str], names: Sequence[str]) -> Frozen:
    """A state of more sensors: the n-th of `names` is like the n-th of `like`, which begins anew where it ends."""
    slot = {name: at for at, name in enumerate(frozen.names)}
    rows = np.array([slot[name] for name in like])[np.arange(len(names)) % len(like)]
    few = len(frozen.names)
    arrays = {name: array[rows] if len(array) == few else array for name, array in frozen.arrays.items()}
    return replace(frozen, names=list(names), arrays=arrays)


def warm_fold(plan: Plan, part: Part) -> PartitionFold:
    """A partition whose sensors have all been through the warm-up."""
    few = replace(part, names=part.names[:FEW])
    fold = PartitionFold(plan, part.partitions, partition=part.number)
    history = [record for number in HISTORY for record in arrow_records(few, number, 1)]
    for record in [*history, *arrow_records(few, 0, WARM_UP_ROUNDS)]:
        fold.fold(record)
    if len(few.names) == len(part.names):
        return fold
    state = PartitionState.thaw(plan, repeated(fold.state.freeze(), few.names, part.names))
    return PartitionFold(plan, part.partitions, state, partition=part.number)


@dataclass(slots=True)
class Worker:
    """The partitions of one worker, and where its log is."""

    parts: list[Part]
    folds: list[PartitionFold]
    round: int = WARM_UP_ROUNDS

    @property
    def sensors(self) -> int:
        """Of all partitions."""
        return sum(len(part.names) for part in self.parts)

    def folded(self) -> int:
        """Readings that windows and models have, so far."""
        return sum(int(fold.state.counts[Verdict.FOLDED]) for fold in self.folds)

    def arrow(self, rounds: int, rows: int = ROWS) -> list[tuple[PartitionFold, LogRecord]]:
        """The log's next rounds: records by partition in turn, as they come out of a poll."""
        return self._log(rounds, lambda part: arrow_records(part, self.round, rounds, rows))

    def foreign(
        self, rounds: int, rows: int, written: Callable[[Readings], list[bytes]]
    ) -> list[tuple[PartitionFold, LogRecord]]:
        """Likewise, from other producers."""
        return self._log(rounds, lambda part: foreign_records(part, self.round, rounds, rows, written))

    def _log(self, rounds: int, of: Callable[[Part], list[LogRecord]]) -> list[tuple[PartitionFold, LogRecord]]:
        logs = [of(part) for part in self.parts]
        self.round += rounds
        return list(in_turn(self.folds, logs))


def in_turn(
    folds: Sequence[PartitionFold], logs: Sequence[Sequence[LogRecord]]
) -> Iterator[tuple[PartitionFold, LogRecord]]:
    """A record of each partition, then the next of each."""
    for records in zip_longest(*logs):
        for fold, record in zip(folds, records, strict=True):
            if record is not None:
                yield fold, record


def warm_worker(sensors: int, partitions: int) -> Worker:
    """A worker that owns all partitions of a plant."""
    plan, parts = default_plan(), parts_of(sensors, partitions)
    return Worker(parts, [warm_fold(plan, part) for part in parts])

"""CPU of the fold per reading from JSON, as other producers write it: arrays of readings, columns, one reading each.

Folded as a worker does: what a poll brought at once.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from ingest.contract.readings import Readings
from stream.fold.partition import LogRecord
from stream.owned import OwnedPartition
from tests.bench.baselines.fold_plain import PlainFold
from tests.bench.fold import NAME, SIZES, ByHand
from tests.bench.fold_load import ROWS, json_arrays, json_columns, json_lines
from tests.bench.fold_warm import Worker, warm_worker
from tests.bench.measure import Figure
from tests.bench.turns import Say, medians

SIZE = SIZES[1]
POLL = 500
"""Records of a partition that a poll brings where there are more."""


@dataclass(frozen=True, slots=True)
class Form:
    """A way to write so many readings. by_hand: what reads that; rounds: what a run takes."""

    name: str
    written: Callable[[Readings], list[bytes]]
    rows: int
    by_hand: Callable[[PlainFold, Iterable[bytes]], None]
    rounds: int


FORMS = (
    Form("json", json_arrays, 1_000, PlainFold.fold_arrays, 10),
    Form("json_columns", json_columns, 1_000, PlainFold.fold_columns, 10),
    Form("json_one_by_one", json_lines, ROWS, PlainFold.fold, 5),
)


def foreign_run(worker: Worker, form: Form) -> float:
    """The next rounds in that form."""
    before, log = worker.folded(), worker.foreign(form.rounds, form.rows, form.written)
    polls = list[tuple[OwnedPartition, list[LogRecord]]]()
    for one in worker.folds:
        records = [record for fold, record in log if fold is one]
        owned = OwnedPartition(one, live_from=0, fence=0)
        polls += [(owned, records[at : at + POLL]) for at in range(0, len(records), POLL)]
    began_ns = time.process_time_ns()
    for owned, records in polls:
        owned.fold_all(records)
    took_ns = time.process_time_ns() - began_ns
    readings = form.rounds * worker.sensors
    if worker.folded() - before != readings:
        raise RuntimeError("not every reading was folded")
    return took_ns / readings / 1e3


def per_reading(runs: int, say: Say) -> list[Figure]:
    """µs of CPU per reading, at 10,000 sensors."""
    worker, fold = warm_worker(SIZE.sensors, SIZE.partitions), PlainFold()
    by_hand = ByHand(fold, SIZE.by_hand)
    found = []
    for form in FORMS:
        name = f"{NAME}_{form.name}"
        foreign_run(worker, form)  # the last kernels are compiled, or loaded
        ways = {
            "ours": partial(foreign_run, worker, form),
            "by hand": partial(by_hand.run, form.rounds, form.written, form.rows, partial(form.by_hand, fold)),
        }
        ours, plain = medians(name, "µs", ways, runs, say)
        found.append(Figure.cost(name, ours, "µs", plain))
    return found

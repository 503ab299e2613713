"""All that the fold can do at once: no cut of the log and no restart changes a bit, and what it says hangs together."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.fold.alerts import Phase, Transition
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.reconciling import OpenAlert, reconcile
from stream.fold.relearning import open_levels
from stream.fold.scored import Scored
from stream.fold.state import PartitionState
from tests.properties.mixed_logs import PLANS, MixedLog, as_records, mixed_log
from tests.properties.test_reconciling import open_in, tell
from tests.unit.stream.logs import PARTITIONS, examples

LOGS = st.integers(0, 2**32).map(mixed_log)


def folded(records: list[LogRecord], restart: random.Random | None = None) -> tuple[list[bytes], list[Transition]]:
    """(The state, what was told); restart: now and then, as from a snapshot."""
    fold, told = PartitionFold(PLANS[0], PARTITIONS, watch=_look), list[Transition]()
    for record in records:
        told += fold.fold(record).transitions
        if restart is not None and restart.random() < 0.1:
            state = PartitionState.thaw(fold.plan, fold.state.freeze())
            assert state.digest_parts() == fold.state.digest_parts()
            fold = PartitionFold(fold.plan, PARTITIONS, state, watch=_look)
    return fold.state.digest_parts(), told


def _look(scored: Scored) -> None:
    assert np.isfinite(scored.score).all()
    assert (scored.score >= 0.0).all()


@examples(25)
@given(log=LOGS, sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_no_cut_and_no_restart_changes_anything(log: MixedLog, sizes: list[int], seed: int) -> None:
    state, told = folded(as_records(log))

    assert folded(as_records(log, sizes), random.Random(seed)) == (state, told)


@examples(8)
@given(log=LOGS, lost=st.floats(0.2, 0.8))
def test_what_people_hold_for_open_is_what_the_fold_does_also_after_a_part_of_the_log_was_lost(
    log: MixedLog, lost: float
) -> None:
    records, told, last = as_records(log), dict[str, OpenAlert](), dict[str, Phase]()
    whole, end = PartitionFold(PLANS[0], PARTITIONS), round(0.9 * len(log))
    for record in records[:end]:
        said = whole.fold(record).transitions
        for one in said:
            before, last[one.id] = last.get(one.id), one.phase
            # An alert begins once, and only what began ends.
            assert before is (None if one.phase is Phase.FIRING else Phase.FIRING)
            assert one.since_us <= one.at_us
            assert np.isfinite(one.score)
        tell(told, said)
        assert told.keys() == open_for(whole)
    rebuilt = PartitionFold(whole.plan, PARTITIONS)
    for record in records[round(lost * end) : end]:
        rebuilt.fold(record)

    said = reconcile(rebuilt, told.values())

    assert len({one.id for one in said}) == len(said)
    tell(told, said)
    assert told.keys() == open_for(rebuilt)
    for record in records[end:]:
        tell(told, rebuilt.fold(record).transitions)
    assert told.keys() == open_for(rebuilt)


def open_for(fold: PartitionFold) -> set[str]:
    """Alerts that the fold believes people hold for open."""
    return {*open_in(fold, Phase.FIRING), *open_levels(fold.state)}

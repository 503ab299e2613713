"""All that the fold can do at once: no cut of the log and no restart changes a bit, and what it says hangs together."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.fold.alerts import Transition
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.scored import Scored
from stream.fold.state import PartitionState
from tests.properties.mixed_logs import PLANS, MixedLog, as_records, mixed_log
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

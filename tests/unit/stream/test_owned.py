"""A partition that is owned: no record counts twice, what is missing is told, what was said is not said again."""

from __future__ import annotations

import pytest

from ingest.contract.errors import IncompatibleError
from stream.fold.partition import LogRecord, PartitionFold
from stream.owned import OwnedPartition
from tests.unit.stream.logs import (
    PARTITIONS,
    PLANT,
    START_US,
    Batch,
    fold_log,
    long_log,
    plan_of,
    record_of,
    records_of,
)

PLAN = plan_of(*PLANT)
LOG = long_log(3)
RECORDS = records_of(LOG, first_offset=100)
WHOLE = fold_log(PLAN, LOG)


def owned_from(offset: int, live_from: int) -> OwnedPartition:
    fold = PartitionFold(PLAN, PARTITIONS)
    fold.state.next_offset = offset
    return OwnedPartition(fold, live_from=live_from, fence=1)


def bad(offset: int) -> LogRecord:
    return LogRecord(offset, [], b"?")


def test_records_that_come_again_are_not_folded_again() -> None:
    owned = owned_from(100, 100)
    owned.fold_all(RECORDS[:40])

    again = owned.fold_all(RECORDS[:40])
    owned.fold_all(RECORDS[20:])

    assert again.records == 0
    assert not again.verdicts.any()
    assert owned.fold.state.digest_parts() == WHOLE.digest


def test_a_gap_is_reported_and_the_fold_goes_on_behind_it() -> None:
    owned = owned_from(90, 90)

    assert owned.fold_all(RECORDS[:10]).gap == (90, 100)
    assert owned.fold_all(RECORDS[10:20]).gap is None
    outcome = owned.fold_all(RECORDS[30:])

    assert outcome.gap == (120, 130)
    assert outcome.records == len(RECORDS) - 30
    assert owned.fold.state.next_offset == 100 + len(RECORDS)


def test_nothing_is_said_again_while_the_state_is_rebuilt() -> None:
    owned = owned_from(100, 130)

    outcome = owned.fold_all(RECORDS)

    assert owned.fold.state.digest_parts() == WHOLE.digest
    assert outcome.records == len(RECORDS) - 30
    assert {effects.offset for effects in outcome.effects} == {
        effects.offset for effects in owned_from(100, 100).fold_all(RECORDS).effects if effects.offset >= 130
    }
    assert outcome.rebuilt.sum() + outcome.verdicts.sum() == WHOLE.fold.state.counts.sum()
    assert outcome.rebuilt.sum() == sum(len(batch.rows) for batch in LOG[:30])


def test_effects_carry_the_offset_of_the_record_that_caused_them() -> None:
    one_by_one = owned_from(100, 100)
    expected = [
        (record.offset, effects.transitions) for record in RECORDS for effects in one_by_one.fold_all([record]).effects
    ]

    found = owned_from(100, 100).fold_all(RECORDS).effects

    assert [(effects.offset, effects.transitions) for effects in found] == expected
    assert [one for _, transitions in expected for one in transitions] == WHOLE.transitions
    assert len(expected) > 5


def test_an_unreadable_record_is_set_aside_once() -> None:
    owned = owned_from(0, 2)

    outcome = owned.fold_all([bad(0), record_of(1, Batch(START_US)), bad(2), record_of(3, Batch(START_US)), bad(4)])

    assert [one.record.offset for one in outcome.set_aside] == [2, 4]
    assert outcome.records == 1
    assert outcome.gap is None
    assert owned.fold.state.next_offset == 5


def test_a_record_that_must_not_be_skipped_stops_at_itself() -> None:
    owned = owned_from(0, 0)
    foreign = record_of(1, Batch(START_US), partitions=PARTITIONS + 1)

    with pytest.raises(IncompatibleError):
        owned.fold_all([record_of(0, Batch(START_US)), foreign, record_of(2, Batch(START_US))])

    assert owned.fold.state.next_offset == 1
    assert not owned.lock.locked()

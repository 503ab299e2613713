"""Records of other producers that arrived together are folded at once: nobody can tell, and no record harms another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.foreign import ARRIVAL_GRID_MS
from stream.fold.alerts import Phase, Transition
from stream.fold.backlog import Digest
from stream.fold.gate import Verdict
from stream.fold.partition import Effects, LogRecord, PartitionFold, Run, run_length
from stream.fold.plan import Plan
from stream.fold.runs import MAX_RUN_BYTES
from stream.owned import OwnedPartition
from tests.properties.foreign_logs import (
    ELSEWHERE,
    FEW,
    FORGET_US,
    HERE,
    PARTITION,
    PLAN,
    START_MS,
    foreign,
    line,
    logs,
)
from tests.unit.stream.logs import (
    FUTURE_US,
    PARTITIONS,
    PLANT,
    START_US,
    Batch,
    Row,
    examples,
    plan_of,
    record_of,
)


class Found(NamedTuple):
    """All that folding a log comes to."""

    state: list[bytes]
    transitions: list[Transition]
    digests: list[Digest]
    late: list[tuple[str | None, int, str | None]]
    forgotten: int
    refused: list[tuple[int, str, str]]


def found_of(fold: PartitionFold, effects: list[Effects], refused: list[tuple[int, QuarantineError]]) -> Found:
    late = [one.late for one in effects if one.late is not None]
    codes = [one.code.decode() if one.code is not None else [None] * len(one) for one in late]
    return Found(
        fold.state.digest_parts(),
        [one for each in effects for one in each.transitions],
        [one for each in effects for one in each.digests],
        [
            row
            for one, code in zip(late, codes, strict=True)
            for row in zip(one.sensor.decode(), one.ts_us.tolist(), code, strict=True)
        ],
        sum(one.forgotten for one in effects),
        [(offset, error.reason, error.detail) for offset, error in refused],
    )


def one_by_one(plan: Plan, records: list[LogRecord]) -> Found:
    fold, effects, refused = PartitionFold(plan, PARTITIONS, partition=PARTITION), [], []
    for record in records:
        try:
            effects.append(fold.fold(record))
        except QuarantineError as error:
            refused.append((record.offset, error))
    return found_of(fold, effects, refused)


def owned_of(plan: Plan, live_from: int = 0) -> OwnedPartition:
    return OwnedPartition(PartitionFold(plan, PARTITIONS, partition=PARTITION), live_from=live_from, fence=1)


@examples(150)
@given(log=logs(), polls=st.lists(st.integers(1, 30), min_size=1), plan=st.sampled_from([PLAN, FEW]))
def test_any_cut_into_polls_gives_the_same_as_record_by_record(
    log: list[LogRecord], polls: list[int], plan: Plan
) -> None:
    owned, left, taken = owned_of(plan), log, 0
    effects, refused = list[Effects](), list[tuple[int, QuarantineError]]()

    while left:
        size = polls[len(left) % len(polls)]
        outcome = owned.fold_all(left[:size])
        left = left[size:]
        effects += outcome.effects
        refused += [(one.record.offset, one.error) for one in outcome.set_aside]
        taken += outcome.records

    assert found_of(owned.fold, effects, refused) == one_by_one(plan, log)
    assert taken + len(refused) == len(log)
    offsets = [one.offset for one in effects]
    assert offsets == sorted(set(offsets))
    assert set(offsets) <= {one.offset for one in log}


@examples(80)
@given(log=logs(), data=st.data())
def test_what_was_published_before_is_not_said_again_where_it_would_be_in_the_midst_of_a_run(
    log: list[LogRecord], data: st.DataObject
) -> None:
    live_from = data.draw(st.integers(0, log[-1].offset + 1))
    before, owned = owned_of(PLAN), owned_of(PLAN, live_from)
    told = before.fold_all([one for one in log if one.offset < live_from])

    outcome = owned.fold_all(log)
    rest = before.fold_all([one for one in log if one.offset >= live_from])

    assert owned.fold.state.digest_parts() == before.fold.state.digest_parts()
    assert [(one.offset, one.transitions) for one in outcome.effects] == [
        (one.offset, one.transitions) for one in rest.effects
    ]
    assert [one.record for one in outcome.set_aside] == [one.record for one in rest.set_aside]
    assert all(one.record.offset >= live_from for one in outcome.set_aside)
    assert outcome.records == rest.records
    assert outcome.verdicts.tolist() == rest.verdicts.tolist()
    assert outcome.rebuilt.tolist() == told.verdicts.tolist()


def test_the_logs_that_are_made_up_are_worth_their_name() -> None:
    """The properties above say little if nothing ever happens."""
    chance, offset, records = np.random.default_rng(1), 0, list[LogRecord]()
    for round_ in range(300):
        for sensor in HERE:
            value = float(chance.normal(5.0, 1.0)) + 30.0 * (chance.random() < 0.05)
            lag_ms = int(chance.choice([0, 0, 0, 30_000, 7_200_000]))
            ms = START_MS + round_ * 1_000
            untimed = chance.random() < 0.3
            records.append(foreign(offset, line(sensor, value, None if untimed else ms - lag_ms), ms))
            offset += 1
    owned = owned_of(PLAN)

    outcome = owned.fold_all(records)

    assert found_of(owned.fold, outcome.effects, []) == one_by_one(PLAN, records)
    assert {one.phase for each in outcome.effects for one in each.transitions} >= {Phase.FIRING, Phase.RESOLVED}
    assert {one for one in Verdict if outcome.verdicts[one]} >= {Verdict.FOLDED, Verdict.OUT_OF_ORDER, Verdict.LATE}
    assert len(outcome.effects) == 300


# --- runs -------------------------------------------------------------------------------------------------------------


def run_of(size: int, ms: int = START_MS, first_offset: int = 0) -> list[LogRecord]:
    return [foreign(first_offset + at, line(HERE[0], at), ms) for at in range(size)]


def test_what_arrived_together_is_folded_at_once_and_its_effects_carry_the_last_offset() -> None:
    outcome = owned_of(PLAN).fold_all(run_of(500))

    assert outcome.records == 500
    assert outcome.verdicts[Verdict.FOLDED] == 500
    assert [one.offset for one in outcome.effects] == [499]


@pytest.mark.parametrize(
    "stranger",
    [
        pytest.param(foreign(3, line(HERE[0], 1), START_MS + ARRIVAL_GRID_MS), id="another arrival"),
        pytest.param(foreign(4, line(HERE[0], 1)), id="after a gap"),
        pytest.param(record_of(3, Batch(START_US)), id="a gateway's"),
        pytest.param(record_of(3, Batch(START_US), tick=True), id="a tick"),
        pytest.param(foreign(3, b" " * MAX_RUN_BYTES + line(HERE[0], 1)), id="a large one"),
    ],
)
def test_a_run_ends_where_another_kind_of_record_comes(stranger: LogRecord) -> None:
    records = [*run_of(3), stranger, *run_of(2, first_offset=stranger.offset + 1)]
    assert run_length(records, 0) == 3
    assert run_length(records, 1) == 2
    assert run_length(records, 4) == 2


def test_a_run_begins_and_ends_on_the_grid_of_arrival_times() -> None:
    last = START_MS + ARRIVAL_GRID_MS - 1
    records = [*run_of(1, START_MS - 1), *run_of(1, START_MS, 1), *run_of(1, last, 2), *run_of(1, last + 1, 3)]
    assert [run_length(records, at) for at in range(4)] == [1, 2, 1, 1]


def test_the_documentation_says_what_is_folded_at_once() -> None:
    page = (Path(__file__).parents[2] / "docs" / "foreign.md").read_text()
    assert f"in the same {ARRIVAL_GRID_MS} ms" in page
    assert f"rounded down to {ARRIVAL_GRID_MS} ms" in page


def test_a_stamp_is_kafkas_to_the_millisecond_and_is_never_the_future() -> None:
    plan = plan_of(*PLANT, future_us=0)
    fold = PartitionFold(plan, PARTITIONS)
    last_ms = START_MS + ARRIVAL_GRID_MS - 1

    run = fold.fold_run([foreign(0, line("a/1/x", 1)), foreign(1, line("a/1/x", 2), last_ms)])

    assert run.effects is not None
    assert fold.state.counts[Verdict.FOLDED] == 2
    assert fold.state.sensors["shown_us"][0] == last_ms * 1_000
    assert fold.state.now_us == START_US


@pytest.mark.parametrize("future_us", [0, FUTURE_US])
@pytest.mark.parametrize(
    "leads_ms",
    [
        pytest.param([None, None, None], id="none has a time"),
        pytest.param([40, None, None], id="after one that is a little ahead"),
        pytest.param([None, 40, None, 40, None], id="between such"),
        pytest.param([600, None, None], id="after one that is the future, or nearly"),
        pytest.param([2_000, None, None], id="after another clock's"),
    ],
)
def test_stamps_ascend_in_a_run_as_from_record_to_record(leads_ms: list[int | None], future_us: int) -> None:
    plan = plan_of(*PLANT, future_us=future_us)
    records = [
        foreign(at, line(HERE[0], at, None if lead_ms is None else START_MS + lead_ms))
        for at, lead_ms in enumerate(leads_ms)
    ]
    owned = owned_of(plan)

    outcome = owned.fold_all(records)

    assert [one.offset for one in outcome.effects] == [len(records) - 1]
    assert found_of(owned.fold, outcome.effects, []) == one_by_one(plan, records)


@pytest.mark.parametrize("lead_ms", [1_000, 2_000, 240_000])
def test_readings_without_a_time_are_no_duplicates_when_another_clock_is_ahead(lead_ms: int) -> None:
    # Three untimed readings of one millisecond, once: two of them were counted as duplicates of the first.
    ahead = foreign(0, line(HERE[0], 1, START_MS + lead_ms))
    records = [ahead, *(foreign(at, line(HERE[0], at)) for at in range(1, 12))]
    owned = owned_of(PLAN)

    owned.fold_all(records)

    assert owned.fold.state.counts[Verdict.DUPLICATE] == 0
    ring = owned.fold.state.sensors["ring"][0]
    assert ring[:12].tolist() == [*range(START_US, START_US + 11), START_US + lead_ms * 1_000]


@examples(40)
@given(leads_us=st.lists(st.sampled_from([None, None, None, 0, 2, 999_999, 1_000_000, 5_000_000]), max_size=40))
def test_untimed_readings_are_stamped_alike_however_they_are_cut_into_records(leads_us: list[int | None]) -> None:
    rows = [
        {"sensor": HERE[0], "value": at} | ({} if lead_us is None else {"ts": START_US + lead_us})
        for at, lead_us in enumerate(leads_us)
    ]
    whole, apart = PartitionFold(PLAN, PARTITIONS), PartitionFold(PLAN, PARTITIONS)

    whole.fold(foreign(0, json.dumps(rows).encode()))
    for at, row in enumerate(rows):
        apart.fold(foreign(at, json.dumps(row).encode()))

    assert whole.state.counts.tolist() == apart.state.counts.tolist()
    if rows:
        assert whole.state.row(0)["sensors"].tobytes() == apart.state.row(0)["sensors"].tobytes()


def test_of_a_record_that_is_bad_twice_the_name_is_told() -> None:
    both = json.dumps([{"sensor": ELSEWHERE, "value": 1}, {"sensor": "a//x", "value": 1}]).encode()
    (bad,) = owned_of(PLAN).fold_all([foreign(0, both)]).set_aside
    assert bad.error.reason is Reason.NAME


def test_a_bad_record_in_a_run_is_set_aside_alone() -> None:
    records = run_of(9)
    bad = {1: b"?", 4: line("a//x", 1), 5: line(ELSEWHERE, 1), 7: b'[{"sensor": "a/1/x", "value": {}}]', 8: None}
    for offset, data in bad.items():
        records[offset] = records[offset]._replace(value=data)

    outcome = owned_of(PLAN).fold_all(records)

    assert [one.record.offset for one in outcome.set_aside] == list(bad)
    assert [one.offset for one in outcome.effects] == [8]
    assert (outcome.records, outcome.verdicts.sum(), outcome.next_offset) == (4, 4, 9)


def test_a_run_of_nothing_but_bad_records_moves_nothing_but_the_offset() -> None:
    owned = owned_of(PLAN)
    before = owned.fold.state.digest_parts()

    outcome = owned.fold_all([foreign(at, b"?") for at in range(4)])

    assert [one.record.offset for one in outcome.set_aside] == [0, 1, 2, 3]
    assert (outcome.records, outcome.effects, outcome.next_offset) == (0, [], 4)
    assert owned.fold.state.digest_parts() == before


def test_a_record_that_is_left_out_parts_a_run() -> None:
    owned = owned_of(PLAN)
    owned.skip(2)

    outcome = owned.fold_all(run_of(5))

    assert [one.record.offset for one in outcome.set_aside] == [2]
    assert [one.offset for one in outcome.effects] == [1, 4]
    assert (outcome.records, outcome.verdicts.sum()) == (4, 4)


class Poisoned(PartitionFold):
    """A fold that does not survive a certain record."""

    def fold_run(self, records: Any) -> Run:
        if any(one.offset == 105 for one in records):
            raise ZeroDivisionError
        return super().fold_run(records)


def test_of_a_run_that_the_fold_does_not_survive_the_first_record_is_named_and_how_many_it_may_be() -> None:
    records = [*run_of(3, first_offset=100), *run_of(9, START_MS + 1_000, first_offset=103)]
    fold = Poisoned(PLAN, PARTITIONS)
    fold.state.next_offset = 100
    owned = OwnedPartition(fold, live_from=0, fence=1)

    outcome = owned.fold_all(records)

    assert outcome.failed is not None
    assert (outcome.failed.record.offset, outcome.failed.among) == (103, 9)
    assert [one.offset for one in outcome.effects] == [102]
    assert outcome.next_offset == 103
    # One at a time, it is found.
    fold.state.next_offset = 103
    alone = [owned.fold_all([one]).failed for one in records[3:6]]
    assert [one and (one.record.offset, one.among) for one in alone] == [None, None, (105, 1)]


def test_who_is_forgotten_with_the_first_record_of_a_run_is_unknown_to_the_second() -> None:
    silent_us = FORGET_US + 1_000_000
    # A gateway's record may bring a sensor of any partition.
    records = [record_of(0, Batch(START_US, (Row(ELSEWHERE, START_US, 1.0),)))]
    while (at_us := START_US + len(records) * 60_000_000 - 1_000_000) < START_US + FORGET_US:
        records.append(record_of(len(records), Batch(at_us), tick=True))
    ms = (START_US + silent_us) // 1_000
    run = [foreign(len(records) + at, line(sensor, 1), ms) for at, sensor in enumerate([HERE[0], ELSEWHERE, HERE[0]])]
    owned = owned_of(PLAN)

    outcome = owned.fold_all([*records, *run])

    refused = [(one.record.offset, one.error) for one in outcome.set_aside]
    assert [offset for offset, _ in refused] == [run[1].offset]
    found = found_of(owned.fold, outcome.effects, refused)
    assert found.forgotten == 1
    assert found == one_by_one(PLAN, [*records, *run])

"""The fold is a function of the log: not of how it is cut into records, nor of how often it runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.errors import IncompatibleError, QuarantineError
from ingest.contract.wire import JSON
from stream.fold.alerts import Phase
from stream.fold.gate import Verdict
from stream.fold.migrate import plan_from
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.state import PartitionState
from stream.owned import OwnedPartition
from stream.snapshot import Snapshot, decode_snapshot, encode_snapshot
from tests.unit.stream.logs import (
    PARTITIONS,
    PLANT,
    S_US,
    START_US,
    Batch,
    Encoding,
    Row,
    examples,
    fold_log,
    fold_records,
    logs,
    long_log,
    plan_of,
    record_of,
    records_of,
    rows_in,
)

PLAN = plan_of(*PLANT)
ENCODINGS = st.builds(Encoding, st.booleans(), st.booleans(), st.booleans())
ANY_LOG = st.one_of(logs(), st.integers(0, 2**32).map(long_log))


CUTS = st.lists(st.tuples(st.integers(0, 6), ENCODINGS, st.booleans()), min_size=1, max_size=12).filter(
    lambda cuts: any(size for size, _, _ in cuts)
)
"""(rows, encoding, whether an empty one is a tick) of the smaller records, over and over."""


def cut(log: list[Batch], cuts: list[tuple[int, Encoding, bool]]) -> list[LogRecord]:
    """The same log in smaller records: same rows, same order, same arrival times, other dictionaries."""
    records: list[LogRecord] = []
    for batch in log:
        rows = batch.rows
        while True:
            size, encoding, tick = cuts[len(records) % len(cuts)]
            piece, rows = batch._replace(rows=rows[:size]), rows[size:]
            records.append(record_of(len(records), piece, encoding, tick=tick and not piece.rows))
            if not rows:
                break
    return records


@examples(120)
@given(log=ANY_LOG, cuts=CUTS, max_sensors=st.sampled_from([1_000, 3]))
def test_any_split_of_a_log_gives_the_same_bits_and_the_same_alerts(
    log: list[Batch], cuts: list[tuple[int, Encoding, bool]], max_sensors: int
) -> None:
    plan = plan_of(*PLANT, max_sensors=max_sensors)
    whole = fold_log(plan, log)

    pieces = fold_records(plan, cut(log, cuts))

    assert pieces.digest == whole.digest
    assert pieces.transitions == whole.transitions
    assert pieces.digests == whole.digests
    assert pieces.late == whole.late
    assert len(whole.late) == whole.count(Verdict.LATE)
    assert whole.fold.state.counts.sum() == rows_in(log)


@examples(30)
@given(log=ANY_LOG, polls=st.lists(st.integers(1, 7), min_size=1))
def test_any_grouping_of_records_gives_the_same_bits_and_the_same_alerts(log: list[Batch], polls: list[int]) -> None:
    whole, records = fold_log(PLAN, log), records_of(log)
    owned = OwnedPartition(PartitionFold(PLAN, PARTITIONS), live_from=0, fence=1)
    transitions, counted = [], 0

    while records:
        size = polls[len(records) % len(polls)]
        outcome = owned.fold_all(records[:size])
        records = records[size:]
        transitions += [one for effects in outcome.effects for one in effects.transitions]
        counted += int(outcome.verdicts.sum())

    assert owned.fold.state.digest_parts() == whole.digest
    assert transitions == whole.transitions
    assert counted == rows_in(log)


def kept(fold: PartitionFold) -> PartitionFold:
    """What comes back from a snapshot."""
    definitions = fold.plan.definitions.to_bytes()
    data = encode_snapshot(Snapshot("group", "readings", 0, PARTITIONS, 1, START_US, definitions, fold.state.freeze()))
    found = decode_snapshot(bytes(data))
    plan = plan_from(found.definitions, fold.plan.registry)
    return PartitionFold(plan, PARTITIONS, PartitionState.thaw(plan, found.frozen))


@examples(50)
@given(
    log=ANY_LOG,
    cuts=CUTS,
    deaths=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=4),
)
def test_a_fold_that_dies_anywhere_and_goes_on_from_its_last_snapshot_gives_the_same_bits_and_the_same_alerts(
    log: list[Batch], cuts: list[tuple[int, Encoding, bool]], deaths: list[tuple[float, float]]
) -> None:
    """deaths: (where, how much of what is since the last snapshot was snapshotted), as shares."""
    records = cut(log, cuts)
    whole = fold_records(PLAN, records)
    fold, said, snapshot_at = PartitionFold(PLAN, PARTITIONS), dict[int, list[object]](), 0
    kept_fold = kept(fold)
    for share, part in sorted(deaths):
        dies_at = max(snapshot_at, int(share * len(records)))
        snapshots_at = snapshot_at + int(part * (dies_at - snapshot_at))
        for record in records[snapshot_at:dies_at]:
            said[record.offset] = [*fold.fold(record).transitions]
            if record.offset + 1 == snapshots_at:
                kept_fold = kept(fold)
                snapshot_at = snapshots_at
        # Its end; another begins where the snapshot was.
        fold = kept(kept_fold)
        assert fold.state.next_offset == snapshot_at
    for record in records[snapshot_at:]:
        said[record.offset] = [*fold.fold(record).transitions]

    assert fold.state.digest_parts() == whole.digest
    assert [one for offset in sorted(said) for one in said[offset]] == whole.transitions


@examples(20)
@given(log=ANY_LOG)
def test_folding_a_log_again_is_the_same_to_the_bit(log: list[Batch]) -> None:
    first, second = fold_log(PLAN, log), fold_log(PLAN, log)

    assert first.digest == second.digest
    assert first.transitions == second.transitions


def test_the_generated_plant_is_worth_its_name() -> None:
    """The properties above say little if nothing ever happens."""
    verdicts, phases = set[int](), set[Phase]()
    for seed in range(5):
        found = fold_log(PLAN, long_log(seed))
        verdicts |= {one for one in Verdict if found.count(one)}
        phases |= {one.phase for one in found.transitions}

    assert verdicts >= {Verdict.FOLDED, Verdict.OUT_OF_ORDER, Verdict.STATE, Verdict.DUPLICATE, Verdict.LATE}
    assert phases == {Phase.PENDING, Phase.FIRING, Phase.RESOLVED}


def test_a_hundred_and_fifty_sensors_at_once_or_one_by_one() -> None:
    rows = [Row(f"a/{at % 150}/temperature", START_US + at, float(at % 7)) for at in range(600)]

    at_once = fold_log(PLAN, [Batch(START_US, tuple(rows))])
    one_by_one = fold_log(PLAN, [Batch(START_US, (row,)) for row in rows])

    assert len(at_once.fold.state.names) == 150
    assert at_once.digest == one_by_one.digest


def test_a_word_twice_in_a_dictionary_is_still_one_sensor() -> None:
    rows = (Row("a/1/temperature", START_US, 1.0), Row("a/1/temperature", START_US + 1, 2.0))

    found = fold_records(PLAN, [record_of(0, Batch(START_US, rows), Encoding(doubled=True))])

    assert found.fold.state.names == ["a/1/temperature"]
    assert found.count(Verdict.FOLDED) == 2


def test_a_number_after_a_text_is_the_newest_whether_or_not_they_come_together() -> None:
    text, number = Row("a/1/mode", START_US, text="run"), Row("a/1/mode", START_US + 1, 3.0)

    together = fold_log(PLAN, [Batch(START_US, (text, number))])
    apart = fold_log(PLAN, [Batch(START_US, (text,)), Batch(START_US, (number,))])

    assert together.digest == apart.digest
    assert together.fold.state.texts == {}


def test_a_duplicate_does_not_change_the_text_that_is_shown() -> None:
    first, second = Row("a/1/mode", START_US, text="run"), Row("a/1/mode", START_US, text="stop")

    assert fold_log(PLAN, [Batch(START_US, (first, second))]).fold.state.texts == {0: "run"}


# --- records that cannot be folded --------------------------------------------------------------------------------


GOOD = record_of(0, Batch(START_US + 9 * S_US, (Row("new/1/temperature", START_US, 1.0),)))


def with_header(name: str, value: bytes | None) -> LogRecord:
    return GOOD._replace(headers=[(key, value if key == name else known) for key, known in GOOD.headers])


UNREADABLE: dict[str, LogRecord] = {
    "no headers": GOOD._replace(headers=[]),
    "no schema": with_header("schema", None),
    "a schema that is no number": with_header("schema", b"one.0"),
    "no arrival": with_header("arrival", None),
    "an arrival in 1970": with_header("arrival", b"0"),
    "an arrival after 2200": with_header("arrival", b"9" * 18),
    "an unknown kind": with_header("kind", b"gossip"),
    "a source that is no text": with_header("source", b"\xff"),
    "JSON": with_header("content-type", JSON.encode()),
    "no value": GOOD._replace(value=None),
    "an empty value": GOOD._replace(value=b""),
    "no Arrow": GOOD._replace(value=b"\xff" * 100),
    "definitions that are readings": with_header("kind", b"config"),
    "definitions that are JSON": with_header("kind", b"config")._replace(value=b"{}"),
    "a command that is readings": with_header("kind", b"command"),
    "a torn stream": GOOD._replace(value=(GOOD.value or b"")[:-40]),
    "a path that nobody may have": record_of(
        0, Batch(START_US, (Row("new/1/fine", START_US, 1.0), Row('a"} 1\nx 1', START_US, 1.0)))
    ),
}


@pytest.mark.parametrize("bad", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_record_leaves_no_trace_and_the_fold_goes_on(bad: LogRecord) -> None:
    before, after = long_log(1)[:30], long_log(1)[30:]
    found = fold_log(PLAN, before)
    digest = found.digest

    with pytest.raises(QuarantineError):
        found.fold.fold(bad._replace(offset=len(before)))

    assert found.digest == digest
    assert found.fold.state.next_offset == len(before) + 1
    for record in records_of(after, len(before) + 1):
        found.transitions += found.fold.fold(record).transitions
    undisturbed = fold_log(PLAN, before + after)
    assert found.digest == undisturbed.digest
    assert found.transitions == undisturbed.transitions


INCOMPATIBLE: dict[str, Callable[[], LogRecord]] = {
    "newer major version": lambda: with_header("schema", b"2.0"),
    "other partition count": lambda: record_of(0, Batch(START_US), partitions=PARTITIONS + 1),
    "other partition count, as a tick": lambda: record_of(0, Batch(START_US), tick=True, partitions=PARTITIONS + 1),
}


@pytest.mark.parametrize("make", INCOMPATIBLE.values(), ids=INCOMPATIBLE.keys())
def test_a_record_that_must_not_be_skipped_stops_the_fold_where_it_is(make: Callable[[], LogRecord]) -> None:
    found = fold_log(PLAN, long_log(2))
    digest, offset = found.digest, found.fold.state.next_offset

    with pytest.raises(IncompatibleError):
        found.fold.fold(make()._replace(offset=offset))

    assert found.digest == digest
    assert found.fold.state.next_offset == offset


def test_the_partitions_clock_never_goes_back() -> None:
    found = fold_log(PLAN, [Batch(START_US + 10 * S_US), Batch(START_US), Batch(START_US + 5 * S_US)])

    assert found.fold.state.now_us == START_US + 10 * S_US

"""Maintenance: shown and in windows, neither learned nor judged; as the log says, however it is cut."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.classes import glob
from ingest.contract.errors import QuarantineError
from stream.fold.alerts import Phase
from stream.fold.clock import Clock
from stream.fold.commands import Command, EndMaintenance, Maintain, Outcome, Rename, Retire, apply
from stream.fold.gate import Verdict
from stream.fold.maintaining import end_masked, in_maintenance
from stream.fold.masks import KEPT_US, MOST
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.scored import Scored
from stream.fold.state import LayoutError, PartitionState
from tests.properties.test_commands import ANY_LOG, PLAN, QUIET, command, hot_log, raw
from tests.properties.test_fold import CUTS, cut, kept
from tests.unit.stream.logs import (
    MINUTE_US,
    PARTITIONS,
    S_US,
    SENSORS,
    START_US,
    Batch,
    Encoding,
    Row,
    examples,
    fold_log,
    long_log,
    record_of,
    records_of,
)

HOT = "a/1/temperature"
NEVER_US = START_US + 10**12
PATTERNS = st.sampled_from(["**", "a/**", "*/1/*", "b/2/temperature", "**/current", "c/**", "a/?/mode"])
TIMES = st.integers(-20, 80).map(lambda at: START_US + at * S_US)
MAINTAIN = st.builds(
    lambda name, match, times: Maintain(name, match, min(times), max(times)),
    st.sampled_from(["m1", "m2", "m3"]), PATTERNS, st.tuples(TIMES, TIMES),
)  # fmt: skip
ENDS = st.builds(EndMaintenance, st.sampled_from(["m1", "m2", "m9"]), TIMES)
NAMES = st.sampled_from([*SENSORS, "b/9/temperature"])
OTHERS = st.builds(Rename, NAMES, NAMES) | st.builds(Retire, NAMES)
COMMANDS = st.lists(st.tuples(st.integers(0, 60), MAINTAIN | MAINTAIN | ENDS | OTHERS), min_size=1, max_size=5)


def maintain(match: str = "**", from_s: float = 0, until_s: float = 60, name: str = "m1", **more: Any) -> Maintain:
    return Maintain(name, match, START_US + round(from_s * S_US), START_US + round(until_s * S_US), **more)


def with_commands(
    log: list[Batch], commands: list[tuple[int, Command]], cuts: list[tuple[int, Encoding, bool]] | None = None
) -> list[LogRecord]:
    """A log with commands, each before the batch of a number; its batches cut, if that is asked for."""
    records: list[LogRecord] = []
    for at, batch in enumerate(log):
        records += [command(0, one, batch.arrival_us) for place, one in commands if place % len(log) == at]
        records += records_of([batch]) if cuts is None else cut([batch], cuts[at % len(cuts) :] + cuts)
    return [record._replace(offset=at) for at, record in enumerate(records)]


def fold_all(records: list[LogRecord], crash: int = -1) -> tuple[list[bytes], list[Any], list[Any]]:
    """The state without its offset, transitions, digests; after a restart from a snapshot at one of the records."""
    fold, told, digests = PartitionFold(PLAN, PARTITIONS), [], []
    for at, record in enumerate(records):
        if at == crash % max(1, len(records)):
            fold = kept(fold)
        effects = fold.fold(record)
        told += effects.transitions
        digests += effects.digests
    return fold.state.digest_parts(), told, digests


@examples(40)
@given(log=ANY_LOG, commands=COMMANDS, cuts=CUTS, crash=st.integers(0, 100))
def test_any_split_and_any_restart_give_the_same_bits(
    log: list[Batch], commands: list[tuple[int, Command]], cuts: list[tuple[int, Encoding, bool]], crash: int
) -> None:
    assert fold_all(with_commands(log, commands, cuts), crash) == fold_all(with_commands(log, commands))


@examples(30)
@given(seed=st.integers(0, 2**32), windows=st.lists(st.tuples(PATTERNS, TIMES, TIMES), min_size=1, max_size=4))
def test_a_masked_row_is_in_windows_and_teaches_nobody(seed: int, windows: list[tuple[str, int, int]]) -> None:
    log = long_log(seed, 25)
    commands = [
        command(at, Maintain(f"m{at}", match, min(times), max(times)), START_US - 30 * S_US)
        for at, (match, *times) in enumerate(windows)
    ]

    def is_masked(row: Row) -> bool:
        return any(
            glob(match).fullmatch(row.sensor) and min(times) <= row.ts_us < max(times) for match, *times in windows
        )

    shown: list[Scored] = []
    masked = PartitionFold(QUIET, PARTITIONS, watch=shown.append)
    for record in [*commands, *records_of(log, len(commands))]:
        masked.fold(record)
    state, whole = masked.state, fold_log(QUIET, log).fold.state

    assert state.slots.names == whole.slots.names
    assert state.panes.tobytes() == whole.panes.tobytes()
    assert int(state.counts[[Verdict.FOLDED, Verdict.MASKED]].sum()) == int(whole.counts[Verdict.FOLDED])
    by_hand = [np.zeros(state.slots.rows, used.model.state) for used in QUIET.models]
    for one in shown:
        names, readings = one.readings.sensor.decode(), one.readings
        for at, (slot, verdict) in enumerate(zip(one.slot.tolist(), one.verdict.tolist(), strict=True)):
            if verdict not in (Verdict.FOLDED, Verdict.MASKED):
                continue
            assert (verdict == Verdict.MASKED) == is_masked(Row(str(names[at]), int(readings.ts_us[at])))
            if verdict == Verdict.FOLDED:
                of = state.class_of[slot]
                for used, bank in zip(QUIET.models, by_hand, strict=True):
                    # Who reports on change does not repeat itself: no matter of masks.
                    hears = not (getattr(used.model, "of_repeats", False) and state.sensors["on_change"][slot])
                    if used.uses[of] and hears:
                        used.model.step(bank[slot], readings.ts_us[at], readings.value[at], used.params[of])
    for bank, learned in zip(state.banks, by_hand, strict=True):
        assert bank[: state.slots.rows].tobytes() == learned.tobytes()


def test_an_open_alert_ends_when_maintenance_begins_and_may_fire_anew_after_it() -> None:
    log = hot_log(HOT, 30)
    fold, told = PartitionFold(PLAN, PARTITIONS), []
    for record in with_commands(log, [(0, maintain("a/1/**", 10.5, 20.0))]):
        told += [(one.phase, one.rule, (one.at_us - START_US) // S_US, one.id) for one in fold.fold(record).transitions]

    hot = [one[:3] for one in told if one[1] == "hot"]
    ids = {one[3] for one in told if one[1] == "hot"}
    assert (Phase.RESOLVED, "hot", 11) in hot
    assert not [one for one in hot if 11 < one[2] < 20]
    assert [phase for phase, _, at in hot if at >= 20][-1] is Phase.FIRING
    assert len(ids) == 2


def test_a_silent_machines_alert_ends_by_the_clock() -> None:
    fold = fold_log(PLAN, hot_log(HOT, 10)).fold
    end = fold.state.next_offset
    fold.fold(command(end, maintain("a/**", 15, 60), START_US + 9 * S_US))
    before = fold.fold(records_of([Batch(START_US + 14 * S_US)], end + 1)[0])
    after = fold.fold(records_of([Batch(START_US + 15 * S_US)], end + 2)[0])

    assert before.transitions == []
    assert {one.phase for one in after.transitions} == {Phase.RESOLVED}
    assert not fold.state.episodes["phase"].any()


def test_what_fired_in_a_backlog_and_was_masked_then_is_told_in_a_digest() -> None:
    rows = tuple(row for batch in hot_log(HOT, 30) for row in batch.rows)
    sent_us = START_US + 20 * MINUTE_US
    fold = PartitionFold(PLAN, PARTITIONS)
    fold.fold(command(0, maintain("a/**", 20, 40), START_US))
    spooled = fold.fold(record_of(1, Batch(START_US, rows, sent_us)))
    assert spooled.transitions == []
    assert not fold.state.episodes["phase"].any()

    digests = [
        one
        for at in range(1, 4)
        for one in fold.fold(record_of(1 + at, Batch(sent_us + at * MINUTE_US // 2), tick=True)).digests
    ]
    (hot,) = [one for digest in digests for one in digest.episodes if one.rule == "hot"]
    assert hot.until_us == START_US + 20 * S_US


def test_maintenance_that_has_begun_ends_alerts_at_once() -> None:
    fold = fold_log(PLAN, hot_log(HOT, 10)).fold
    effects = fold.fold(command(fold.state.next_offset, maintain("a/**", -5, 60), START_US + 9 * S_US))

    assert effects.applied is not None
    assert effects.applied.outcome is Outcome.DONE
    assert {(one.phase, one.sensor) for one in effects.transitions} == {(Phase.RESOLVED, HOT)}
    assert in_maintenance(fold.state, START_US).tolist() == [True]
    assert in_maintenance(fold.state, START_US + 60 * S_US).tolist() == [False]


def test_a_pattern_that_fits_nobody_changes_nothing_but_the_list() -> None:
    log = long_log(3, 40)
    (plain, told, digests), masked = fold_all(records_of(log)), fold_all(with_commands(log, [(0, maintain("z/**"))]))

    assert masked[1:] == (told, digests)
    assert [one for one in masked[0] if b"z/**" not in one] == [one for one in plain if b"'masks'" not in one]


def test_who_comes_later_is_masked_too_and_who_is_renamed_out_of_it_is_not() -> None:
    fold = PartitionFold(PLAN, PARTITIONS)
    fold.fold(command(0, maintain("a/**"), START_US))
    fold.fold(records_of([Batch(START_US, (Row("b/t", START_US, 1.0), Row("a/t", START_US, 1.0)))], 1)[0])
    assert int(fold.state.counts[Verdict.MASKED]) == 1

    later = START_US + S_US
    fold.fold(command(2, Rename("a/t", "c/t"), later))
    fold.fold(command(3, Rename("b/t", "a/u"), later))
    fold.fold(records_of([Batch(later, (Row("c/t", later, 1.0), Row("a/u", later, 1.0)))], 4)[0])

    assert int(fold.state.counts[Verdict.MASKED]) == 2
    assert dict(zip(fold.state.names, in_maintenance(fold.state, later).tolist(), strict=True)) == {
        "a/u": True, "c/t": False
    }  # fmt: skip


# --- the list -----------------------------------------------------------------------------------------------------


def outcome(fold: PartitionFold, what: Command, now_us: int = START_US) -> str:
    applied = fold.fold(command(fold.state.next_offset, what, now_us)).applied
    assert applied is not None
    return applied.outcome.value


def test_a_command_that_is_read_again_changes_nothing() -> None:
    fold = PartitionFold(PLAN, PARTITIONS)
    assert outcome(fold, maintain()) == "done"
    once = fold.state.digest_parts()
    assert outcome(fold, maintain()) == "done"
    assert fold.state.digest_parts() == once

    assert outcome(fold, EndMaintenance("m1", START_US + 10 * S_US)) == "done"
    ended = fold.state.digest_parts()
    assert ended != once
    for again in (EndMaintenance("m1", START_US + 30 * S_US), maintain()):
        assert outcome(fold, again) == "done"
        assert fold.state.digest_parts() == ended
    assert fold.state.masks.windows[0].until_us == START_US + 10 * S_US


def test_what_is_called_off_before_it_begins_never_is() -> None:
    fold = PartitionFold(PLAN, PARTITIONS)
    outcome(fold, maintain(from_s=30))
    outcome(fold, EndMaintenance("m1", START_US))
    fold.fold(records_of([Batch(START_US, (Row("a", START_US, 1.0), Row("a", START_US + 40 * S_US, 1.0)))], 2)[0])

    assert int(fold.state.counts[Verdict.FOLDED]) == 2


def test_unknown_ids_and_what_was_over_before_are_said() -> None:
    fold = PartitionFold(PLAN, PARTITIONS)
    assert outcome(fold, EndMaintenance("m1", START_US)) == "unknown_maintenance"
    assert outcome(fold, maintain(until_s=10), START_US + 10 * S_US) == "over"
    assert fold.state.masks.windows == []


def test_there_is_an_end_to_how_many_there_may_be() -> None:
    state = PartitionState(PLAN)
    for at in range(MOST):
        assert apply(PLAN, state, maintain(f"a/{at}/**", until_s=at + 1, name=f"m{at}")).outcome is Outcome.DONE
    assert apply(PLAN, state, maintain(name="more")).outcome is Outcome.FULL
    # Those that are over make room.
    assert state.masks.add(maintain(name="more").window, START_US + S_US) == "done"
    assert len(state.masks.windows) == MOST
    assert PartitionState.thaw(PLAN, state.freeze()).digest_parts() == state.digest_parts()


def test_what_is_over_still_masks_what_comes_late_and_is_forgotten_after_a_day() -> None:
    fold = PartitionFold(PLAN, PARTITIONS)
    outcome(fold, maintain(until_s=60))
    fold.fold(records_of([Batch(START_US + 50 * S_US)], 1)[0])
    fold.fold(records_of([Batch(START_US + 100 * S_US, (Row("a", START_US + 59 * S_US, 1.0),))], 2)[0])
    assert int(fold.state.counts[Verdict.MASKED]) == 1

    fold.state.clock = Clock(START_US + 60 * S_US + KEPT_US)
    assert end_masked(PLAN, fold.state) == []
    assert len(fold.state.masks.windows) == 1
    fold.state.clock = Clock(START_US + 60 * S_US + KEPT_US + 1)
    end_masked(PLAN, fold.state)
    assert fold.state.masks.windows == []


GOOD = {"version": 1, "command": "maintain", "id": "m", "match": "**", "from_us": START_US, "until_us": START_US + 1}
WRONG: dict[str, dict[str, Any]] = {
    "ends before it begins": {"until_us": START_US - 1},
    "a note that is too long": {"note": "x" * 201},
    "a note that nobody can read": {"note": "a\u0007b"},
    "no id": {"id": ""},
    "an id that is too long": {"id": "x" * 65},
    "no pattern": {"match": ""},
    "a pattern that takes for ever": {"match": "**a" * 50},
    "a pattern that is too long": {"match": "a" * 513},
    "a time before all": {"from_us": -(2**70)},
    "a time in a far future": {"until_us": 2**62},
    "a time of text": {"from_us": "now"},
    "more than is asked": {"force": True},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_window_that_cannot_be_leaves_no_trace(wrong: dict[str, Any]) -> None:
    good, bad = (raw(json.dumps(one).encode()) for one in (GOOD, {**GOOD, **wrong}))
    assert PartitionFold(PLAN, PARTITIONS).fold(good).applied is not None
    fold = PartitionFold(PLAN, PARTITIONS)
    before = fold.state.digest_parts()
    with pytest.raises(QuarantineError):
        fold.fold(bad)
    assert fold.state.digest_parts() == before


WINDOW = ["m1", "a/**", START_US, START_US + S_US, "", ""]


@pytest.mark.parametrize(
    "masks",
    [
        None,
        [WINDOW, WINDOW],
        [[*WINDOW[:2], START_US + 1, START_US, "", ""]],
        [[*WINDOW[:3], 2**70, "", ""]],
        [["m1", "**a" * 50, *WINDOW[2:]]],
        [WINDOW[:3]],
        [[f"m{at}", *WINDOW[1:]] for at in range(MOST + 1)],
    ],
)
def test_a_snapshot_that_lies_about_windows_is_refused(masks: Any) -> None:
    frozen = PartitionState(PLAN).freeze()
    frozen.scalars["masks"] = [WINDOW]
    assert PartitionState.thaw(PLAN, frozen).masks.windows[0].match == "a/**"
    frozen.scalars["masks"] = masks
    with pytest.raises(LayoutError):
        PartitionState.thaw(PLAN, frozen)


@examples(60)
@given(
    names=st.lists(st.sampled_from(["a/1", "a/2", "b/1", "b/2/x"]), unique=True, max_size=4),
    windows=st.lists(st.tuples(PATTERNS, TIMES, TIMES), max_size=4),
    at=TIMES,
)
def test_who_is_in_maintenance_is_as_by_hand(names: list[str], windows: list[tuple[str, int, int]], at: int) -> None:
    state = PartitionState(PLAN)
    for number, (match, *times) in enumerate(windows):
        state.masks.add(Maintain(f"m{number}", match, min(times), max(times)).window, 0)
        state.masks.at(at)
        if number < len(names):
            state.slots.add(names[number])
    by_hand = [
        any(glob(match).fullmatch(name) and min(times) <= at < max(times) for match, *times in windows)
        for name in state.names
    ]
    assert in_maintenance(state, at).tolist() == by_hand
    assert in_maintenance(state, NEVER_US).tolist() == [False] * len(by_hand)
    slot = np.arange(len(by_hand), dtype=np.int32)
    if slot.size:
        seen = state.masks.of_rows(slot, np.full(slot.size, at), np.zeros(slot.size, np.uint8))
        assert (seen == Verdict.MASKED).tolist() == by_hand

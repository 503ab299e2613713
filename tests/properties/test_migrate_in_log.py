"""Definitions as records of the log: a replay does the same, and what this program cannot read stops or is skipped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.class_settings import ModelSettings
from ingest.contract.errors import IncompatibleError, QuarantineError
from ingest.contract.registry import Registry
from ingest.contract.wire import DEFINITIONS, JSON, Envelope, headers_of
from ingest.contract.wire import Kind as RecordKind
from models.base import Model
from stream.control import config_record
from stream.fold.definitions import Definitions
from stream.fold.migrate import plan_from
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.state import PartitionState
from tests.properties.test_fold import CUTS, cut
from tests.properties.test_migrate import ANY_LOG, ANY_PLAN, PLANS, REST, config, plan_with, rows, with_
from tests.unit.stream.logs import (
    MODELS,
    PARTITIONS,
    START_US,
    Batch,
    Encoding,
    Row,
    examples,
    fold_log,
    long_log,
    record_of,
)


@examples(15)
@given(
    logs=st.lists(st.tuples(ANY_LOG, ANY_PLAN), min_size=1, max_size=3),
    cuts=CUTS,
    crashes=st.lists(st.integers(0, 200), max_size=4),
)
def test_a_log_with_definitions_in_it_gives_the_same_bits_for_any_split_and_any_crash(
    logs: Sequence[tuple[list[Batch], str]], cuts: list[tuple[int, Encoding, bool]], crashes: list[int]
) -> None:
    def fold_all(records: list[LogRecord]) -> tuple[list[bytes], list[Any], str]:
        fold, told = PartitionFold(PLANS["the plant"], PARTITIONS), []
        for record in records:
            told += fold.fold(record).transitions
        return fold.state.digest_parts(), told, fold.plan.definitions.digest

    def log_of(pieces: list[list[LogRecord]]) -> list[LogRecord]:
        records: list[LogRecord] = []
        for piece, (log, plan) in zip(pieces, logs, strict=True):
            records += piece
            records.append(config(0, PLANS[plan], log[-1].arrival_us))
            records.append(config(0, PLANS[plan], log[-1].arrival_us))
        return [record._replace(offset=at) for at, record in enumerate(records)]

    whole = fold_all(log_of([[record_of(0, batch, tick=not batch.rows) for batch in log] for log, _ in logs]))
    pieces = log_of([cut(log, cuts) for log, _ in logs])
    assert fold_all(pieces) == whole

    fold, told = PartitionFold(PLANS["the plant"], PARTITIONS), []
    for record in pieces:
        if record.offset in crashes:
            # What a snapshot holds: definitions as bytes, and the state frozen.
            plan = plan_from(fold.plan.definitions.to_bytes(), MODELS)
            fold = PartitionFold(plan, PARTITIONS, PartitionState.thaw(plan, fold.state.freeze()))
        told += fold.fold(record).transitions
    assert (fold.state.digest_parts(), told, fold.plan.definitions.digest) == whole


def test_the_definitions_in_force_again_change_nothing_and_partitions_share_a_plan() -> None:
    one, other = (PartitionFold(PLANS["the plant"], PARTITIONS) for _ in range(2))

    assert one.fold(config(0, PLANS["the plant"], START_US)).migration is None
    changed = [fold.fold(config(1, PLANS["tags"], START_US)).migration for fold in (one, other)]

    assert [found is not None and found.after for found in changed] == [PLANS["tags"].definitions.digest] * 2
    assert one.plan is other.plan
    assert one.plan.classes.classes == PLANS["tags"].classes.classes


def test_new_definitions_judge_what_comes_after_them() -> None:
    row = Row("a/1/temperature", START_US, 1_500.0)
    fold = PartitionFold(PLANS["the plant"], PARTITIONS)
    fold.fold(record_of(0, Batch(START_US, (row,))))
    fold.fold(config(1, plan_with(with_(REST, range=(None, None))), START_US))
    fold.fold(record_of(2, Batch(START_US, (row._replace(ts_us=START_US + 1),))))

    assert rows(fold.state, "sensors")["last_value"].tolist() == [1_500.0]


@pytest.mark.parametrize("content_type", [DEFINITIONS, JSON])
def test_definitions_that_cannot_be_read_leave_no_trace(content_type: str) -> None:
    found = fold_log(PLANS["the plant"], long_log(3))
    digest, offset = found.digest, found.fold.state.next_offset
    envelope = Envelope(RecordKind.CONFIG, content_type, "test", 0, START_US + 10**12, PARTITIONS)

    with pytest.raises(QuarantineError):
        found.fold.fold(LogRecord(offset, headers_of(envelope), b"rubbish"))

    assert found.digest == digest
    assert found.fold.state.next_offset == offset + 1


@pytest.mark.parametrize(
    "model", [ModelSettings(name="crystal_ball"), ModelSettings(name="ewma_z", options={"half_life": 3})]
)
def test_a_model_or_an_option_that_this_program_does_not_know_stops_it_where_it_is(model: ModelSettings) -> None:
    found = fold_log(PLANS["the plant"], long_log(4))
    digest, offset = found.digest, found.fold.state.next_offset
    newer = Definitions([with_(REST, models=[model])], 10, 0)
    made = config_record(newer, "test", 0, START_US, PARTITIONS)

    with pytest.raises(IncompatibleError, match="upgrade this worker"):
        found.fold.fold(LogRecord(offset, made.headers, made.value))

    assert found.digest == digest
    assert found.fold.state.next_offset == offset


def test_windows_that_need_too_many_panes_go_to_quarantine() -> None:
    many = Definitions([with_(REST, windows=["1s", "7d", "1000003us"])], 10, 0)
    with pytest.raises(QuarantineError, match="panes"):
        plan_from(many.to_bytes(), MODELS)


def test_each_registry_has_its_own_plans() -> None:
    other: Registry[Model] = Registry("model", MODELS.table)
    data = PLANS["tags"].definitions.to_bytes()

    assert plan_from(data, other).registry is other
    assert plan_from(data, MODELS).registry is MODELS

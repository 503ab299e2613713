"""The worker from day to day: bad records, quiet partitions, starting, waiting, ending."""

from __future__ import annotations

import asyncio
import pkgutil
from importlib import import_module
from typing import Any

import pytest

import models
import stream.fold
from ingest.contract.class_settings import EVERYTHING_ELSE, ClassSettings
from ingest.contract.classes import Kind
from ingest.contract.errors import ReconnectError, StopError
from ingest.contract.wire import Kind as RecordKind
from ingest.contract.wire import envelope_of
from stream import worker as worker_module
from stream.fold.gate import Verdict
from stream.fold.partition import LogRecord, PartitionFold
from stream.warm_up import warm_up
from tests.unit.stream.fakes import HOT, Rig, reading
from tests.unit.stream.logs import (
    HOUR_US,
    PLANT,
    S_US,
    START_US,
    Batch,
    long_log,
    plan_of,
    record_of,
    records_of,
)

ASKING = ClassSettings(name="asking", match=["a/**"], windows=["1m"], quantiles=["1m"])

# --- records that cannot be read ----------------------------------------------------------------------------------


async def test_an_unreadable_record_goes_to_quarantine_whole_before_it_is_committed(rig: Rig) -> None:
    await rig.assign(1)
    rig.writer.confirms.clear()
    rig.clock.at_s = 6.0

    rig.consumer.put({1: [LogRecord(0, [("schema", b"1.0")], b"\x00what?"), reading(1, 1.0)]})
    await rig.writer.asked.wait()
    assert rig.consumer.commits == []
    rig.writer.confirms.set()
    await rig.consumer.polled()

    ((partition, aside),) = rig.writer.to("millstream.quarantine")
    assert 0 <= partition < 3
    assert aside.value == b"\x00what?"
    assert dict(aside.headers)["reason"] == b"record"
    assert dict(aside.headers)["topic"].endswith(b"readings/1/0")
    assert rig.consumer.commits == [{1: 2}]
    assert rig.counted("records_quarantined_total") == 1
    assert rig.counted("records_total") == 1


async def test_readings_are_counted_by_verdict(rig: Rig) -> None:
    await rig.assign(0)

    await rig.consumer.deliver({0: [reading(0, 1.0), reading(1, float("nan")), reading(2, 2.0)]})

    assert rig.counted("readings_total", verdict="folded") == 2
    assert rig.counted("readings_total", verdict=Verdict.NON_FINITE.name.lower()) == 1
    assert rig.counted("sensors") == 1


# --- time passes --------------------------------------------------------------------------------------------------


async def ticks(rig: Rig) -> list[int]:
    """Let a round pass; the partitions that have got ticks so far."""
    await rig.consumer.deliver({})
    for _ in range(3):
        await asyncio.sleep(0)
    return [partition for partition, _ in rig.writer.to("readings")]


async def test_a_partition_gets_a_tick_when_it_is_quiet_and_read_to_its_end(rig: Rig) -> None:
    await rig.assign(0, 1, 2, 3)
    rig.consumer.end = {0: 0, 1: 5, 2: None, 3: 1}
    assert await ticks(rig) == []

    rig.clock.at_s = 0.9
    await rig.consumer.deliver({3: [reading(0, 1.0)]})
    rig.clock.at_s = 1.1

    assert await ticks(rig) == [0]  # 1 has five records to read, 2 may have, 3 was not quiet
    assert await ticks(rig) == [0]
    rig.clock.at_s = 2.2
    assert sorted(await ticks(rig)) == [0, 0, 3]
    envelope = envelope_of(rig.writer.to("readings")[0][1].headers)
    assert (envelope.kind, envelope.arrival_us, envelope.partitions) == (RecordKind.TICK, START_US + 1_100_000, 4)
    assert rig.writer.to("readings")[0][1].timestamp_ms == (START_US + 1_100_000) // 1000


async def test_a_tick_is_a_record_that_the_fold_reads(rig: Rig) -> None:
    await rig.assign(0)
    rig.consumer.end = {0: 0}
    rig.clock.at_s = 2.0
    await ticks(rig)
    ((_, tick),) = rig.writer.to("readings")
    fold = PartitionFold(plan_of(HOT), 4)

    fold.fold(LogRecord(0, tick.headers, tick.value))

    assert fold.state.now_us == START_US + 2 * S_US


async def test_ticks_do_not_pile_up_while_kafka_takes_none(rig: Rig) -> None:
    """An hour's outage once left an hour of ticks in memory, and wrote them all."""
    await rig.assign(0)
    rig.consumer.end = {0: 0}
    rig.writer.confirms.clear()
    for second in range(2, 100, 2):
        rig.clock.at_s = float(second)
        await rig.consumer.deliver({})

    rig.writer.confirms.set()

    assert len(await ticks(rig)) <= 2


# --- life ---------------------------------------------------------------------------------------------------------


async def test_kernels_are_compiled_before_the_group_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, order = Rig([HOT]), list[str]()
    start = rig.consumer.start

    async def join(*arguments: object) -> None:
        order.append("join")
        await start(*arguments)  # type: ignore[arg-type]

    def compile_all(*_: object) -> None:
        assert rig.worker.unready() == ["kernels are being compiled"]
        order.append("compile")

    monkeypatch.setattr(worker_module, "warm_up", compile_all)
    monkeypatch.setattr(rig.consumer, "start", join)

    await rig.start()
    await rig.stop()

    assert order == ["compile", "join"]


def kernels() -> dict[str, Any]:
    """All that are compiled, of the fold and of the models, by where they are found."""
    modules = [
        import_module(f"{package.__name__}.{one.name}")
        for package in (stream.fold, models)
        for one in pkgutil.iter_modules(package.__path__)
    ]
    return {
        f"{module.__name__}.{name}": one
        for module in modules
        for name, one in vars(module).items()
        if hasattr(one, "signatures")
    }


def test_after_the_warm_up_no_record_waits_for_the_compiler() -> None:
    plan = plan_of(*PLANT, ASKING)
    warm_up(plan, 4)
    compiled = {name: len(one.signatures) for name, one in kernels().items()}
    assert sum(compiled.values()) > 10

    fold = PartitionFold(plan, 4)
    for record in records_of(long_log(5)):
        fold.fold(record)
    for window_us in {window for one in plan.classes.classes for window in one.windows}:
        fold.statistics(window_us)
        fold.quantiles(window_us)
    fold.unchanged_s()

    assert {name: len(one.signatures) for name, one in kernels().items()} == compiled


@pytest.mark.parametrize(
    "one",
    [
        EVERYTHING_ELSE,
        HOT,
        EVERYTHING_ELSE.model_copy(update={"rules": []}),
        ClassSettings(name="text", match=["**"], kind=Kind.TEXT),
        ClassSettings(name="none", match=["**"], windows=[]),
    ],
    ids=["defaults", "no models", "no rules", "no numbers", "no windows"],
)
def test_any_plan_warms_up(one: ClassSettings) -> None:
    warm_up(plan_of(one), 1)


async def test_what_it_waits_for_is_said(rig: Rig) -> None:
    assert rig.worker.unready() == ["no partition assigned yet"]

    await rig.assign(0)
    assert rig.worker.unready() == []

    rig.writer.failing.add(("readings", 0))
    assert rig.worker.unready() == ["Kafka does not confirm writes to 1 partitions"]


async def test_only_a_stuck_loop_is_unhealthy(rig: Rig) -> None:
    await rig.assign(0)
    assert rig.worker.unhealthy() == []

    rig.clock.at_s = 1_000.0

    assert rig.worker.unhealthy() == ["no progress for 1000 s"]
    await rig.consumer.deliver({})
    assert rig.worker.unhealthy() == []


async def test_it_polls_again_when_kafka_was_away(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.assign(0)
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _: sleep(0))

    await rig.consumer.deliver(ReconnectError("no broker"))
    assert rig.worker.unready() == ["Kafka cannot be reached"]
    await rig.consumer.deliver({0: [reading(0, 99.0)]})

    assert rig.worker.unready() == []
    assert len(rig.writer.to("millstream.alerts")) == 1


async def test_it_ends_when_a_person_has_to_act(rig: Rig) -> None:
    await rig.assign(0)

    rig.consumer.put({0: [record_of(0, Batch(START_US), partitions=9)]})

    with pytest.raises(StopError, match="9 partitions"):
        await rig.running


async def test_the_lag_is_the_age_of_the_newest_record(rig: Rig) -> None:
    await rig.assign(0)
    rig.consumer.end = {0: 4}
    rig.clock.at_s = 3_600.0

    await rig.consumer.deliver({0: [reading(0, 1.0)]})

    assert rig.counted("lag_seconds", partition="0") == HOUR_US / S_US
    assert rig.counted("lag_records", partition="0") == 3
    assert rig.counted("partitions", state="live") == 1
    await rig.worker.revoked({0})
    assert rig.registry.get_sample_value("millstream_worker_lag_seconds", {"partition": "0"}) is None

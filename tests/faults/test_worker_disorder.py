"""Rows 12 and 14: what arrives twice, out of order, late, or under a wrong clock is folded as if it had not."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from numpy.typing import NDArray

from ingest.contract.wire import decode_readings, sent_header
from stream.fold.alerts import Phase
from stream.fold.gate import Verdict
from stream.fold.partition import LogRecord, PartitionFold
from stream.fold.state import PartitionState
from tests.deployment.logs import read_topic
from tests.faults.feeding import producer_to, send_records
from tests.faults.worker_plant import NO_TICKS, PARTITIONS, machines_of
from tests.faults.worker_truth import check, heard, newest_state
from tests.faults.workers import Workers
from tests.unit.stream.logs import HOUR_US, MINUTE_US, S_US, Batch, Row, record_of

REPEATED, SHUFFLED, WRONG_CLOCK, BEHIND = range(PARTITIONS)
SECONDS, BLOCK, TOO_LATE = 240, 8, 5


def in_order(partition: int, first_us: int) -> list[Batch]:
    """Two machines, each with a sensor that is read once a second, and now and then is hot for some seconds."""
    chance, log = random.Random(partition), []
    for second in range(SECONDS):
        at_us = first_us + second * S_US
        rows = tuple(
            Row(f"{machine}/temperature", at_us, round(chance.gauss(5.0, 1.0) + (20 if second % 60 > 50 else 0), 2))
            for machine in machines_of(partition)
        )
        log.append(Batch(at_us, rows))
    return log


def repeated(log: list[Batch]) -> list[Batch]:
    """Each reading five times: at once, and in the records that follow."""
    found = []
    for at, batch in enumerate(log):
        again = tuple(row for back in (1, 2) if at >= back for row in log[at - back].rows)
        found.append(Batch(batch.arrival_us, (*batch.rows, *batch.rows, *batch.rows, *again)))
    return found


def shuffled(log: list[Batch]) -> list[Batch]:
    """Within blocks of seconds, that arrive when they are over; and some come when it is too late."""
    chance, found = random.Random(1), []
    for at in range(0, SECONDS, BLOCK):
        block = log[at : at + BLOCK]
        rows = [row for batch in block for row in batch.rows]
        chance.shuffle(rows)
        found += [Batch(block[-1].arrival_us, tuple(rows[number::BLOCK])) for number in range(BLOCK)]
    late = tuple(row._replace(ts_us=row.ts_us + 1) for batch in log[:TOO_LATE] for row in batch.rows[:1])
    return [*found, Batch(log[-1].arrival_us, late)]


def only_in_order(log: Iterable[Batch]) -> list[Batch]:
    """Without the readings that are older than one that came before."""
    newest: dict[str, int] = {}
    found = []
    for batch in log:
        rows = []
        for row in batch.rows:
            if row.ts_us > newest.get(row.sensor, 0):
                newest[row.sensor] = row.ts_us
                rows.append(row)
        found.append(Batch(batch.arrival_us, tuple(rows)))
    return found


def wrong_clock(log: list[Batch]) -> list[Batch]:
    """Of the gateway, for twenty seconds ahead, and later for twenty behind. Sensors have their own clocks."""

    def error_us(second: int) -> int:
        return HOUR_US if 60 <= second < 80 else -HOUR_US if 120 <= second < 140 else 0

    return [Batch(batch.arrival_us + error_us(second), batch.rows) for second, batch in enumerate(log)]


def behind(log: list[Batch]) -> list[LogRecord]:
    """The second machine has a gateway that was cut off: what it sends is an hour old, and came out of its spool."""
    found = []
    for batch in log:
        on_time, old = batch.rows
        spooled = record_of(
            0, Batch(batch.arrival_us - HOUR_US, (old._replace(ts_us=old.ts_us - HOUR_US),)), partitions=PARTITIONS
        )
        found += [
            record_of(0, Batch(batch.arrival_us, (on_time,)), partitions=PARTITIONS),
            spooled._replace(headers=[*spooled.headers, sent_header(batch.arrival_us)]),
        ]
    return found


def alone(log: list[Batch], at: int, by_us: int) -> list[Batch]:
    """One machine's, so much earlier."""
    return [
        Batch(batch.arrival_us - by_us, (batch.rows[at]._replace(ts_us=batch.rows[at].ts_us - by_us),)) for batch in log
    ]


def records_of(log: list[Batch]) -> list[LogRecord]:
    return [record_of(0, batch, partitions=PARTITIONS) for batch in log]


class Result(NamedTuple):
    """What a log came to."""

    fold: PartitionFold
    fired: list[str]
    """Ids of alerts."""

    def rows(self, sensor: str) -> dict[str, NDArray[Any]]:
        """What windows and models have of a sensor."""
        frozen = self.fold.state.freeze()
        slot = frozen.names.index(sensor)
        return {
            name: array[slot] for name, array in frozen.arrays.items() if name == "panes" or name.startswith("bank")
        }

    def window(self, sensor: str, length_us: int) -> Any:
        return self.fold.statistics(length_us)[self.fold.state.names.index(sensor)]

    def count(self, *verdicts: Verdict) -> int:
        return int(self.fold.state.counts[list(verdicts)].sum())


def reference(workers: Workers, log: list[Batch]) -> Result:
    """A plain fold of another log."""
    fold, fired = PartitionFold(workers.plan, PARTITIONS), []
    for offset, record in enumerate(records_of(log)):
        effects = fold.fold(record._replace(offset=offset))
        fired += [one.id for one in effects.transitions if one.phase is Phase.FIRING]
    return Result(fold, fired)


def assert_same_rows(found: dict[str, NDArray[Any]], wanted: dict[str, NDArray[Any]]) -> None:
    assert found.keys() == wanted.keys()
    assert len(found) > 1
    for name, row in found.items():
        assert row.tobytes() == wanted[name].tobytes(), name


@pytest.mark.fault(12)
@pytest.mark.fault(14)
@pytest.mark.timeout(180)
async def test_twice_out_of_order_late_and_under_a_wrong_clock(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    # Young enough for Kafka's retention; and panes begin where they began in every other run.
    first_us = time.time_ns() // 1000 // HOUR_US * HOUR_US - 2 * HOUR_US
    logs = [in_order(partition, first_us) for partition in range(PARTITIONS)]
    sent = {
        REPEATED: records_of(repeated(logs[REPEATED])),
        SHUFFLED: records_of(shuffled(logs[SHUFFLED])),
        WRONG_CLOCK: records_of(wrong_clock(logs[WRONG_CLOCK])),
        BEHIND: behind(logs[BEHIND]),
    }
    # Without ticks: the logs' own time is all there is.
    with Workers(tmp_path, kafka, topic_prefix, 2, more=NO_TICKS) as workers:
        workers.start()
        async with producer_to(kafka) as producer:
            for partition, records in sent.items():
                await send_records(producer, workers.readings, partition, records)
        await workers.wait_committed()
        await workers.finish()
        await check(workers)
        told = heard(await read_topic(kafka, workers.alerts), workers.group)
        found = []
        for partition in range(PARTITIONS):
            state = PartitionState.thaw(workers.plan, await newest_state(workers, partition))
            fired = [one.id for one in told[partition].words if one.phase == "firing"]
            found.append(Result(PartitionFold(workers.plan, PARTITIONS, state), fired))
        right = [reference(workers, log) for log in logs]
        late = await read_topic(kafka, f"{topic_prefix}.late")

    for partition in (REPEATED, WRONG_CLOCK):
        one, other = found[partition], right[partition]
        for machine in machines_of(partition):
            assert_same_rows(one.rows(f"{machine}/temperature"), other.rows(f"{machine}/temperature"))
        assert one.count(Verdict.FOLDED) == other.count(Verdict.FOLDED) == 2 * SECONDS
        assert set(one.fired) == set(other.fired) != set()
    assert found[REPEATED].count(Verdict.DUPLICATE) == 4 * 2 * SECONDS - 2 * (1 + 2)
    assert found[WRONG_CLOCK].count(*set(Verdict) - {Verdict.FOLDED}) == 0

    one, other = found[SHUFFLED], right[SHUFFLED]
    learned = reference(workers, only_in_order(shuffled(logs[SHUFFLED])))
    for sensor in (f"{machine}/temperature" for machine in machines_of(SHUFFLED)):
        for length_us in (MINUTE_US, 5 * MINUTE_US):
            window, wanted = one.window(sensor, length_us), other.window(sensor, length_us)
            for name in ("samples", "min", "max", "first", "last"):
                assert window[name] == wanted[name], name
            for name in ("mean", "stddev", "slope"):
                assert window[name] == pytest.approx(wanted[name], rel=1e-9), name
        models = {name: row for name, row in one.rows(sensor).items() if name != "panes"}
        assert_same_rows(models, {name: row for name, row in learned.rows(sensor).items() if name != "panes"})
    assert one.count(Verdict.LATE) == TOO_LATE
    assert one.count(Verdict.FOLDED, Verdict.OUT_OF_ORDER) == 2 * SECONDS
    assert one.count(Verdict.OUT_OF_ORDER) > SECONDS / 4
    assert sum(len(decode_readings(record.value or b"")) for record in late) == TOO_LATE

    one, (on_time, old) = found[BEHIND], (f"{machine}/temperature" for machine in machines_of(BEHIND))
    apart = [reference(workers, alone(logs[BEHIND], at, by_us)) for at, by_us in ((0, 0), (1, HOUR_US))]
    for sensor, other in zip((on_time, old), apart, strict=True):
        assert_same_rows(one.rows(sensor), other.rows(sensor))
        for length_us in (MINUTE_US, 5 * MINUTE_US):
            assert one.window(sensor, length_us).tobytes() == other.window(sensor, length_us).tobytes()
    assert one.count(Verdict.FOLDED) == 2 * SECONDS
    # Nobody is told now of what was over an hour ago.
    assert set(one.fired) == set(apart[0].fired) != set()
    assert apart[1].fired

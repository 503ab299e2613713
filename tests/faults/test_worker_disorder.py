"""Rows 12 and 14: what arrives twice, out of order, late, or under a wrong clock is folded as if it had not."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from ingest.contract.wire import decode_readings, envelope_of, sent_header
from stream.fold.gate import Verdict
from stream.fold.partition import LogRecord
from tests.deployment.logs import read_topic
from tests.faults.worker_plant import PARTITIONS, machines_of
from tests.faults.worker_truth import Truth, check, fold_log, newest_state
from tests.faults.workers import Workers, producer_to, send_records
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
    """Within blocks of seconds; and some come when it is too late."""
    chance, found = random.Random(1), []
    for at in range(0, SECONDS, BLOCK):
        block = log[at : at + BLOCK]
        rows = [row for batch in block for row in batch.rows]
        chance.shuffle(rows)
        found += [Batch(batch.arrival_us, tuple(rows[number::BLOCK])) for number, batch in enumerate(block)]
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


def records_of(log: list[Batch]) -> list[LogRecord]:
    return [record_of(0, batch, partitions=PARTITIONS) for batch in log]


def folded(workers: Workers, records: list[LogRecord]) -> PartitionFold:
    fold = PartitionFold(workers.plan, PARTITIONS)
    for offset, record in enumerate(records):
        fold.fold(record._replace(offset=offset))
    return fold

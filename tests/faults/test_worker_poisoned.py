"""Row 22: records that the fold does not survive."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.deployment.logs import read_topic
from tests.faults.altered_worker import CRASHES, RAISES
from tests.faults.worker_plant import level_of
from tests.faults.worker_truth import check
from tests.faults.workers import Workers
from tests.servers.waiting import wait_until
from tests.unit.stream.logs import Batch, Row

# Three times without care, three times with, and whoever else had the partition meanwhile.
MOST_CRASHES = 10


async def poison(workers: Workers, partition: int, value: float) -> int:
    """A record that the fold does not survive; its offset."""
    now_us = time.time_ns() // 1000
    (offset,) = await workers.send(partition, Batch(now_us, (Row(level_of(partition), now_us, value),)))
    return offset


@pytest.mark.fault(22)
@pytest.mark.timeout(180)
async def test_records_that_raise_and_crash_are_set_aside_and_all_else_is_folded(
    tmp_path: Path, kafka: str, topic_prefix: str
) -> None:
    # Each crash has to be noticed by the group.
    with Workers(tmp_path, kafka, topic_prefix, 2, session_s=1.0) as workers:
        crashes = 0

        def supervise() -> None:
            nonlocal crashes
            for one in workers:
                if not one.alive:
                    crashes += bool(one.pid)
                    one.begin(POISON="yes")
            assert crashes <= MOST_CRASHES

        async def quarantined() -> set[bytes | None]:
            return {one.key for one in await read_topic(kafka, f"{topic_prefix}.quarantine")}

        supervise()
        wait_until(lambda: all(one.ready for one in workers), timeout_s=60, what="ready")
        with workers.feed(pace=40) as feed:
            feed.wait(40)
            skip = {0: [await poison(workers, 0, RAISES)], 1: [await poison(workers, 1, CRASHES)]}
            feed.wait(10)
            keys = {f"{workers.readings}/{at}/{offset}".encode() for at, (offset,) in skip.items()}
            while not keys <= await quarantined():
                supervise()
            feed.wait(40)
        await workers.wait_committed()
        assert crashes >= 3
        # Nobody tries them again.
        for one in workers:
            one.kill()
        crashes = 0
        supervise()
        crashes = 0
        wait_until(lambda: all(one.ready for one in workers), timeout_s=60, what="ready")
        await workers.wait_committed()
        await workers.finish()
        assert not sum("SIGSEGV" in one.log() or "fold failed" in one.log() for one in workers)
        assert await quarantined() == keys
        await check(workers, skip=skip)

"""Rows 7 and 8: a worker that hears nothing, or does nothing, for longer than its group waits for it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.wire import Wire
from tests.faults.worker_plant import NO_TICKS, PARTITIONS
from tests.faults.worker_process import WorkerProcess
from tests.faults.worker_truth import check
from tests.faults.workers import Workers, hold_up
from tests.servers.waiting import wait_until


def live(one: WorkerProcess) -> float:
    return one.metric("partitions", state="live")


@pytest.mark.fault(7)
@pytest.mark.timeout(180)
async def test_a_black_hole_between_a_worker_and_kafka(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    with (
        Wire(kafka) as wire,
        Workers(tmp_path, kafka, topic_prefix, 2, more=NO_TICKS) as workers,
    ):
        cut_off, other = workers
        cut_off.begin(ADDRESS=f"{kafka}={wire.port}")
        other.begin()
        wait_until(lambda: all(one.ready and live(one) == 2 for one in workers), timeout_s=60, what="two each")
        with workers.feed(pace=60) as feed:
            feed.wait(40)
        await workers.wait_committed()
        await hold_up(workers, cut_off, wire)
        wire.cut()
        with workers.feed(seed=2, pace=60) as feed:
            wait_until(lambda: live(other) == PARTITIONS, timeout_s=60, what="the other has taken over")
            wait_until(lambda: not cut_off.ready, timeout_s=60, what="it says that it cannot work")
            records = cut_off.metric("records_total")
            feed.wait(40)
            assert cut_off.metric("records_total") == records
            wire.mend()
            wait_until(lambda: cut_off.ready and live(cut_off) == 2, timeout_s=60, what="a member again")
            feed.wait(20)
        await workers.wait_committed()
        await workers.finish()
        found = await check(workers)
        assert found.dropped, "nothing late was said"


@pytest.mark.fault(8)
@pytest.mark.timeout(180)
async def test_stopped_for_longer_than_the_session_and_with_a_commit_in_flight(
    tmp_path: Path, kafka: str, topic_prefix: str
) -> None:
    with Workers(tmp_path, kafka, topic_prefix, 2) as workers:
        one, two = workers
        one.begin("before-commit=stop:4")
        two.begin()
        wait_until(lambda: all(each.ready and live(each) == 2 for each in workers), timeout_s=60, what="two each")
        with workers.feed(pace=40) as feed:
            # Stopped with a commit in its hand: its partitions move away, and then back.
            wait_until(lambda: one.stopped, timeout_s=60, what="stopped before a commit")
            wait_until(lambda: live(two) == PARTITIONS, timeout_s=60, what="moved away")
            feed.wait(40)
            two.signal(signal.SIGSTOP)
            one.signal(signal.SIGCONT)
            wait_until(lambda: one.ready and live(one) == PARTITIONS, timeout_s=60, what="moved back")
            feed.wait(40)
            # The other one, stopped wherever it was, wakes up beside the new owner.
            two.signal(signal.SIGCONT)
            wait_until(lambda: all(each.ready and live(each) == 2 for each in workers), timeout_s=60, what="two each")
            feed.wait(20)
        await workers.wait_committed()
        assert one.metric("commits_total", outcome="failed") >= 1
        await workers.finish()
        found = await check(workers)
        assert found.words > 20

"""Row 9: workers that come and go, and restores that take long; and restarts in order, which nobody notices."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.faults.wire import Wire
from tests.faults.worker_plant import NO_TICKS
from tests.faults.worker_truth import check
from tests.faults.workers import SESSION_S, Workers, hold_up
from tests.servers.waiting import wait_until

ROUNDS = 2
EVERY_S = 2.0


async def committed_offsets(workers: Workers) -> dict[int, int]:
    return {at: offset for at, (offset, _) in (await workers.committed()).items()}


@pytest.mark.fault(9)
@pytest.mark.timeout(180)
async def test_a_restore_that_takes_longer_than_three_sessions_and_members_that_come_and_go(
    tmp_path: Path, kafka: str, topic_prefix: str
) -> None:
    with Workers(tmp_path, kafka, topic_prefix, 3) as workers:
        one, two, guest = workers
        for each in (one, two):
            each.begin()
        wait_until(lambda: one.ready and two.ready, timeout_s=60, what="two are ready")
        with workers.feed(pace=40) as feed:
            feed.wait(60)
            for each in (one, two):
                each.terminate()
            for each in (one, two):
                each.begin("restoring=hang", HANG_S=f"{3.5 * SESSION_S:g}")
            begun_s = time.monotonic()
            wait_until(lambda: one.ready and two.ready, timeout_s=60, what="restored")
            assert time.monotonic() - begun_s > 3 * SESSION_S
            for each in (one, two):
                # The first that came, and the second; then nobody was thought dead.
                assert each.log().count("partitions assigned") <= 2
            before = sum((await committed_offsets(workers)).values())
            for _ in range(ROUNDS):
                due_s = time.monotonic() + EVERY_S
                guest.begin()
                wait_until(lambda: time.monotonic() > due_s, timeout_s=60, what="two seconds")  # noqa: B023
                due_s += EVERY_S
                guest.terminate()
                wait_until(lambda: time.monotonic() > due_s, timeout_s=60, what="two seconds")  # noqa: B023
                now = sum((await committed_offsets(workers)).values())
                assert now > before, "no progress"
                before = now
        await workers.wait_committed()
        for each in (one, two):
            # Each coming and each going of the guest is one rebalance.
            assert each.log().count("partitions assigned") <= 2 + 2 * ROUNDS
        await workers.finish()
        found = await check(workers)
        assert not found.repeated
        assert not found.dropped


@pytest.mark.timeout(180)
async def test_a_rolling_restart_repeats_no_alert(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    # As it is: with its own session timeout, which does not matter to those who leave in order.
    with Workers(tmp_path, kafka, topic_prefix, 2, session_s=None) as workers:
        workers.start()
        with workers.feed(pace=60) as feed:
            feed.wait(60)
            for one in workers:
                one.terminate()
                feed.wait(20)
                one.start()
                feed.wait(20)
        await workers.wait_committed()
        await workers.finish()
        found = await check(workers)
        assert found.words > 20
        assert not found.repeated
        assert not found.dropped


@pytest.mark.timeout(180)
async def test_sigterm_waits_for_what_is_on_its_way(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    with (
        Wire(kafka) as wire,
        Workers(tmp_path, kafka, topic_prefix, 1, more=NO_TICKS) as workers,
    ):
        (one,) = workers
        one.start(ADDRESS=f"{kafka}={wire.port}")
        await hold_up(workers, one, wire)
        one.signal(signal.SIGTERM)
        one.metric("records_total")  # an answer: its loop has come round, and so it has heard of its end
        assert '"stopped"' not in one.log()
        wire.up.set()
        one.wait_gone()
        one.start()
        await workers.wait_committed()
        await workers.finish()
        found = await check(workers)
        assert found.words
        assert not found.repeated

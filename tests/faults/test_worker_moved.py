"""Workers that come, go, and are stopped in order: nothing is lost, nothing is said twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.worker_truth import check
from tests.faults.workers import Workers


@pytest.mark.timeout(180)
async def test_a_rolling_restart_repeats_no_alert(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    with Workers(tmp_path, kafka, topic_prefix, 2) as workers:
        workers.start()
        with workers.feed() as feed:
            feed.wait(100)
            for one in workers:
                one.terminate()
                one.start()
                feed.wait(40)
        await workers.wait_committed()
        workers.terminate()
        found = await check(workers)
        assert found.words > 20
        assert not found.repeated
        assert not found.dropped

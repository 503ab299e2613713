"""Rows 10 and 11: the store of snapshots cannot be written, or what is in it is not what was written."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.faults.worker_plant import PARTITIONS
from tests.faults.worker_process import WorkerProcess
from tests.faults.worker_truth import check
from tests.faults.workers import Workers
from tests.servers.waiting import wait_until

FLIPPED, TORN, MISSING, ALL_FLIPPED = range(4)


def complaint(one: WorkerProcess) -> str:
    """What /readyz says, "" if it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{one.port}/readyz", timeout=5):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()
    except urllib.error.URLError:
        return "does not listen"


def snapshots_of(workers: Workers, partition: int) -> list[Path]:
    """The newest first; their names sort by age."""
    return sorted(workers.snapshots.rglob(f"{partition}/*.snapshot"), reverse=True)


@pytest.mark.fault(10)
@pytest.mark.timeout(180)
async def test_the_store_is_full_then_gone_and_comes_back(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    away = tmp_path / "away"
    with Workers(tmp_path, kafka, topic_prefix, 2) as workers:
        one, two = workers
        one.begin("snapshot-half-written=enospc:6")
        two.begin()
        with workers.feed(pace=40) as feed:
            wait_until(lambda: "No space left" in complaint(one), timeout_s=60, what="one says that its disk is full")
            feed.wait(20)
            wait_until(lambda: all(each.ready for each in workers), timeout_s=60, what="it has found room again")

            # A file where the folder was: nothing can be read or written, whoever the user is.
            workers.snapshots.rename(away)
            workers.snapshots.write_text("")
            for each in workers:
                wait_until(lambda: "not a folder" in complaint(each), timeout_s=60, what=f"{each.name} says so")  # noqa: B023
            feed.wait(40)
            await workers.wait_committed()
            two.kill()
            two.begin()
            wait_until(lambda: "being restored" in complaint(two), timeout_s=60, what="no state, and no other instead")
            feed.wait(20)
            assert one.alive
            workers.snapshots.unlink()
            away.rename(workers.snapshots)
            wait_until(lambda: all(each.ready for each in workers), timeout_s=60, what="ready again")
        await workers.wait_committed()
        await workers.finish()
        found = await check(workers)
        assert found.words > 20


@pytest.mark.fault(11)
@pytest.mark.timeout(180)
async def test_damaged_snapshots(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    with Workers(tmp_path, kafka, topic_prefix, 2) as workers:
        workers.start()
        with workers.feed(pace=40) as feed:
            feed.wait(20)
            wait_until(
                lambda: all(len(snapshots_of(workers, number)) > 1 for number in range(PARTITIONS)),
                timeout_s=60,
                what="two of each partition",
            )
        await workers.wait_committed()
        await workers.finish()
        for partition in range(PARTITIONS):
            for number, path in enumerate(snapshots_of(workers, partition)):
                data = bytearray(path.read_bytes())
                data[len(data) // 2] ^= 1
                if partition == ALL_FLIPPED or (partition == FLIPPED and not number):
                    path.write_bytes(data)
                elif partition == TORN and not number:
                    path.write_bytes(data[: len(data) // 2])
                elif partition == MISSING and not number:
                    path.unlink()
        workers.start()
        said = {
            reason: sum(one.metric("snapshots_unusable_total", reason=reason) for one in workers)
            for reason in ("corrupt", "torn", "missing")
        }
        assert said["corrupt"] >= 1 + 2
        assert said["torn"] >= 1
        assert said["missing"] >= 1
        assert sum(one.metric("restores_total", how="rebuild") for one in workers) >= 1
        said_by_partition = {
            json.loads(line)["partition"]
            for one in workers
            for line in one.log().splitlines()
            if '"snapshot unusable"' in line
        }
        assert said_by_partition == set(range(PARTITIONS))
        with workers.feed(seed=2, pace=80) as feed:
            feed.wait(40)
        await workers.wait_committed()
        await workers.finish()
        found = await check(workers)
        assert not found.repeated

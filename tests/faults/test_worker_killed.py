"""Row 2: workers are killed at every step and at random; state and alerts are as if nothing had happened."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from ingest.contract.wire import Envelope, Kind, envelope_of
from stream.fold.commands import Retire
from tests.deployment.logs import read_topic
from tests.faults.worker_plant import PARTITIONS, machines_of
from tests.faults.worker_process import WorkerProcess
from tests.faults.worker_truth import check, told_before
from tests.faults.workers import Workers
from tests.servers.waiting import wait_until

# Each death has to be noticed by the group; a loaded machine may be late by a second.
SESSION_S = 2.0
KILLS = int(os.environ.get("MILLSTREAM_KILLS", "5"))
# How often a failpoint is passed at the most before it kills: some while restoring, some later, some never.
POINTS = {
    "folded": 200,
    "published": 40,
    "snapshot-half-written": 12,
    "snapshot-renamed": 12,
    "before-commit": 10,
    "revoking": 2,
    "restoring": 4,
}


def wait_killed(*doomed: WorkerProcess) -> None:
    for one in doomed:
        one.wait_gone()
        assert '"stopped"' not in one.log(), "it has ended in order"


async def envelopes(workers: Workers) -> list[Envelope]:
    return [envelope_of(one.headers.items()) for one in await read_topic(workers.kafka, workers.readings)]


@pytest.mark.fault(2)
@pytest.mark.timeout(180)
async def test_kill_9_at_every_step_changes_nothing(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    with Workers(tmp_path, kafka, topic_prefix, 3, session_s=SESSION_S) as workers:
        one, two, three = workers
        workers.start()
        with workers.feed(pace=60) as feed:
            for first, second in (
                ("folded=kill:40", "published=kill:10"),
                ("snapshot-half-written=kill:6", "snapshot-renamed=kill:5"),
                ("before-commit=kill:3", "restoring=kill"),
            ):
                for each, failpoint in ((one, first), (two, second)):
                    each.kill()
                    each.begin(failpoint)
                wait_killed(one, two)
            one.begin("revoking=kill")
            # The deaths of the others may take its partitions before it is ready.
            wait_until(lambda: one.ready or not one.alive, timeout_s=60, what="a worker that has partitions to lose")
            three.terminate()
            wait_killed(one)
            feed.wait(20)
        workers.start()
        await workers.wait_committed()
        # What is committed is not said again, whoever comes next.
        committed = {at: offset for at, (offset, _) in (await workers.committed()).items()}
        told = await told_before(workers, committed)
        for each in workers:
            each.kill()
        workers.start()
        await workers.finish()
        assert await told_before(workers, committed) == told
        found = await check(workers)
        assert found.words > 50


@pytest.mark.fault(2)
@pytest.mark.timeout(60 + 6 * KILLS)
async def test_random_kill_9_changes_nothing(tmp_path: Path, kafka: str, topic_prefix: str) -> None:
    chance = random.Random(KILLS)
    with Workers(tmp_path, kafka, topic_prefix, 3, session_s=SESSION_S) as workers:
        workers.start()
        killed, changed = 0, False
        with workers.feed(seed=2, pace=40) as feed:
            while killed < KILLS:
                feed.wait(chance.randrange(10, 100))
                at = chance.randrange(PARTITIONS)
                await workers.command(at, Retire(f"{chance.choice(machines_of(at))}/temperature"))
                if not changed and killed >= KILLS / 2:
                    # Each that has come since and each that was there before says what it holds to be in force.
                    workers.define('"1m", "5m"', '"1m", "3m"')
                    changed = True
                victim = chance.choice(list(workers))
                victim.kill()
                for one in workers:
                    if not one.alive:
                        killed += 1
                        point = chance.choice([*POINTS, ""])
                        one.begin(point and f"{point}=kill:{chance.randrange(1, POINTS[point] + 1)}")
        for one in workers:
            one.kill()
        workers.start()
        await workers.wait_committed()
        await workers.finish()
        assert sum(one.kind is Kind.CONFIG for one in await envelopes(workers)) > 0
        found = await check(workers)
        assert found.words > 20

"""kill -9 at each place of the spool: what was said to be safe reaches Kafka, in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from ingest.contract.failpoints import VARIABLE
from tests.unit.ingest.spool_life import PARTITIONS


def life(directory: Path, kafka: str, first: int, count: int, failpoints: str) -> tuple[int, list[int]]:
    """Exit code, and what was safe."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.ingest.spool_life", str(directory), kafka, str(first), str(count)],
        env={**os.environ, VARIABLE: failpoints},
        stdout=subprocess.PIPE,
        check=False,
    )
    return done.returncode, [int(line) for line in done.stdout.split()]


def test_what_was_safe_when_the_process_was_killed_is_drained_in_order(tmp_path: Path) -> None:
    lives = [
        ("down", "spool-append=kill:4"),
        ("down", "spool-fsync=kill:4"),
        ("down", "spooled=kill:4"),
        ("up", "spool-advance=kill:2"),
    ]
    safe: set[int] = set()
    for kafka, failpoints in lives:
        # 64 batches of a lane at most go to disk together, so there are several appends.
        first = min(set(range(len(safe) + 1)) - safe)
        code, said = life(tmp_path, kafka, first, 300, failpoints)
        assert code == -signal.SIGKILL, failpoints
        safe.update(said)
        if failpoints != "spool-append=kill:4":
            assert safe, failpoints
    first = min(set(range(len(safe) + 1)) - safe)
    code, said = life(tmp_path, "up", first, 10, "")
    assert code == 0
    assert len(said) == 10
    safe.update(said)
    for partition in range(PARTITIONS):
        log = [int(line) for line in (tmp_path / f"log-{partition}").read_text().split()]
        arrived = list(dict.fromkeys(log))
        assert arrived == sorted(arrived)
        assert {one for one in safe if one % PARTITIONS == partition} <= set(arrived)
    assert list(tmp_path.glob("spool/lanes/*/*.seg")) == []

"""What state costs: memory, the stop for a checkpoint, the way back from snapshots, and catching up with the log.

A worker of 100,000 sensors in 12 partitions, default class, steady state, snapshots in a folder. Beside it what those
do who have objects: Python's or river's, pickled.
"""

import asyncio
import json
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stream.file_objects import FileObjects
from stream.fold.partition import PartitionFold
from stream.fold.state import PartitionState
from stream.snapshot import Snapshot
from stream.snapshot_store import SnapshotStore
from tests.bench.baselines.fold_plain import PlainFold
from tests.bench.baselines.fold_river import RiverFold
from tests.bench.daemon import REPOSITORY
from tests.bench.fold import ByHand, arrow_run
from tests.bench.fold_warm import FEW, Worker, warm_worker
from tests.bench.measure import Figure
from tests.bench.turns import Say, medians

SENSORS = 100_000
PARTITIONS = 12
CATCH_UP_ROUNDS = 5
BY_HAND_SENSORS = 10_000
SHARE = 8_336  # what a partition has, in whole machines
GROUP, TOPIC = "bench", "readings"
STORE_TIMEOUT_S = 60.0


class Snapshots:
    """A worker and its store."""

    def __init__(self, worker: Worker, folder: Path) -> None:
        self._worker = worker
        self._store = SnapshotStore(FileObjects(folder, STORE_TIMEOUT_S), GROUP, TOPIC, PARTITIONS)
        self._folder = folder
        self._ids: dict[int, str] = {}

    def stop_ms(self) -> float:
        """The longest that a partition stands still for its snapshot. It has just folded, and so have the others."""
        for fold, record in self._worker.arrow(1):
            fold.fold(record)
        longest_s = 0.0
        for fold in self._worker.folds:
            began_s = time.perf_counter()
            fold.state.freeze()
            longest_s = max(longest_s, time.perf_counter() - began_s)
        return longest_s * 1e3

    def write_ms(self) -> float:
        """All partitions, one after the other, until they are on the disk; their folds go on meanwhile."""
        snapshots = [self._snapshot(number, fold) for number, fold in enumerate(self._worker.folds)]
        began_s = time.perf_counter()
        self._ids = asyncio.run(self._put(snapshots))
        return (time.perf_counter() - began_s) * 1e3

    def restore_ms(self) -> float:
        """All partitions, one after the other, until they could fold."""
        began_s = time.perf_counter()
        restored = asyncio.run(self._restore())
        took_s = time.perf_counter() - began_s
        if sum(len(state.slots) for state in restored) != SENSORS:
            raise RuntimeError("not every sensor came back")
        return took_s * 1e3

    def stored_bytes(self) -> int:
        """What the newest snapshots take."""
        return sum(path.stat().st_size for name in self._ids.values() for path in self._folder.rglob(f"{name}*"))

    def _snapshot(self, number: int, fold: PartitionFold) -> Snapshot:
        state, definitions = fold.state, fold.plan.definitions.to_bytes()
        return Snapshot(GROUP, TOPIC, number, PARTITIONS, 1, state.now_us, definitions, state.freeze())

    async def _put(self, snapshots: list[Snapshot]) -> dict[int, str]:
        return {one.partition: await self._store.put(one) for one in snapshots}

    async def _restore(self) -> list[PartitionState]:
        restored = []
        for partition, name in self._ids.items():
            snapshot = await self._store.get(partition, name)
            restored.append(PartitionState.thaw(self._worker.folds[partition].plan, snapshot.frozen))
        return restored


class Objects:
    """Sensors as Python objects, in the steady state: so many, and the time that as many as ours would take."""

    def __init__(self, fold: PlainFold | RiverFold, sensors: int) -> None:
        ByHand(fold, sensors)
        self._sensors = fold.sensors
        self._pickled = b""

    def stop_ms(self) -> float:
        """Of one partition: objects that go on changing have to stand still until they are pickled."""
        began_s = time.perf_counter()
        self._pickled = pickle.dumps(self._sensors, pickle.HIGHEST_PROTOCOL)
        return (time.perf_counter() - began_s) * 1e3 * SENSORS / PARTITIONS / len(self._sensors)

    def restore_ms(self) -> float:
        """Of all partitions, from memory."""
        began_s = time.perf_counter()
        pickle.loads(self._pickled)
        return (time.perf_counter() - began_s) * 1e3 * SENSORS / len(self._sensors)

    def pickled_bytes(self) -> float:
        """Of a sensor."""
        return len(self._pickled) / len(self._sensors)


def catch_up(worker: Worker, rounds: int) -> float:
    """Readings a second that one core folds out of a log that was written meanwhile."""
    return 1e6 / arrow_run(worker, rounds)


def memory_of(way: str, sensors: int) -> dict[str, float]:
    """Bytes of a sensor, measured in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.fold_memory", "--way", way, "--sensors", str(sensors)]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def state(runs: int, say: Say) -> list[Figure]:
    """Memory, checkpoint, restore and catching up."""
    memory = memory_of("ours", SENSORS)
    say(f"bytes of a sensor: {json.dumps(memory)}")
    found = [Figure.cost("bytes_per_sensor", memory["resident"], "B", memory_of("plain", BY_HAND_SENSORS)["resident"])]
    worker = warm_worker(SENSORS, PARTITIONS)
    by_hand = ByHand(PlainFold(), BY_HAND_SENSORS)
    name = "catch_up_readings_per_s"
    ways = {"ours": lambda: catch_up(worker, CATCH_UP_ROUNDS), "by hand": lambda: 1e6 / by_hand.run(CATCH_UP_ROUNDS)}
    ours, plain = medians(name, "readings/s", ways, runs, say)
    found.append(Figure.rate(name, ours, "readings/s, on one core", plain))
    with tempfile.TemporaryDirectory() as folder:
        return found + _checkpoints(Snapshots(worker, Path(folder)), runs, say)


def _checkpoints(ours: Snapshots, runs: int, say: Say) -> list[Figure]:
    plain, river = Objects(PlainFold(), SHARE), Objects(RiverFold(), FEW)
    ways = {"ours": ours.stop_ms, "by hand, pickled": plain.stop_ms, "river, pickled": river.stop_ms}
    stop, plain_stop, river_stop = medians("checkpoint_ms", "ms", ways, runs, say)
    (write,) = medians("checkpoint_write_ms", "ms", {"ours": ours.write_ms}, runs, say)
    ways = {"ours": ours.restore_ms, "by hand, pickled": plain.restore_ms, "river, pickled": river.restore_ms}
    restore, plain_restore, river_restore = medians("restore_ms", "ms", ways, runs, say)
    stopped = "ms, one partition's fold"
    return [
        Figure.cost("checkpoint_ms", stop, stopped, plain_stop),
        Figure.cost("checkpoint_ms_vs_river", stop, stopped, river_stop),
        Figure("checkpoint_write_ms", write, "ms, all partitions, beside their folds"),
        Figure.cost("snapshot_bytes_per_sensor", ours.stored_bytes() / SENSORS, "B", plain.pickled_bytes()),
        Figure.cost("restore_ms", restore, "ms, all partitions", plain_restore),
        Figure.cost("restore_ms_vs_river", restore, "ms, all partitions", river_restore),
    ]

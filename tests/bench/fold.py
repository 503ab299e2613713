"""CPU of the fold per reading, in process: a record's bytes go in, its effects come out.

Decode, gate, windows and models of the default class, over 1,000 to a million sensors in the steady state; beside it
the same work by hand, in river and in bytewax, on a JSON record per reading. Theirs is less than the same: one window
of a minute, no duplicates, no late readings, no ranges. From 100,000 sensors on they are measured at 10,000, which
flatters them.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from ingest.contract.readings import Readings
from stream.fold.partition import LogRecord, PartitionFold
from tests.bench.baselines.fold_plain import PlainFold
from tests.bench.baselines.fold_river import RiverFold
from tests.bench.daemon import REPOSITORY
from tests.bench.fold_load import QUANTITIES, ROWS, json_lines, parts_of, pieces_of, readings_of
from tests.bench.fold_warm import WARM_UP_ROUNDS, Worker, warm_worker
from tests.bench.measure import Figure
from tests.bench.turns import Say, medians

NAME = "worker_cpu_us_per_reading"
PEERS = REPOSITORY / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Size:
    """So many sensors; a run folds so many rounds over them. Beside it: the work by hand, of no more sensors."""

    name: str
    sensors: int
    partitions: int
    rounds: int
    by_hand: int


SIZES = (
    Size("1k", 1_000, 1, 500, 1_000),
    Size("10k", 10_000, 1, 50, 10_000),
    Size("100k", 100_000, 12, 5, 10_000),
    Size("1m", 1_000_000, 12, 1, 10_000),
)
SMALL = SIZES[1]
SMALL_ROUNDS = 2
BY_HAND_READINGS = 50_000
RIVER_READINGS = 20_000
BYTEWAX_READINGS = 100_000
# A million sensors and what is written down for them in a run.
ENOUGH_BYTES = 8 * 1024**3


def cpu_us_per_reading(log: Iterable[tuple[PartitionFold, LogRecord]], readings: int) -> float:
    """What it takes to fold these records."""
    began_ns = time.process_time_ns()
    for fold, record in log:
        fold.fold(record)
    return (time.process_time_ns() - began_ns) / readings / 1e3


def arrow_run(worker: Worker, rounds: int, rows: int = ROWS) -> float:
    """The next rounds as gateways write them, in records of so many rows."""
    before, log = worker.folded(), worker.arrow(rounds, rows)
    readings = rounds * worker.sensors
    took_us = cpu_us_per_reading(log, readings)
    # What was judged a duplicate or late would have cost less.
    if worker.folded() - before != readings:
        raise RuntimeError("not every reading was folded")
    return took_us


Read = Callable[[Iterable[bytes]], None]


class ByHand:
    """JSON records, round after round, for those who do it the usual way."""

    def __init__(self, fold: PlainFold | RiverFold, sensors: int) -> None:
        (self._part,) = parts_of(sensors, 1)
        self._fold, self._round = fold, 0
        self.run(WARM_UP_ROUNDS)

    def run(
        self,
        rounds: int,
        written: Callable[[Readings], list[bytes]] = json_lines,
        rows: int = ROWS,
        read: Read | None = None,
    ) -> float:
        """µs of CPU per reading of the next rounds.

        written: how so many rows become records; a record per reading, unless told otherwise. read: what takes those.
        """
        pieces = pieces_of(self._part, self._round, rounds, rows)
        records = [record for piece in pieces for record in written(piece)]
        self._round += rounds
        take = read or self._fold.fold
        began_ns = time.process_time_ns()
        take(records)
        return (time.process_time_ns() - began_ns) / (rounds * len(self._part.names)) / 1e3


def bytewax_run(records: Path, warm_up: int, flow: str) -> float:
    """One run of the dataflow in a process of its own. It lacks orjson, which is lent to it."""
    orjson = find_spec("orjson")
    if orjson is None or orjson.origin is None:
        raise RuntimeError("orjson is missing")
    packages = str(Path(orjson.origin).parents[1])
    load = ("--records", str(records), "--warm-up", str(warm_up), "--flow", flow, "--packages", packages)
    command = [str(PEERS), "-m", "tests.bench.baselines.fold_bytewax", *load]
    return float(subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout)


def per_reading(runs: int, say: Say) -> list[Figure]:
    """µs of CPU per reading at each size; at the smallest also beside river and bytewax."""
    found = []
    hands = {sensors: ByHand(PlainFold(), sensors) for sensors in sorted({size.by_hand for size in SIZES})}
    for size in SIZES:
        if size.sensors >= SIZES[-1].sensors and psutil.virtual_memory().available < ENOUGH_BYTES:
            say(f"{NAME}_{size.name}: not measured, it takes {ENOUGH_BYTES >> 30} GiB of memory")
            continue
        found += _at(size, hands[size.by_hand], runs, say)
    return [*found, _small_records(hands[SMALL.by_hand], runs, say)]


def _small_records(by_hand: ByHand, runs: int, say: Say) -> Figure:
    """What a record costs however little it holds: one machine's readings, as when nothing waits for company."""
    name, rows, worker = "worker_cpu_us_per_small_record", len(QUANTITIES), warm_worker(SMALL.sensors, SMALL.partitions)
    ways: dict[str, Callable[[], float]] = {
        "ours": lambda: arrow_run(worker, SMALL_ROUNDS, rows) * rows,
        "by hand": lambda: by_hand.run(SMALL_ROUNDS) * rows,
    }
    ours, plain = medians(name, "µs", ways, runs, say)
    return Figure.cost(name, ours, f"µs, {rows} readings", plain)


def _at(size: Size, by_hand: ByHand, runs: int, say: Say) -> list[Figure]:
    name, worker = f"{NAME}_{size.name}", warm_worker(size.sensors, size.partitions)
    arrow_run(worker, 1)  # the last kernels are compiled, or loaded
    ways: dict[str, Callable[[], float]] = {
        "ours": lambda: arrow_run(worker, size.rounds),
        "by hand": lambda: by_hand.run(BY_HAND_READINGS // size.by_hand),
    }
    if size is not SIZES[0]:
        ours, plain = medians(name, "µs", ways, runs, say)
        return [Figure.cost(name, ours, "µs", plain)]
    river = ByHand(RiverFold(), size.sensors)
    ways["river"] = lambda: river.run(RIVER_READINGS // size.sensors)
    if not PEERS.exists():
        say(f"{name}: not beside bytewax, whose environment is missing: make peers")
        ours, plain, rivers = medians(name, "µs", ways, runs, say)
        return [Figure.cost(name, ours, "µs", plain), Figure.cost(f"{name}_vs_river", ours, "µs", rivers)]
    with tempfile.TemporaryDirectory() as folder:
        records, warm_up = Path(folder) / "readings.jsonl", WARM_UP_ROUNDS * size.sensors
        (part,) = parts_of(size.sensors, 1)
        lines = json_lines(readings_of(part, 0, WARM_UP_ROUNDS + BYTEWAX_READINGS // size.sensors))
        records.write_bytes(b"\n".join(lines) + b"\n")
        ways["bytewax, state"] = lambda: bytewax_run(records, warm_up, "state")
        ways["bytewax, windows"] = lambda: bytewax_run(records, warm_up, "windows")
        ours, plain, rivers, state, windows = medians(name, "µs", ways, runs, say)
    return [
        Figure.cost(name, ours, "µs", min(plain, state, windows)),
        Figure.cost(f"{name}_vs_bytewax", ours, "µs", state),
        Figure.cost(f"{name}_vs_bytewax_windows", ours, "µs", windows),
        Figure.cost(f"{name}_vs_river", ours, "µs", rivers),
    ]

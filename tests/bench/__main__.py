"""`make bench`: measure, print a table, write bench.json.

The product and its baseline take turns in one run, five times each, and medians are compared: the machine's speed
drifts, but it drifts for both.
"""

import argparse
import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from tests.bench import gateway, worker
from tests.bench.daemon import REPOSITORY
from tests.bench.measure import Figure, write_report

RUNS = 5

Measure = Callable[[], float]

FIGURES: list[tuple[str, str, Measure, Measure]] = [
    ("gateway_cpu_us_per_message", "µs", gateway.measure_product, gateway.measure_baseline),
    ("worker_cpu_us_per_reading", "µs", worker.measure_product, worker.measure_baseline),
]


def compare(console: Console, name: str, unit: str, ours: Measure, theirs: Measure, runs: int) -> Figure:
    """Ours and the usual way in turn; the medians."""
    values: list[float] = []
    baselines: list[float] = []
    for number in range(1, runs + 1):
        values.append(ours())
        baselines.append(theirs())
        console.print(f"{name} run {number}/{runs}: {values[-1]:.3g} {unit}, the usual way {baselines[-1]:.3g} {unit}")
    return Figure.cost(name, statistics.median(values), unit, statistics.median(baselines))


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each; the median counts (default: 5)")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "bench.json", help="where to write the figures")
    options = parser.parse_args()
    if shutil.which("mosquitto") is None and not Path("/usr/sbin/mosquitto").exists():
        print("make bench needs Mosquitto: apt-get install mosquitto", file=sys.stderr)
        return 1
    console = Console(stderr=True, highlight=False)
    write_report([compare(console, *figure, options.runs) for figure in FIGURES], options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The fold as a bytewax dataflow: JSON records, keyed by sensor, a stateful map or windows; one worker.

python -m tests.bench.baselines.fold_bytewax --records FILE --warm-up N --flow state|windows [--packages FOLDER]

Run by the peers' interpreter, so of ours it imports the sensor of the fold by hand alone. FILE: a JSON reading a line.
Prints the µs of CPU per reading of all but the first N. --packages: where to find what this interpreter lacks (orjson).
"""

import argparse
import sys
import time
from datetime import UTC, datetime, timedelta
from importlib import import_module
from math import sqrt
from pathlib import Path
from typing import Any

BATCH = 5_000  # records a poll; one by one would cost twice as much
OUT_OF_ORDER = timedelta(seconds=10)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock:
    """Hands records out, and looks at the process's CPU time when the warm-up is over."""

    def __init__(self, records: list[bytes], warm_up: int) -> None:
        self.started_ns = 0
        self._records = records
        self._warm_up = warm_up

    def __iter__(self) -> Any:
        yield from self._records[: self._warm_up]
        self.started_ns = time.process_time_ns()
        yield from self._records[self._warm_up :]


def with_state(up: Any, op: Any) -> Any:
    """A sensor's statistics and score as state; alerts come out."""
    sensor_type = import_module("tests.bench.baselines.fold_plain").Sensor

    def step(sensor: Any, reading: dict[str, Any]) -> tuple[Any, float]:
        if sensor is None:
            sensor = sensor_type()
        return sensor, sensor.fold(reading["ts"], reading["value"])

    scores = op.stateful_map("statistics", up, step)
    return op.filter("alerts", scores, lambda scored: scored[1] > 1.0)


Moments = tuple[int, float, float, float, float]


def add(found: Moments, reading: dict[str, Any]) -> Moments:
    value = reading["value"]
    n, total, squares, low, high = found
    return n + 1, total + value, squares + value * value, min(low, value), max(high, value)


def merge(one: Moments, other: Moments) -> Moments:
    return (
        one[0] + other[0], one[1] + other[1], one[2] + other[2], min(one[3], other[3]), max(one[4], other[4]),
    )  # fmt: skip


def summary(closed: tuple[str, tuple[int, Moments]]) -> tuple[str, tuple[int, float, float, float, float]]:
    name, (_, (n, total, squares, low, high)) = closed
    mean = total / n
    return name, (n, mean, sqrt(max(0.0, squares / n - mean * mean)), low, high)


def with_windows(up: Any, op: Any) -> Any:
    """Statistics of each minute, in event time; no score."""
    windows = import_module("bytewax.operators.windowing")
    clock = windows.EventClock(
        ts_getter=lambda reading: EPOCH + timedelta(milliseconds=reading["ts"]),
        wait_for_system_duration=OUT_OF_ORDER,
    )
    windower = windows.TumblingWindower(length=timedelta(minutes=1), align_to=EPOCH)
    empty = (0, 0.0, 0.0, float("inf"), float("-inf"))
    closed = windows.fold_window("minutes", up, clock, windower, lambda: empty, add, merge)
    return op.map("summary", closed.down, summary)


def measure(records: list[bytes], warm_up: int, flow: str) -> float:
    op, testing = import_module("bytewax.operators"), import_module("bytewax.testing")
    dataflow = import_module("bytewax.dataflow").Dataflow("fold")
    clock = Clock(records, warm_up)
    found: list[Any] = []
    lines = op.input("readings", dataflow, testing.TestingSource(clock, batch_size=BATCH))
    readings = op.map("decode", lines, import_module("orjson").loads)
    keyed = op.key_on("sensor", readings, lambda reading: reading["sensor"])
    op.output("out", {"state": with_state, "windows": with_windows}[flow](keyed, op), testing.TestingSink(found))
    testing.run_main(dataflow)
    took_ns = time.process_time_ns() - clock.started_ns
    return took_ns / (len(records) - warm_up) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--warm-up", type=int, required=True)
    parser.add_argument("--flow", choices=("state", "windows"), required=True)
    parser.add_argument("--packages")
    options = parser.parse_args()
    if options.packages:
        sys.path.append(options.packages)  # last: what this interpreter has comes first
    print(measure(options.records.read_bytes().splitlines(), options.warm_up, options.flow))


if __name__ == "__main__":
    main()

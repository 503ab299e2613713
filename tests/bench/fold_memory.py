"""What a sensor takes of a process's memory, in a process of its own.

Run as `python -m tests.bench.fold_memory --way ours|plain --sensors S`; prints JSON.
"""

import argparse
import gc
import json
import os

import psutil

from stream.exposition import SensorPage
from stream.fold.partition import PartitionFold
from tests.bench.baselines.fold_plain import PlainFold
from tests.bench.fold_load import arrow_records, json_lines, parts_of, readings_of
from tests.bench.fold_warm import default_plan, warm_fold

PARTITIONS = 12
ROUNDS = 60  # by hand: a minute's readings are kept
OUR_ROUNDS = 2


def resident_bytes() -> int:
    """Memory of this process, with what nobody needs any more given back as far as possible."""
    gc.collect()
    return int(psutil.Process(os.getpid()).memory_info().rss)


def ours(sensors: int) -> dict[str, float]:
    """Sensors come one by one, as after a first start: what growing leaves over is counted too."""
    plan, parts = default_plan(), parts_of(sensors, PARTITIONS)
    warm_fold(plan, parts_of(8, 1)[0])  # compiled code is no sensor's
    before = resident_bytes()
    folds = [PartitionFold(plan, PARTITIONS) for _ in parts]
    # The log comes in small pieces: it is no sensor's either.
    for number in range(OUR_ROUNDS):
        for part, fold in zip(parts, folds, strict=True):
            for record in arrow_records(part, number, 1):
                fold.fold(record)
    states = [fold.state for fold in folds]
    rows = sum(state.nbytes() // state.class_of.size for state in states) / len(states)
    resident, page = resident_bytes() - before, SensorPage([])
    page.render(folds)
    return {
        "resident": resident / sensors,
        "scraped": (resident_bytes() - before) / sensors,  # labels are remembered
        "row": rows,
        "arrays": sum(state.nbytes() for state in states) / sensors,
    }


def plain(sensors: int) -> dict[str, float]:
    """By hand: objects."""
    (part,) = parts_of(sensors, 1)
    before = resident_bytes()
    fold = PlainFold()
    for number in range(ROUNDS):
        fold.fold(json_lines(readings_of(part, number, 1)))
    return {"resident": (resident_bytes() - before) / sensors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=("ours", "plain"), required=True)
    parser.add_argument("--sensors", type=int, required=True)
    options = parser.parse_args()
    print(json.dumps({"ours": ours, "plain": plain}[options.way](options.sensors)))


if __name__ == "__main__":
    main()

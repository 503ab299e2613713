"""`make bench`: measure, print a table, write bench.json.

What is ours and what it is held against take turns in one run, five times each, and medians are compared: the machine's
speed drifts, but it drifts for all.
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from tests.bench import decoders, fold, fold_json, fold_state, gateway_load, gateway_outage, models, worker
from tests.bench.daemon import REPOSITORY
from tests.bench.measure import Figure, print_table, write_report
from tests.bench.turns import Say
from tests.nab.figures import of_corpus

RUNS = 5

PARTS: dict[str, Callable[[argparse.Namespace, Say], list[Figure]]] = {
    "gateway": lambda options, say: gateway_load.full_rate(options.runs, say),
    "offered": lambda options, say: gateway_load.offered(options.runs, say),
    "throughput": lambda options, say: gateway_load.throughput(options.runs, say),
    "outage": lambda options, say: gateway_outage.outage(options.outage_s, say),
    "decoders": lambda options, say: decoders.per_reading(options.runs, say),
    "worker": lambda options, say: worker.per_reading(options.runs, say),
    "fold": lambda options, say: fold.per_reading(options.runs, say),
    "foreign": lambda options, say: fold_json.per_reading(options.runs, say),
    "state": lambda options, say: fold_state.state(options.runs, say),
    "models": lambda options, say: models.per_model(options.runs, say),
    "nab": lambda options, say: [Figure(name, value, "of 100") for name, value in of_corpus(say=say).items()],
}


def parse() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each; the median counts (default: 5)")
    parser.add_argument(
        "--outage-s",
        type=float,
        default=gateway_outage.OUTAGE_S,
        help="how long Kafka is away, once (default: 60; more than 5)",
    )
    parser.add_argument(
        "--out", type=Path, help="where to write the figures (default: bench.json; nowhere with --only)"
    )
    options = parser.parse_args()
    if options.runs < 1 or options.outage_s <= gateway_outage.SETTLED_AFTER_S:
        parser.error("--runs is at least 1, --outage-s more than 5")
    return options


def main() -> int:
    """Measure what was asked for."""
    options = parse()
    if shutil.which("mosquitto") is None and not Path("/usr/sbin/mosquitto").exists():
        print("make bench needs Mosquitto: apt-get install mosquitto", file=sys.stderr)
        return 1
    console = Console(stderr=True, highlight=False)
    say = partial(console.print, soft_wrap=True)
    figures = [figure for part in options.only or PARTS for figure in PARTS[part](options, say)]
    out: Path | None = options.out or (None if options.only else REPOSITORY / "bench.json")
    if out is None:
        print_table(figures)
    else:
        write_report(figures, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

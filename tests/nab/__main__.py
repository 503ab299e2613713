"""`make nab`: the default models on the Numenta Anomaly Benchmark; figures as JSON lines go to standard output."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.nab import corpus
from tests.nab.figures import best_boundary, figures, measured


def parse() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.nab", description=__doc__)
    parser.add_argument(
        "--data", type=Path, help=f"a checkout of NAB (default: ${corpus.VARIABLE}, or one beside this repository)"
    )
    parser.add_argument("--quiet", action="store_true", help="no table, only the figures")
    return parser.parse_args()


def main() -> int:
    """Judge the corpus, print a table, write the figures."""
    options = parse()
    console = Console(stderr=True, highlight=False, quiet=options.quiet)
    try:
        folder = corpus.find(options.data)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    if folder is None:
        print(f"no NAB corpus: name a checkout with --data or {corpus.VARIABLE}", file=sys.stderr)
        return 1
    with console.status("NAB") as status:
        found, lines = measured(corpus.load(folder), partial(status.update))
    table = Table("group", "series", "windows", "found", "false alarms", "score")
    for line in lines:
        cells = (line.series, line.windows, line.found, line.false_alarms)
        table.add_row(line.group, *map(str, cells), f"{line.score:.1f}" if line.windows else "")
    console.print(table)
    console.print(f"Above: alerts as people get them. The best boundary for this corpus is {best_boundary(found):.2f}.")
    for name, value in figures(found).items():
        print(json.dumps({"name": name, "value": round(value, 2), "unit": "of 100"}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Apache DataSketches: KLL sketches of series. Asked: {bytes, panes, shares, series}; told: {whole, panes}.

Each is {k, bytes, quantiles}, of the largest k that fits into the bytes: of one sketch over all values, which cannot
forget any, and of one for each pane, merged. bytes: serialised; in memory they take more.
"""

import json
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

# By name: it is only in the environment that runs this.
datasketches: Any = import_module("datasketches")


def sketches_of(values: Sequence[float], panes: int, k: int) -> list[Any]:
    """A sketch of each pane: of as many values each."""
    made = [datasketches.kll_doubles_sketch(k) for _ in range(panes)]
    for at, value in enumerate(values):
        made[at * panes // len(values)].update(value)
    return made


def size_of(sketches: Sequence[Any]) -> int:
    """Bytes."""
    return sum(len(one.serialize()) for one in sketches)


def measured(asked: dict[str, Any], panes: int) -> dict[str, Any]:
    """The answer for so many panes."""
    like = asked["series"][0]
    k = max(k for k in range(8, 512, 8) if size_of(sketches_of(like, panes, k)) <= asked["bytes"])
    sizes, found = [], []
    for values in asked["series"]:
        sketches = sketches_of(values, panes, k)
        sizes.append(size_of(sketches))
        for other in sketches[1:]:
            sketches[0].merge(other)
        found.append([float(sketches[0].get_quantile(share, True)) for share in asked["shares"]])
    return {"k": k, "bytes": max(sizes), "quantiles": found}


if __name__ == "__main__":
    question = json.load(sys.stdin)
    json.dump({"whole": measured(question, 1), "panes": measured(question, question["panes"])}, sys.stdout)

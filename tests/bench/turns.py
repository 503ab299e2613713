"""Ways of doing the same thing take turns: the machine's speed drifts, but it drifts for all."""

import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from tests.bench.measure import rounded

T = TypeVar("T")

Say = Callable[[str], None]


def in_turn(
    what: str, ways: Mapping[str, Callable[[], T]], shown: Callable[[T], float], runs: int, say: Say
) -> dict[str, list[T]]:
    """Each way `runs` times, in turn; what each gave, by its name. shown: the number for a line of progress."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    for number in range(1, runs + 1):
        for name, way in ways.items():
            found[name].append(way())
        last = ", ".join(f"{name} {rounded(shown(given[-1])):.10g}" for name, given in found.items())
        say(f"{what}, run {number}/{runs}: {last}")
    return found


def median(found: Iterable[T], of: Callable[[T], float]) -> float:
    """The median of a number that each run gave."""
    return statistics.median(map(of, found))

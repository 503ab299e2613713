"""Ways of doing the same thing take turns: the machine's speed drifts, but it drifts for all."""

import statistics
from collections.abc import Callable, Mapping

from tests.bench.measure import rounded

Say = Callable[[str], None]


def medians(what: str, unit: str, ways: Mapping[str, Callable[[], float]], runs: int, say: Say) -> list[float]:
    """Each way `runs` times, in turn; the medians, in the order of the ways. say: takes a line of progress."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1, runs + 1):
        for name, way in ways.items():
            found[name].append(way())
        last = ", ".join(f"{name} {rounded(given[-1]):,.10g}" for name, given in found.items())
        say(f"{what}, {unit}, run {number}/{runs}: {last}")
    return [statistics.median(given) for given in found.values()]

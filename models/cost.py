"""What models cost that run in Python. Figures for people: no state, and nothing depends on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Cost:
    """Of one model in this process, since it began.

    rebuilds: objects that were made anew from the state. restarts: of a sensor's model, because it failed.
    """

    seconds: float = 0.0
    readings: int = 0
    rebuilds: int = 0
    restarts: int = 0


def no_timer() -> float:
    """Nobody asks how long anything takes."""
    return 0.0


class Costs:
    """By model. timer: seconds that go on; models know no other clock, and have none where nobody gives them one.

    >>> costs = Costs()
    >>> costs.of("river:anomaly.HalfSpaceTrees").readings += 1
    >>> costs.all
    {'river:anomaly.HalfSpaceTrees': Cost(seconds=0.0, readings=1, rebuilds=0, restarts=0)}
    """

    def __init__(self, timer: Callable[[], float] = no_timer) -> None:
        self.timer = timer
        self.all: dict[str, Cost] = {}

    def of(self, name: str) -> Cost:
        """That of a model, which begins with nothing."""
        return self.all.setdefault(name, Cost())

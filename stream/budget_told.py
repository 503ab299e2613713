"""The budget of alerts as metrics: what each class may spend, has spent, and is to be expected to spend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import isnan

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from stream.fold.budget import expected_per_day
from stream.fold.partition import PartitionFold


@dataclass(slots=True)
class Spending:
    """A class's, over a worker's partitions; alerts a day. boundary: the highest of a partition's, 0 if unknown."""

    allowed: float = 0.0
    spent: float = 0.0
    expected: float = 0.0
    boundary: float = 0.0


def spending(folds: Iterable[PartitionFold]) -> dict[str, Spending]:
    """By class, of those that have sensors in it."""
    found: dict[str, Spending] = {}
    for fold in folds:
        for name, pool in zip(fold.plan.pool_names, fold.state.pools, strict=True):
            one = found.setdefault(name, Spending())
            expected = expected_per_day(pool)
            one.allowed += float(pool["daily"])
            one.spent += float(pool["spent"])
            one.expected += 0.0 if isnan(expected) else expected
            one.boundary = max(one.boundary, float(pool["boundary"]))
    return found


class BudgetMetrics(Collector):
    """Reads the budgets when metrics are read."""

    def __init__(self, registry: CollectorRegistry, folds: Callable[[], Iterable[PartitionFold]]) -> None:
        self._folds = folds
        registry.register(self)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Names, without asking anybody."""
        return iter(self._families())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One series per class."""
        families = self._families()
        for name, one in sorted(spending(self._folds()).items()):
            for family, value in zip(families, (one.allowed, one.spent, one.expected, one.boundary), strict=True):
                family.add_metric([name], value)
        yield from families

    @staticmethod
    def _families() -> list[GaugeMetricFamily]:
        return [
            GaugeMetricFamily(f"millstream_worker_alert_{name}", text, labels=["class"])
            for name, text in (
                ("budget_per_day", "Alerts a day that a class may bring; what others do not need is in it."),
                ("budget_spent", "Alerts on scores of about the last day, told or not."),
                ("expected_per_day", "Alerts a day to expect by what is remembered of the last days."),
                ("boundary", "What combined scores are divided by, at most: 1 while the budget suffices."),
            )
        ]

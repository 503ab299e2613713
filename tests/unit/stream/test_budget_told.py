"""The budget as metrics: summed over partitions, by class."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ingest.contract.class_settings import ClassSettings
from stream.budget_told import BudgetMetrics, spending
from stream.fold.partition import PartitionFold
from tests.unit.stream.logs import PARTITIONS, START_US, Batch, Row, fold_log, plan_of

PLAN = plan_of(ClassSettings(name="heat", match=["**/heat"]), ClassSettings(name="rest", match=["**"]))


def test_partitions_add_up() -> None:
    folds = [fold_log(PLAN, [Batch(START_US, (Row("s/l/m/heat", START_US, 1.0),))]).fold for _ in range(2)]
    for fold, spent, boundary in zip(folds, (3.0, 1.0), (1.0, 1.5), strict=True):
        fold.state.pools["spent"], fold.state.pools["boundary"] = (spent, 0.0), (boundary, 1.0)

    found = spending(folds)

    assert list(found) == ["heat", "rest"]
    assert (found["heat"].spent, found["heat"].boundary) == (4.0, 1.5)
    # Before any sensor is known, classes share evenly, and may use a half of the other's.
    assert found["heat"].allowed == pytest.approx(2 * PLAN.definitions.alerts_per_day / PARTITIONS * 0.75)
    assert found["rest"].spent == 0.0


def test_a_page_has_them_by_class_and_none_before_there_is_a_partition() -> None:
    folds: list[PartitionFold] = []
    registry = CollectorRegistry()
    BudgetMetrics(registry, lambda: folds)
    assert b"{class=" not in generate_latest(registry)

    folds.append(PartitionFold(PLAN, PARTITIONS))

    assert b'millstream_worker_alert_boundary{class="heat"} 0.0' in generate_latest(registry)
    assert b'millstream_worker_alert_budget_per_day{class="rest"} 0.0' in generate_latest(registry)

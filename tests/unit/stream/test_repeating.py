"""Who reports on change does not repeat itself: the model of repeated values hears nothing of it."""

from __future__ import annotations

import numpy as np
import pytest

from ingest.contract.class_settings import DEFAULT_MODELS, ClassSettings, ModelSettings
from ingest.contract.classes import Reporting
from ingest.contract.readings import Flag
from tests.unit.stream.logs import MINUTE_US, S_US, START_US, Batch, Row, fold_log, plan_of

ON_CHANGE = int(Flag.ON_CHANGE)
FROZEN = np.concatenate([np.random.default_rng(1).normal(20.0, 1.0, 600), np.full(40, 20.0)])


def heard(one: ClassSettings) -> list[str]:
    """Who was found to be stuck, of two sensors that freeze at once: `a/p` is periodic, `a/c` is not."""
    rows = [
        Row(path, START_US + at * S_US, value, flags=flags)
        for at, value in enumerate(FROZEN.tolist())
        for path, flags in (("a/p", 0), ("a/c", ON_CHANGE))
    ]
    batches = [Batch(START_US + (at + 150) * S_US, tuple(rows[at : at + 300])) for at in range(0, len(rows), 300)]
    found = fold_log(plan_of(one), [*batches, Batch(START_US + 12 * MINUTE_US)]).transitions
    assert {change.model for change in found} <= {"stuck"}
    return [change.sensor for change in found if change.phase.name == "FIRING"]


def named(*names: str, reporting: Reporting | None = None) -> ClassSettings:
    models = [ModelSettings(name=name) for name in names] if names else None
    return ClassSettings(name="all", match=["**"], reporting=reporting, models=models)


@pytest.mark.parametrize("names", [(), ("stuck",), ("ewma_z", "stuck")])
def test_of_a_class_that_says_nothing_each_sensor_is_asked(names: tuple[str, ...]) -> None:
    assert heard(named(*names)) == ["a/p"]


def test_a_class_knows_better_than_the_source() -> None:
    assert heard(named("stuck", reporting=Reporting.PERIODIC)) == ["a/p", "a/c"]
    assert heard(named("stuck", reporting=Reporting.ON_CHANGE)) == []


def test_a_class_that_reports_on_change_has_the_other_default_models() -> None:
    default = [one.name for one in DEFAULT_MODELS]

    assert [one.name for one in named(reporting=Reporting.PERIODIC).model_list] == default
    assert [one.name for one in named().model_list] == default
    assert [*(one.name for one in named(reporting=Reporting.ON_CHANGE).model_list), "stuck"] == default

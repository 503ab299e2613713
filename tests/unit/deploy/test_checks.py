"""What `millstream check` remarks on settings that are right, and yet not what was meant."""

from __future__ import annotations

import pytest

from deploy.checks import check_models
from ingest.contract.class_settings import EVERYTHING_ELSE, ClassSettings, ModelSettings
from ingest.contract.classes import Reporting
from ingest.contract.settings import Settings


@pytest.mark.parametrize(
    ("reporting", "model", "remarks"),
    [
        (Reporting.ON_CHANGE, "stuck", 1),
        (Reporting.ON_CHANGE, "ewma_z", 0),
        (Reporting.PERIODIC, "stuck", 0),
        (None, "stuck", 0),
    ],
)
def test_a_model_of_repeated_values_for_those_who_report_changes_is_remarked(
    reporting: Reporting | None, model: str, remarks: int
) -> None:
    one = ClassSettings(name="drives", match=["**/current"], reporting=reporting, models=[ModelSettings(name=model)])
    settings = Settings.model_construct(route=[], classes=[one, EVERYTHING_ELSE])

    found = check_models(settings)

    assert [finding.ok for finding in found] == [None] * remarks
    assert all("class drives: stuck" in finding.said for finding in found)


@pytest.mark.parametrize("reporting", [*Reporting, None])
def test_nobody_is_remarked_who_has_set_no_models(reporting: Reporting | None) -> None:
    one = ClassSettings(name="drives", match=["**/current"], reporting=reporting)

    assert check_models(Settings.model_construct(route=[], classes=[one, EVERYTHING_ELSE])) == []

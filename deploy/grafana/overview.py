"""The dashboard: variables, rows, layout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana import panels, queries

FILE = Path(__file__).parent / "dashboards" / "plant-overview.json"


def _variable(name: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .query(query)
        .datasource(models.DataSourceRef(type_val="prometheus", uid=panels.DATASOURCE_UID))
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.NATURAL_ASC)
    )


def _variables(levels: Sequence[str]) -> list[dashboard.QueryVariable]:
    everything = models.VariableOption(selected=True, text=["All"], value=["$__all"])
    found = [
        # `.*` also takes sensors whose path is shorter and that lack the label.
        _variable(level, queries.choices(level, levels[:depth]))
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
        for depth, level in enumerate(levels)
    ]
    return [*found, _variable("sensor", queries.sensors(levels)), _variable("window", queries.WINDOWS)]


def plant_overview(levels: Sequence[str] = queries.LEVELS) -> dashboard.Dashboard:
    """Rates, lag, ledger; the worst sensors; one sensor in its band."""
    board = (
        dashboard.Dashboard("Plant overview")
        .uid(panels.DASHBOARD_UID)
        .description("What Millstream takes in and gives out, and how the plant is.")
        .tags(["millstream"])
        .readonly()
        .time("now-30m", "now")
        .refresh("10s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
    )
    for variable in _variables(levels):
        board.with_variable(variable)
    for number in panels.numbers(levels):
        board.with_panel(number)
    board.with_row(dashboard.Row("Plant"))
    board.with_panel(panels.worst_now(levels)).with_panel(panels.worst_before(levels))
    for curve in panels.one_sensor():
        board.with_panel(curve)
    board.with_panel(panels.states(levels))
    board.with_row(dashboard.Row("Flow"))
    for curve in panels.flow():
        board.with_panel(curve)
    return board


def as_json(levels: Sequence[str] = queries.LEVELS) -> str:
    """The dashboard as Grafana reads it, the same text every time."""
    built = plant_overview(levels).build()
    for number, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number
    return json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

"""The committed dashboard: made by the code, whole, and free of loose ends."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.grafana import panels
from deploy.grafana.overview import FILE, as_json
from tests.deployment.shipped import DEPLOY, read_yaml

BOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = BOARD["panels"]
VARIABLES: list[dict[str, Any]] = BOARD["templating"]["list"]


def test_the_committed_file_is_what_the_code_makes() -> None:
    assert FILE.read_text(encoding="utf-8") == as_json(), "run: python -m deploy.grafana"


def test_the_command_writes_it_also_for_other_levels(tmp_path: Path) -> None:
    import typer

    from deploy.grafana.__main__ import main

    app = typer.Typer()
    app.command()(main)
    target = tmp_path / "board.json"
    done = CliRunner().invoke(app, ["--output", str(target), "--levels", "hall, cell"])
    assert done.exit_code == 0, done.output
    board = json.loads(target.read_text(encoding="utf-8"))
    assert [one["name"] for one in board["templating"]["list"]] == ["hall", "cell", "sensor", "window"]
    assert 'hall=~"$hall",cell=~"$cell"' in target.read_text(encoding="utf-8").replace('\\"', '"')


def test_ids_are_unique_and_every_panel_says_what_it_shows() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["targets"]


def test_every_query_goes_to_the_provisioned_datasource() -> None:
    source = read_yaml(DEPLOY / "grafana/provisioning/datasources/prometheus.yaml")["datasources"][0]
    assert source["uid"] == panels.DATASOURCE_UID
    expected = {"type": source["type"], "uid": source["uid"]}
    for panel in PANELS:
        for target in panel.get("targets", []):
            assert target["datasource"] == expected
    assert all(variable["datasource"] == expected for variable in VARIABLES)


def test_the_variables_are_levels_sensor_and_window_and_only_they_are_used() -> None:
    names = [variable["name"] for variable in VARIABLES]
    assert names == ["site", "area", "line", "machine", "sensor", "window"]
    used = {name for text in _queries() for name in re.findall(r"\$(\w+)", text)}
    assert used == {*names, "__rate_interval"}


def test_a_variable_depends_on_earlier_ones_only() -> None:
    for number, variable in enumerate(VARIABLES):
        before = {one["name"] for one in VARIABLES[:number]}
        assert set(re.findall(r"\$(\w+)", variable["query"])) <= before


def test_panels_lie_in_the_grid_and_on_nothing_else() -> None:
    cells = [_cells(panel["gridPos"]) for panel in PANELS]
    assert all(x < 24 for found in cells for x, _ in found)
    for one, other in itertools.combinations(cells, 2):
        assert not one & other


@pytest.mark.parametrize("name", ["mean", "mean + 3 σ", "mean − 3 σ"])
def test_the_band_overrides_name_curves_that_exist(name: str) -> None:
    curve = next(panel for panel in PANELS if panel["title"] == "$sensor")
    assert name in {target["legendFormat"] for target in curve["targets"]}
    overrides = {one["matcher"]["options"]: one["properties"] for one in curve["fieldConfig"]["overrides"]}
    assert name in overrides
    below = {one["value"] for one in overrides["mean + 3 σ"] if one["id"] == "custom.fillBelowTo"}
    assert below == {"mean − 3 σ"}


def _queries() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel.get("targets", [])] + [
        variable["query"] for variable in VARIABLES
    ]


def _cells(at: dict[str, int]) -> set[tuple[int, int]]:
    return {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}

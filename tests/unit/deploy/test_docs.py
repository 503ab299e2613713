"""README and docs: settings, commands, metrics, links and figures are those that there are."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any, get_args

import pytest
import typer
from prometheus_client import CollectorRegistry

from deploy.cli import app
from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.gateway_settings import ClockSettings
from ingest.contract.units import Conversion, canonical, conversion
from ingest.contract.waveform_options import FeatureName
from ingest.gateway_events import GatewayEvents
from ingest.simulator.description_file import parse_plant
from ingest.simulator.faults.catalogue import KINDS
from models.cost import Costs
from stream.budget_told import BudgetMetrics
from stream.model_costs import ModelCosts
from stream.notify.notifier_events import NotifierEvents
from stream.worker_events import WorkerEvents
from tests.unit.deploy.reading_docs import DOCUMENTS, ROOT, Block, blocks, settings_of

ALL = [block for document in DOCUMENTS for block in blocks(document)]
TEXTS = {document.name: document.read_text(encoding="utf-8") for document in DOCUMENTS}
DOCS = ROOT / "docs"


@pytest.mark.parametrize("block", [one for one in ALL if one.language == "toml"], ids=lambda block: block.name)
def test_a_settings_snippet_is_one(block: Block) -> None:
    if "[[group]]" in block.text:
        assert parse_plant(block.text, block.name).group
    else:
        assert settings_of(block.text).route


# --- commands -------------------------------------------------------------------------------------------------------


def commands() -> list[tuple[str, str]]:
    """Every `millstream …` with an argument, in blocks and in the text."""
    found = []
    for name, text in TEXTS.items():
        lines = re.findall(r"^ +(?:\$ )?(millstream .+)$", text, re.MULTILINE)
        lines += [" ".join(one.split()) for one in re.findall(r"`(millstream [^`]+)`", text)]
        found += [(name, re.split(r" (?:#|>) ", line)[0].strip()) for line in lines if "…" not in line]
    return found


@pytest.mark.parametrize(("document", "line"), sorted(set(commands())))
def test_a_command_and_its_options_exist(document: str, line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while groups := getattr(command, "commands", None):
        assert words, line
        command = groups[words.pop(0)]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= options, line


# --- metrics ----------------------------------------------------------------------------------------------------------


def metrics() -> set[str]:
    registry = CollectorRegistry()
    gateway = GatewayEvents(registry)
    gateway.watch(
        waiting=lambda: 0,
        sensors=lambda: 0,
        backlog_seconds=lambda: 0,
        backlog_bytes=lambda: 0,
        clock_offsets=list,
    )
    WorkerEvents(registry)
    BudgetMetrics(registry, list)
    ModelCosts(registry, Costs(), lambda: 0.0)
    NotifierEvents(registry, [])
    names = set()
    for family in registry.collect():
        names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return names


def test_every_metric_that_is_named_exists() -> None:
    named = {
        one for text in TEXTS.values() for one in re.findall(r"\bmillstream_(?:gateway|worker|notifier)_\w+", text)
    }
    assert len(named) > 10
    assert named <= metrics()


def test_every_metric_of_the_gateway_is_explained() -> None:
    explained = "\n".join(TEXTS.values())
    # Those that say what their name says.
    plain = ("readings_", "records_produced", "produced_bytes", "mqtt_connections")
    ours = {one for one in metrics() if one.startswith("millstream_gateway_")}
    assert {one for one in ours if one not in explained and not one[19:].startswith(plain)} == set()


# --- tables -----------------------------------------------------------------------------------------------------------


def first_cells(text: str) -> list[str]:
    """What is in backticks in the first cell of the rows of a text's tables."""
    return [one for cell in re.findall(r"^\| (`[^|]*)\|", text, re.MULTILINE) for one in re.findall(r"`([^`]+)`", cell)]


UNITS = [
    (written, taken)
    for cell, taken in re.findall(r"^\| (`[^|]*) \| `([^`]+)` \|", TEXTS["units.md"], re.MULTILINE)
    for written in re.findall(r"`([^`]+)`", cell)
]


@pytest.mark.parametrize(("written", "taken"), UNITS)
def test_a_unit_is_taken_as_the_page_says(written: str, taken: str) -> None:
    assert canonical(written) == canonical(taken)
    assert conversion(written, taken) == Conversion(1.0, 0.0)


def test_units_that_differ_in_kind_are_not_converted() -> None:
    assert conversion("bar", "kPa") == Conversion(100.0, 0.0)
    assert conversion("rpm", "Hz").scale == pytest.approx(1 / 60)
    assert conversion("C", "Cel") == Conversion(1.0, 0.0)
    kinds = [("rpm", "rad/s"), ("barg", "bara"), ("barg", "bar"), ("Nm³/h", "m3/h"), ("kvar", "kW"), ("gpm", "l/min")]
    for source, target in kinds:
        with pytest.raises(QuarantineError):
            conversion(source, target)


def test_every_reason_rule_feature_and_fault_is_listed() -> None:
    assert set(first_cells(TEXTS["quarantine.md"])) == {one.value for one in Reason}
    assert set(first_cells(TEXTS["waveforms.md"])) == set(get_args(FeatureName))
    assert set(first_cells(TEXTS["clocks.md"])) == set(get_args(ClockSettings.model_fields["rule"].annotation))
    faults = TEXTS["simulator.md"].partition("\n## Faults\n")[2]
    assert set(KINDS) <= set(re.findall(r"`(\w+)`", faults))
    plants = {path.stem for path in (ROOT / "deploy" / "plants" / "simulated").glob("*.toml")}
    assert plants == {one for one in first_cells(TEXTS["simulator.md"]) if not one.startswith("--")}


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "DECISIONS.md", "docs"])
def test_links_within_the_project_lead_somewhere(name: str) -> None:
    place = ROOT / name
    for document in place.glob("*.md") if place.is_dir() else [place]:
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (document.parent / target).exists(), target


def test_every_page_is_linked_from_the_readme() -> None:
    assert {path.name for path in DOCS.glob("*.md")} == set(re.findall(r"\(docs/(\w+\.md)\)", TEXTS["README.md"]))


def test_files_that_contributors_are_sent_to_exist() -> None:
    named = set(re.findall(r"(?<![*\w])(\w+\.py)\b", TEXTS["CONTRIBUTING.md"]))
    there = {
        path.name for part in ("ingest", "stream", "models", "deploy", "tests") for path in (ROOT / part).rglob("*.py")
    }
    assert len(named) > 10
    assert named <= there


# --- figures ----------------------------------------------------------------------------------------------------------


def test_figures_are_those_of_the_last_comparison() -> None:
    measured = [
        {part: figure[part] for part in ("value", "baseline", "ratio") if figure.get(part) is not None}
        for figure in json.loads((ROOT / "bench.json").read_text())["figures"]
    ]
    costs = re.sub(r"<!--.*?-->", "", TEXTS["README.md"].partition("\n## What it costs\n")[2], flags=re.DOTALL)
    rows = [re.findall(r"\| ([\d.,]+) (?=µs|ns|×)", line) for line in costs.splitlines() if line.startswith("| ")]
    said = [row for row in rows if row]
    assert said
    for row in said:
        assert any(all(map(_rounds_to, row, figure.values())) for figure in measured if len(row) == len(figure)), row


def _rounds_to(text: str, number: float) -> bool:
    return round(number, len(text.partition(".")[2])) == float(text.replace(",", ""))

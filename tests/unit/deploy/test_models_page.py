"""docs/models.md: each model, what it finds, its options, defaults and cost are those of the code."""

from __future__ import annotations

import dataclasses
import re
import sys
from typing import Any

import pytest

import models
from deploy.registries import model_registry
from ingest.contract.class_settings import DEFAULT_MODELS
from stream.fold.explaining import DataQuality, said
from stream.fold.gate import Verdict
from stream.notify.alert import Alert
from tests.conformance.test_models_find import FAULTS, FINDS
from tests.unit.deploy.reading_docs import ROOT

PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
MODELS = sorted(models.TABLE)


def rows(text: str) -> list[list[str]]:
    """Of all tables in it, without what separates heads."""
    lines = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in cells] for cells in lines if not set("".join(cells)) <= set("-: ")]


def section(title: str) -> str:
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[2]


def number(text: str) -> float:
    return float(text.replace(",", ""))


FOUND = rows(section("What each finds"))


def test_every_model_has_a_row_and_a_section() -> None:
    assert [row[0].strip("`") for row in FOUND[1:]] == MODELS
    assert re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE) == MODELS


@pytest.mark.parametrize("name", MODELS)
def test_a_model_finds_and_costs_what_the_page_says(name: str) -> None:
    head, (row,) = FOUND[0], [row for row in FOUND if row[0] == f"`{name}`"]
    said_of = dict(zip(head, row, strict=True))
    model: Any = model_registry().create(name, {})
    cost = re.search(r"Cost:\s+some (\d+) ns a reading", sys.modules[type(model).__module__].__doc__ or "")

    assert {fault for fault in FAULTS if said_of[fault] == "yes"} == FINDS[name]
    assert {said_of[fault] for fault in FAULTS} <= {"yes", "no"}
    assert number(said_of["bytes a sensor"]) == model.state.itemsize
    assert cost is not None
    assert number(said_of["ns a reading"]) == number(cost[1])


@pytest.mark.parametrize("name", MODELS)
def test_options_and_defaults_are_those_of_the_model(name: str) -> None:
    model: Any = model_registry().create(name, {})
    options = {one.name: getattr(model, one.name) for one in dataclasses.fields(model) if one.init}
    written = {}
    for option, default, unit, _ in rows(section(f"`{name}`"))[1:]:
        values = tuple(default if unit == "IANA name" else number(one) for one in default.split(", "))
        written[option.strip("`")] = values if len(values) > 1 else values[0]
        assert unit

    assert written == options


def test_the_default_models_are_named() -> None:
    (sentence,) = re.findall(r"a gauge has ([^;]+);", PAGE)
    assert re.findall(r"`(\w+)`", sentence) == [one.name for one in DEFAULT_MODELS]


def test_what_an_alert_says_of_its_data_is_explained() -> None:
    fields, qualities = PAGE.partition("## What an alert says")[2].split("| `data_quality` | the moment")
    example = said(DataQuality.REFUSED + Verdict.OUT_OF_RANGE)

    assert {row[0].strip("`") for row in rows(fields)[1:]} <= set(Alert.__struct_fields__)
    assert {row[0].strip("`") for row in rows(qualities)[1:]} | {"good"} == {
        said(one) for one in DataQuality if one is not DataQuality.REFUSED
    } | {example}

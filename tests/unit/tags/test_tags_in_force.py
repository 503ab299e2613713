"""What a tag says is laid over its class, in the table, in the plan and in the fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deploy.registries import model_registry
from deploy.tags import read_fitting_tags
from ingest.contract.class_settings import EVERYTHING_ELSE, ClassSettings, ModelSettings
from ingest.contract.classes import ClassTable
from ingest.contract.errors import SettingsError
from ingest.contract.tags import Tag
from stream.fold.definitions import Definitions
from stream.fold.plan import make_plan

HOT = ClassSettings(
    name="hot", match=["**/temp"], unit="Cel", range=(0, 400), models=[ModelSettings(name="ewma_z")], windows=["10s"]
)
CLASSES = [HOT, EVERYTHING_ELSE]


def tags(*some: Tag) -> dict[str, Tag]:
    return {tag.path: tag for tag in some}


def test_unit_and_range_are_laid_over_the_class() -> None:
    table = ClassTable(CLASSES, tags(Tag("a/temp", unit="K", high=90.0), Tag("a/x", "Exit", class_name="hot")))
    one = table.classes[table.index_of("a/temp")]
    assert (one.name, one.unit, one.range, one.windows) == ("hot", "K", (0, 90.0), HOT.windows)
    assert table.classes[table.index_of("a/x")] is HOT
    assert (table.index_of("b/temp"), table.index_of("b/x")) == (0, 1)
    assert (table.base_of("a/temp"), table.base_of("a/x")) == (0, 0)
    assert (table.display_name("a/x"), table.display_name("a/temp"), table.display_name("b")) == ("Exit", "", "")


def test_tags_that_say_the_same_share_a_class() -> None:
    many = [Tag(f"m{at}/temp", f"Name {at}", low=float(at % 3 - 3)) for at in range(300)]
    table = ClassTable(CLASSES, tags(*many, Tag("x/temp", unit="Cel", low=0.0, high=400.0)))
    assert len(table) == len(CLASSES) + 3
    assert table.index_of("x/temp") == 0


def test_the_plan_has_a_row_for_each_class_that_tags_make() -> None:
    given = tags(Tag("a/temp", low=5.0, high=6.0), Tag("b/c", unit="bar"), Tag("d/e", class_name="hot", high=7.0))
    plan = make_plan(Definitions(CLASSES, 10, 0, given), model_registry())
    bare = make_plan(Definitions(CLASSES, 10, 0), model_registry())
    assert len(plan.classes) == len(plan.limits) == len(plan.rules) == len(plan.rule_rows) == 5
    assert plan.limits[plan.classes.index_of("a/temp")][["low", "high"]].tolist() == (5.0, 6.0)
    assert plan.limits[plan.classes.index_of("d/e")][["low", "high"]].tolist() == (0.0, 7.0)
    for used, before in zip(plan.models, bare.models, strict=True):
        for path, base in (("a/temp", 0), ("b/c", 1), ("d/e", 0)):
            at = plan.classes.index_of(path)
            assert used.uses[at] == before.uses[base]
            assert np.array_equal(used.params[at], before.params[base])
            # The same rule under the same revision: a tag renames no alert that is open.
            assert plan.rules[at] == bare.rules[base]
    assert plan.levels.tolist() == bare.levels.tolist()


def test_a_range_that_contradicts_the_class_has_a_line(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("path,low,high\na/temp,500,\nb/other,500,\nc/temp,,-1\n")
    with pytest.raises(SettingsError) as caught:
        read_fitting_tags(path, CLASSES)
    assert caught.value.problems == [
        f"{path}:2: a/temp: with the range of class hot, low 500 is not less than high 400",
        f"{path}:4: c/temp: with the range of class hot, low 0 is not less than high -1",
    ]

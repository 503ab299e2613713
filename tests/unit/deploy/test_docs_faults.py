"""docs/faults.md against the tests: every row that is marked is there with its files, every test it names exists."""

from __future__ import annotations

import ast
import re

import pytest

from tests.unit.deploy.reading_docs import ROOT

PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
ON_SERVERS, ELSEWHERE = PAGE.partition("\n## Tried elsewhere\n")[::2]


def rows(text: str) -> dict[int, list[str]]:
    """The cells of each numbered row."""
    found = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\| \d+ \|.*$", text, re.MULTILINE)
    ]
    numbers = [int(cells[0]) for cells in found]
    assert numbers == sorted(set(numbers))
    return {int(cells[0]): cells for cells in found}


def marked() -> dict[int, set[str]]:
    """Row → files in tests/faults with a test that is marked with it."""
    files: dict[int, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for number in marks_of(path.read_text(encoding="utf-8")):
            assert path.parent.name == "faults", f"{path}: marked tests are in tests/faults"
            files.setdefault(number, set()).add(path.name)
    return files


def marks_of(source: str) -> set[int]:
    """The arguments of `@pytest.mark.fault(…)` on test functions."""
    if "mark.fault(" not in source:
        return set()
    return {
        argument.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault"
        for argument in decorator.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, int)
    }


def test_marks_are_found() -> None:
    source = "@pytest.mark.fault(4)\n@pytest.mark.fault(5)\nasync def test_a(): ...\n"
    source += "@pytest.mark.fault(6)\ndef helper(): ...\n"
    assert marks_of(source) == {4, 5}


def test_every_marked_row_is_in_the_table_with_its_files_and_no_other() -> None:
    listed = {number: set(re.findall(r"`(test_\w+\.py)`", cells[3])) for number, cells in rows(ON_SERVERS).items()}
    assert listed == marked()


def test_no_row_is_in_both_tables() -> None:
    assert rows(ON_SERVERS).keys().isdisjoint(rows(ELSEWHERE))


@pytest.mark.parametrize("number", rows(ELSEWHERE))
def test_tests_that_a_row_names_exist(number: int) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", rows(ELSEWHERE)[number][3])
    assert named
    for file, test in named:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), test


def test_every_row_says_what_happens() -> None:
    for cells in (*rows(ON_SERVERS).values(), *rows(ELSEWHERE).values()):
        assert len(cells) == 5
        assert all(cells[:4])

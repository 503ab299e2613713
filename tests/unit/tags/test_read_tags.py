"""tags.csv as spreadsheets write it: one reading of each, and every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.errors import SettingsError
from ingest.contract.tags import Tag, read_tags, write_tags

EXPECTED = {
    "a/öl/temp": Tag("a/öl/temp", "Öl, vorn", "Cel", -1.5, 90.0, "hot", 2),
    "a/öl/state": Tag("a/öl/state", line=3),
}
COMMAS = 'path,name,unit,low,high,class\na/öl/temp,"Öl, vorn",Cel,-1.5,90,hot\na/öl/state,,,,,\n'
SEMICOLONS = "Tag;Description;Units;Min;Max;Type\na.öl.temp;Öl, vorn;Cel;-1,5;90,0;hot\na.öl.state\n"


def written(directory: Path, text: str | bytes, encoding: str = "utf-8") -> Path:
    path = directory / "tags.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def mistakes(path: Path, classes: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read_tags(path, classes)
    return [line.removeprefix(str(path)) for line in caught.value.problems]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("text", [COMMAS, SEMICOLONS, SEMICOLONS.replace(";", "\t")])
def test_every_spelling_gives_the_same_tags(tmp_path: Path, text: str, ends: str, encoding: str) -> None:
    assert read_tags(written(tmp_path, text.replace("\n", ends), encoding), ["hot"]) == EXPECTED


def test_the_separator_above_the_header(tmp_path: Path) -> None:
    tags = read_tags(written(tmp_path, "sep=;\npath;low\n\na/b;1,5\n"))
    assert tags == {"a/b": Tag("a/b", low=1.5, line=4)}


def test_a_row_over_several_lines_stands_where_it_begins(tmp_path: Path) -> None:
    tags = read_tags(written(tmp_path, 'path,name\na/b,"one\ntwo"\na/c,three\n'))
    assert [(tag.name, tag.line) for tag in tags.values()] == [("one two", 2), ("three", 4)]


def test_every_mistake_at_once_with_its_line(tmp_path: Path) -> None:
    text = "path,name,low,high,class\na/b,,x,2,hto\na//b,,,,\na/c,,5,5,\na/b,\x1b[2J,,,\nd,1,2,3,hot,5\n,,1e999,,\n"
    assert mistakes(written(tmp_path, text), ("hot",)) == [
        ":2: no class is called 'hto' (did you mean \"hot\"?)",
        ":2: low: 'x' is not a number",
        ":3: 'a//b' is not a sensor path: an empty segment",
        ":4: low must be less than high, not 5 and 5",
        ":5: name: '\\x1b[2J' has control characters",
        ":5: a/b stands on line 2 already",
        ":6: 6 cells, but the header has 5 (a comma in a cell needs quotes, or separate the cells by ;)",
        ":7: '' is not a sensor path: empty",
        ":7: low: '1e999' is not finite",
    ]


def test_columns_that_are_unknown_twice_or_missing(tmp_path: Path) -> None:
    assert mistakes(written(tmp_path, "pfad,unti,min,low\n")) == [
        ":1: unknown column 'pfad'",
        ":1: unknown column 'unti' (did you mean \"unit\"?)",
        ":1: two columns for low: 'min' and 'low'",
        ":1: no column `path` (the sensor's path, or its dotted id)",
        ":1: the columns are path, name, unit, low, high, class; only path is needed",
    ]
    # What is wrong below is said as well, once there is a path to say it of.
    assert [line.partition(" ")[0] for line in mistakes(written(tmp_path, "path,unti\na//b,\n"))] == [
        ":1:",
        ":1:",
        ":2:",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column `path`"),
        (b"PK\x03\x04rest", "a workbook, not CSV"),
        (b"path\na/b\x81\n", "neither UTF-8"),
        (b"path\0\n", "neither UTF-8"),
        (b"\xff\xfep", "neither UTF-8"),
        (b'path\n"a/b\n', "not CSV"),
    ],
)
def test_what_is_no_csv(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in mistakes(written(tmp_path, content))[0]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be read" in mistakes(tmp_path / "none.csv")[0]


def test_many_mistakes_are_bounded(tmp_path: Path) -> None:
    found = mistakes(written(tmp_path, "path\n" + "a//b\n" * 60))
    assert len(found) == 51
    assert "10 more mistakes" in found[-1]


@pytest.mark.parametrize(
    ("separator", "cells", "low"),
    [
        (",", ["1.234"], 1.234),
        (",", ['"1,5"'], 1.5),
        (",", ['"1,234.5"'], 1234.5),
        (";", ["1.234,5"], 1234.5),
        (";", ["1,234"], 1.234),
        (";", ["1.234"], 1.234),
        (";", ["1.234.567"], 1234567.0),
        (";", ["1 234,5"], 1234.5),
        (";", ["−,5"], -0.5),
        (";", ["1,5E+03"], 1500.0),
        (",", ['"1,234"'], None),  # 1.234 or 1234
        (";", ["1.234", "1,5"], None),  # with a decimal comma elsewhere, a point may be for thousands
        (";", ["0.234", "1,5"], 0.234),
        (";", ["1,23,4"], None),
        (";", ["1_000"], None),
        (";", ["nan"], None),
        (";", ["5 Cel"], None),
    ],
)
def test_numbers(tmp_path: Path, separator: str, cells: list[str], low: float | None) -> None:
    rows = [f"s{at}{separator}{cell}" for at, cell in enumerate(cells)]
    path = written(tmp_path, "\n".join([f"path{separator}low", *rows]))
    if low is None:
        assert "low: " in mistakes(path)[0]
    else:
        assert read_tags(path)["s0"].low == low


TEXT = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=20).map(
    lambda text: " ".join(text.split())
)
NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False)
TAGS = st.lists(
    st.builds(
        Tag,
        st.from_regex(r"[a-zé,;]{1,3}(/[a-z0-9;' ]{0,2}[a-z]){0,2}", fullmatch=True),
        TEXT,
        TEXT,
        NUMBER,
        st.none(),
        TEXT,
    ),
    min_size=1,
    unique_by=lambda tag: tag.path,
).filter(lambda tags: all(segment == segment.strip() for tag in tags for segment in tag.path.split("/")))


@given(TAGS)
def test_the_normal_form_is_read_as_it_was_meant(tmp_path_factory: pytest.TempPathFactory, tags: list[Tag]) -> None:
    path = written(tmp_path_factory.getbasetemp(), write_tags(tags))
    again = read_tags(path)
    assert sorted(again) == list(again)
    assert write_tags(again.values()) == write_tags(tags)
    assert {(tag.path, tag.name, tag.unit, tag.low, tag.class_name) for tag in again.values()} == {
        (tag.path, tag.name, tag.unit, tag.low, tag.class_name) for tag in tags
    }

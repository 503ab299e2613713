"""What is accepted as a sensor's name is safe wherever the name goes; everything else is refused at the door."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.sensors import MAX_DEPTH, MAX_PATH_BYTES, check_path, fill_field, labels_of, machine_of

few = settings(max_examples=200, deadline=None)

LEVELS = ("site", "area", "line", "machine", "quantity")
NASTY = st.sampled_from(list("/.+#$\"\\{}` \t\n\r\0,=<>;'%\x7f\x85\xa0\u200b\u2028\ufeff\ud800\U000e0001äß温é"))
NAMES = st.text(st.characters() | NASTY, max_size=40) | st.text(NASTY | st.sampled_from(string.ascii_letters))


def accepted(path: str) -> bool:
    try:
        assert check_path(path) is path
    except QuarantineError as error:
        if error.reason is not Reason.NAME or not error.detail:
            raise
        return False
    return True


def as_labels(labels: dict[str, str]) -> str:
    """With the three escapes of Prometheus' text format."""
    escaped = {
        name: text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for name, text in labels.items()
    }
    return ",".join(f'{name}="{text}"' for name, text in escaped.items())


def survives_prometheus(path: str) -> None:
    labels = {"sensor": path, **labels_of(path, LEVELS)}
    page = f"m{{{as_labels(labels)}}} 1\nnext 2\n"
    page.encode()  # one lone surrogate would make every scrape fail
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    assert [(one.name, one.labels) for one in samples] == [("m", labels), ("next", {})]


@few
@given(NAMES)
def test_an_accepted_name_is_read_back_by_prometheus(path: str) -> None:
    if accepted(path):
        survives_prometheus(path)


def test_every_single_character_is_refused_or_read_back_by_prometheus() -> None:
    kept = [path for code in range(0x3100) if accepted(path := f"a/x{chr(code)}y")]
    for path in kept:
        survives_prometheus(path)
    assert 5_000 < len(kept) < 0x3100


@few
@given(NAMES)
def test_an_accepted_name_keeps_its_bounds(path: str) -> None:
    if accepted(path):
        segments = path.split("/")
        assert len(path.encode()) <= MAX_PATH_BYTES
        assert len(segments) <= MAX_DEPTH
        assert all(segment and segment == segment.strip() and segment not in (".", "..") for segment in segments)
        assert not set(path) & set("+#\0\n\r")
        assert path.isprintable() or not path.isascii()


@pytest.mark.parametrize(
    "path",
    [
        "demo/line-01/press-02/temperature",
        "Channel1:Press@3=x.y_z",
        "温度/Außen temperatur",
        "__name__",
        "le",
        "$share/group/x",
        "...",
        "a,b='c'",
        "/".join("a" * MAX_DEPTH),
        "x" * MAX_PATH_BYTES,
        "é" * (MAX_PATH_BYTES // 2),
    ],
)
def test_names_that_people_give(path: str) -> None:
    assert accepted(path)
    survives_prometheus(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        " ",
        "/",
        "/a",
        "a/",
        "a//b",
        "a/./b",
        "../a",
        "a/..",
        " a",
        "a /b",
        "a/\u3000b",
        "a/+/b",
        "#",
        "a\nb",
        "a\0b",
        "a\tb",
        "a\u2028b",
        "a\u200bb",
        "\ufeffa",
        "\ud800",
        "\udfffx",
        "\U0010ffff",
        '"} 1\nx 1',
        'x"y',
        "a\\b",
        "a{b}",
        "`id`",
        "/".join("a" * (MAX_DEPTH + 1)),
        "x" * (MAX_PATH_BYTES + 1),
        "é" * (MAX_PATH_BYTES // 2 + 1),
        "x" * 65_535,
        "a/" * 32_767 + "a",
    ],
    ids=lambda path: ascii(path)[:30],
)
def test_names_that_attackers_give(path: str) -> None:
    assert not accepted(path)


# --- what is made of names ------------------------------------------------------------------------------------------

PATHS = st.lists(st.sampled_from(["a", "b-1", "ä", "x.y"]), min_size=1, max_size=8).map("/".join)


@few
@given(PATHS, st.lists(st.sampled_from(["site", "area", "line", "machine", "quantity"]), max_size=5, unique=True))
def test_levels_name_the_segments_and_the_last_names_the_last(path: str, levels: list[str]) -> None:
    labels = labels_of(path, tuple(levels))
    assert set(labels) <= set(levels)
    if levels:
        assert labels[levels[-1]] == path.split("/")[-1]
    if len(levels) > 1:
        assert "/".join(labels[level] for level in levels if level in labels) == path


@few
@given(PATHS, st.sampled_from(["temp", "oil.temp", "a.b.c", "ä"]))
def test_a_field_is_one_name_and_an_id_is_a_path(machine: str, field: str) -> None:
    assert fill_field(f"{machine}/{{field}}", field) == f"{machine}/{field}"
    assert fill_field(f"{machine}/{{id}}", field) == f"{machine}/{field.replace('.', '/')}"
    assert fill_field(machine, field) == machine


@pytest.mark.parametrize("field", ["{id}", "{field}", "{id}.{field}", "", ".", "a..b", "a/../b", "x\n"])
@pytest.mark.parametrize("path", ["plant/{field}/x", "plant/{id}/x", "{field}/{id}"])
def test_a_hostile_field_makes_no_other_path(path: str, field: str) -> None:
    filled = fill_field(path, field)
    if accepted(filled):
        assert filled.startswith(path.partition("{")[0])
        assert filled.endswith(path.rpartition("}")[2])
        assert "{" not in filled


@few
@given(PATHS)
def test_a_machine_is_a_path_too(path: str) -> None:
    assert accepted(machine_of(path))

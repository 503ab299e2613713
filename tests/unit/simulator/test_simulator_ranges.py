"""A template stands for many names, in an order that people expect, and for no more than a plant can have."""

import pytest

from ingest.simulator.ranges import Names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("press", ["press"]),
        ("press-{1..3}", ["press-1", "press-2", "press-3"]),
        ("p-{08..11}", ["p-08", "p-09", "p-10", "p-11"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{a,b}/{1..2}", ["a/1", "a/2", "b/1", "b/2"]),
        ("{5..5}", ["5"]),
    ],
)
def test_ranges_and_choices(text: str, names: list[str]) -> None:
    parsed = Names.parse(text)
    assert list(parsed.round(0)) == names
    assert parsed.per_round == len(names)
    assert not parsed.is_open


def test_an_open_range_goes_on_for_ever_a_value_a_round() -> None:
    names = Names.parse("line-{09..}/{a,b}")
    assert names.is_open
    assert names.per_round == 2
    assert list(names.round(0)) == ["line-09/a", "line-09/b"]
    assert list(names.round(2)) == ["line-11/a", "line-11/b"]
    assert list(names.round(100_000)) == ["line-100009/a", "line-100009/b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{3..1}", "backwards"),
        ("{1..}/{1..}", "only one range"),
        ("{}", "neither a range"),
        ("{a,}", "neither a range"),
        ("{a,b,a}", "twice"),
        ("press-{1..3", "without its partner"),
        ("press-1}", "without its partner"),
        ("{1..99999999}", "2,000,000"),
        ("{1..2000}/{1..2000}", "4,000,000 names"),
    ],
)
def test_what_no_plant_means_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Names.parse(text)


def test_the_glob_fits_all_names() -> None:
    assert Names.parse("demo/line-{01..}/{press,saw}").glob == "demo/line-*/*"
    assert Names.parse("demo/press").glob == "demo/press"

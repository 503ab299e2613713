from collections import Counter
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from ingest.discover.formats import Format
from ingest.discover.names import name_levels
from ingest.discover.shapes import MAX_SHAPES, Shape, Topic, find_shapes

VALUE, PLAIN, SEVERAL = Format("json", "value", False, "ts"), Format("plain"), Format("json", None, True)
SEGMENT = st.text("ab1-", max_size=3)
TOPICS = st.dictionaries(
    st.lists(SEGMENT, min_size=1, max_size=5).map(tuple), st.sampled_from([VALUE, PLAIN, SEVERAL]), max_size=60
)


def fits(shape: Shape, topic: Topic) -> bool:
    same_depth = len(topic) == len(shape.levels) if not shape.rest else len(topic) > len(shape.levels)
    return same_depth and all(level in (None, segment) for level, segment in zip(shape.levels, topic, strict=False))


@given(TOPICS)
def test_every_topic_is_in_one_shape_that_it_fits(topics: dict[Topic, Format]) -> None:
    shapes = find_shapes(topics)
    found = Counter(topic for shape in shapes for topic in shape.topics)
    assert len(shapes) <= MAX_SHAPES
    assert set(found.values()) <= {1}
    assert all(fits(shape, topic) for shape in shapes for topic in shape.topics)
    if len(shapes) < MAX_SHAPES and not any(shape.rest for shape in shapes):
        assert found.keys() == topics.keys()


WORDS = st.lists(st.text("bcdfg", min_size=3, max_size=6), min_size=2, max_size=4, unique=True)


@given(
    st.text("xyz", min_size=1, max_size=5), st.integers(2, 6), st.integers(2, 12), WORDS, st.booleans(), st.booleans()
)
def test_a_regular_plant_is_one_shape(
    root: str, lines: int, machines: int, quantities: list[str], slash: bool, fixed: bool
) -> None:
    start = ("", root) if slash else (root,)
    middle = ("live",) if fixed else ()
    topics: dict[Topic, Format] = {
        (*start, f"line-{line}", *middle, f"m{machine:02d}", quantity): VALUE
        for line, machine, quantity in product(range(lines), range(machines), quantities)
    }
    (shape,) = find_shapes(topics)
    assert shape.levels == (*start, None, *middle, None, None)


def test_branches_with_nothing_in_common_are_shapes_of_their_own() -> None:
    topics: dict[Topic, Format] = {
        ("factory", f"line-{n}", q): VALUE for n in range(4) for q in ("temperature", "pressure")
    }
    topics |= {("energy", f"meter-{n}", q): VALUE for n in range(4) for q in ("power", "voltage")}
    assert {shape.levels for shape in find_shapes(topics)} == {("factory", None, None), ("energy", None, None)}


def test_sites_with_the_same_machines_are_one_shape() -> None:
    topics: dict[Topic, Format] = {
        (s, f"line-{n}", q): VALUE for s in ("bremen", "ulm") for n in range(4) for q in ("temperature", "force")
    }
    (shape,) = find_shapes(topics)
    assert shape.levels == (None, None, None)


def test_another_format_is_separated_at_the_level_that_tells_it() -> None:
    topics: dict[Topic, Format] = {("f", f"m{n}", q): VALUE for n in range(9) for q in ("a", "b")}
    topics |= {("f", f"m{n}", "state"): PLAIN for n in range(9)}
    shapes = {shape.levels: shape.format for shape in find_shapes(topics)}
    assert shapes == {("f", None, None): VALUE, ("f", None, "state"): PLAIN}


def test_a_single_line_is_still_a_line() -> None:
    topics: dict[Topic, Format] = {("f", "line-01", f"m{n}", q): VALUE for n in range(9) for q in ("a", "b")}
    (shape,) = find_shapes(topics)
    assert shape.levels == ("f", None, None, None)


def test_a_missing_time_is_no_other_format() -> None:
    topics: dict[Topic, Format] = {("f", f"m{n}", q): VALUE for n in range(9) for q in ("a", "b")}
    topics |= {("f", "m3", "c"): Format("json", "value")}
    (shape,) = find_shapes(topics)
    assert shape.format == VALUE


def test_a_wilderness_is_folded_into_branches() -> None:
    topics: dict[Topic, Format] = {}
    for depth in range(2, 16):
        for root in "abcd":
            topics |= {(root, *(["x"] * (depth - 2)), f"{root}{depth}{n}"): (VALUE, PLAIN)[n % 2] for n in range(6)}
    shapes = find_shapes(topics)
    assert len(shapes) <= MAX_SHAPES
    assert any(shape.rest for shape in shapes)


@given(st.lists(st.lists(st.text(max_size=8), min_size=1, max_size=4), min_size=1, max_size=8), st.booleans())
def test_names_of_levels_are_different_and_fit_for_labels(levels: list[list[str]], quantity: bool) -> None:
    names = name_levels(levels, ends_in_quantity=quantity)
    assert len(set(names)) == len(names) == len(levels)
    assert all(name.replace("_", "").isalnum() and name[0].isalpha() and name.isascii() for name in names)
    assert {"field", "id", "class", "unit", "state", "sensor", "window"}.isdisjoint(names)

"""A topic pattern names a topic's levels; its filter asks the broker for exactly the topics it matches."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.sensors import TopicPattern, check_path

few = settings(max_examples=200, deadline=None)

LEVELS = st.sampled_from(["a", "b", "", "$SYS", "$x", " ", "ä", "a.b"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=5).map("/".join).filter(bool)


@st.composite
def patterns(draw: st.DrawFn) -> TopicPattern:
    """Any depth, each level a literal or a name; perhaps the rest."""
    literals = draw(st.lists(st.none() | LEVELS, max_size=4))
    levels = [f"{{n{at}}}" if text is None else text for at, text in enumerate(literals)]
    pattern = "/".join([*levels, "{rest...}"] if draw(st.booleans()) or not levels else levels)
    assume(pattern)
    return TopicPattern.parse(pattern, "fixed")


@few
@given(patterns(), TOPICS)
def test_the_filter_asks_for_exactly_what_matches(pattern: TopicPattern, topic: str) -> None:
    # `a/#` also brings `a` itself (MQTT-4.7.1-2); there no level remains that could be named.
    parent = pattern.filter.endswith("/#") and topic_matches_sub(pattern.filter.removesuffix("/#"), topic)
    assert (pattern.match(topic) is not None) == (topic_matches_sub(pattern.filter, topic) and not parent)


@few
@given(st.lists(st.tuples(st.booleans(), LEVELS), min_size=1, max_size=6), st.lists(LEVELS, max_size=3))
def test_the_path_is_all_named_levels_in_order(levels: list[tuple[bool, str]], rest: list[str]) -> None:
    parts = [f"{{n{at}}}" if named else text for at, (named, text) in enumerate(levels)]
    names = [text for named, text in levels if named] + rest
    topic = "/".join([text for _, text in levels] + rest)
    assume(names and not (topic.startswith("$") and levels[0][0]))
    pattern = TopicPattern.parse("/".join(parts + (["{rest...}"] if rest else [])))
    assert pattern.match(topic) == "/".join(names)


def test_a_path_may_arrange_the_names() -> None:
    pattern = TopicPattern.parse("{area}/from/{site}/{rest...}", "plant/{site}/{area}/{rest}")
    assert pattern.match("hall/from/berlin/press/3") == "plant/berlin/hall/press/3"
    assert pattern.filter == "+/from/+/#"


def test_placeholders_of_the_payload_stay() -> None:
    pattern = TopicPattern.parse("kepware/{site}", "{site}/{id}")
    assert pattern.per_field
    assert pattern.match("kepware/demo") == "demo/{id}"
    assert not TopicPattern.parse("kepware/{site}").per_field


def test_a_name_that_looks_like_a_placeholder_is_not_filled_again() -> None:
    pattern = TopicPattern.parse("f/{site}/{line}", "{line}/{site}")
    with pytest.raises(QuarantineError) as caught:
        pattern.match("f/{line}/x")
    assert caught.value.reason is Reason.NAME


@pytest.mark.parametrize("text", ["{a}/{b}", "{rest...}", "{a}/uptime"])
def test_a_brokers_own_topics_are_not_the_plants(text: str) -> None:
    # Else a route with wildcards would take them from the route that names `$SYS`.
    assert TopicPattern.parse(text, "x").match("$SYS/uptime") is None
    assert TopicPattern.parse("$SYS/{what}").match("$SYS/uptime") == "uptime"


@pytest.mark.parametrize("topic", ["/f/demo/x", "f//demo", "/"])
def test_empty_levels_are_levels(topic: str) -> None:
    names = "/".join(f"{{n{at}}}" for at in range(topic.count("/") + 1))
    assert TopicPattern.parse(names).match(topic) == topic
    assert TopicPattern.parse("/f/{site}/{x}").match("/f/demo/x") == "demo/x"


@pytest.mark.parametrize(
    ("pattern", "path", "message"),
    [
        ("", None, "at least one character"),
        ("", "x/{field}", "at least one character"),
        ("a\0/{b}", None, "no NUL"),
        ("a/b", None, "names no segment"),
        ("a/{b}", "", "names no segment"),
        ("a/+/{b}", None, "instead of the wildcard '+'"),
        ("a/#", None, "instead of the wildcard '#'"),
        ("a+/{b}", None, "fills a whole level"),
        ("a/x{b}", None, "fills a whole level"),
        ("a/{b", None, "fills a whole level"),
        ("a/{B}", None, "fills a whole level"),
        ("a/{}", None, "fills a whole level"),
        ("{a}/{a}", None, "'a' is used twice"),
        ("{field}", None, "'field' is reserved"),
        ("{a}/{id}", None, "'id' is reserved"),
        ("{a...}/{b}", None, "must be the last"),
        ("{a}", "{b}", "{b}, which the topic does not have"),
        ("{a...}", "{a...}", "{a...}, which the topic does not have"),
        ("{a}", "x/{a", "no sensor can have this path"),
        ("{a}", "x//{a}", "no sensor can have this path"),
        ("{a}", "x/#/{a}", "no sensor can have this path"),
        ("{a}", "/{a}", "no sensor can have this path"),
        ("{a}", "x" * 513, "no sensor can have this path"),
        ("$share/gateways/f/{a}", None, "shared subscription"),
    ],
)
def test_a_mistake_in_a_pattern_is_named(pattern: str, path: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        TopicPattern.parse(pattern, path)


@pytest.mark.parametrize(
    ("topic", "good"),
    [
        ("f/demo/press", True),
        ("f/../press", False),
        ("f//press", False),
        ("f/de\nmo/press", False),
        ("f/$share/x", True),
        ("f/demo/" + "x" * 65_528, False),
    ],
    ids=lambda one: ascii(one)[:20],
)
def test_a_hostile_topic_matches_but_names_no_sensor(topic: str, good: bool) -> None:
    path = TopicPattern.parse("f/{site}/{machine}").match(topic)
    assert path is not None
    if good:
        assert check_path(path)
    else:
        with pytest.raises(QuarantineError):
            check_path(path)

"""Filters of several gateways: together all topics, and none twice."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.filters import filters_of, overlap, overlaps
from ingest.contract.sensors import TopicPattern

LEVELS = ["a", "b", "c"]
FILTERS = st.lists(st.sampled_from([*LEVELS, "+"]), min_size=1, max_size=4).flatmap(
    lambda parts: st.sampled_from(["/".join(parts), "/".join([*parts, "#"])])
)
TOPICS = ["/".join(parts) for depth in range(1, 6) for parts in product(LEVELS, repeat=depth)]


def matches(filter_: str, topic: str) -> bool:
    """As the specification says it, level by level."""
    wanted, parts = filter_.split("/"), topic.split("/")
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at >= len(parts) or level not in ("+", parts[at]):
            return False
    return len(wanted) == len(parts) or wanted[len(parts) :] == ["#"]


@given(FILTERS, FILTERS)
def test_filters_overlap_where_a_topic_matches_both(one: str, other: str) -> None:
    both = any(matches(one, topic) and matches(other, topic) for topic in TOPICS)
    assert overlap(one, other) == overlap(other, one) == both


@given(st.lists(FILTERS, max_size=8), st.lists(FILTERS, max_size=8))
def test_overlaps_finds_the_same_pairs_as_looking_at_all(ones: list[str], others: list[str]) -> None:
    expected = sorted((one, other) for one, other in product(ones, others) if overlap(one, other))
    assert sorted(overlaps(ones, others)) == expected


def test_a_wildcard_does_not_see_the_brokers_own_topics() -> None:
    assert not overlap("+/broker/#", "$SYS/broker/load")
    assert overlap("$SYS/#", "$SYS/broker/load")


@given(
    st.lists(st.text("xyz123-", min_size=1, max_size=5), min_size=1, max_size=30, unique=True),
    st.lists(st.sampled_from(["north", "south"]), min_size=1, unique=True),
    st.integers(1, 5),
)
def test_every_filter_belongs_to_one_instance(lines: list[str], sites: list[str], instances: int) -> None:
    pattern = TopicPattern.parse("factory/{site}/{line}/{machine}/{quantity}")
    levels = {"line": lines, "site": sites}
    shares = [filters_of(pattern, levels, number, instances) for number in range(1, instances + 1)]
    dealt = [one for share in shares for one in share]
    assert sorted(dealt) == sorted(f"factory/{site}/{line}/+/+" for site in sites for line in lines)
    for at, share in enumerate(shares):
        others = [one for rest in shares[at + 1 :] for one in rest]
        assert not list(overlaps(share, others))
    assert sorted(filters_of(pattern, levels)) == sorted(dealt)

"""MQTT topic filters: whether two can match one topic, and which of a plant's filters one gateway of several takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from ingest.contract.partition import murmur2
from ingest.contract.sensors import TopicPattern

MAX_FILTERS = 100_000


def overlap(one: str, other: str) -> bool:
    """Whether some topic matches both filters (MQTT 5.0, section 4.7).

    >>> overlap("factory/+/temperature", "factory/line-01/#")
    True
    >>> overlap("factory/line-01/#", "factory/line-02/#")
    False
    """
    first, second = one.split("/"), other.split("/")
    # $SYS and its like are hidden from a wildcard at the start (MQTT-4.7.2-1).
    heads = {first[0], second[0]}
    if heads & {"+", "#"} and any(head.startswith("$") for head in heads):
        return False
    for at in range(max(len(first), len(second))):
        left = first[at] if at < len(first) else None
        right = second[at] if at < len(second) else None
        if left == "#" or right == "#":
            return True  # "#" also matches its parent: `a/#` and `a`
        if left is None or right is None:
            return False
        if "+" not in (left, right) and left != right:
            return False
    return True


def filters_of(
    pattern: TopicPattern, levels: Mapping[str, Sequence[str]], instance: int = 1, instances: int = 1
) -> list[str]:
    """The filters that one gateway of several subscribes to for a route.

    levels: the values of some of the pattern's named levels; each combination is one filter, and belongs to one
    instance: murmur2 of its values, joined by "/", modulo `instances`. instance: from 1.

    >>> pattern = TopicPattern.parse("factory/{line}/{machine}/{quantity}")
    >>> filters_of(pattern, {}), filters_of(pattern, {"line": ["l1", "l2"]})
    (['factory/+/+/+'], ['factory/l1/+/+', 'factory/l2/+/+'])
    """
    names = [name for name in pattern.names if name in levels]
    return [
        pattern.filter_with(dict(zip(names, values, strict=True)))
        for values in product(*(levels[name] for name in names))
        if instances == 1 or (murmur2("/".join(values).encode()) & 0x7FFFFFFF) % instances == instance - 1
    ]


def overlaps(filters: Sequence[str], others: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The pairs, one of each side, that can match one topic."""
    # Most filters differ in a level that neither leaves open: compare only those with the same first literals.
    wild = [other for other in others if _head(other) is None]
    by_head: dict[str, list[str]] = {}
    for other in others:
        if (head := _head(other)) is not None:
            by_head.setdefault(head, []).append(other)
    for one in filters:
        head = _head(one)
        candidates = others if head is None else [*by_head.get(head, []), *wild]
        yield from ((one, other) for other in candidates if overlap(one, other))


def _head(text: str) -> str | None:
    """The first two levels, where both are literal."""
    parts = text.split("/")[:2]
    return None if len(parts) < 2 or {"+", "#"} & set(parts) else "/".join(parts)

"""Topics → shapes: which levels are names of something, and which are part of the topic.

A level where topics of one family differ is variable, one where they agree is literal. Families are told apart in two
ways: above the first variable level, a few branches that have nothing in common are families of their own; and topics
whose payloads need different decoders are separated at the level that does it best.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ingest.discover.formats import Format
from ingest.discover.words import is_numbered_place, stem

Topic = tuple[str, ...]

MAX_SHAPES = 32
_MAX_ROOTS = 8
_MAX_BRANCHES = 12
_SMALLEST_FAMILY = 3
_ALIKE = 0.3
_ROUTE_COSTS_TOPICS = 2


@dataclass(slots=True)
class Shape:
    """Topics of one pattern and one format. levels: a literal, or None where it varies."""

    levels: tuple[str | None, ...]
    format: Format
    topics: list[Topic]
    rest: bool = False
    """Whether more levels follow, any number."""

    def values(self, at: int) -> list[str]:
        """What stands at a level."""
        return sorted({topic[at] for topic in self.topics if at < len(topic)})


def find_shapes(topics: Mapping[Topic, Format]) -> list[Shape]:
    """Group topics. Each fits the pattern of the shape it is in; only with too many shapes are some in none."""
    # An empty level is never a name.
    alike: defaultdict[tuple[int, ...], list[Topic]] = defaultdict(list)
    for topic in sorted(topics):
        alike[len(topic), *(at for at, segment in enumerate(topic) if not segment)].append(topic)
    shapes: list[Shape] = []
    for _, rows in sorted(alike.items()):
        formats = _reconciled({topic: topics[topic] for topic in rows})
        for family in _families(rows, 0, formats):
            levels = tuple(_literal(family, at) for at in range(len(family[0])))
            shapes += _by_format(_with_a_name(levels), family, formats)
    return _few(shapes)


def _literal(rows: Sequence[Topic], at: int) -> str | None:
    # A plant with one line today has two tomorrow.
    return rows[0][at] if _constant(rows, at) and not is_numbered_place(rows[0][at]) else None


def _constant(rows: Sequence[Topic], at: int) -> bool:
    first = rows[0][at]
    return all(row[at] == first for row in rows)


def _with_a_name(levels: tuple[str | None, ...]) -> tuple[str | None, ...]:
    """A pattern needs one name at least: the last level's, which is a quantity or a device."""
    if None in levels:
        return levels
    last = max((at for at, level in enumerate(levels) if level), default=len(levels) - 1)
    return (*levels[:last], None, *levels[last + 1 :])


# --- families ---------------------------------------------------------------------------------------------------


def _families(rows: list[Topic], at: int, formats: Mapping[Topic, Format]) -> list[list[Topic]]:
    """Branches that have nothing in common, looked for down to the first level that varies within one."""
    depth = len(rows[0])
    while at < depth and _constant(rows, at):
        at += 1
    if at >= depth - 1:
        return [rows]
    branches = _grouped(rows, at)
    if rows[0][at].startswith("$"):
        return [family for branch in branches.values() for family in _families(branch, at + 1, formats)]
    if len(branches) > _MAX_BRANCHES:
        return [rows]
    clusters = _clusters(branches, at, formats)
    if len(clusters) == 1:
        return [rows]
    return [family for cluster in clusters for family in _families_of_cluster(cluster, at, formats)]


def _families_of_cluster(rows: list[Topic], at: int, formats: Mapping[Topic, Format]) -> list[list[Topic]]:
    return _families(rows, at + 1, formats) if _constant(rows, at) else [rows]


def _clusters(branches: dict[str, list[Topic]], at: int, formats: Mapping[Topic, Format]) -> list[list[Topic]]:
    profiles = {name: _profile(rows, at, formats) for name, rows in branches.items()}
    clusters: list[list[str]] = []
    for name in branches:
        alike = [
            cluster
            for cluster in clusters
            if any(stem(one) == stem(name) or _alike(profiles[one], profiles[name]) for one in cluster)
        ]
        clusters = [cluster for cluster in clusters if cluster not in alike]
        clusters.append([one for cluster in alike for one in cluster] + [name])
    merged = [[row for name in cluster for row in branches[name]] for cluster in clusters]
    large = [rows for rows in merged if len(rows) >= _SMALLEST_FAMILY]
    # A branch of one or two topics is too little to be a family, unless nothing else is in its format.
    small = [rows for rows in merged if len(rows) < _SMALLEST_FAMILY]
    decoders = [{formats[row].decoder for row in rows} for rows in small]
    often = Counter(decoder for of_branch in decoders for decoder in of_branch)
    alone = [
        _constant(rows, at) and all(often[one] == 1 for one in of) for rows, of in zip(small, decoders, strict=True)
    ]
    large += [rows for rows, own in zip(small, alone, strict=True) if own]
    rest = [row for rows, own in zip(small, alone, strict=True) if not own for row in rows]
    return [*large, sorted(rest)] if rest else large


def _profile(rows: list[Topic], at: int, formats: Mapping[Topic, Format]) -> list[set[object]]:
    levels: list[set[object]] = [{stem(row[level]) for row in rows} for level in range(at + 1, len(rows[0]))]
    return [*levels, {formats[row] for row in rows}]


def _alike(one: list[set[object]], other: list[set[object]]) -> bool:
    *levels, formats = [len(a & b) / len(a | b) for a, b in zip(one, other, strict=True)]
    return formats > 0 and any(share >= _ALIKE for share in levels)


# --- formats ----------------------------------------------------------------------------------------------------


def _reconciled(formats: dict[Topic, Format]) -> dict[Topic, Format]:
    """A format without a time or a quality is one with it, if there is one: the field may be absent."""
    counts = Counter(formats.values())
    fuller: dict[Format, Format] = {}
    ranked = sorted(counts, key=lambda one: (-counts[one], repr(one)))
    for one in ranked:
        candidates = [other for other in ranked if _fits_into(one, other)]
        fuller[one] = max(candidates, key=lambda other: (_fields(other), counts[other]))
    return {topic: fuller[one] for topic, one in formats.items()}


# What a document may lack without being of another format.
_OPTIONAL = ("time", "quality", "unit", "rate_hz", "document_time", "nested")


def _fits_into(one: Format, other: Format) -> bool:
    same = replace(one, **{name: getattr(other, name) for name in _OPTIONAL}) == other
    return same and all(getattr(one, name) in (None, False, getattr(other, name)) for name in _OPTIONAL)


def _fields(one: Format) -> int:
    return sum(getattr(one, name) not in (None, False) for name in _OPTIONAL)


def _by_format(levels: tuple[str | None, ...], rows: list[Topic], formats: Mapping[Topic, Format]) -> list[Shape]:
    counts = Counter(formats[row] for row in rows)
    if len(counts) == 1:
        return [Shape(levels, formats[rows[0]], rows)]
    minority = len(rows) - max(counts.values())
    best: tuple[float, int, set[str]] | None = None
    for at in reversed(range(len(levels))):
        if levels[at] is not None:
            continue
        per_value = {value: Counter(map(formats.__getitem__, of)) for value, of in _grouped(rows, at).items()}
        leading = {value: count.most_common(1)[0] for value, count in per_value.items()}
        main = _most_common(leading.values())
        special = {value for value, (one, _) in leading.items() if one != main}
        errors = len(rows) - sum(count for _, count in leading.values())
        cost = errors + _ROUTE_COSTS_TOPICS * len(special)
        if errors < minority and (best is None or cost < best[0]):
            best = cost, at, special
    if best is None:
        return [Shape(levels, _unified(counts), rows)]
    _, at, special = best
    apart = _grouped((row for row in rows if row[at] in special), at)
    shapes = _by_format(levels, [row for row in rows if row[at] not in special], formats)
    for value, piece in apart.items():
        shapes += _by_format((*levels[:at], value, *levels[at + 1 :]), piece, formats)
    return shapes


def _most_common(leading: Iterable[tuple[Format, int]]) -> Format:
    total: Counter[Format] = Counter()
    for one, count in leading:
        total[one] += count
    return total.most_common(1)[0][0]


def _unified(counts: Counter[Format]) -> Format:
    """One format for topics that no level tells apart: all fields where all are documents, else what most are in."""
    main = counts.most_common(1)[0][0]
    alike = len({(one.decoder, one.rows, one.name) for one in counts}) == 1
    if alike and len({one.value for one in counts}) > 1:
        return replace(main, value=None, several=True, nested=any(one.nested for one in counts))
    return main


def _grouped(rows: Iterable[Topic], at: int) -> dict[str, list[Topic]]:
    groups: dict[str, list[Topic]] = {}
    for row in rows:
        groups.setdefault(row[at], []).append(row)
    return groups


# --- too many ---------------------------------------------------------------------------------------------------


def _few(shapes: list[Shape]) -> list[Shape]:
    """At most `MAX_SHAPES`: the largest, and what remains as whole branches."""
    if len(shapes) <= MAX_SHAPES:
        return shapes
    ranked = sorted(shapes, key=lambda shape: -len(shape.topics))
    kept, roots = ranked[: MAX_SHAPES - _MAX_ROOTS], dict[Topic, list[Shape]]()
    for shape in ranked[MAX_SHAPES - _MAX_ROOTS :]:
        root = _root(shape.topics[0])
        if len(shape.levels) > len(root):
            roots.setdefault(root, []).append(shape)
    largest = sorted(roots.items(), key=lambda item: -sum(len(shape.topics) for shape in item[1]))
    for root, members in largest[:_MAX_ROOTS]:
        counts: Counter[Format] = Counter()
        for shape in members:
            counts[shape.format] += len(shape.topics)
        # A family whose first level varies has topics under other roots, too.
        topics = [topic for shape in members for topic in shape.topics if topic[: len(root)] == root]
        kept.append(Shape(root, _unified(counts), topics, rest=True))
    return kept


def _root(topic: Topic) -> Topic:
    """The first level with a name, and what is before it."""
    return topic[: next((at for at, segment in enumerate(topic) if segment), 0) + 1]

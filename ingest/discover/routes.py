"""Shapes and formats → routes: topic pattern, path, decoder and options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingest.contract.errors import QuarantineError
from ingest.contract.sensors import TopicPattern, check_path
from ingest.decoders import DECODERS
from ingest.discover.names import name_levels
from ingest.discover.payloads import Facts
from ingest.discover.shapes import Shape, Topic
from ingest.topic_table import Route

_MAX_NAMED_FIELDS = 100
_FULLEST = 2


@dataclass(slots=True)
class RouteDraft:
    """A route and what it was made from. path: the sensor's path, also where it is the default."""

    shape: Shape
    topic: str
    path: str
    path_levels: list[str]
    """Names of the path's levels."""
    options: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    """Fields of the payload that are not read."""

    @property
    def decoder(self) -> str:
        """The decoder's name."""
        return self.shape.format.decoder

    @property
    def default_path(self) -> bool:
        """Whether the path need not be written."""
        return "/".join(f"{{{name}}}" for _, name in _names_in(self.topic)) == self.path

    def compiled(self) -> Route:
        """The route as the gateway has it. Raises ValueError for one that no sensor can have."""
        return Route(self.topic, TopicPattern.parse(self.topic, self.path), DECODERS.create(self.decoder, self.options))


def draft_routes(shapes: Sequence[Shape], facts: Mapping[Topic, Facts]) -> list[RouteDraft]:
    """One route a shape, the most specific first; paths are such that no two topics are one sensor."""
    fullness = [0] * len(shapes)
    drafts = [_draft(shape, facts, 0) for shape in shapes]
    for _ in range(_FULLEST):
        clashing = _clashing(drafts, facts)
        for at in clashing:
            fullness[at] += 1
            drafts[at] = _draft(shapes[at], facts, fullness[at])
    possible = [draft for draft in drafts if _compiles(draft)]
    return sorted(possible, key=lambda draft: (draft.shape.rest, -_literals(draft.shape), -len(draft.shape.topics)))


def twice_named(drafts: Sequence[RouteDraft], facts: Mapping[Topic, Facts]) -> list[str]:
    """Sensors that more than one topic would be, in spite of everything (`/a/b` beside `a/b`)."""
    seen = Counter(path for draft in drafts for path in sensor_paths(draft, facts))
    return sorted(path for path, count in seen.items() if count > 1)


def _compiles(draft: RouteDraft) -> bool:
    try:
        draft.compiled()
    except ValueError:
        return False
    return True


def _literals(shape: Shape) -> int:
    return sum(level is not None for level in shape.levels)


def _clashing(drafts: list[RouteDraft], facts: Mapping[Topic, Facts]) -> set[int]:
    owners: dict[str, int] = {}
    found: set[int] = set()
    for at, draft in enumerate(drafts):
        for path in sensor_paths(draft, facts):
            owner = owners.setdefault(path, at)
            if owner != at:
                found |= {owner, at}
    return found


def sensor_paths(draft: RouteDraft, facts: Mapping[Topic, Facts]) -> list[str]:
    """The paths of all sensors that a route's topics have."""
    shape = draft.shape
    variables = {f"{{{name}}}": at for at, name in _names_in(draft.topic)}
    paths: list[str] = []
    for topic in shape.topics:
        parts = []
        for part in draft.path.split("/"):
            at = variables.get(part)
            parts.append(part if at is None else "/".join(topic[at:]) if shape.rest else topic[at])
        path = "/".join(parts)
        if shape.format.several:
            paths += [path.replace("{field}", name) for name in facts[topic].fields]
        else:
            paths.append(path)
    return paths


def _names_in(pattern: str) -> list[tuple[int, str]]:
    """(level, name) of each level that has one."""
    parts = enumerate(pattern.split("/"))
    return [(at, part.strip("{}").removesuffix("...")) for at, part in parts if part.startswith("{")]


def _draft(shape: Shape, facts: Mapping[Topic, Facts], fullness: int) -> RouteDraft:
    variable = [at for at, level in enumerate(shape.levels) if level is None]
    named = [at for at, level in enumerate(shape.levels) if level != ""]
    quantity = bool(variable) and variable[-1] == named[-1] and not shape.format.several
    names = name_levels([shape.values(at) for at in variable], ends_in_quantity=quantity)
    name_of = dict(zip(variable, names, strict=True))
    pattern = [f"{{{name_of[at]}}}" if level is None else level for at, level in enumerate(shape.levels)]
    wanted = _in_path(shape, variable, named, fullness)
    path = [pattern[at] for at in wanted]
    levels = [name_of.get(at, "") for at in wanted]
    if shape.rest:
        pattern.append("{rest...}")
        path.append("{rest}")
        levels.append("rest")
    if shape.format.several:
        path.append("{field}")
        levels.append("quantity" if "quantity" not in levels else "field")
    draft = RouteDraft(shape, "/".join(pattern), "/".join(path), levels)
    draft.options, draft.left_out = _options(shape, [facts[topic] for topic in shape.topics])
    return draft


def _in_path(shape: Shape, variable: list[int], named: list[int], fullness: int) -> list[int]:
    """Which levels are part of the sensor's path."""
    if fullness >= _FULLEST or not variable:
        wanted = named
    elif fullness:
        wanted = [at for at in named if at >= variable[0]]
    else:
        # What is measured must be told; a payload of several values does that itself.
        last = [] if shape.format.several else named[-1:]
        wanted = sorted({*variable, *last})
    return [at for at in wanted if shape.levels[at] is None or _fits_a_path(shape.levels[at])]


def _fits_a_path(literal: str | None) -> bool:
    try:
        check_path(literal or "")
    except QuarantineError:
        return False
    return True


def _options(shape: Shape, facts: list[Facts]) -> tuple[dict[str, Any], list[str]]:
    one = shape.format
    if one.decoder == "plain":
        return ({"decimal_comma": True} if any(fact.decimal_comma for fact in facts) else {}), []
    options: dict[str, Any] = {}
    fields = list(dict.fromkeys(name for fact in facts for name in fact.fields))
    left_out = list(dict.fromkeys(name for fact in facts for name in fact.left_out if name not in fields))
    odd = {name for fact in facts for name in fact.odd}
    if one.several:
        options["values"] = fields if left_out and len(fields) <= _MAX_NAMED_FIELDS else ["*"]
    elif one.value != "value":
        options["value"] = one.value
    if one.time not in (None, "ts"):
        options["time"] = one.time
    elif one.time is None and ("ts" in odd or one.quality == "ts"):
        options["time"] = "no_time"
    units = {unit for fact in facts for unit in fact.time_units}
    if one.time is not None and len(units) == 1 and units != {"auto"}:
        options["time_unit"] = units.pop()
    if one.quality not in (None, "quality"):
        options["quality"] = one.quality
    elif one.quality is None and ("quality" in odd or one.time == "quality"):
        options["quality"] = "no_quality"
    return options, left_out

"""Shapes and formats → routes: topic pattern, path, decoder and options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingest.contract.errors import QuarantineError
from ingest.contract.sensors import TopicPattern, check_path, fill_field
from ingest.decoders import DECODERS, Decoder
from ingest.discover.formats import RULES, Facts
from ingest.discover.formats.base import can_be_named, left_alike
from ingest.discover.formats.sparkplug_b import DECODER as SPARKPLUG
from ingest.discover.heard import Heard
from ingest.discover.names import name_levels
from ingest.discover.sensors import MAX_SENSORS_LOOKED_AT, ShapeSensors, sensors_of
from ingest.discover.shapes import Shape, Topic
from ingest.topic_table import Route

_FULLEST = 2
_SELF_NAMED = ("kepware", "senml", SPARKPLUG)
_SPARKPLUG_LEVELS = ["group", "node", "device", "metric"]


@dataclass(slots=True)
class RouteDraft:
    """A route and what it was made from. path: the sensor's path, also where it is the default."""

    shape: Shape
    topic: str
    path: str
    path_levels: list[str]
    """Names of the path's levels."""
    sensors: ShapeSensors
    options: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    """Fields of the payload that are not read."""
    notes: list[str] = field(default_factory=list)
    """What is not certain."""

    @property
    def decoder(self) -> str:
        """The decoder's name."""
        return self.shape.format.decoder

    @property
    def default_path(self) -> bool:
        """Whether the path need not be written."""
        return "/".join(f"{{{name}}}" for _, name in _names_in(self.topic)) == self.path

    def compiled(self) -> Route:
        """The route as the gateway has it, but for what it would say. Raises ValueError if no sensor can have it."""
        return Route(self.topic, TopicPattern.parse(self.topic, self.path), _decoder(self.decoder, self.options))


def draft_routes(
    shapes: Sequence[Shape], facts: Mapping[Topic, Facts], topics: Mapping[bytes, Heard]
) -> list[RouteDraft]:
    """One route a shape, the most specific first; paths are such that no two topics are one sensor."""
    read: list[_Read] = []
    room = MAX_SENSORS_LOOKED_AT
    for shape in shapes:
        one = _read(shape, facts, topics, room)
        if one is not None:
            read.append(one)
            room -= one.sensors.looked_at
    fullness = [0] * len(read)
    drafts = [_draft(one, 0) for one in read]
    for _ in range(_FULLEST):
        for at in _clashing(drafts):
            fullness[at] += 1
            drafts[at] = _draft(read[at], fullness[at])
    possible = [draft for draft in drafts if _compiles(draft)]
    return sorted(possible, key=lambda draft: (draft.shape.rest, -_literals(draft.shape), -len(draft.shape.topics)))


def twice_named(drafts: Sequence[RouteDraft]) -> list[str]:
    """Sensors that more than one topic would be, in spite of everything (`/a/b` beside `a/b`)."""
    seen = Counter(path for draft in drafts for path in sensor_paths(draft))
    return sorted(path for path, count in seen.items() if count > 1)


def sensor_paths(draft: RouteDraft) -> list[str]:
    """The paths of all sensors that a route's topics have."""
    shape = draft.shape
    variables = {f"{{{name}}}": at for at, name in _names_in(draft.topic)}
    paths: list[str] = []
    for topic in shape.topics:
        parts = []
        for part in draft.path.split("/"):
            at = variables.get(part)
            rest = shape.rest and at == len(shape.levels)
            parts.append(part if at is None else "/".join(topic[at:]) if rest else topic[at])
        path = "/".join(parts)
        paths += [fill_field(path, name) if name else path for name in draft.sensors.names.get(topic, ())]
    return paths


@dataclass(frozen=True, slots=True)
class _Read:
    """A shape, and what its payloads are read with."""

    shape: Shape
    options: dict[str, Any]
    left_out: list[str]
    notes: list[str]
    sensors: ShapeSensors


def _read(shape: Shape, facts: Mapping[Topic, Facts], topics: Mapping[bytes, Heard], room: int) -> _Read | None:
    """None where no decoder can be made of what was found."""
    about = [facts[topic] for topic in shape.topics]
    # Where formats were mixed, what is known of the others' payloads does not help.
    alike = [fact for fact in about if fact.format and fact.format.decoder == shape.format.decoder]
    options = RULES[shape.format.decoder].options(shape.format, alike)
    try:
        decoder = _decoder(shape.format.decoder, options)
    except ValueError:
        return None
    fields = {name for fact in about for name in fact.fields}
    left_out = list(dict.fromkeys(name for fact in about for name in fact.left_out if name not in fields))
    notes = list(dict.fromkeys(note for fact in about for note in fact.notes))
    if apart := left_alike(alike):
        notes.append(f"? values that only {', '.join(apart[:5])} tells apart have one name: not every payload says it")
    return _Read(shape, options, left_out, notes, sensors_of(shape, decoder, facts, topics, room))


def _decoder(name: str, options: dict[str, Any]) -> Decoder:
    # Who only listens asks nobody for births.
    return DECODERS.create(name, {**options, "rebirth": False} if name == SPARKPLUG else options)


def _compiles(draft: RouteDraft) -> bool:
    try:
        draft.compiled()
    except ValueError:
        return False
    return True


def _literals(shape: Shape) -> int:
    return sum(level is not None for level in shape.levels)


def _clashing(drafts: list[RouteDraft]) -> set[int]:
    owners: dict[str, int] = {}
    found: set[int] = set()
    for at, draft in enumerate(drafts):
        if draft.decoder == SPARKPLUG:
            continue  # its paths are fixed: the others can give way
        for path in sensor_paths(draft):
            owner = owners.setdefault(path, at)
            if owner != at:
                found |= {owner, at}
    fixed = {path for draft in drafts if draft.decoder == SPARKPLUG for path in sensor_paths(draft)}
    return found | {owner for path, owner in owners.items() if path in fixed}


def _names_in(pattern: str) -> list[tuple[int, str]]:
    """(level, name) of each level that has one."""
    parts = enumerate(pattern.split("/"))
    return [(at, part.strip("{}").removesuffix("...")) for at, part in parts if part.startswith("{")]


# --- one route ------------------------------------------------------------------------------------------------------


def _draft(read: _Read, fullness: int) -> RouteDraft:
    shape, several = read.shape, read.shape.format.names_fields
    variable = [at for at, level in enumerate(shape.levels) if level is None]
    named = [at for at, level in enumerate(shape.levels) if level != ""]
    quantity = bool(variable) and variable[-1] == named[-1] and not several
    names = name_levels([shape.values(at) for at in variable], ends_in_quantity=quantity)
    name_of = dict(zip(variable, names, strict=True))
    pattern = [f"{{{name_of[at]}}}" if level is None else level for at, level in enumerate(shape.levels)]
    dotted = several and _is_dotted(read)
    told = several and not fullness and _tell_themselves(read, dotted=dotted)
    wanted = [] if told else _in_path(shape, variable, named, fullness)
    path = [pattern[at] for at in wanted]
    levels = [name_of.get(at, "") for at in wanted]
    if shape.rest:
        pattern.append("{rest...}")
        if not told:
            path.append("{rest}")
            levels.append("rest")
    if several:
        path.append("{id}" if dotted else "{field}")
        levels += _levels_of_names(read, dotted=dotted) if told else [_unlike("quantity", levels)]
    return RouteDraft(
        shape, "/".join(pattern), "/".join(path), levels, read.sensors, read.options, read.left_out, read.notes
    )


def _unlike(name: str, levels: Sequence[str]) -> str:
    return name if name not in levels else "field"


def _is_dotted(read: _Read) -> bool:
    """Whether dots in names of rows separate levels."""
    if read.shape.format.decoder == "kepware":
        return True
    names = [name for of_topic in read.sensors.names.values() for name in of_topic]
    return read.shape.format.name is not None and bool(names) and all("." in name for name in names)


def _tell_themselves(read: _Read, *, dotted: bool) -> bool:
    """Whether the payload's names are whole paths, so that a topic need not be part of one."""
    one = read.shape.format
    if one.decoder == SPARKPLUG:
        return True
    if one.decoder not in _SELF_NAMED and one.name is None:
        return False
    names = [name for of_topic in read.sensors.names.values() for name in of_topic]
    if not names or len(set(names)) < len(names):
        return False
    levels = [name.replace(".", "/") if dotted else name for name in names]
    return all(map(can_be_named, levels)) and all("/" in name for name in levels)


def _levels_of_names(read: _Read, *, dotted: bool) -> list[str]:
    if read.shape.format.decoder == SPARKPLUG:
        return _SPARKPLUG_LEVELS
    names = [name for of_topic in read.sensors.names.values() for name in of_topic]
    split = [(name.replace(".", "/") if dotted else name).split("/") for name in names]
    depth = min(map(len, split))
    columns = [sorted({one[at] for one in split}) for at in range(depth - 1)]
    return name_levels([*columns, sorted({one[-1] for one in split})], ends_in_quantity=True)


def _in_path(shape: Shape, variable: list[int], named: list[int], fullness: int) -> list[int]:
    """Which levels are part of the sensor's path."""
    if fullness >= _FULLEST or not variable:
        wanted = named
    elif fullness:
        wanted = [at for at in named if at >= variable[0]]
    else:
        # What is measured must be told; a payload of several values does that itself.
        last = [] if shape.format.names_fields else named[-1:]
        wanted = sorted({*variable, *last})
    return [at for at in wanted if shape.levels[at] is None or _fits_a_path(shape.levels[at])]


def _fits_a_path(literal: str | None) -> bool:
    try:
        check_path(literal or "")
    except QuarantineError:
        return False
    return True

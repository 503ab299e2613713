"""What was heard → a draft: routes, classes, and how much of it they read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ingest.contract.errors import QuarantineError
from ingest.contract.sensors import check_path
from ingest.discover.classes import ClassDraft, SensorFound, draft_classes
from ingest.discover.heard import Heard
from ingest.discover.payloads import Facts, Format, inspect
from ingest.discover.routes import RouteDraft, draft_routes, sensor_paths, twice_named
from ingest.discover.series import traits_of
from ingest.discover.shapes import Topic, find_shapes
from ingest.discover.trial import Trial, try_routes

_RESERVED_LEVELS = {"sensor", "window", "state", "class", "unit", "le", "quantile", "job", "instance"}
_MAX_SENSORS_LOOKED_AT = 50_000


@dataclass(frozen=True, slots=True)
class Unread:
    """A topic that the draft does not read."""

    topic: bytes
    payload: bytes
    why: str


@dataclass(slots=True)
class Draft:
    """A configuration, and what it is worth. topics, readable, read: numbers of topics.

    A topic is readable if some decoder makes sense of its payloads; it is read if the draft's own routes do.
    """

    routes: list[RouteDraft]
    classes: list[ClassDraft]
    levels: list[str]
    topics: int
    readable: int
    read: int
    sensors: int
    unread: list[Unread]
    twice: list[str]
    """Sensors that more than one topic would be."""
    messages_of: dict[int, int] = field(default_factory=dict)
    """Messages heard per route, by its place."""
    examples: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    """A topic and a payload of it per route, by its place."""

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Why topics are not read, and how many for each reason; the most frequent first."""
        return Counter(one.why for one in self.unread).most_common()


def draft_of(topics: Mapping[bytes, Heard]) -> Draft:
    """Draft a configuration. Without a single topic that can be read it has no routes."""
    facts: dict[Topic, Facts] = {}
    wrong: dict[bytes, str] = {}
    for raw, heard in topics.items():
        if not heard.messages:
            continue
        topic, why = _split(raw)
        if topic is None:
            wrong[raw] = why
            continue
        samples = heard.samples
        if not samples:
            wrong[raw] = "a payload larger than discover keeps"
            continue
        found = inspect([sample.payload for sample in samples], samples[-1].arrival_us)
        if found.format is None:
            wrong[raw] = "Sparkplug B" if found.why == "binary" and topic[0] == "spBv1.0" else found.why
        else:
            facts[topic] = found
    formats: dict[Topic, Format] = {topic: found.format for topic, found in facts.items() if found.format is not None}
    routes = draft_routes(find_shapes(formats), facts)
    trial = try_routes([route.compiled() for route in routes], topics) if routes else Trial()
    unread = list(_unread(topics, wrong, trial))
    draft = Draft(
        routes,
        draft_classes(_sensors(routes, facts, topics)),
        _levels(routes),
        topics=len(topics),
        readable=len(facts),
        read=len(trial.read - wrong.keys()),
        sensors=trial.sensors,
        unread=unread,
        twice=twice_named(routes, facts),
    )
    for at, route in enumerate(routes):
        names = ["/".join(topic) for topic in route.shape.topics]
        draft.messages_of[at] = sum(topics[name.encode()].messages for name in names)
        draft.examples[at] = names[0], topics[names[0].encode()].samples[0].payload
    return draft


def _split(raw: bytes) -> tuple[Topic | None, str]:
    """The levels of a topic, or why none of its messages can have a sensor."""
    try:
        topic = raw.decode()
        # An empty level can be a literal; all others may become part of a path.
        check_path("/".join(segment for segment in topic.split("/") if segment))
    except UnicodeDecodeError:
        return None, "a topic that is not UTF-8"
    except QuarantineError as error:
        return None, f"a topic that no sensor can have: {error.detail}"
    return tuple(topic.split("/")), ""


def _unread(topics: Mapping[bytes, Heard], wrong: Mapping[bytes, str], trial: Trial) -> Iterator[Unread]:
    for raw, heard in topics.items():
        samples = heard.samples
        payload = samples[0].payload if samples else b""
        if raw in wrong:
            yield Unread(raw, payload, wrong[raw])
        elif raw not in trial.read:
            refusal = trial.refused.get(raw)
            said = f"{refusal.reason}: {refusal.detail}".removesuffix(": ") if refusal else "no route"
            yield Unread(raw, refusal.payload if refusal else payload, said)


def _sensors(
    routes: list[RouteDraft], facts: Mapping[Topic, Facts], topics: Mapping[bytes, Heard]
) -> list[list[SensorFound]]:
    out: list[list[SensorFound]] = []
    room, listened_us = _MAX_SENSORS_LOOKED_AT, _listened_us(topics.values())
    for route in routes:
        found: list[SensorFound] = []
        paths = iter(sensor_paths(route, facts))
        one, comma = route.shape.format, bool(route.options.get("decimal_comma"))
        for topic in route.shape.topics:
            if room <= 0:
                break
            about = facts[topic]
            heard = topics["/".join(topic).encode()]
            fields = about.fields if one.several else ((one.value or ""),)
            traits = traits_of(heard, one, fields, decimal_comma=comma, listened_us=listened_us)
            for name in fields:
                path = next(paths)
                if name in traits:
                    found.append(SensorFound(tuple(path.split("/")), traits[name], about.unit))
                    room -= 1
        out.append(found)
    return out


def _listened_us(topics: Iterable[Heard]) -> int:
    arrivals = [
        sample.arrival_us
        for heard in topics
        for sample in (*heard.head[:1], *list(heard.tail)[-1:])
        if not sample.retained
    ]
    return max(arrivals) - min(arrivals) if arrivals else 0


def _levels(routes: list[RouteDraft]) -> list[str]:
    """Names for the levels of paths: those of the deepest of the routes with many topics."""
    if not routes:
        return []
    many = max(len(route.shape.topics) for route in routes) / 5
    large = [route for route in routes if len(route.shape.topics) >= many]
    largest = max(large, key=lambda route: (len(route.path_levels), len(route.shape.topics)))
    names: list[str] = []
    for at, name in enumerate(largest.path_levels, 1):
        usable = name and name not in names and name not in _RESERVED_LEVELS
        names.append(name if usable else f"level_{at}")
    return names

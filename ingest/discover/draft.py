"""What was heard → a draft: routes, classes, and how much of it they read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ingest.contract.errors import QuarantineError, Reason
from ingest.contract.sensors import check_path
from ingest.decoders.sparkplug.topics import NAMESPACE
from ingest.discover.classes import ClassDraft, SensorFound, draft_classes
from ingest.discover.formats import Facts, Format, inspect
from ingest.discover.formats.sparkplug_b import DECODER as SPARKPLUG
from ingest.discover.formats.sparkplug_b import births_missing
from ingest.discover.heard import Heard
from ingest.discover.routes import RouteDraft, draft_routes, sensor_paths, twice_named
from ingest.discover.sensors import topic_of
from ingest.discover.shapes import Shape, Topic, find_shapes
from ingest.discover.trial import Trial, try_routes

_RESERVED_LEVELS = {"sensor", "window", "state", "class", "unit", "le", "quantile", "job", "instance"}


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
        found = inspect([sample.payload for sample in samples], samples[-1].arrival_us, raw)
        if found.format is None:
            wrong[raw] = found.why
        else:
            facts[topic] = found
    routes = draft_routes(_shapes(facts), facts, topics)
    classes = draft_classes([_sensors(route) for route in routes])
    trial = try_routes([route.compiled() for route in routes], topics, classes) if routes else Trial()
    _explain_births(routes, topics, trial)
    draft = Draft(
        routes,
        classes,
        _levels(routes),
        topics=len(topics),
        readable=len(facts),
        read=len(trial.read - wrong.keys()),
        sensors=trial.sensors,
        unread=list(_unread(topics, wrong, trial)),
        twice=twice_named(routes),
    )
    for at, route in enumerate(routes):
        names = [topic_of(topic) for topic in route.shape.topics]
        draft.messages_of[at] = sum(topics[name].messages for name in names)
        draft.examples[at] = names[0].decode(), topics[names[0]].samples[0].payload
    return draft


def _shapes(facts: Mapping[Topic, Facts]) -> list[Shape]:
    """Sparkplug's namespace is one shape: numbers run over all topics of a node. The others are as they look."""
    formats: dict[Topic, Format] = {}
    namespace: list[Topic] = []
    for topic, found in facts.items():
        if found.format is None:
            continue
        if found.format.decoder == SPARKPLUG:
            namespace.append(topic)
        else:
            formats[topic] = found.format
    shapes = find_shapes(formats)
    if namespace:
        shapes.append(Shape((NAMESPACE,), Format(SPARKPLUG, several=True), namespace, rest=True))
    return shapes


def _explain_births(routes: list[RouteDraft], topics: Mapping[bytes, Heard], trial: Trial) -> None:
    """Data that only births explain, which were not heard, are no fault of the draft's."""
    for route in routes:
        if route.decoder != SPARKPLUG:
            continue
        waiting = [raw for raw, refused in trial.refused.items() if refused.reason is Reason.NO_BIRTH]
        route.notes += births_missing([raw for raw in map(topic_of, route.shape.topics) if raw in topics], waiting)


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


def _sensors(route: RouteDraft) -> list[SensorFound]:
    traits = route.sensors.traits
    paths = iter(sensor_paths(route))
    found: list[SensorFound] = []
    for topic in route.shape.topics:
        of_topic = traits.get(topic, {})
        for name in route.sensors.names.get(topic, ()):
            path = next(paths)
            if name in of_topic:
                found.append(SensorFound(tuple(path.split("/")), of_topic[name]))
    return found


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

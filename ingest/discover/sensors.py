"""The sensors of a shape's topics: what the decoder that was drafted for them makes of the messages heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ingest.decoders import Decoder, Messages
from ingest.discover.formats import Facts
from ingest.discover.formats.sparkplug_b import DECODER as SPARKPLUG
from ingest.discover.heard import Heard, Sample
from ingest.discover.series import Traits, traits_in, traits_of
from ingest.discover.shapes import Shape, Topic

MAX_SENSORS_LOOKED_AT = 50_000
NO_NAME = ("",)


@dataclass(slots=True)
class ShapeSensors:
    """names: of the values of each topic, ("",) for one without a name. traits: by topic and name, as far as kept."""

    names: dict[Topic, tuple[str, ...]] = field(default_factory=dict)
    traits: dict[Topic, dict[str, Traits]] = field(default_factory=dict)

    @property
    def looked_at(self) -> int:
        """How many sensors there are traits of."""
        return sum(map(len, self.traits.values()))


def topic_of(raw: Topic) -> bytes:
    """As it was heard."""
    return "/".join(raw).encode()


def sensors_of(
    shape: Shape,
    decoder: Decoder,
    facts: Mapping[Topic, Facts],
    topics: Mapping[bytes, Heard],
    room: int = MAX_SENSORS_LOOKED_AT,
) -> ShapeSensors:
    """Decode what was heard. room: of how many sensors traits are kept."""
    out = ShapeSensors()
    listened_us = _listened_us(topics.values())
    if shape.format.decoder == SPARKPLUG:
        _namespace(out, shape, decoder, facts, topics, room)
        return out
    for topic in shape.topics:
        if not decoder.names_fields and room <= 0:
            out.names[topic] = NO_NAME
            continue
        raw, about = topic_of(topic), facts[topic]
        traits = traits_of(raw, topics[raw], decoder, switches=about.switches, listened_us=listened_us)
        for name, unit in about.units.items():
            if name in traits and not traits[name].units:
                traits[name].units[unit] += 1
        out.names[topic] = tuple(traits) if decoder.names_fields else NO_NAME
        if room > 0:
            out.traits[topic] = traits
            room -= len(traits)
    return out


def _namespace(
    out: ShapeSensors,
    shape: Shape,
    decoder: Decoder,
    facts: Mapping[Topic, Facts],
    topics: Mapping[bytes, Heard],
    room: int,
) -> None:
    """Sensors that several topics tell of, in the order in which they did: births, data and deaths."""
    said: list[tuple[int, bytes, Sample]] = []
    total = Heard()
    for topic in shape.topics:
        raw = topic_of(topic)
        heard = topics[raw]
        said += [(sample.number, raw, sample) for sample in heard.samples]
        total.messages += heard.messages
        total.retained += heard.retained
    said.sort(key=lambda one: one[0])
    samples = [sample for _, _, sample in said]
    messages = Messages(
        [raw for _, raw, _ in said], [one.payload for one in samples], [one.arrival_us for one in samples]
    )
    switches = frozenset().union(*(facts[topic].switches for topic in shape.topics))
    traits = traits_in(decoder.decode(messages), samples, total, switches=switches, most=max(1, room))
    for one in traits.values():
        one.by_exception = True
    # Which of the topics a sensor is filed under matters to nobody.
    out.names = dict.fromkeys(shape.topics, ())
    out.names[shape.topics[0]] = tuple(traits)
    out.traits[shape.topics[0]] = traits


def _listened_us(topics: Iterable[Heard]) -> int:
    arrivals = [
        sample.arrival_us
        for heard in topics
        for sample in (*heard.head[:1], *list(heard.tail)[-1:])
        if not sample.retained
    ]
    return max(arrivals) - min(arrivals) if arrivals else 0

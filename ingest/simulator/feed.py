"""From a plant's readings to messages: hand it a time and it hands back every message up to then."""

from __future__ import annotations

from operator import attrgetter

import numpy as np

from ingest.contract.sensors import TopicPattern
from ingest.simulator.description import GroupSection, PlantDescription
from ingest.simulator.formats import ENCODERS, Encoder, Message, Route, Sensors, Session
from ingest.simulator.plant import Plant
from ingest.simulator.rows import Rows

_AT = attrgetter("at_us")


class Feed:
    """A plant and its devices. prefix: for `{prefix}` in topics, instead of the described one.

    Raises ValueError for names that a format cannot carry, and for what `routes` refuses.
    """

    def __init__(self, plant: Plant, prefix: str | None = None) -> None:
        described = plant.described
        routes(described, prefix)
        self._plant = plant
        self._group = plant.roster.group
        encoders = [encoder_of(group) for group in described.group]
        topics = [
            topic_of(group, encoder, described.plant.prefix if prefix is None else prefix)
            for group, encoder in zip(described.group, encoders, strict=True)
        ]
        sensors = Sensors.of(plant.roster, described.plant.levels, topics)
        self._sessions: list[Session] = []
        for at, (group, encoder) in enumerate(zip(described.group, encoders, strict=True)):
            try:
                self._sessions.append(encoder.open(sensors.of_group(at)))
            except ValueError as error:
                raise ValueError(f"group {group.name}: {error}") from error
        self.commands = sorted({topic for encoder in encoders for topic in encoder.commands})
        """Topic filters of what the devices listen to."""

    def advance(self, until_us: int) -> list[Message]:
        """All messages to be sent in `[plant.now_us, until_us)`, in order."""
        rows = self._plant.advance(until_us)
        found: list[Message] = []
        begin = 0
        # A device's last words come after what it said before, and its first words before what it says then.
        for silence in self._plant.silences:
            end = int(np.searchsorted(rows.at_us, silence.at_us, side="left"))
            found += self._encode(rows.take(slice(begin, end)))
            begin = end
            if silence.begins:
                session = self._sessions[self._plant.roster.devices[silence.device][0]]
                found += session.silence(silence.device, silence.at_us)
        return found + self._encode(rows.take(slice(begin, None)))

    def command(self, topic: str, payload: bytes) -> list[Message]:
        """What devices answer to a message on one of `commands`."""
        return [answer for one in self._sessions for answer in one.command(topic, payload, self._plant.now_us)]

    def _encode(self, rows: Rows) -> list[Message]:
        if not len(rows):
            return []
        if len(self._sessions) == 1:
            return self._sessions[0].encode(rows)
        found: list[Message] = []
        group = self._group[rows.sensor]
        for at in np.unique(group).tolist():
            found += self._sessions[at].encode(rows.take(group == at))
        return sorted(found, key=_AT)


def encoder_of(group: GroupSection) -> Encoder:
    """The encoder of a group, with its options."""
    return ENCODERS.create(group.format, group.options)


def topic_of(group: GroupSection, encoder: Encoder, prefix: str) -> str:
    """The group's topics, with {path} or {device} still in them. Raises ValueError for wildcards."""
    topic = (group.topic or encoder.usual_topic).replace("{prefix}", prefix)
    if any(character in topic for character in "+#\0"):
        raise ValueError(f"group {group.name}: nothing can be published on {topic!r}: wildcards are for subscribers")
    return topic


def routes(described: PlantDescription, prefix: str | None = None) -> list[Route]:
    """The `[[route]]`s that read all that the plant sends, each once.

    Raises ValueError for a topic without a place for names, and if topics of one shape would need two decoders.
    """
    levels, found = described.plant.levels, list[Route]()
    for group in described.group:
        encoder = encoder_of(group)
        depth = group.device_levels or group.depth
        device = "/".join(f"{{{level}}}" for level in levels[:depth])
        below = "/".join(f"{{{level}}}" for level in levels[depth:])
        topic = topic_of(group, encoder, described.plant.prefix if prefix is None else prefix)
        pattern = topic.replace("{device}", device).replace("{path}", f"{device}/{below}")
        route = encoder.route(pattern, device, below)
        try:
            TopicPattern.parse(route.topic, route.path)
        except ValueError as error:
            raise ValueError(f"group {group.name}: topic {pattern}: {error}") from error
        other = next((one for one in found if one.topic == route.topic and one != route), None)
        if other is not None:
            raise ValueError(
                f"group {group.name}: its topics look like those of another group, which are read otherwise; "
                f'set another, like topic = "{encoder.usual_topic.replace("{prefix}", "{prefix}/" + group.name)}"'
            )
        if route not in found:
            found.append(route)
    return found

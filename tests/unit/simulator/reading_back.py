"""Reads what a simulated plant sends with the project's own decoders, by the routes that it says."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from ingest.contract.readings import Quality
from ingest.contract.sensors import TopicPattern, fill_field
from ingest.decoders import DECODERS, Messages
from ingest.simulator.description import PlantDescription
from ingest.simulator.description_file import parse_plant
from ingest.simulator.feed import routes
from ingest.simulator.formats import Message
from ingest.simulator.plant import Plant
from ingest.simulator.rows import Rows

START_US = 1_700_000_000_000_000
S_US = 1_000_000
FOLDER = files("deploy") / "plants" / "simulated"
OURS = sorted(one.name.removesuffix(".toml") for one in FOLDER.iterdir())


def ours(name: str) -> PlantDescription:
    """A bundled plant."""
    return parse_plant((FOLDER / f"{name}.toml").read_text(encoding="utf-8"), name)


def described(text: str) -> PlantDescription:
    return parse_plant(text, "test.toml")


class Read(NamedTuple):
    """A reading, decoded. ts_us: of its arrival where the payload has none. value: a number, a text, or a tuple of
    samples; None if it is bad."""

    path: str
    ts_us: int
    value: Any
    unit: str | None


def read_back(plant: PlantDescription, messages: Sequence[Message]) -> list[Read]:
    """All readings of the messages, in their order; what no route takes or a decoder rejects is an error."""
    parsed = [(TopicPattern.parse(one.topic, one.path), one) for one in routes(plant)]
    decoders = [DECODERS.create(one.decoder, one.options) for _, one in parsed]
    by_route: dict[int, list[tuple[int, Message, str]]] = {}
    for number, message in enumerate(messages):
        at, path = next(
            (at, path) for at, (pattern, _) in enumerate(parsed) if (path := pattern.match(message.topic)) is not None
        )
        by_route.setdefault(at, []).append((number, message, path))
    found: list[tuple[int, Read]] = []
    for at, mine in by_route.items():
        taken = Messages(
            [message.topic.encode() for _, message, _ in mine],
            [message.payload for _, message, _ in mine],
            [message.at_us for _, message, _ in mine],
        )
        decoded = decoders[at].decode(taken)
        assert decoded.rejected == []
        assert decoded.requests == []
        units = decoded.unit or [None] * len(decoded.message)
        for row, which in enumerate(decoded.message):
            number, message, template = mine[which]
            path = fill_field(template, decoded.field[row] or "")
            value: Any = decoded.text[row] if decoded.text[row] is not None else decoded.value[row]
            if row in decoded.waveforms:
                value = tuple(decoded.waveforms[row].samples.tolist())
            elif decoded.quality[row] != Quality.GOOD:
                value = None
            ts_us = decoded.ts_us[row] or message.at_us
            found.append((number, Read(path, ts_us, value, units[row])))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def sent(plant: Plant, rows: Rows) -> list[Read]:
    """The rows as they should be read, without units."""
    found = []
    plain = [group.format == "plain" for group in plant.described.group]
    group = plant.roster.group
    columns = (rows.sensor, rows.at_us, rows.ts_us, rows.value, rows.other)
    for sensor, at_us, ts_us, value, other in zip(*(column.tolist() for column in columns), strict=True):
        said = other if isinstance(other, str) else tuple(other.tolist()) if isinstance(other, np.ndarray) else value
        found.append(Read(plant.roster.paths[sensor], at_us if plain[group[sensor]] else ts_us, said, None))
    return found


def hasty(plant: PlantDescription, *, warm_up_us: int = 5 * S_US) -> PlantDescription:
    """With a short warm-up, so that a minute sees faults of all kinds that a plant can have."""
    return plant.model_copy(update={"faults": plant.faults.model_copy(update={"warm_up": warm_up_us, "kinds": None})})

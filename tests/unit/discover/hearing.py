"""What a plant says, without a broker."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from deploy.registries import read_settings
from ingest.contract.errors import QuarantineError
from ingest.contract.mqtt_settings import MqttSettings
from ingest.contract.readings import Quality
from ingest.contract.sensors import TopicPattern, fill_field
from ingest.contract.settings import Settings
from ingest.decoders import DECODERS, Messages
from ingest.discover.draft import Draft, draft_of
from ingest.discover.heard import Hearing
from ingest.discover.text import toml_text
from ingest.packets import Burst

START_US = 1_790_000_000_000_000


def burst(messages: Iterable[tuple[str, Any]], *, retained: bool = False) -> Burst:
    """Messages as they come in; what is not bytes is sent as JSON."""
    out = Burst()
    for topic, payload in messages:
        out.topics.append(topic.encode())
        out.payloads.append(payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode())
        out.first.append(0x31 if retained else 0x30)
    return out


def hear(rounds: Iterable[Iterable[tuple[str, Any]]], every_s: float = 1.0) -> Hearing:
    """One burst a round."""
    hearing = Hearing()
    for at, messages in enumerate(rounds):
        hearing.take(burst(messages), START_US + round(at * every_s * 1e6))
    return hearing


def drafted(hearing: Hearing, mqtt: MqttSettings | None = None) -> tuple[Draft, Settings, str]:
    """The draft, the settings that its text loads as, and the text."""
    draft = draft_of(hearing.topics)
    text = toml_text(draft, mqtt or MqttSettings(), seconds=60, messages=hearing.messages)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "plant.toml"
        path.write_text(text, encoding="utf-8")
        return draft, read_settings(path, with_models=False), text


class Reading(NamedTuple):
    """value: a number, a text, a tuple of samples; None if it is bad. ts_us: of arrival where the payload has none."""

    path: str
    ts_us: int
    value: Any
    unit: str | None


def read_by(settings: Settings, messages: Sequence[tuple[str, bytes, int]]) -> list[Reading]:
    """What a configuration's routes make of (topic, payload, arrival_us); what they refuse is left out."""
    routes = [
        (TopicPattern.parse(one.topic, one.path), DECODERS.create(one.decoder, one.options)) for one in settings.route
    ]
    found: list[Reading] = []
    for topic, payload, arrival_us in messages:
        taken = ((path, decoder) for pattern, decoder in routes if (path := _match(pattern, topic)) is not None)
        path, decoder = next(taken, (None, None))
        if path is None or decoder is None:
            continue
        decoded = decoder.decode(Messages([topic.encode()], [payload], [arrival_us]))
        for row, name in enumerate(decoded.field):
            value: Any = decoded.text[row] if decoded.text[row] is not None else decoded.value[row]
            if row in decoded.waveforms:
                value = tuple(decoded.waveforms[row].samples.tolist())
            elif decoded.quality[row] != Quality.GOOD:
                value = None
            unit = decoded.unit[row] if decoded.unit is not None else None
            found.append(Reading(fill_field(path, name or ""), decoded.ts_us[row] or arrival_us, value, unit))
    return found


def _match(pattern: TopicPattern, topic: str) -> str | None:
    try:
        return pattern.match(topic)
    except QuarantineError:
        return None

"""A draft → a commented TOML file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ingest.contract.classes import Kind, Reporting
from ingest.contract.mqtt_settings import MqttSettings
from ingest.discover.classes import ClassDraft
from ingest.discover.draft import Draft
from ingest.discover.formats.sparkplug_b import DECODER as SPARKPLUG
from ingest.discover.printing import printable
from ingest.discover.routes import RouteDraft

_WIDTH = 118
_MANY_SENSORS = 100_000
_NOTE = 160


def toml_text(draft: Draft, mqtt: MqttSettings, *, seconds: float, messages: int) -> str:
    """The file. The password is not in it."""
    lines = [
        f"# Drafted by `millstream discover` from {messages:,} messages on {draft.topics:,} topics in {seconds:.0f} s.",
        "# Guesses are marked with a question mark. Ranges and alert rules are yours to add.",
        "",
        "[plant]",
        f"levels = {_value(draft.levels)}",
        f"expected_sensors = {max(1, draft.sensors)}",
    ]
    if draft.sensors > _MANY_SENSORS // 2:
        lines.append(f"max_sensors = {4 * draft.sensors}")
    lines += ["", *_mqtt(mqtt), "", "# [kafka]", '# bootstrap = ["kafka-1.plant.example:9092"]']
    for at, route in enumerate(draft.routes):
        lines += ["", *_route(route, draft.messages_of[at], *draft.examples[at])]
    if draft.classes:
        lines += ["", "# Sensors that share settings: the first class whose `match` fits a path. The rest are gauges."]
    for at, one in enumerate(draft.classes):
        lines += [*([""] if at else []), *_class(one)]
    return "\n".join(lines) + "\n"


def _mqtt(mqtt: MqttSettings) -> list[str]:
    lines = ["[mqtt]", f"host = {_value(mqtt.host)}"]
    if mqtt.port != 1_883:
        lines.append(f"port = {mqtt.port}")
    if mqtt.transport != "tcp":
        lines += [f"transport = {_value(mqtt.transport)}", f"path = {_value(mqtt.path)}"]
    if mqtt.username is not None:
        lines.append(f"username = {_value(mqtt.username)}")
        lines.append("# The password belongs into the environment: MILLSTREAM__MQTT__PASSWORD=…")
    if mqtt.tls.enabled:
        files = {name: getattr(mqtt.tls, name) for name in ("ca_file", "cert_file", "key_file")}
        lines.append(f"tls = {_inline({'enabled': True, **{name: path for name, path in files.items() if path}})}")
    return lines


def _route(route: RouteDraft, messages: int, topic: str, payload: bytes) -> list[str]:
    count = len(route.shape.topics)
    lines = [
        f"# {count:,} topic{'s' if count > 1 else ''}, {messages:,} messages, like {printable(topic)}",
        f"#   {printable(payload)}",
    ]
    if route.left_out:
        lines.append(f"#   not read: {printable(', '.join(route.left_out))}")
    if route.decoder == SPARKPLUG:
        lines.append("#   reported by exception: a value holds until the next one, whatever class it is in")
    lines += [f"#   {printable(note, _NOTE)}" for note in route.notes]
    lines += ["[[route]]", f"topic = {_value(route.topic)}"]
    if not route.default_path:
        lines.append(f"path = {_value(route.path)}")
    if route.decoder != "json":
        lines.append(f"decoder = {_value(route.decoder)}")
    if route.options:
        line = f"options = {_inline(route.options)}"
        if len(line) <= _WIDTH:
            lines.append(line)
        else:
            lines += [part for key, value in route.options.items() for part in _assigned(f"options.{key}", value)]
    return lines


def _class(one: ClassDraft) -> list[str]:
    lines = ["[[class]]", f"name = {_value(one.name)}"]
    first, *more = _assigned("match", one.match)
    count = f"# {one.sensors:,} sensor{'' if one.sensors == 1 else 's'}"
    lines += [f"{first}   {count}", *more] if len(first) + len(count) + 3 <= _WIDTH else [first, *more]
    if one.kind is not Kind.GAUGE:
        lines.append(f"kind = {_value(str(one.kind))}")
    if one.reporting is Reporting.ON_CHANGE:
        lines.append(f"reporting = {_value(str(one.reporting))}{'' if one.seen else '   # ? too little was heard'}")
    if one.kind is Kind.WAVEFORM and not one.rate_known:
        lines.append("# ? the payloads say no sampling rate: waveform = { rate_hz = … } if spectra are wanted")
    if one.words:
        said = ", ".join(one.words)
        lines.append(f"# ? no unit, as payloads say {printable(said)}")
    if one.unit:
        lines.append(f"unit = {_value(one.unit)}{'' if one.said else '   # ? from the name'}")
    return lines


def _assigned(key: str, value: Any) -> list[str]:
    """`key = value`, a long list over several lines."""
    line = f"{key} = {_value(value)}"
    if len(line) <= _WIDTH or not isinstance(value, list):
        return [line]
    lines, current = [f"{key} = ["], "   "
    for item in value:
        piece = f" {_value(item)},"
        if len(current) + len(piece) > _WIDTH and current.strip():
            lines.append(current)
            current = "   "
        current += piece
    return [*lines, current, "]"]


def _inline(table: dict[str, Any]) -> str:
    return "{ " + ", ".join(f"{key} = {_value(value)}" for key, value in table.items()) + " }"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_value, value)) + "]"
    # JSON's strings are TOML's, but for DEL; what has no glyph is written as an escape.
    text = json.dumps(value, ensure_ascii=False)
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"

"""The documents as a reader's eyes and hands: their code blocks, and what becomes of the examples in them.

An example is a block of messages and, after arrows, what they become; before it, under the same heading, stand the
settings that read it. A message is a topic and a payload: text, which goes on in indented lines; 0x… for bytes; for
`sparkplug_b` the protobuf message as JSON.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.json_format import Parse

from ingest.batch import Batch
from ingest.batcher import Batcher
from ingest.contract.classes import ClassTable
from ingest.contract.readings import Flag, Quality, Readings
from ingest.contract.sensors import TopicPattern
from ingest.contract.settings import Settings
from ingest.decoders import DECODERS
from ingest.decoders.sparkplug.schema import Payload, PropertySet
from ingest.packets import Burst
from ingest.profiles import Profiles
from ingest.topic_table import Route

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ARROW = "→"
ARRIVAL_US = 1_700_000_060_000_000
ANY_ROUTE = {"topic": "factory/{machine}/{quantity}"}
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SAID = re.compile(r"(?P<sensor>\S+) = (?P<value>none|\"[^\"]*\"|[-\d.]+)(?:, (?P<rest>.+))?").fullmatch


class Block(NamedTuple):
    """A code block. heading: the last one before it."""

    document: str
    heading: str
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.document}: {self.heading}"


def blocks(document: Path) -> Iterator[Block]:
    """All code blocks, those in lists too, without their indentation."""
    text = document.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        heading = re.findall(r"^#+ (.+)$", text[: found.start()], re.MULTILINE)[-1]
        yield Block(document.name, heading.strip("`"), found[2], textwrap.dedent(found[3]))


def settings_of(text: str) -> Settings:
    """A snippet as settings; with a route where it has none."""
    data = tomllib.loads(text)
    return Settings.model_validate({"route": [ANY_ROUTE], **data}, context={"decoder": DECODERS})


@dataclass(frozen=True)
class Example:
    """Messages (topic, payload as written), and what the page says that they become, in order."""

    name: str
    settings: Settings
    messages: list[tuple[str, str]]
    said: list[str]

    def becomes(self) -> Batch:
        """What a gateway makes of them."""
        routes = [
            Route(one.topic, TopicPattern.parse(one.topic, one.path), DECODERS.create(one.decoder, one.options))
            for one in self.settings.route
        ]
        profiles = Profiles(ClassTable(self.settings.classes), self.settings.source)
        batcher = Batcher.alone(routes, 1, 1_000, 262_144, profiles)
        burst = Burst()
        for topic, payload in self.messages:
            pattern = next(one for one in self.settings.route if TopicPattern.parse(one.topic, one.path).match(topic))
            burst.topics.append(topic.encode())
            burst.payloads.append(_bytes_of(payload, pattern.decoder))
            burst.first.append(0x32)
        return batcher.batch(burst, np.full(len(self.messages), ARRIVAL_US, np.int64))


def examples(document: Path) -> Iterator[Example]:
    """All examples of a page."""
    under: tuple[str, str] | None = None
    for block in blocks(document):
        if block.language == "toml":
            under = (block.heading, block.text)
        elif f"\n{ARROW} " in block.text:
            assert under is not None, block.name
            assert under[0] == block.heading, f"{block.name}: no settings for this example"
            yield Example(block.name, settings_of(under[1]), *_read(block.text))


def _read(text: str) -> tuple[list[tuple[str, str]], list[str]]:
    messages: list[tuple[str, str]] = []
    said: list[str] = []
    for line in text.splitlines():
        if line.startswith(ARROW):
            said.append(line.removeprefix(ARROW).strip())
        elif line.startswith(" "):
            topic, payload = messages[-1]
            messages[-1] = (topic, f"{payload}\n{line.strip()}".lstrip("\n"))
        elif line:
            topic, _, payload = line.partition(" ")
            messages.append((topic, payload.strip()))
    return messages, said


def _bytes_of(payload: str, decoder: str) -> bytes:
    if payload.startswith("0x"):
        return bytes.fromhex(payload.removeprefix("0x"))
    if decoder == "sparkplug_b":
        return _sparkplug(payload)
    return payload.encode()


def _sparkplug(text: str) -> bytes:
    """The message that `text` is as JSON; properties are bytes in our own description of it, hence put in apart."""
    data = json.loads(text)
    message: Any = Payload()
    for metric in data.get("metrics", []):
        properties = metric.pop("properties", {})
        one = Parse(json.dumps(metric), message.metrics.add())
        if properties:
            found: Any = PropertySet()
            for key, value in properties.items():
                found.keys.append(key)
                if isinstance(value, str):
                    found.values.add(string_value=value)
                else:
                    found.values.add(double_value=value)
            one.properties = found.SerializeToString()
    data.pop("metrics", None)
    Parse(json.dumps(data), rest := Payload())
    message.MergeFrom(rest)
    serialized: bytes = message.SerializeToString()
    return serialized


# --- comparison ---------------------------------------------------------------------------------------------------


def disagreements(example: Example) -> list[str]:
    """Where the page and the gateway say different things; none if all is as the page says."""
    batch = example.becomes()
    actual = [row for block in batch.blocks for row in _rows(block.readings)]
    readings = [one for one in example.said if " = " in one]
    wrong = []
    if len(readings) != len(actual):
        wrong.append(f"{len(readings)} readings said, {len(actual)} made: {actual}")
    for line, row in zip(readings, actual, strict=False):
        wrong += _compare(line, row)
    aside = [f"quarantine: {one.reason}" for one in batch.refused]
    nothing = [f"nothing: {reason}" for (_, reason), count in batch.dropped.items() for _ in range(count)]
    others = [f"asks {one.topic}" for one in batch.requests]
    rest = [re.sub(r" \(.*\)$", "", one) for one in example.said if " = " not in one]
    if sorted(rest) != sorted([*aside, *nothing, *others]):
        wrong.append(f"said {rest}, made {[*aside, *nothing, *others]}")
    return wrong


class _Row(NamedTuple):
    sensor: str
    value: float
    text: str | None
    words: set[str]


def _rows(readings: Readings) -> Iterator[_Row]:
    sensors = readings.sensor.decode()
    texts = readings.text.decode() if readings.text is not None else [None] * len(readings)
    codes = readings.code.decode() if readings.code is not None else [None] * len(readings)
    for at, sensor in enumerate(sensors):
        assert sensor is not None
        flags = Flag(int(readings.flags[at]))
        words = {flag.name.lower().replace("_", " ") for flag in Flag if flag in flags and flag.name}
        quality = Quality(int(readings.quality[at]))
        words |= {quality.name.lower()} - {"good"}
        words.add(f"code {codes[at]}")
        words.add("at " + datetime.fromtimestamp(int(readings.ts_us[at]) / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        yield _Row(sensor, float(readings.value[at]), texts[at], words)


def _compare(line: str, row: _Row) -> list[str]:
    found = _SAID(line)
    if found is None:
        return [f"{line}: not `sensor = value`"]
    wrong = [] if found["sensor"] == row.sensor else [f"{line}: it is {row.sensor}"]
    said = found["value"]
    if said.startswith('"'):
        same = said.strip('"') == row.text
    elif said == "none":
        same = math.isnan(row.value) and row.text is None
    else:
        decimals = len(said.partition(".")[2])
        same = round(row.value, decimals) == float(said)
    if not same:
        wrong.append(f"{line}: it is {row.value if row.text is None else row.text!r}")
    words = set((found["rest"] or "").split(", ")) - {""}
    # Codes and times may be left unsaid, anything doubtful may not.
    doubtful = {word for word in row.words if not word.startswith(("code ", "at ", "arrival stamped", "on change"))}
    if not (doubtful <= words <= row.words):
        wrong.append(f"{line}: it is {sorted(row.words)}")
    return wrong

"""InfluxDB line protocol."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from ingest.decoders.base import Messages
from ingest.decoders.influx import Influx as Decoder
from ingest.discover.formats.base import Facts, Format, Look, telling, template_of

_HEAD = re.compile(r"(?:\\.|[^\\ ])+")
_PARTS = re.compile(r"(?<!\\),")
_SWITCH = re.compile(r"(?:^|[ ,])((?:\\.|[^\\,= ])+)=(?:t|T|true|True|TRUE|f|F|false|False|FALSE)(?=[,\s]|$)")
_NUMBER = re.compile(r"=-?[0-9]")
_UNITS: tuple[Literal["ns", "auto"], ...] = ("ns", "auto")


class Influx:
    """Known by its grammar: whatever the decoder reads without a fault, if there is a number or a boolean in it."""

    def detect(self, look: Look) -> Facts | None:
        """Lines with fields; most of them in ns, some in other units."""
        if look.documents or len(look.texts) < max(1, look.reasons.total()):
            return None
        payloads = [text.encode() for text in look.texts]
        if not all("=" in text for text in look.texts):
            return None
        for unit in _UNITS:
            arrivals = [look.arrival_us] * len(payloads)
            read = Decoder("{field}", unit).decode(Messages([look.topic] * len(payloads), payloads, arrivals))
            if read.message and not read.rejected:
                break
        else:
            return None
        lines = [line for text in look.texts for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
        # A sentence with an equals sign in it has neither.
        switches = {_unescaped(found) for line in lines for found in _SWITCH.findall(_after_head(line))}
        if not switches and not any(map(_NUMBER.search, lines)):
            return None
        tokens, has = telling([_head(line) for line in lines])
        return Facts(
            Format("influx", several=True),
            switches=frozenset(switches),
            tokens=tokens,
            has=has,
            options={} if unit == "ns" else {"time_unit": unit},
        )

    def options(self, _one: Format, facts: Sequence[Facts]) -> dict[str, Any]:
        """What a field's name needs so that no two are alike, and the unit of times."""
        name = template_of(facts)
        options = {key: value for fact in facts for key, value in fact.options.items()}
        return {"name": name, **options}


def _head(line: str) -> dict[str, str]:
    """What a line says before its fields, by token."""
    found = _HEAD.match(line.strip())
    measurement, *tags = _PARTS.split(found[0] if found else "")
    pairs = (tag.partition("=") for tag in tags)
    return {"{measurement}": _unescaped(measurement)} | {
        f"{{tag.{_unescaped(key)}}}": _unescaped(value)
        for key, _, value in pairs
        if not any(character in key for character in "{}\\")
    }


def _after_head(line: str) -> str:
    found = _HEAD.match(line.strip())
    return line.strip()[found.end() :] if found else ""


def _unescaped(text: str) -> str:
    return re.sub(r"\\([,= ])", r"\1", text)

"""Sensor paths and topic patterns.

A sensor is identified by its path: `site/area/line/machine/quantity`, any depth from 1 to 16. A path is
checked once, here, and everything downstream (keys, labels, file names) may rely on it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from ingest.contract.errors import QuarantineError, Reason

MAX_PATH_BYTES = 512
MAX_DEPTH = 16

# Separators, controls, surrogates, private and unassigned code points: none of them can be part of a name
# that people read, and some break metrics or logs. MQTT's own wildcards would make a name look like a filter.
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_FORBIDDEN_CHARACTERS = frozenset('+#\\"{}`')
_PLAIN = re.compile(r"[A-Za-z0-9_.:@=-]+(?:/[A-Za-z0-9_.:@=-]+)*").fullmatch


def check_path(path: str) -> str:
    """Return `path` if it is a valid sensor path.

    Raises QuarantineError(NAME): empty, over 512 bytes of UTF-8 or 16 segments, an empty segment, `.` or
    `..`, leading or trailing blanks, control or formatting characters, lone surrogates, one of + # \\ " { } `.

    >>> check_path("demo/line-01/press-02/temperature")
    'demo/line-01/press-02/temperature'
    >>> check_path("demo//temperature")
    Traceback (most recent call last):
    ...
    ingest.contract.errors.QuarantineError: name: an empty segment
    """
    # Four bytes a character at the most: anything longer need not be encoded to be refused.
    if not path or len(path) > MAX_PATH_BYTES:
        raise QuarantineError(Reason.NAME, "empty" if not path else f"over {MAX_PATH_BYTES} bytes")
    segments = path.split("/")
    if len(segments) > MAX_DEPTH:
        raise QuarantineError(Reason.NAME, f"{len(segments)} levels, at most {MAX_DEPTH}")
    if not _PLAIN(path):
        _check_characters(path)
    for segment in segments:
        if not segment:
            raise QuarantineError(Reason.NAME, "an empty segment")
        if segment in (".", ".."):
            raise QuarantineError(Reason.NAME, "a segment of dots")
        if segment != segment.strip():
            raise QuarantineError(Reason.NAME, "blanks at the edge of a segment")
    return path


def _check_characters(path: str) -> None:
    for character in path:
        if character in _FORBIDDEN_CHARACTERS or unicodedata.category(character) in _FORBIDDEN_CATEGORIES:
            raise QuarantineError(Reason.NAME, f"character U+{ord(character):04X}")
    if len(path.encode()) > MAX_PATH_BYTES:
        raise QuarantineError(Reason.NAME, f"over {MAX_PATH_BYTES} bytes")


def machine_of(sensor: str) -> str:
    """The path without its last segment; a sensor of one segment is its own machine.

    >>> machine_of("demo/press-01/temperature")
    'demo/press-01'
    """
    head, _, _ = sensor.rpartition("/")
    return head or sensor


def labels_of(sensor: str, levels: tuple[str, ...]) -> dict[str, str]:
    """Names for a path's segments: the last level names the last segment, the others count from the left.

    >>> labels_of("demo/line-01/press-02/temperature", ("site", "line", "machine", "quantity"))
    {'site': 'demo', 'line': 'line-01', 'machine': 'press-02', 'quantity': 'temperature'}
    >>> labels_of("demo/temperature", ("site", "line", "machine", "quantity"))
    {'site': 'demo', 'quantity': 'temperature'}
    """
    if not levels:
        return {}
    *head, last = sensor.split("/")
    # What is deeper than the levels stays visible in the label of the last named one.
    spare = len(levels) - 1
    if len(head) > spare > 0:
        head = [*head[: spare - 1], "/".join(head[spare - 1 :])]
    return {**dict(zip(levels[:-1], head, strict=False)), levels[-1]: last}


_SEGMENT = re.compile(r"\{([a-z][a-z0-9_]*)(\.\.\.)?\}")


@dataclass(frozen=True, slots=True)
class TopicPattern:
    """A topic with named segments: `factory/{site}/{line}/{machine}/{quantity}` or `spBv1.0/{group}/{rest...}`.

    A name in braces takes one level; with `...`, as the last segment, all that remain. The sensor path is
    made from `path`, whose default is all names in order; `{field}` in it stands for a payload's field name
    and `{id}` for an identifier in the payload, dots in which become slashes.
    """

    pattern: str
    path: str
    _levels: tuple[tuple[str, str], ...]
    _rest: str | None

    @classmethod
    def parse(cls, pattern: str, path: str | None = None) -> TopicPattern:
        """Check and compile a pattern.

        Raises ValueError with what is wrong: an empty topic, wildcards, a name used twice, `...` before the
        end, a path that uses a name the pattern does not have or that no sensor can have.
        """
        levels: list[tuple[str, str]] = []
        rest: str | None = None
        names: list[str] = []
        if not pattern or "\0" in pattern:
            raise ValueError("a topic has at least one character, and no NUL")
        if pattern.startswith("$share/"):
            raise ValueError("a shared subscription loses the order of a sensor's messages: use disjoint topics")
        parts = pattern.split("/")
        for at, part in enumerate(parts):
            match = _SEGMENT.fullmatch(part)
            if match is None:
                if part in ("+", "#"):
                    raise ValueError(f"write {{name}} or {{name...}} instead of the wildcard {part!r}")
                if any(character in part for character in "+#{}"):
                    raise ValueError(f"segment {part!r}: a name in braces fills a whole level")
                levels.append(("literal", part))
                continue
            name, many = match.groups()
            if name in names or name in ("field", "id"):
                raise ValueError(f"the name {name!r} is {'used twice' if name in names else 'reserved'}")
            names.append(name)
            if many:
                if at != len(parts) - 1:
                    raise ValueError(f"{{{name}...}} takes all remaining levels, so it must be the last")
                rest = name
            else:
                levels.append(("name", name))
        template = path if path is not None else "/".join(f"{{{name}}}" for name in names)
        if not template:
            raise ValueError("the pattern names no segment: give it a name in braces, or set `path`")
        used = re.findall(r"\{([^}]*)\}", template)
        for name in used:
            if name not in names and name not in ("field", "id"):
                raise ValueError(f"path uses {{{name}}}, which the topic does not have")
        try:
            check_path(re.sub(r"\{[^}]*\}", "x", template))
        except QuarantineError as error:
            raise ValueError(f"no sensor can have this path: {error.detail}") from error
        return cls(pattern, template, tuple(levels), rest)

    @property
    def filter(self) -> str:
        """The MQTT topic filter to subscribe to.

        >>> TopicPattern.parse("factory/{site}/{rest...}").filter
        'factory/+/#'
        """
        return self.filter_with({})

    def filter_with(self, values: Mapping[str, str]) -> str:
        """The filter with some named levels filled in.

        >>> TopicPattern.parse("factory/{site}/{rest...}").filter_with({"site": "demo"})
        'factory/demo/#'
        """
        levels = [text if what == "literal" else values.get(text, "+") for what, text in self._levels]
        return "/".join([*levels, "#"] if self._rest else levels)

    @property
    def names(self) -> tuple[str, ...]:
        """The named levels, in order, without the one that takes all remaining."""
        return tuple(text for what, text in self._levels if what == "name")

    @property
    def per_field(self) -> bool:
        """Whether the path depends on the payload (a field's name or an id in it)."""
        return "{field}" in self.path or "{id}" in self.path

    def match(self, topic: str) -> str | None:
        """The sensor path of a topic, with `{field}` and `{id}` left in place; None if it does not match.

        >>> TopicPattern.parse("factory/{site}/{quantity}").match("factory/demo/temperature")
        'demo/temperature'
        """
        parts = topic.split("/")
        count = len(self._levels)
        if len(parts) < count or (len(parts) > count and self._rest is None):
            return None
        if self._rest is not None and len(parts) == count:
            return None
        # A broker keeps its own topics ($SYS) from filters that begin with a wildcard (MQTT-4.7.2-1).
        if topic.startswith("$") and (not self._levels or self._levels[0][0] == "name"):
            return None
        names: dict[str, str] = {}
        for (what, text), part in zip(self._levels, parts, strict=False):
            if what == "name":
                names[text] = part
            elif text != part:
                return None
        if self._rest is not None:
            names[self._rest] = "/".join(parts[count:])
        # A brace in a topic would be taken for a placeholder below; such a topic has no valid path anyway.
        if "{" in topic or "}" in topic:
            raise QuarantineError(Reason.NAME, "a brace in the topic")
        return _SEGMENT_IN_PATH.sub(lambda found: names.get(found[1], found[0]), self.path)


_SEGMENT_IN_PATH = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def fill_field(path: str, field: str) -> str:
    """Put a payload's field name or id into a path.

    >>> fill_field("plant/{id}", "Channel1.Press.Temp")
    'plant/Channel1/Press/Temp'
    >>> fill_field("plant/{field}", "oil.temp")
    'plant/oil.temp'
    """
    return path.replace("{field}", field).replace("{id}", field.replace(".", "/"))

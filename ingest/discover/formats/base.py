"""What detectors take and give: a topic's payloads in, what they are in out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from ingest.contract.errors import QuarantineError
from ingest.contract.sensors import check_path
from ingest.contract.times import TimeUnit
from ingest.decoders.base import Messages
from ingest.decoders.cbor import Cbor
from ingest.decoders.msgpack import Msgpack
from ingest.decoders.plain import Plain

LOOKED_AT = 6
_MAX_LINES = 256
_MAX_TOKENS = 32
_MAX_TEXT = 256
_JSON = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Format:
    """How payloads are read: what all topics of a route have in common. Places in documents are as decoders name them.

    value: where the value is; None for plain text, or where every field is one (`several`).
    name:  where the name of a row of `rows` is. nested: fields are looked for in objects within objects.
    """

    decoder: str
    value: str | None = None
    several: bool = False
    time: str | None = None
    quality: str | None = None
    unit: str | None = None
    rate_hz: str | None = None
    rows: str | None = None
    name: str | None = None
    document_time: str | None = None
    nested: bool = False

    @property
    def names_fields(self) -> bool:
        """Whether payloads name their values, so that a path needs `{field}` or `{id}`."""
        return self.several or self.name is not None


@dataclass(slots=True)
class Facts:
    """What one topic's payloads say. format: None for what cannot be read; then `why` says so.

    fields:   places of the values, in order; left_out: of those that are none (texts about the sensor, objects).
    odd:      fields called like a time or a quality that are neither.
    switches: names, or their ends, of values that are booleans; "" for a value without a name.
    units:    what stands beside a value as its unit, by its name, where no option of the decoder can read it.
    tokens:   parts of a name's template, `{tag.host}`, that tell values of one topic apart.
    has:      all such parts that every payload has.
    options:  more of the decoder's options. notes: what is not certain, for people.
    """

    format: Format | None
    why: str = ""
    fields: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    odd: frozenset[str] = frozenset()
    time_units: frozenset[TimeUnit] = frozenset()
    switches: frozenset[str] = frozenset()
    units: dict[str, str] = field(default_factory=dict)
    decimal_comma: bool = False
    tokens: tuple[str, ...] = ()
    has: frozenset[str] = frozenset()
    options: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """An object or an array. codec: json, cbor or msgpack."""

    codec: str
    content: Any


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Neither a document nor text."""

    why: str


@dataclass(frozen=True, slots=True)
class Look:
    """A topic's payloads, parsed as far as can be without knowing their format.

    codec, documents: of those that are in the encoding most are in; texts: the others that are text.
    reasons: why the rest is neither, counted.
    """

    topic: bytes
    payloads: Sequence[bytes]
    arrival_us: int
    codec: str
    documents: Sequence[Any]
    texts: Sequence[str]
    reasons: Counter[str]


class Detector(Protocol):
    """Knows a format, or a family of them, when it sees it."""

    def detect(self, look: Look) -> Facts | None:
        """What the payloads say, if they are in this format; None for the next detector to look."""
        ...

    def options(self, one: Format, facts: Sequence[Facts]) -> dict[str, Any]:
        """The decoder's options for topics of one route."""
        ...


def look_at(topic: bytes, payloads: Sequence[bytes], arrival_us: int) -> Look:
    """Parse a few of a topic's payloads. arrival_us: when one of them came, to know a time when it is seen."""
    # A retained message is cleared with an empty payload: that says nothing about the others.
    chosen = [payload for payload in payloads if payload][:LOOKED_AT] or list(payloads[:1])
    documents: dict[str, list[Any]] = {}
    texts, reasons = list[str](), Counter[str]()
    for payload in chosen:
        found = parse(payload)
        if isinstance(found, Document):
            documents.setdefault(found.codec, []).append(found.content)
        elif isinstance(found, str):
            texts.append(found)
        else:
            reasons[found.why] += 1
    codec = max(documents, key=lambda one: len(documents[one]), default="")
    chosen_documents = documents.get(codec, [])
    if len(chosen_documents) < max(len(texts), reasons.total()):
        chosen_documents = []
    return Look(topic, chosen, arrival_us, codec, chosen_documents, texts, reasons)


def parse(payload: bytes) -> Document | str | Unreadable:
    """A document, a text, or why it is neither."""
    start = payload.lstrip()[:1]
    if not start:
        return Unreadable("empty")
    if start in (b"{", b"["):
        try:
            found = _JSON.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Unreadable("broken JSON")
        return Document("json", found)
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError:
        return _binary(payload)
    if start == b"<":
        return Unreadable("markup")
    if not text.isprintable() and "\0" in text:
        return _binary(payload)
    return text


class _CborDocument(Cbor):
    """Gives documents as they are."""

    def content(self, payload: bytes) -> Any:
        return self._parse(payload)


class _MsgpackDocument(Msgpack):
    """Gives documents as they are."""

    def content(self, payload: bytes) -> Any:
        return self._parse(payload)


_BINARY: tuple[tuple[str, _CborDocument | _MsgpackDocument], ...] = (
    ("cbor", _CborDocument()),
    ("msgpack", _MsgpackDocument()),
)


def _binary(payload: bytes) -> Document | Unreadable:
    """What parses as a whole, and is a map or an array of maps: chance does not make these of other bytes."""
    for codec, reader in _BINARY:
        try:
            found = reader.content(payload)
        except QuarantineError:
            continue
        rows = found if isinstance(found, list) else [found]
        if rows and all(isinstance(row, dict) and row for row in rows):
            return Document(codec, found)
    return Unreadable("binary")


def why_no_value(text: str) -> str:
    """Why a text is no bare value; "" if it is one."""
    if len(text) > _MAX_TEXT:
        return "a long text"
    if not text.isprintable():
        return "several lines of text"
    rejected = Plain().decode(Messages([b""], [text.encode()], [0])).rejected
    return rejected[0].detail if rejected else ""


def can_be_named(name: str) -> bool:
    """Whether a name can be part of a sensor's path."""
    try:
        check_path(name)
    except QuarantineError:
        return False
    return True


def telling(lines: Sequence[dict[str, str]]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The fewest tokens that tell lines (token → what it stands for) apart, and all that every line has.

    >>> telling([{"{tag.cpu}": "0", "{tag.host}": "a"}, {"{tag.cpu}": "1", "{tag.host}": "a"}])[0]
    ('{tag.cpu}',)
    """
    lines = lines[:_MAX_LINES]
    tokens = list(dict.fromkeys(token for line in lines for token in line))[:_MAX_TOKENS]
    has = frozenset(token for token in tokens if all(can_be_named(line.get(token, "")) for line in lines))
    chosen: list[str] = []
    while True:
        rest = [token for token in tokens if token not in chosen]
        gains = {token: _groups(lines, (*chosen, token)) - _groups(lines, chosen) for token in rest}
        # One more at a time: the one that splits most; those that every line has go first.
        best = max(rest, key=lambda token: (gains[token] > 0, token in has, gains[token]), default=None)
        if best is None or not gains[best]:
            return tuple(token for token in tokens if token in chosen), has
        chosen.append(best)


def _groups(lines: Sequence[dict[str, str]], tokens: Sequence[str]) -> int:
    return len({tuple(line.get(token) for token in tokens) for line in lines})


def template_of(facts: Sequence[Facts]) -> str:
    """A name's template for all topics of a route.

    >>> template_of([Facts(None, tokens=("{tag.cpu}",), has=frozenset({"{tag.cpu}"}))])
    '{tag.cpu}/{field}'
    """
    wanted = dict.fromkeys(token for fact in facts for token in fact.tokens)
    return "/".join([*(token for token in wanted if all(token in fact.has for fact in facts)), "{field}"])


def left_alike(facts: Sequence[Facts]) -> list[str]:
    """Tokens that a name's template should have, and cannot: not every payload has them."""
    wanted = dict.fromkeys(token for fact in facts for token in fact.tokens)
    return [token for token in wanted if not all(token in fact.has for fact in facts)]

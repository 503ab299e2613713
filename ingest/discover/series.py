"""A sensor's values → its traits; the traits of sensors of one sort → their kind and how they report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from ingest.contract.classes import Kind, Reporting
from ingest.contract.errors import QuarantineError
from ingest.decoders.times import to_us
from ingest.discover.heard import Heard, Sample
from ingest.discover.payloads import Format, parse
from ingest.discover.words import sounds_like_counter, sounds_like_switch

_MAX_WORDS = 20
_MAX_STATES = 16
_MAX_FIELDS = 1_000
_STATE = re.compile(r"[^\W\d][\w .:/-]{0,31}")
_SWITCHES = {"true": True, "false": False, "on": True, "off": False}
_ENOUGH = 4
_JITTER = 0.3
_EVEN = 0.85
_ALWAYS = 0.7
_JITTER_US = 50_000


@dataclass(slots=True)
class Traits:
    """What a sensor's sample shows. pairs, repeats, rises, falls: of values next to each other."""

    types: Counter[str] = field(default_factory=Counter)
    words: set[str] = field(default_factory=set)
    numbers: set[float] = field(default_factory=set)
    """At most three different ones."""
    integral: bool = True
    pairs: int = 0
    repeats: int = 0
    rises: int = 0
    falls: int = 0
    live: int = 0
    """Messages that were no retained ones."""
    regular: bool | None = None
    """Whether it comes at even intervals; None where too little was heard."""

    def add(self, value: Any) -> None:
        """Take one value."""
        if value is None:
            self.types["null"] += 1
        elif isinstance(value, bool):
            self.types["bool"] += 1
        elif isinstance(value, str):
            self.types["text"] += 1
            if len(self.words) <= _MAX_WORDS:
                self.words.add(value[:64])
        elif isinstance(value, int | float):
            self.types["number"] += 1
            self.integral = self.integral and value == int(value)
            if len(self.numbers) <= 2:
                self.numbers.add(value)


def traits_of(
    heard: Heard, one: Format, fields: Sequence[str], *, decimal_comma: bool = False, listened_us: int = 0
) -> dict[str, Traits]:
    """Field → traits of the sensor; plain text has one field, called ""."""
    samples = heard.samples
    documents = [_read(sample, one, decimal_comma=decimal_comma) for sample in samples]
    regular = _regular(_instants(samples, documents, one), heard, listened_us)
    names = fields[:_MAX_FIELDS] if one.decoder == "json" else [""]
    out: dict[str, Traits] = {}
    for name in names:
        traits = out[name] = Traits(live=heard.messages - heard.retained, regular=regular)
        values = [document.get(name, _MISSING) if document is not None else _MISSING for document in documents]
        for value in values:
            if value is not _MISSING:
                traits.add(value)
        _compare(traits, values, heard.gap)
    return out


_MISSING = object()


def _read(sample: Sample, one: Format, *, decimal_comma: bool) -> dict[str, Any] | None:
    found = parse(sample.payload)
    if isinstance(found, dict):
        return found if one.decoder == "json" else None
    if one.decoder == "json" or not isinstance(found, str):
        return None
    word = _SWITCHES.get(found.lower())
    if word is not None:
        return {"": word}
    try:
        return {"": float(found.replace(",", ".", 1) if decimal_comma else found)}
    except ValueError:
        return {"": found}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compare(traits: Traits, values: list[Any], gap: int | None) -> None:
    for at, (before, after) in enumerate(pairwise(values), 1):
        if before is _MISSING or after is _MISSING:
            continue
        if _is_number(before) and _is_number(after):
            traits.rises += after > before
            traits.falls += after < before
        if at != gap:
            traits.pairs += 1
            traits.repeats += before == after


def _instants(samples: list[Sample], documents: list[dict[str, Any] | None], one: Format) -> list[int | None]:
    """When each message was sent: its own time if all have one. Retained messages tell no interval."""
    own: list[int | None] = []
    for sample, document in zip(samples, documents, strict=True):
        said = document.get(one.time) if document is not None and one.time is not None else None
        try:
            own.append(to_us(said, "auto") if said is not None and not sample.retained else None)
        except (QuarantineError, TypeError):
            own.append(None)
    complete = all(at is not None or sample.retained for at, sample in zip(own, samples, strict=True))
    # A time that does not move (of a clock that stands, of the last change) is no time of sending.
    if complete and len(set(own)) > len(own) / 2:
        return own
    return [None if sample.retained else sample.arrival_us for sample in samples]


def _regular(instants: list[int | None], heard: Heard, listened_us: int) -> bool | None:
    intervals = [
        after - before
        for at, (before, after) in enumerate(pairwise(instants), 1)
        if before is not None and after is not None and at != heard.gap
    ]
    if len(intervals) < _ENOUGH - 1:
        return None
    usual = median(intervals)
    even = sum(abs(interval - usual) <= max(_JITTER * usual, _JITTER_US) for interval in intervals)
    # Who is even in bursts and silent for long in between does not keep time.
    silent = (heard.messages - heard.retained) * usual < _ALWAYS * listened_us
    return usual > 0 and even >= _EVEN * len(intervals) and not silent


# --- many sensors of one sort -----------------------------------------------------------------------------------


def kind_of(group: Sequence[Traits], name: str) -> Kind:
    """What sensors called so measure."""
    types: Counter[str] = Counter()
    for traits in group:
        types.update(traits.types)
    del types["null"]
    if not types:
        return Kind.GAUGE
    main = max(types, key=lambda one: (types[one], one))
    if main == "text":
        return _kind_of_words(group, types["text"])
    if main == "bool":
        return Kind.BOOL
    numbers = [traits for traits in group if traits.types["number"]]
    if not all(traits.integral for traits in numbers):
        return Kind.GAUGE
    seen = {number for traits in numbers for number in traits.numbers}
    if seen <= {0, 1}:
        moved = seen == {0, 1} and types["number"] >= _ENOUGH
        return Kind.BOOL if moved or sounds_like_switch(name) else Kind.GAUGE
    return Kind.COUNTER if _only_grow(numbers, name) else Kind.GAUGE


def _only_grow(group: Iterable[Traits], name: str) -> bool:
    several = [traits for traits in group if traits.types["number"] > 1]
    rises, falls = sum(traits.rises for traits in several), sum(traits.falls for traits in several)
    if sounds_like_counter(name):
        return falls <= 0.05 * rises  # a counter starts again now and then
    growing = sum(traits.rises > 0 for traits in several)
    return not falls and rises >= _ENOUGH and 2 * growing >= len(several)


def _kind_of_words(group: Iterable[Traits], heard: int) -> Kind:
    words: set[str] = set()
    for traits in group:
        words |= traits.words
        if len(words) > _MAX_STATES:
            return Kind.TEXT
    few = heard > len(words) or len(words) <= 3
    return Kind.ENUM if few and all(map(_STATE.fullmatch, words)) else Kind.TEXT


def reporting_of(group: Sequence[Traits], kind: Kind) -> tuple[Reporting, bool]:
    """How they report, and whether it was seen: what is heard too seldom is guessed from its kind."""
    votes = Counter(_votes(group))
    if not votes:
        return (Reporting.PERIODIC if kind is Kind.GAUGE else Reporting.ON_CHANGE), False
    by_exception = votes[Reporting.ON_CHANGE] / votes.total()
    # A machine that happens to move all the time looks periodic; beside others that rest it does not.
    on_change = by_exception >= 0.5 or (by_exception >= 0.3 and _uneven(group))
    return (Reporting.ON_CHANGE if on_change else Reporting.PERIODIC), True


def _uneven(group: Sequence[Traits]) -> bool:
    """Whether some of them send far more often than others."""
    counts = [traits.live for traits in group if traits.live]
    usual = median(counts)
    return sum(abs(count - usual) <= max(1, _JITTER * usual) for count in counts) < 0.6 * len(counts)


def _votes(group: Iterable[Traits]) -> Iterator[Reporting]:
    for traits in group:
        if traits.regular is None or traits.pairs < _ENOUGH - 1:
            continue
        # Who reports by exception neither keeps time nor says the same twice.
        repeats = traits.repeats > 0.1 * traits.pairs
        yield Reporting.PERIODIC if traits.regular or repeats else Reporting.ON_CHANGE

"""A sensor's values, as the real decoder reads them → its traits; those of sensors of one sort → their kind, and how
they report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from ingest.contract.classes import Kind, Reporting
from ingest.decoders import Decoded, Decoder, Messages
from ingest.discover.heard import Heard, Sample
from ingest.discover.words import sounds_like_counter, sounds_like_switch

MAX_FIELDS = 1_000
_MAX_WORDS = 20
_MAX_STATES = 16
_MAX_UNITS = 4
_STATE = re.compile(r"[^\W\d][\w .:/-]{0,31}")
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
    units: Counter[str] = field(default_factory=Counter)
    """What its payloads call its unit; at most a few."""
    integral: bool = True
    pairs: int = 0
    repeats: int = 0
    rises: int = 0
    falls: int = 0
    live: int = 0
    """Messages that were no retained ones, about."""
    regular: bool | None = None
    """Whether it comes at even intervals; None where too little was heard."""
    by_exception: bool = False
    """Whether its format says that it reports changes only."""
    rate_known: bool = False
    """Whether a waveform came with its rate."""

    def add(self, value: Any, unit: str | None = None) -> None:
        """Take one value."""
        if unit and (unit in self.units or len(self.units) < _MAX_UNITS):
            self.units[unit] += 1
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
        else:
            self.types["waveform"] += 1


class _Point(NamedTuple):
    """A value of a sensor. sample: the message's place among those that are looked at."""

    sample: int
    ts_us: int
    value: Any


_WAVE = object()


def traits_of(
    topic: bytes, heard: Heard, decoder: Decoder, *, switches: Collection[str] = (), listened_us: int = 0
) -> dict[str, Traits]:
    """Name of a value, as the decoder gives it ("" for none) → traits. A topic has at most `MAX_FIELDS` of them.

    switches: names, or their ends, of values that are booleans.
    """
    samples = heard.samples
    topics, payloads = [topic] * len(samples), [sample.payload for sample in samples]
    decoded = decoder.decode(Messages(topics, payloads, [sample.arrival_us for sample in samples]))
    return traits_in(decoded, samples, heard, switches=switches, listened_us=listened_us)


def traits_in(
    decoded: Decoded,
    samples: Sequence[Sample],
    heard: Heard,
    *,
    switches: Collection[str] = (),
    listened_us: int = 0,
    most: int = MAX_FIELDS,
) -> dict[str, Traits]:
    """The same, of what was decoded from `samples`; `most` names of values at most."""
    out: dict[str, Traits] = {}
    points: dict[str, list[_Point]] = {}
    for row, at in enumerate(decoded.message):
        name = decoded.field[row] or ""
        traits = out.get(name)
        if traits is None:
            if len(out) >= most:
                continue
            traits, points[name] = out.setdefault(name, Traits()), []
        value = _value(decoded, row, name, switches)
        traits.add(value, decoded.unit[row] if decoded.unit is not None else None)
        traits.rate_known |= value is _WAVE and decoded.waveforms[row].rate_hz is not None
        points[name].append(_Point(at, decoded.ts_us[row], value))
    share = (heard.messages - heard.retained) / max(1, len(samples))
    for name, traits in out.items():
        of = points[name]
        traits.live = round(share * len({point.sample for point in of}))
        traits.regular = _regular(_instants(of, samples), of, heard, traits.live, listened_us)
        _compare(traits, of, heard.gap)
    return out


def _value(decoded: Decoded, row: int, name: str, switches: Collection[str]) -> Any:
    if row in decoded.waveforms:
        return _WAVE
    text, value = decoded.text[row], decoded.value[row]
    if text is not None:
        return text
    if value != value:
        return None
    return bool(value) if switches and value in (0.0, 1.0) and _is_switch(name, switches) else value


def _is_switch(name: str, switches: Collection[str]) -> bool:
    if name in switches:
        return True
    _, slash, rest = name.partition("/")
    return bool(slash) and _is_switch(rest, switches)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _across(before: _Point, after: _Point, gap: int | None) -> bool:
    """Whether messages between two were not kept."""
    return gap is not None and before.sample < gap <= after.sample


def _compare(traits: Traits, points: list[_Point], gap: int | None) -> None:
    for before, after in pairwise(points):
        if _is_number(before.value) and _is_number(after.value):
            traits.rises += after.value > before.value
            traits.falls += after.value < before.value
        if not _across(before, after, gap):
            traits.pairs += 1
            traits.repeats += before.value == after.value and before.value is not _WAVE


def _instants(points: list[_Point], samples: Sequence[Sample]) -> list[int | None]:
    """When each value was sent: its own time if all have one. Retained messages tell no interval."""
    retained = [samples[point.sample].retained for point in points]
    own = [point.ts_us if point.ts_us and not old else None for point, old in zip(points, retained, strict=True)]
    complete = all(at is not None or old for at, old in zip(own, retained, strict=True))
    # A time that does not move (of a clock that stands, of the last change) is no time of sending.
    if complete and len(set(own)) > len(own) / 2:
        return own
    return [None if old else samples[point.sample].arrival_us for point, old in zip(points, retained, strict=True)]


def _regular(
    instants: list[int | None], points: list[_Point], heard: Heard, live: int, listened_us: int
) -> bool | None:
    intervals = [
        late - early
        for (early, late), (before, after) in zip(pairwise(instants), pairwise(points), strict=True)
        if early is not None and late is not None and not _across(before, after, heard.gap)
    ]
    if len(intervals) < _ENOUGH - 1:
        return None
    usual = median(intervals)
    even = sum(abs(interval - usual) <= max(_JITTER * usual, _JITTER_US) for interval in intervals)
    # Who is even in bursts and silent for long in between does not keep time.
    silent = live * usual < _ALWAYS * listened_us
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
    if main == "waveform":
        return Kind.WAVEFORM
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

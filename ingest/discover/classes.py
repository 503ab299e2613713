"""Sensors → classes: those of one kind, reporting and unit, by patterns of their paths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ingest.contract.classes import Kind, Reporting
from ingest.contract.errors import QuarantineError
from ingest.contract.units import canonical, conversion
from ingest.discover.series import Traits, kind_of, reporting_of
from ingest.discover.words import stem, unit_of_name

MAX_CLASSES = 40
MAX_PATTERNS = 40
_MAX_WORDS = 3
_DEEPEST = 3
_PURE = 0.9
_AGREED = 0.8
_QUANTITIES = {
    "Cel": "temperatures",
    "bar": "pressures",
    "%": "percentages",
    "A": "currents",
    "V": "voltages",
    "Hz": "frequencies",
    "1/min": "speeds",
    "mm/s": "vibrations",
}
_KINDS = {
    Kind.BOOL: "switches",
    Kind.COUNTER: "counters",
    Kind.ENUM: "states",
    Kind.TEXT: "texts",
    Kind.WAVEFORM: "waveforms",
    Kind.GAUGE: "gauges",
}


@dataclass(frozen=True, slots=True)
class SensorFound:
    """A sensor and what was seen of it."""

    path: tuple[str, ...]
    traits: Traits


@dataclass(slots=True)
class ClassDraft:
    """A class. seen: whether its reporting was observed and not guessed; said: whether its unit was in the payload.

    words: units that payloads say and that are none, or do not agree. rate_known: whether waveforms told their rate.
    """

    kind: Kind
    reporting: Reporting | None
    """None: as their source does."""
    unit: str
    name: str = ""
    match: list[str] = field(default_factory=list)
    sensors: int = 0
    seen: bool = True
    said: bool = False
    words: list[str] = field(default_factory=list)
    rate_known: bool = True


@dataclass(slots=True)
class _Group:
    """Sensors whose paths say the same at one place from the right."""

    members: list[SensorFound]
    place: int
    token: str

    @property
    def pattern(self) -> str:
        return f"**/{self.token}" + "/*" * self.place


def draft_classes(routes: Sequence[Sequence[SensorFound]]) -> list[ClassDraft]:
    """Classes for what is not a gauge without a unit that reports as its source does, which needs none."""
    groups: dict[tuple[int, str], list[SensorFound]] = {}
    for sensors in routes:
        place = _telling_place(sensors)
        for sensor in sensors:
            groups.setdefault((place, stem(_at(sensor, place))), []).append(sensor)
    classes: dict[tuple[Kind, Reporting | None, str], ClassDraft] = {}
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    for (place, _), members in ranked:
        group = _Group(members, place, _token([_at(sensor, place) for sensor in members]))
        name = _at(members[0], place)
        kind = kind_of([sensor.traits for sensor in members], name)
        reporting, seen = _reporting(members, kind)
        unit, said, words = _unit(members, kind)
        if kind is Kind.GAUGE and not unit and not words and reporting is None:
            continue
        one = classes.setdefault((kind, reporting, unit), ClassDraft(kind, reporting, unit, said=said))
        if len(one.match) < MAX_PATTERNS and group.pattern not in one.match:
            one.match.append(group.pattern)
        one.sensors += len(members)
        one.seen = one.seen and seen
        one.said = one.said or said
        one.words += [word for word in words if word not in one.words][:_MAX_WORDS]
        one.rate_known = one.rate_known and all(sensor.traits.rate_known for sensor in members)
    found = sorted(classes.values(), key=lambda one: -one.sensors)[:MAX_CLASSES]
    _name(found)
    # The first that fits wins: what says more comes first.
    return sorted(found, key=lambda one: max(map(_vagueness, one.match)))


def _reporting(members: Sequence[SensorFound], kind: Kind) -> tuple[Reporting | None, bool]:
    """(how they report, None for as their source does; whether that was seen)."""
    # What is known of a source need not be guessed from what it sends.
    open_ones = [sensor.traits for sensor in members if not sensor.traits.by_exception]
    if not open_ones:
        return None, True
    found, seen = reporting_of(open_ones, kind)
    return (found if found is Reporting.ON_CHANGE else None), seen


def _vagueness(pattern: str) -> int:
    token = pattern.removeprefix("**/").split("/")[0]
    return 2 if token == "*" else int("*" in token)  # noqa: S105


def _at(sensor: SensorFound, place: int) -> str:
    return sensor.path[max(0, len(sensor.path) - 1 - place)]


def _token(segments: Sequence[str]) -> str:
    if len(set(segments)) == 1:
        return segments[0]
    return re.sub(r"\*[*:-]*\*|\*+", "*", stem(segments[0]).replace("#", "*"))


def _telling_place(sensors: Sequence[SensorFound]) -> int:
    """How many levels from the right stands what tells sorts of sensors apart; mostly it is the last level."""
    best, best_purity = 0, -1.0
    shallowest = min((len(sensor.path) for sensor in sensors), default=0)
    for place in range(min(_DEEPEST, shallowest)):
        sorts: dict[str, Counter[tuple[Kind, str]]] = {}
        for sensor in sensors:
            kind = kind_of([sensor.traits], _at(sensor, place))
            sorts.setdefault(stem(_at(sensor, place)), Counter())[kind, _unit([sensor], kind)[0]] += 1
        purity = sum(max(sort.values()) for sort in sorts.values()) / len(sensors)
        if len(sorts) > max(30, len(sensors) / 4):
            purity /= 2  # names of devices, not of what they measure
        if purity >= _PURE:
            return place
        if purity > best_purity:
            best, best_purity = place, purity
    return best


def _unit(sensors: Sequence[SensorFound], kind: Kind) -> tuple[str, bool, list[str]]:
    """(unit in UCUM, whether the payload says it, what payloads say that is none or does not agree)."""
    if kind not in (Kind.GAUGE, Kind.COUNTER, Kind.WAVEFORM):
        return "", False, []
    said: Counter[str] = Counter()
    for sensor in sensors:
        said.update(sensor.traits.units)
    named = Counter(_unit_of_path(sensor.path) for sensor in sensors)
    guess, count = named.most_common(1)[0]
    guess = guess if count >= _AGREED * len(sensors) and kind is not Kind.COUNTER else ""
    if not said:
        return guess, False, []
    words = [word for word, _ in said.most_common()]
    for word in (words[0], guess):
        # A unit is no guess of ours: all that payloads say has to be convertible, or readings would be refused.
        if word and (unit := _canonical(word)) and all(_fits(one, unit) for one in words):
            return unit, word == words[0], []
    return "", False, words


@lru_cache(maxsize=4_096)
def _canonical(word: str) -> str:
    try:
        return canonical(word)
    except QuarantineError:
        return ""


def _fits(word: str, unit: str) -> bool:
    try:
        conversion(word, unit)
    except QuarantineError:
        return False
    return True


def _unit_of_path(path: tuple[str, ...]) -> str:
    return next((unit for segment in path[: -_DEEPEST - 1 : -1] if (unit := unit_of_name(segment))), "")


def _name(classes: Sequence[ClassDraft]) -> None:
    taken = {"default"}
    for one in classes:
        words = re.findall(r"[A-Za-z0-9]+", one.match[0].removeprefix("**/")) if len(one.match) == 1 else []
        base = "-".join(words)[:40].lower() or _QUANTITIES.get(one.unit) or _KINDS[one.kind]
        names = [
            base,
            f"{base}-{one.reporting or Reporting.PERIODIC}",
            *(f"{base}-{number}" for number in range(2, len(classes) + 3)),
        ]
        one.name = next(name for name in names if name not in taken)
        taken.add(one.name)

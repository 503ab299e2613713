"""`millstream explain`: every setting of one sensor, and where it comes from."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from deploy.console import fail, read, say
from deploy.tags import read_plant_tags, tags_path
from ingest.contract.classes import ClassTable, Kind, glob
from ingest.contract.durations import format_duration
from ingest.contract.errors import QuarantineError, SettingsError
from ingest.contract.mqtt_settings import RouteSettings
from ingest.contract.partition import partition_of
from ingest.contract.sensors import TopicPattern, check_path, labels_of, machine_of
from ingest.contract.settings import Settings
from ingest.contract.settings_file import PREFIX, Lines, Location
from ingest.contract.tags import Tag
from ingest.discover.printing import printable

_DEFAULT = "default"
_APART = {"name", "match", "unit", "range", "models", "rules", "armed"}
_SEGMENT = re.compile(r"\{([a-z][a-z0-9_]*)(\.\.\.)?\}")
_WIDEST = 56
_NO_TIME = "0us"
_UNSAID = {
    "reporting": "as its source reports",
    "sentinels": "those of gauges, where they are out of all proportion",
    "heartbeat": "none: silence is judged by what is usual for it",
}


class Row(NamedTuple):
    """A setting, what it is, and where that was said."""

    what: str
    value: str
    source: str


def explain(
    sensor: Annotated[str, typer.Argument(help="The sensor's path.", metavar="SENSOR")],
    config: Annotated[Path, typer.Option("--config", "-c", help="Settings, a TOML file.", metavar="FILE")],
) -> None:
    """Every setting of a sensor, and where it comes from: a line of the settings, of the tags, or a default.

    Example: millstream explain demo/assembly/line-01/press-02/temperature --config plant.toml
    """
    try:
        check_path(sensor)
    except QuarantineError as error:
        fail(2, f"{printable(sensor)!r} is no sensor's path: {error.detail}")
    settings = read(config, with_models=True)
    try:
        tags = read_plant_tags(settings, config)
        text = config.read_text(encoding="utf-8")
    except SettingsError as error:
        fail(2, *(printable(line, 400) for line in error.problems))
    except OSError as error:
        fail(2, f"{config}: cannot be read: {error.strerror or error}")
    rows = list(_Explanation(sensor, settings, tags, config, text).rows())
    names = max(len(row.what) for row in rows)
    values = min(_WIDEST, max(len(row.value) for row in rows))
    for row in rows:
        say(f"{row.what:<{names}}  {row.value:<{values}}  {row.source}".rstrip())


class _Explanation:
    """All rows about one sensor."""

    def __init__(self, sensor: str, settings: Settings, tags: dict[str, Tag], config: Path, text: str) -> None:
        self._sensor, self._settings, self._config = sensor, settings, config
        self._tag = tags.get(sensor)
        self._tags_path = tags_path(settings, config)
        self._lines = Lines(text)
        self._classes_written = len(tomllib.loads(text).get("class", []))
        self._variables = [name for name in sorted(os.environ) if name.upper().startswith(PREFIX)]
        table = ClassTable(settings.classes, tags)
        self._at = table.base_of(sensor)
        self._class = settings.classes[self._at]
        self._effective = table.classes[table.index_of(sensor)]

    def rows(self) -> Iterator[Row]:
        """In the order people ask: what it is, how it is watched, where it goes."""
        tag = self._tag
        yield Row("sensor", self._sensor, "")
        name = tag.name if tag else ""
        yield Row("display name", printable(name, 200) or "none", self._from_tag() if name else _DEFAULT)
        yield from self._class_rows()
        yield from self._model_rows()
        yield from self._rule_rows()
        yield self._armed()
        budget = f"{self._settings.plant.alerts_per_day:,} a day on scores, of the whole plant"
        yield Row("alert budget", budget, self._of_section("plant", "alerts_per_day"))
        yield from self._place_rows()
        yield from self._route_rows()

    # --- where things are said ------------------------------------------------------------------------------

    def _variable(self, location: Location) -> str | None:
        key = PREFIX + "__".join(str(part).upper() for part in location)
        return next((name for name in self._variables if f"{key}__".startswith(f"{name.upper()}__")), None)

    def _source(self, location: Location, header: str, *, written: bool) -> str:
        if not written:
            return _DEFAULT
        return self._variable(location) or f"{self._config}:{self._lines.of(location)} {header}"

    def _of_class(self, *location: str | int, written: bool = True) -> str:
        there = self._at < self._classes_written or self._variable(("class",)) is not None
        return self._source(("class", self._at, *location), f"[[class]] {self._class.name}", written=written and there)

    def _of_section(self, *location: str) -> str:
        at: Any = self._settings
        for part in location:
            if part not in at.model_fields_set:
                return _DEFAULT
            at = getattr(at, part)
        return self._source(location, f"[{'.'.join(location[:-1])}]", written=True)

    def _from_tag(self) -> str:
        return f"{self._tags_path}:{self._tag.line}" if self._tag else _DEFAULT

    # --- the class ------------------------------------------------------------------------------------------

    def _class_rows(self) -> Iterator[Row]:
        one, tag, written = self._class, self._tag, self._class.model_fields_set
        if tag is not None and tag.class_name:
            yield Row("class", one.name, self._from_tag())
        else:
            pattern = next(pattern for pattern in one.match if glob(pattern).fullmatch(self._sensor))
            yield Row("class", f"{one.name}, by {pattern}", self._of_class("match"))
        unit_source = self._from_tag() if tag and tag.unit else self._of_class("unit", written="unit" in written)
        yield Row("unit", printable(self._effective.unit, 64) or "none", unit_source)
        sides = [
            self._from_tag()
            if tag is not None and limit is not None
            else self._of_class("range", written="range" in written)
            for limit in ((tag.low, tag.high) if tag else (None, None))
        ]
        low, high = ("any" if limit is None else f"{limit:g}" for limit in self._effective.range)
        source = sides[0] if sides[0] == sides[1] else f"low: {sides[0]}; high: {sides[1]}"
        yield Row("range", f"{low} to {high}", source)
        # As they are written in the settings; what a class has tomorrow is shown without a change here.
        for name, value in self._effective.model_dump(mode="json", exclude=_APART).items():
            if name == "waveform" and value is None:
                continue  # of no interest to any other kind
            said = self._unsaid(name) if value in (None, _NO_TIME) else _text(value)
            yield Row(name, said, self._of_class(name, written=name in written))
        yield from self._source_rows()

    def _unsaid(self, name: str) -> str:
        """What it means that a setting was not given."""
        if name == "shown_windows":
            return _text([format_duration(one) for one in self._effective.shown_list])
        if name == "sentinels" and self._effective.kind is not Kind.GAUGE:
            return "none"
        return _UNSAID.get(name, "none")

    def _source_rows(self) -> Iterator[Row]:
        """What its device really sends, where a `[[source]]` says so."""
        for at, one in enumerate(self._settings.source):
            if not any(glob(pattern).fullmatch(self._sensor) for pattern in one.match):
                continue
            where = self._source(("source", at), "[[source]]", written=True)
            if one.unit:
                yield Row("unit as sent", printable(one.unit, 64), where)
            for name, value in one.clock.model_dump(mode="json").items():
                yield Row(f"clock {name}", _text(value), where)
            return

    def _model_rows(self) -> Iterator[Row]:
        from deploy.registries import model_registry

        one = self._effective
        written = "models" in one.model_fields_set and one.models is not None
        if not one.model_list:
            yield Row("models", "none", self._of_class("models", written=written))
        for at, model in enumerate(one.model_list):
            yield Row("model", model.name, self._of_class("models", at, written=written))
            made: Any = model_registry().create(model.name, model.options)
            for name, value in _options(made):
                source = self._of_class("models", at, "options", name, written=written and name in model.options)
                yield Row(f"  {name}", _text(value), source)

    def _rule_rows(self) -> Iterator[Row]:
        one, written = self._effective, "rules" in self._effective.model_fields_set
        if not one.rules or not one.kind.numeric:
            because = "" if one.kind.numeric else f", for its kind is {one.kind}"
            yield Row("rules", f"none{because}", self._of_class("rules", written=written))
            return
        for at, rule in enumerate(one.rules):
            yield Row("rule", rule.name, self._of_class("rules", at, written=written))
            for name, value in rule.model_dump(mode="json", exclude={"name"}, exclude_none=True).items():
                chosen = written and name in rule.model_fields_set
                said = "none" if value == _NO_TIME else _text(value)
                yield Row(f"  {name}", said, self._of_class("rules", at, name, written=chosen))

    def _armed(self) -> Row:
        plant = self._settings.plant
        said = {True: "armed: alerts go out", False: "not armed: alerts are only counted"}
        if self._class.armed is not None:
            return Row("alerts", said[self._class.armed], self._of_class("armed"))
        if not plant.armed and any(glob(pattern).fullmatch(self._sensor) for pattern in plant.armed_paths):
            return Row("alerts", said[True], self._of_section("plant", "armed_paths"))
        return Row("alerts", said[plant.armed], self._of_section("plant", "armed"))

    # --- where it goes, and where it comes from -----------------------------------------------------------------

    def _place_rows(self) -> Iterator[Row]:
        partitions = self._settings.kafka.topics.readings.partitions
        source = self._of_section("kafka", "topics", "readings", "partitions")
        yield Row("machine", machine_of(self._sensor), "from the path")
        yield Row("partition", f"{partition_of(self._sensor, partitions)} of {partitions}", source)
        levels = tuple(self._settings.plant.levels)
        for name, value in labels_of(self._sensor, levels).items():
            yield Row(f"label {name}", value, self._of_section("plant", "levels"))

    def _route_rows(self) -> Iterator[Row]:
        found = False
        earlier: list[TopicPattern] = []
        for at, route in enumerate(self._settings.route):
            pattern = TopicPattern.parse(route.topic, route.path)
            for topic, field in _topic_of(pattern, self._sensor):
                by = f", field {field}" if field else ""
                source = self._source(("route", at), "[[route]]", written=True)
                taken = next((one for one in earlier if "+" not in topic and one.match(topic) is not None), None)
                if taken is not None:
                    source += f", but the route {taken.pattern} takes it first"
                found = found or taken is None
                yield Row("topic", f"{topic} ({_decoder(route)}{by})", source)
            earlier.append(pattern)
        if not found:
            yield Row("topic", "none: no route gives a sensor this path", "")


def _decoder(route: RouteSettings) -> str:
    options = ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False, default=str)}" for name, value in route.options.items()
    )
    return f"{route.decoder} {options}".strip()


def _topic_of(pattern: TopicPattern, sensor: str) -> Iterator[tuple[str, str]]:
    """The topic that gives this sensor, with wildcards for what its path does not say, and the payload's field."""
    parts = re.split(r"(\{[^}]*\})", pattern.path)
    many = {name for name, dots in _SEGMENT.findall(pattern.pattern) if dots} | {"field", "id"}
    expression, seen = "", set[str]()
    for part in parts:
        if not part.startswith("{"):
            expression += re.escape(part)
            continue
        name = part[1:-1]
        expression += f"(?P={name})" if name in seen else f"(?P<{name}>{'.+' if name in many else '[^/]+'})"
        seen.add(name)
    match = re.fullmatch(expression, sensor)
    if match is None:
        return
    values = match.groupdict()
    levels = []
    for level in pattern.pattern.split("/"):
        name = _SEGMENT.fullmatch(level)
        levels.append(level if name is None else values.get(name[1], "#" if name[2] else "+"))
    yield "/".join(levels), values.get("field") or values.get("id") or ""


def _options(model: Any) -> Iterator[tuple[str, object]]:
    """(name, value) of each option; those of another library's constructor are a table in the model."""
    for field in dataclasses.fields(model):
        value = getattr(model, field.name) if field.init else None
        if isinstance(value, Mapping):
            yield from value.items()
        elif value is not None:
            yield field.name, value


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bool | dict):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else str(value)

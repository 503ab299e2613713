"""Reading the settings: one TOML file, then the environment; every mistake reported at once.

A report line is `plant.toml:12: mqtt.prot: no such key (did you mean "port"?)`, so that an editor jumps there.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from ingest.contract.errors import SettingsError
from ingest.contract.registry import Registry, did_you_mean
from ingest.contract.settings import Settings

PREFIX = "MILLSTREAM__"
Location = tuple[str | int, ...]
_BRANCHES = frozenset({"float", "int", "str"})


class _Environment(Settings, BaseSettings):  # type: ignore[misc]  # the settings' own model_config wins
    """Only to tell pydantic-settings which names there are."""


class _Variables(EnvSettingsSource):
    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """JSON where it is JSON; anything else is left to the field, whose message is better."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def load_settings(
    path: Path,
    environ: Mapping[str, str] | None = None,
    registries: Mapping[str, Registry[Any]] | None = None,
) -> Settings:
    """Read, merge and check.

    registries: the sorts of components there are ("decoder", "model"), against which names and options are
    checked; a sort that is absent is not checked. Raises SettingsError with one line per mistake.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: cannot be read: {error}"]) from error
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is the plain one
        raise SettingsError([f"{path}: not valid TOML: {error}"]) from error
    names, overlay = _from_environment(os.environ if environ is None else environ)
    lines = Lines(text)
    problems = [f"{name}: there is no section {section!r}{hint}" for name, section, hint in _unknown_sections(names)]

    def report(location: Location, message: str, kind: str) -> str:
        key = ".".join(f"{part}" if isinstance(part, str) else f"{part + 1}" for part in location)
        variable = PREFIX + "__".join(str(part).upper() for part in location)
        for name in names:
            # A name that goes deeper than the key puts a table where none belongs.
            too_deep = kind.endswith("_type") and name.upper().startswith(variable + "__")
            if variable == name.upper() or variable.startswith(name.upper() + "__") or too_deep:
                return f"{name}: {message}"
        return f"{path}:{lines.of(location)}: {key}: {message}"

    try:
        settings = Settings.model_validate(_merged(data, overlay), context=registries)
    except ValidationError as error:
        found = [
            (known_keys(e["loc"]), explain(Settings, e["type"], e["msg"], e["loc"], e["input"]), e["type"])
            for e in error.errors()
        ]
        raise SettingsError(problems + [report(*one) for one in found]) from error
    if problems:
        raise SettingsError(problems)
    return settings


def _from_environment(environ: Mapping[str, str]) -> tuple[list[str], dict[str, Any]]:
    names = sorted(name for name in environ if name.upper().startswith(PREFIX))
    source = _Variables(_Environment, env_prefix=PREFIX, env_nested_delimiter="__", case_sensitive=False)
    variables = {name.lower(): environ[name] for name in names}
    # pydantic-settings looks for a section with an alias (`class`) without the prefix.
    aliases = {field.alias: PREFIX.lower() + field.alias for field in Settings.model_fields.values() if field.alias}
    found = {alias: variables[name] for alias, name in aliases.items() if name in variables}
    source.env_vars = variables | found
    return names, source()


def _unknown_sections(names: list[str]) -> list[tuple[str, str, str]]:
    known = [field.alias or name for name, field in Settings.model_fields.items()]
    sections = [(name, name[len(PREFIX) :].split("__")[0].lower()) for name in names]
    return [(name, one, did_you_mean(one, known)) for name, one in sections if one not in known]


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, table by table."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def known_keys(location: Location) -> Location:
    """The location without the branches of unions and the validators that pydantic names in it: people know keys."""
    return tuple(
        part for part in location if not (isinstance(part, str) and (part in _BRANCHES or re.search(r"[\[(]", part)))
    )


def explain(root: type[BaseModel], kind: str, message: str, location: Location, given: object = None) -> str:
    """One of pydantic's errors, in words. root: what was validated; location: where in it; given: what was there."""
    if kind == "extra_forbidden":
        return f"no such key{did_you_mean(str(location[-1]), _keys_at(root, location[:-1]))}"
    if kind == "missing":
        return "is missing"
    choices = re.findall(r"'([^']*)'", message) if kind == "literal_error" else []
    hint = did_you_mean(given, choices) if isinstance(given, str) else ""
    return message.removeprefix("Value error, ").replace("Input should be", "should be") + hint


def _keys_at(root: type[BaseModel], location: Location) -> list[str]:
    model = root
    for part in location:
        if isinstance(part, int):
            continue
        field = next((f for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        below = _model_in(field.annotation) if field else None
        if below is None:
            return []
        model = below
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


class Lines:
    """Which line of a TOML text a key stands on. Readers of TOML do not say, so this scans for headers and keys."""

    _HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
    _KEY = re.compile(r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")

    def __init__(self, text: str) -> None:
        self._lines: dict[Location, int] = {}
        table: Location = ()
        counts: dict[Location, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if header := self._HEADER.match(line):
                table = self._resolve(self._parts(header[2]), counts)
                self._lines.setdefault(table, number)
                if header[1] == "[[":
                    counts[table] = counts.get(table, -1) + 1
                    table = (*table, counts[table])
                self._lines.setdefault(table, number)
            elif key := self._KEY.match(line):
                parts = self._parts(key[1])
                for depth in range(1, len(parts) + 1):
                    self._lines.setdefault((*table, *parts[:depth]), number)

    @staticmethod
    def _parts(dotted: str) -> Location:
        return tuple(part.strip().strip("\"'") for part in dotted.split("."))

    @staticmethod
    def _resolve(parts: Location, counts: dict[Location, int]) -> Location:
        """`[[class]]` then `[class.x]`: the table belongs to the last element of the array."""
        table: Location = ()
        for at, part in enumerate(parts):
            table = (*table, part)
            if table in counts and at < len(parts) - 1:
                table = (*table, counts[table])
        return table

    def of(self, location: Location) -> int:
        """The line of a key, or of the nearest table around it; 1 if there is none."""
        while location:
            if location in self._lines:
                return self._lines[location]
            location = location[:-1]
        return 1

"""Reading a plant's description; every mistake reported at once, with its line."""

from __future__ import annotations

import re
import tomllib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ingest.contract.errors import SettingsError
from ingest.contract.registry import did_you_mean
from ingest.contract.settings_file import Lines, Location
from ingest.simulator.description import PlantDescription
from ingest.simulator.formats import ENCODERS


def parse_plant(text: str, name: str) -> PlantDescription:
    """Read and check a description. name: what the text is called in reports.

    Raises SettingsError with one line per mistake, `works.toml:12: group.1.sensor.2.units: no such key …`.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{name}: not valid TOML: {error}"]) from error
    lines = Lines(text)
    try:
        return PlantDescription.model_validate(data, context={"encoder": ENCODERS})
    except ValidationError as error:
        problems = []
        for one in error.errors():
            location = _clean(one["loc"])
            key = ".".join(f"{part + 1}" if isinstance(part, int) else part for part in location)
            said = _explain(one["type"], one["msg"], location)
            problems.append(f"{name}:{lines.of(location)}: {key + ': ' if key else ''}{said}")
        raise SettingsError(problems) from error


def _clean(location: Location) -> Location:
    # pydantic names the branches of a union and validators in the location; people know only keys.
    branches = {"float", "int", "str"}
    return tuple(
        part for part in location if isinstance(part, int) or (part not in branches and not re.search(r"[\[(]", part))
    )


def _explain(kind: str, message: str, location: Location) -> str:
    if kind == "extra_forbidden":
        return f"no such key{did_you_mean(str(location[-1]), _keys_at(location[:-1]))}"
    if kind == "missing":
        return "is missing"
    return message.removeprefix("Value error, ").replace("Input should be", "should be")


def _keys_at(location: Location) -> list[str]:
    model: type[BaseModel] = PlantDescription
    for part in location:
        if isinstance(part, int):
            continue
        below = _model_in(model.model_fields[part].annotation) if part in model.model_fields else None
        if below is None:
            return []
        model = below
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)

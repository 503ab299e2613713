"""Reading a plant's description; every mistake reported at once, with its line."""

from __future__ import annotations

import tomllib

from pydantic import ValidationError

from ingest.contract.errors import SettingsError
from ingest.contract.settings_file import Lines, explain, known_keys
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
            location = known_keys(one["loc"])
            key = ".".join(f"{part + 1}" if isinstance(part, int) else part for part in location)
            said = explain(PlantDescription, one["type"], one["msg"], location, one["input"])
            problems.append(f"{name}:{lines.of(location)}: {key + ': ' if key else ''}{said}")
        raise SettingsError(problems) from error

"""What the plant knows about its tags, as the settings name it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ingest.contract.class_settings import ClassSettings
from ingest.contract.classes import ClassTable, range_with
from ingest.contract.errors import SettingsError
from ingest.contract.settings import Settings
from ingest.contract.tags import Tag, read_tags

_MAX_PROBLEMS = 50


def tags_path(settings: Settings, config_path: Path) -> Path | None:
    """Where the CSV is: beside the settings unless its path says otherwise."""
    return None if settings.plant.tags is None else config_path.parent / settings.plant.tags


def read_plant_tags(settings: Settings, config_path: Path) -> dict[str, Tag]:
    """The tags that `plant.tags` names, by sensor; none without it. Raises SettingsError with every mistake."""
    path = tags_path(settings, config_path)
    return {} if path is None else read_fitting_tags(path, settings.classes)


def read_fitting_tags(path: Path, classes: Sequence[ClassSettings]) -> dict[str, Tag]:
    """Tags whose classes exist and whose ranges go with those of their classes. Raises SettingsError."""
    tags = read_tags(path, [one.name for one in classes])
    if problems := _misfits(path, classes, tags):
        raise SettingsError(problems)
    return tags


def _misfits(path: Path, classes: Sequence[ClassSettings], tags: Mapping[str, Tag]) -> list[str]:
    plain = ClassTable(classes)
    by_name = {one.name: one for one in classes}
    problems = []
    for tag in tags.values():
        one = by_name[tag.class_name] if tag.class_name else plain.classes[plain.index_of(tag.path)]
        try:
            range_with(tag, one)
        except ValueError as error:
            problems.append(f"{path}:{tag.line}: {error}")
    more = len(problems) - _MAX_PROBLEMS
    return problems if more <= 0 else [*problems[:_MAX_PROBLEMS], f"{path}: and {more:,} more mistakes"]

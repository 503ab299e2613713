"""What the settings say that changes the fold: classes, tags and limits, as one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingest.contract.class_settings import ClassSettings
from ingest.contract.settings import Settings
from ingest.contract.tags import Tag


@dataclass(frozen=True, slots=True)
class Definitions:
    """future_us: how far ahead of its arrival a reading may be. max_sensors: of one partition."""

    classes: Sequence[ClassSettings]
    max_sensors: int
    future_us: int
    tags: Mapping[str, Tag] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, tags: Mapping[str, Tag] | None = None) -> Definitions:
        """Those of a plant. tags: those of `plant.tags`, read."""
        return cls(settings.classes, settings.plant.max_sensors, settings.worker.future, tags or {})

"""What a snapshot says of sensors' scores: who set them, what was expected, how good the data are, the budget."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ingest.contract.class_settings import ClassSettings
from ingest.contract.classes import glob
from stream.fold.definitions import Definitions
from stream.fold.explaining import DataQuality, quality_of_sensor, said, share_of, width_of_sensor
from stream.fold.levels import Stage
from stream.fold.masks import Maintenance
from stream.fold.plan import model_names
from stream.fold.slots import FREE
from stream.fold.state import Frozen


@dataclass(frozen=True, slots=True)
class Explained:
    """Of one sensor. quality: as alerts have it; None if it has sent nothing, or its worker is of an earlier version.

    score: None where no model scores. band: (low, high), None for no limit on that side. recent_alerts and budget_share
    are as in alerts.
    """

    quality: str | None = None
    score: float | None = None
    model: str | None = None
    band: tuple[float | None, float | None] | None = None
    boundary: float = 1.0
    recent_alerts: float = 0.0
    budget_share: float = 0.0


def explained(frozen: Frozen, definitions: Definitions, classes: Collection[ClassSettings]) -> dict[str, Explained]:
    """By path; nothing for what workers of an earlier version do not write down. classes: by number."""
    sensors, levels = frozen.arrays["sensors"], frozen.arrays.get("levels")
    needed = {"refused", "bar", "extra", "spent"}
    if levels is None or not needed <= set(sensors.dtype.names or ()):
        return {}
    by_number, names = list(classes), model_names(list(classes))
    windows = [Maintenance(*one) for one in frozen.scalars.get("masks", ())]
    patterns = [glob(one.match) for one in windows if one.from_us <= frozen.now_us < one.until_us]
    found = {}
    for slot, path in enumerate(frozen.names):
        if path == FREE:
            continue
        row, one = sensors[slot], by_number[int(frozen.arrays["class_of"][slot])]
        in_maintenance = any(pattern.fullmatch(path) for pattern in patterns)
        found[path] = _of_row(row, levels[slot], one, names, definitions, in_maintenance=in_maintenance)
    return found


def _of_row(
    row: Any, level: Any, one: ClassSettings, names: list[str], definitions: Definitions, *, in_maintenance: bool
) -> Explained:
    quality = None
    if in_maintenance:
        quality = said(DataQuality.MAINTENANCE)
    elif row["shown_us"] > 0 or row["refused"] != 0:
        learning = level["seen"] < one.warm_up or level["stage"] == Stage.CHANGED
        is_warming = bool(one.model_list) and learning
        quality = quality_of_sensor(row, DataQuality.WARMING if is_warming else DataQuality.GOOD)
    spent, by = float(row["spent"]), int(row["scored_by"])
    low, high = (float(row[side]) if isfinite(row[side]) else None for side in ("low", "high"))
    return Explained(
        quality,
        float(row["score"]) if row["last_us"] > 0 and one.model_list else None,
        names[by] if 0 <= by < len(names) else None,
        None if low is None and high is None else (low, high),
        width_of_sensor(row),
        spent,
        share_of(spent, definitions),
    )

"""What a plant will need, before it is connected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deploy.registries import model_registry
from ingest.contract.class_settings import ClassSettings
from ingest.contract.settings import Settings
from ingest.contract.tags import Tag
from stream.fold.definitions import Definitions
from stream.fold.plan import make_plan
from stream.fold.sketch import SKETCH
from stream.fold.state import PartitionState

# Beside the rows, which are counted exactly: names and their table, remembered labels, and what arrays that grow leave
# over. Measured as resident memory after a scrape, at 20,000 to 100,000 sensors.
_BYTES_PER_NAME = 1_650
_WINDOWED = {"mean", "stddev", "min", "max", "samples", "first", "last", "slope", "covered"}
_QUANTILES = {"p50", "p90", "p99"}
_OF_TEXT = {"value", "timestamp", "refused", "quality"}


@dataclass(frozen=True, slots=True)
class Estimate:
    """series: on /metrics/sensors, at most. state_bytes: of all workers together."""

    sensors: int
    series: int
    bytes_per_sensor: int
    state_bytes: int


def series_of(one: ClassSettings) -> int:
    """Series of one sensor of a class."""
    if not one.kind.numeric:
        return len(_OF_TEXT & set(one.series))
    each = {name: len(one.shown_list) for name in _WINDOWED} | {name: len(one.quantiles) for name in _QUANTILES}
    return sum(each.get(name, 1) for name in one.series)


def estimate(settings: Settings, sensors: int, tags: Mapping[str, Tag] | None = None) -> Estimate:
    """The worst case: every sensor in the class with the most series. tags: those of `plant.tags`, read."""
    plan = make_plan(Definitions.of(settings, tags), model_registry())
    state = PartitionState(plan)
    sketches = int(np.count_nonzero(plan.quantiles_us, axis=1).max(initial=0))
    each = state.nbytes() // state.class_of.size + sketches * SKETCH.itemsize + _BYTES_PER_NAME
    series = max(series_of(one) for one in settings.classes)
    return Estimate(sensors, sensors * series, each, sensors * each)

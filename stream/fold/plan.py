"""The settings, compiled for the fold: arrays instead of objects, one row per class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.contract.classes import ClassTable, Reporting
from ingest.contract.errors import SettingsError
from ingest.contract.registry import Registry
from ingest.contract.settings import ClassSettings, RuleSettings
from models.base import Model
from stream.fold.alerts import RULE

LIMITS = np.dtype(
    [
        ("numeric", np.int64),
        ("on_change", np.int64),
        ("low", np.float64),
        ("high", np.float64),
        ("staleness_us", np.int64),
    ]
)

# Squares of what is folded must stay finite.
_LARGEST = 1e100
_PANES_PER_WINDOW = 12
_MAX_PANES = 2_048
# Beyond the longest window: the pane being filled, and one for readings that come out of order.
_SPARE_PANES = 2


@dataclass(frozen=True, slots=True, eq=False)
class UsedModel:
    """A model with its options, and the classes that use it.

    uses: shape (classes,). params: shape (classes, parameters), zeros where unused.
    """

    name: str
    model: Model
    uses: NDArray[np.bool_]
    params: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rule:
    """A class's rule and its revision: a change of the rule starts new episodes under new ids."""

    settings: RuleSettings
    revision: str


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything the fold needs to know of the settings.

    limits: LIMITS, shape (classes,). rule_rows: RULE, parallel to rules. width_us, panes: the ring of panes.
    """

    classes: ClassTable
    limits: NDArray[Any]
    models: tuple[UsedModel, ...]
    rules: tuple[Rule, ...]
    rule_rows: NDArray[Any]
    width_us: int
    panes: int
    max_sensors: int
    future_us: int


def make_plan(classes: Sequence[ClassSettings], models: Registry[Model], *, max_sensors: int, future_us: int) -> Plan:
    """Compile classes. Raises SettingsError when window lengths need more panes than a sensor may have."""
    limits = np.zeros(len(classes), LIMITS)
    for row, one in zip(limits, classes, strict=True):
        low, high = one.range
        row["numeric"] = one.kind.numeric
        row["on_change"] = one.reporting is Reporting.ON_CHANGE
        row["low"] = -_LARGEST if low is None else max(low, -_LARGEST)
        row["high"] = _LARGEST if high is None else min(high, _LARGEST)
        row["staleness_us"] = one.staleness
    width_us, panes = _ring(sorted({window for one in classes for window in one.windows}))
    rules = [(index, rule) for index, one in enumerate(classes) if one.kind.numeric for rule in one.rules]
    return Plan(
        classes=ClassTable(classes),
        limits=limits,
        models=_used_models(classes, models),
        rules=tuple(Rule(rule, _revision(classes[index], rule)) for index, rule in rules),
        rule_rows=np.array([_rule_row(index, rule) for index, rule in rules], RULE),
        width_us=width_us,
        panes=panes,
        max_sensors=max_sensors,
        future_us=future_us,
    )


def _ring(windows_us: list[int]) -> tuple[int, int]:
    """Pane width and count: at least twelve panes in the shortest window, every window a whole number of panes."""
    if not windows_us:
        return 1_000_000, 1
    shortest_us, longest_us, common_us = windows_us[0], windows_us[-1], gcd(*windows_us)
    # The widest pane that divides all windows.
    fewest = -(-_PANES_PER_WINDOW * common_us // shortest_us)
    for parts in range(fewest, common_us + 1):
        panes = longest_us // common_us * parts + _SPARE_PANES
        if panes > _MAX_PANES:
            break
        if common_us % parts == 0:
            return common_us // parts, panes
    raise SettingsError(
        [
            f"class.windows: the lengths together need more than {_MAX_PANES} panes a sensor: bring the shortest and "
            "the longest closer together, or make them multiples of each other"
        ]
    )


def _used_models(classes: Sequence[ClassSettings], models: Registry[Model]) -> tuple[UsedModel, ...]:
    """One bank per model name; classes may differ in its options."""
    names = list(dict.fromkeys(model.name for one in classes for model in one.model_list))
    used = []
    for name in names:
        uses = np.zeros(len(classes), np.bool_)
        rows: dict[int, NDArray[np.float64]] = {}
        for index, one in enumerate(classes):
            for model in one.model_list:
                if model.name == name:
                    uses[index] = True
                    rows[index] = models.create(name, model.options).params
        params = np.zeros((len(classes), len(next(iter(rows.values())))), np.float64)
        for index, row in rows.items():
            params[index] = row
        used.append(UsedModel(name, models.create(name, {}), uses, params))
    return tuple(used)


def _rule_row(index: int, rule: RuleSettings) -> tuple[float, ...]:
    above = rule.above is not None
    sign = 1.0 if above else -1.0
    limit = sign * (rule.above if rule.above is not None else rule.below or 0.0)
    return (
        index, rule.signal == "score", sign, limit, limit - rule.hysteresis, rule.hold, rule.resolve_after
    )  # fmt: skip


def _revision(one: ClassSettings, rule: RuleSettings) -> str:
    text = json.dumps([one.name, rule.model_dump(mode="json")], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()

"""The settings, compiled for the fold: arrays instead of objects, one row per class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.contract.class_settings import MOST_SENTINELS, ClassSettings, ModelSettings, RuleSettings
from ingest.contract.classes import ClassTable, Kind, Reporting
from ingest.contract.panes import pane_levels
from ingest.contract.registry import Registry
from models import RIVER
from models.base import Model
from stream.fold.alerts import RULE
from stream.fold.definitions import Definitions
from stream.fold.gate import CLOSE, DEFAULT_SENTINELS
from stream.fold.silence import SILENT

AS_ITS_SOURCE = 2
LIMITS = np.dtype(
    [
        ("numeric", np.int64),
        ("on_change", np.int64),  # 0, 1, or AS_ITS_SOURCE
        ("low", np.float64),
        ("high", np.float64),
        ("staleness_us", np.int64),
        ("max_rate", np.float64),  # per second
        ("usual_low", np.float64),  # what is between these is in the range, and no sentinel
        ("usual_high", np.float64),
        ("plain", np.int16),  # 1: there is no largest rate
        ("counter", np.int16),
        ("described", np.int16),  # 1: the range that a device described counts
        ("sentinels_named", np.int16),  # 1: by the class; they are refused wherever the sensor was
        ("sentinels_used", np.int64),
        ("sentinels", np.float64, (MOST_SENTINELS,)),
        ("warm_up", np.int64),  # readings before a score counts
        ("level_after", np.int64),  # readings after which another level is one; 0: never
        ("level_lasts_us", np.int64),  # and the least time
        ("scored", np.int64),  # 1: there are models and a rule on what they find
    ]
)

_CLAIMS = {"info": 1.0, "warning": 2.0, "critical": 4.0}
_NO_CLAIM = 1e-9  # of those who have no rule on scores
# Squares of what is folded must stay finite.
_LARGEST = 1e100


@dataclass(frozen=True, slots=True, eq=False)
class UsedModel:
    """A model with its options, and the classes that use it.

    uses: shape (classes,). params: shape (classes, parameters), zeros where unused.
    """

    name: str
    model: Model
    uses: NDArray[np.bool_]
    params: NDArray[np.float64]
    bank: str
    """What its rows are called, which tells banks apart: of a plugged-in model, each set of options has one."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A class's rule and its revision: a change of the rule starts new episodes under new ids."""

    settings: RuleSettings
    revision: str


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything the fold needs to know of the settings.

    limits: LIMITS, shape (classes,). rules: by class. rule_rows: RULE, shape (classes, most rules of a class).
    levels: of panes, the finest first: (width in µs, first place, count), shape (levels, 3). panes: of a sensor.
    quantiles_us: windows with quantiles, by class, shape (classes, most of a class); 0 where there is none.
    pool_names: classes as they are configured, whose sensors share a part of the budget of alerts. pool_of: by class.
    pool_weight: of a sensor's claim to the budget, by pool, > 0.
    """

    classes: ClassTable
    limits: NDArray[Any]
    models: tuple[UsedModel, ...]
    rules: tuple[tuple[Rule, ...], ...]
    rule_rows: NDArray[Any]
    levels: NDArray[np.int64]
    panes: int
    quantiles_us: NDArray[np.int64]
    pool_names: tuple[str, ...]
    pool_of: NDArray[np.int32]
    pool_weight: NDArray[np.float64]
    max_sensors: int
    future_us: int
    backlog_us: int
    definitions: Definitions
    registry: Registry[Model]
    """Where models come from, for a plan of other definitions."""
    silences: NDArray[Any]
    """SILENT, shape (classes,)."""


def make_plan(definitions: Definitions, models: Registry[Model]) -> Plan:
    """Compile classes, and those that tags make of them.

    Raises ValueError when window lengths need more panes than a sensor may have, or a tag's range contradicts its
    class.
    """
    table = ClassTable(definitions.classes, definitions.tags)
    classes = table.classes
    limits = np.zeros(len(classes), LIMITS)
    for row, one in zip(limits, classes, strict=True):
        low, high = one.range
        row["numeric"] = one.kind.numeric
        row["on_change"] = AS_ITS_SOURCE if one.reporting is None else one.reporting is Reporting.ON_CHANGE
        row["low"] = -_LARGEST if low is None else max(low, -_LARGEST)
        row["high"] = _LARGEST if high is None else min(high, _LARGEST)
        row["staleness_us"] = one.staleness
        row["max_rate"] = np.inf if one.max_rate is None else one.max_rate
        row["plain"] = one.max_rate is None
        row["counter"] = one.kind is Kind.COUNTER
        row["described"] = low is None and high is None
        _set_sentinels(row, one)
        row["warm_up"] = one.warm_up
        told = any(rule.signal == "score" for rule in one.rules)
        row["scored"] = told and bool(one.model_list)
        # What nobody is told of as an alert is no event either.
        row["level_after"] = one.level_after if told else 0
        row["level_lasts_us"] = one.level_lasts
    levels = np.array(pane_levels({window for one in classes for window in one.windows}), np.int64)
    rules = [one.rules if one.kind.numeric else [] for one in classes]
    rule_rows = np.zeros((len(classes), max(map(len, rules))), RULE)
    for index, of_class in enumerate(rules):
        for at, rule in enumerate(of_class):
            rule_rows[index, at] = _rule_row(rule)
    pool_names = tuple(dict.fromkeys(one.name for one in classes))
    claims = {one.name: _claim(of_class) for one, of_class in zip(classes, rules, strict=True)}
    return Plan(
        classes=table,
        limits=limits,
        models=_used_models(classes, models),
        rules=tuple(
            tuple(Rule(rule, _revision(one, rule)) for rule in of_class)
            for one, of_class in zip(classes, rules, strict=True)
        ),
        rule_rows=rule_rows,
        levels=levels,
        panes=int(levels[:, 2].sum()),
        quantiles_us=_quantiles_us(classes),
        pool_names=pool_names,
        pool_of=np.array([pool_names.index(one.name) for one in classes], np.int32),
        pool_weight=np.array([claims[name] for name in pool_names]),
        max_sensors=definitions.max_sensors,
        future_us=definitions.future_us,
        backlog_us=definitions.backlog_us,
        definitions=definitions,
        registry=models,
        silences=_silences(classes, rules),
    )


def _claim(rules: Sequence[RuleSettings]) -> float:
    """Of a sensor of a class to the budget of alerts."""
    return max((_CLAIMS[rule.severity] for rule in rules if rule.signal == "score"), default=_NO_CLAIM)


def _set_sentinels(row: Any, one: ClassSettings) -> None:
    named = one.sentinels is not None
    codes = one.sentinels if one.sentinels is not None else DEFAULT_SENTINELS if one.kind is Kind.GAUGE else ()
    # No smaller magnitude is one, nor another number that is taken for it.
    least = np.nextafter(min((abs(code) * (1.0 - CLOSE) for code in codes), default=np.inf), -1.0)
    row["usual_low"], row["usual_high"] = max(row["low"], -least), min(row["high"], least)
    row["sentinels_named"] = named
    row["sentinels_used"] = len(codes)
    row["sentinels"][: len(codes)] = codes


def _quantiles_us(classes: Sequence[ClassSettings]) -> NDArray[np.int64]:
    asked = [one.quantiles if one.kind.numeric else [] for one in classes]
    windows_us = np.zeros((len(classes), max(map(len, asked))), np.int64)
    for index, of_class in enumerate(asked):
        windows_us[index, : len(of_class)] = of_class
    return windows_us


def _silences(classes: Sequence[ClassSettings], rules: Sequence[Sequence[RuleSettings]]) -> NDArray[Any]:
    silences = np.zeros(len(classes), SILENT)
    silences["rule"] = -1
    for row, one, of_class in zip(silences, classes, rules, strict=True):
        row["heartbeat_us"] = one.heartbeat
        for at, rule in enumerate(of_class):
            if rule.signal == "silence":
                row["rule"], row["above"], row["hold_us"] = at, rule.above or 1.0, rule.hold
    return silences


def model_names(classes: Sequence[ClassSettings]) -> list[str]:
    """By their numbers in `Plan.models`, without making any."""
    return [one.name for one in _banks(classes).values()]


def _banks(classes: Sequence[ClassSettings]) -> dict[str, ModelSettings]:
    banks: dict[str, ModelSettings] = {}
    for one in classes:
        for model in one.model_list:
            banks.setdefault(_bank(model), model)
    return banks


def _used_models(classes: Sequence[ClassSettings], models: Registry[Model]) -> tuple[UsedModel, ...]:
    """One bank per model name; classes may differ in its options. Of a plugged-in model, one bank per options."""
    banks = _banks(classes)
    used = []
    for bank, first in banks.items():
        name, plugged_in = first.name, first.name.startswith(RIVER)
        uses = np.zeros(len(classes), np.bool_)
        rows: dict[int, NDArray[np.float64]] = {}
        made: dict[str, NDArray[np.float64]] = {}  # tags make thousands of classes with the same options
        for index, one in enumerate(classes):
            for model in one.model_list:
                if model.name == name and _bank(model) == bank:
                    uses[index] = True
                    options = json.dumps(model.options, sort_keys=True, default=str)
                    if options not in made:
                        made[options] = models.create(name, model.options).params
                    rows[index] = made[options]
        params = np.zeros((len(classes), len(next(iter(rows.values())))), np.float64)
        for index, row in rows.items():
            params[index] = row
        made_of = first.options if plugged_in else {}
        used.append(UsedModel(name, models.create(name, made_of), uses, params, bank))
    return tuple(used)


def _bank(model: ModelSettings) -> str:
    """What rows of a model are called: those of a plugged-in one depend on its options."""
    if not model.name.startswith(RIVER):
        return model.name
    options = json.dumps(model.options, sort_keys=True, default=str)
    return f"{model.name}#{hashlib.blake2b(options.encode(), digest_size=4).hexdigest()}"


def _rule_row(rule: RuleSettings) -> tuple[float, ...]:
    above = rule.above is not None
    sign = 1.0 if above else -1.0
    limit = sign * (rule.above if rule.above is not None else rule.below or 0.0)
    on_score, on_silence = rule.signal == "score", rule.signal == "silence"
    return (True, on_score, sign, limit, limit - rule.hysteresis, rule.hold, rule.resolve_after, on_silence)


def _revision(one: ClassSettings, rule: RuleSettings) -> str:
    # Only what was chosen: a later version's new option must not rename the alerts that are open.
    text = json.dumps([one.name, rule.model_dump(mode="json", exclude_defaults=True)], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()

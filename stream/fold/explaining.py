"""What an alert says for itself, beside its score: how good the data behind it are, and what was expected."""

from __future__ import annotations

from enum import IntEnum
from math import isfinite, isnan
from typing import Any

from ingest.contract.class_settings import RuleSettings
from ingest.contract.readings import Quality
from models.compiled import borrowing_kernel
from stream.fold.definitions import Definitions
from stream.fold.gate import Verdict


class DataQuality(IntEnum):
    """Of a sensor at one moment. What is refused has REFUSED and the verdict; see `said`."""

    GOOD = 0
    UNCERTAIN = 1
    """Its source says so of the reading."""
    WARMING = 2
    """Models do not know the sensor yet, or not at its new level: it scores 0."""
    BACKLOG = 3
    """The reading is old: the sensor has not caught up."""
    HELD = 4
    """No reading: the value of an on-change sensor is still in force."""
    SILENT = 5
    """No reading, and one was due."""
    MAINTENANCE = 6
    """In a maintenance window."""
    REFUSED = 16
    """The reading that came last is in no window and no model."""


_GOOD, _UNCERTAIN, _WARMING, _BACKLOG, _HELD, _SILENT, _MAINTENANCE = range(7)
_REFUSED = int(DataQuality.REFUSED)
_SOURCE_UNCERTAIN = int(Quality.UNCERTAIN)
_REASONS = {int(one): one.name.lower().replace("_", " ") for one in Verdict if not one.accepted}


def reason_of(verdict: int) -> str:
    """Why a reading was refused, in words; "" for one that was not."""
    return _REASONS.get(verdict, "")


def said(quality: int) -> str:
    """In words.

    >>> said(DataQuality.WARMING), said(DataQuality.REFUSED + Verdict.OUT_OF_RANGE)
    ('warming', 'refused: out of range')
    """
    if quality < _REFUSED:
        return DataQuality(quality).name.lower()
    return f"refused: {reason_of(quality - _REFUSED)}"


@borrowing_kernel
def quality_of_row(source: int, backlog: bool, warming: int) -> int:
    """Of a folded reading: the worst that is to be said. source: what its source said; warming: 1 or 0."""
    if source == _SOURCE_UNCERTAIN:
        return _UNCERTAIN
    if backlog:
        return _BACKLOG
    return _WARMING if warming != 0 else _GOOD


@borrowing_kernel
def quality_without_row(sensor: Any, behind: int, holds: bool) -> int:
    """As time passes. sensor: of SENSOR; behind: 1 if its newest reading was backlog; holds: its value is in force."""
    refused: int = sensor["refused"]
    if refused != 0:
        return _REFUSED + refused
    if behind != 0:
        return _BACKLOG
    return _HELD if holds else _SILENT


def quality_of_sensor(sensor: Any, otherwise: DataQuality = DataQuality.GOOD) -> str:
    """By the reading that came last, in words. sensor: of SENSOR."""
    refused = int(sensor["refused"])
    if refused:
        return said(_REFUSED + refused)
    if sensor["shown_us"] > 0 and sensor["shown_quality"] == _SOURCE_UNCERTAIN:
        return said(_UNCERTAIN)
    return said(otherwise)


def width_of_sensor(sensor: Any) -> float:
    """What its model's own scores are divided by. sensor: of SENSOR."""
    bar = float(sensor["bar"])
    return (bar if bar > 0.0 else 1.0) * (1.0 + float(sensor["extra"]))


def band_of(rule: RuleSettings, low: float, high: float) -> tuple[float | None, float | None] | None:
    """What was expected: a value rule's own limit, else the band of the model that set the score."""
    if rule.signal == "value":
        return rule.below, rule.above
    if rule.signal != "score" or isnan(low) or isnan(high) or not (isfinite(low) or isfinite(high)):
        return None
    return low if isfinite(low) else None, high if isfinite(high) else None


def share_of(alerts: float, definitions: Definitions) -> float:
    """Of those that the plant may bring in a day."""
    return alerts / definitions.alerts_per_day

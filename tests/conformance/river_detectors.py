"""Detectors that do what tests need, in the place of river's; and models of both at work on a series."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import models
from ingest.contract.registry import Registry
from models.base import Model
from models.compiled import ORDERLY
from models.river_model import RiverModel, RiverRun
from models.river_plugin import RiverPlugIn, river_detectors

EPOCH = 32
PANIC, STOP, NOTHING = 13.0, 17.0, 19.0
"""Values at which a detector panics, is interrupted, and finds no score."""


class PanicException(BaseException):
    """As pyo3 raises where Rust panics."""


class Asked:
    """Remembers every question as well as everything that it was taught."""

    def __init__(self, slowness: float = 100.0) -> None:
        self.slowness = slowness
        self.known = [0.0]
        self.asked = 0

    def learn_one(self, x: Mapping[str, float]) -> None:
        self.known.append(sum(x.values()) + self.known[-1] / 3.0)

    def score_one(self, x: Mapping[str, float]) -> float:
        self.asked += 1
        mean = sum(self.known) / len(self.known)
        return abs(x["value"] - mean) * (1.0 + self.asked / self.slowness)


class Moody(Asked):
    """Panics, is interrupted, or finds no score."""

    def learn_one(self, x: Mapping[str, float]) -> None:
        if x["value"] == PANIC:
            raise PanicException("capacity overflow")
        if x["value"] == STOP:
            raise KeyboardInterrupt
        super().learn_one(x)

    def score_one(self, x: Mapping[str, float]) -> float:
        found = super().score_one(x)
        bad = {NOTHING: math.nan, NOTHING + 1: math.inf, NOTHING + 2: -5.0}
        return bad.get(x["value"], found)


class Broken(Asked):
    """Fails whatever it is given."""

    def learn_one(self, x: Mapping[str, float]) -> None:
        raise PanicException("never works")


def _detectors() -> Mapping[str, type[Any]]:
    own: dict[str, type[Any]] = {f"anomaly.{one.__name__}": one for one in (Asked, Moody, Broken)}
    return {**own, **river_detectors()}


PLUG_IN = RiverPlugIn(detectors=_detectors)
REGISTRY: Registry[Model] = Registry("model", models.TABLE, plug_ins={models.RIVER: lambda: PLUG_IN})
SMALL: dict[str, dict[str, Any]] = {
    "Asked": {"features": ["value", "difference"]},
    "HalfSpaceTrees": {"limits": [0, 100], "n_trees": 2, "height": 3, "window_size": 16},
    "GaussianScorer": {"window_size": 20, "grace_period": 5},
    "StandardAbsoluteDeviation": {},
    "LODA": {"n_random_cuts": 2},
    "LocalOutlierFactor": {"n_neighbors": 2},
    "OneClassSVM": {},
    "PredictiveAnomalyDetection": {"warmup_period": 5},
}
"""Options with which a detector is quick."""


def river_model(detector: str, **options: Any) -> RiverModel:
    """With a short memory."""
    made = REGISTRY.create(f"river:anomaly.{detector}", {"epoch": EPOCH} | SMALL.get(detector, {}) | options)
    assert isinstance(made, RiverModel)
    return made


def play(
    model: RiverModel, bank: NDArray[Any], values: Sequence[float] | NDArray[Any], run: RiverRun, slot: int = 0
) -> list[float]:
    """Scores of one batch of one sensor's readings."""
    rows = len(values)
    score, scored_by, expected = np.zeros(rows), np.full(rows, -1, np.int16), np.full((rows, 2), 5.0)
    run(
        bank, np.full(rows, slot, np.int32), np.arange(rows), np.asarray(values, np.float64),
        np.full(rows, ORDERLY, np.uint8), np.zeros(bank.size, np.int32), np.ones(1, np.bool_),
        np.zeros((1, 0)), 7, score, scored_by, expected,
    )  # fmt: skip
    assert ((scored_by == 7) == (score > 0.0)).all()
    assert np.isnan(expected[score > 0.0]).all()
    assert np.isfinite(score).all()
    return [float(one) for one in score]


def series(seed: int, count: int, also: Sequence[float] = ()) -> NDArray[np.float64]:
    """Noise with spikes, steps and stretches in which nothing moves. also: values that come now and then."""
    chance = np.random.default_rng(seed)
    values = np.round(chance.normal(50.0, 2.0, count), int(chance.integers(0, 4)))
    for _ in range(int(chance.integers(0, 5))):
        begin, length = int(chance.integers(0, count)), int(chance.choice([1, 2, 30, 60]))
        values[begin : begin + length] = chance.choice([0.0, 100.0, 60.0, -1e99, 1e-310, 50.0])
    for value in also:
        values[chance.random(count) < 0.008] = value
    return values

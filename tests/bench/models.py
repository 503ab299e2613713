"""CPU of each anomaly model per reading, at 100,000 sensors, in the compiled loop that the worker runs.

Beside it what river has for the same, or what comes nearest: one object per sensor, asked for a score and taught, of a
thousand sensors, which flatters it.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import models
from deploy.registries import model_registry
from models.base import Model
from tests.bench.fold_load import START_US
from tests.bench.measure import Figure
from tests.bench.turns import Say, medians

NAME = "model_ns_per_reading"
SENSORS = 100_000
WARM_UP_ROUNDS, ROUNDS = 320, 5
PERIOD_S = 7_200.0  # of models that follow a day, so that they have seen some when they are measured
STEP_US = 60_000_000
BY_HAND_SENSORS, BY_HAND_WARM_UP, BY_HAND_ROUNDS = 1_000, 20, 5


class Bank:
    """A model of so many sensors that have all been through its warm-up."""

    def __init__(self, model: Model) -> None:
        self._model, self._round = model, 0
        self._chance = np.random.default_rng(1)
        few = 1_000
        self._state = np.zeros(few, model.state)
        for _ in range(WARM_UP_ROUNDS):
            self._take(few)
        # The others are as these.
        self._state = self._state[np.arange(SENSORS) % few]
        self._take(SENSORS)

    def run(self) -> float:
        """ns of CPU per reading of the next rounds, in which sensors speak in no order."""
        took_ns = sum(self._take(SENSORS) for _ in range(ROUNDS))
        return took_ns / (ROUNDS * SENSORS)

    def _take(self, rows: int) -> int:
        self._round += 1
        slot = self._chance.permutation(rows).astype(np.int32)
        ts_us = np.full(rows, START_US + self._round * STEP_US)
        value = self._chance.normal(20.0, 1.0, rows)
        score, by, band = np.zeros(rows), np.full(rows, -1, np.int16), np.full((rows, 2), np.nan)
        verdict, class_of = np.zeros(rows, np.uint8), np.zeros(rows, np.int32)
        uses, params = np.ones(1, np.bool_), self._model.params[None, :]
        began_ns = time.process_time_ns()
        self._model.run(self._state, slot, ts_us, value, verdict, class_of, uses, params, 0, score, by, band)
        return time.process_time_ns() - began_ns


class ByRiver:
    """The same from river's parts: `make()` gives a sensor's step, which takes a value and returns a score."""

    def __init__(self, make: Callable[[], Callable[[float], float]]) -> None:
        self._steps = [make() for _ in range(BY_HAND_SENSORS)]
        self._chance = np.random.default_rng(1)
        for _ in range(BY_HAND_WARM_UP):
            self._take(self._values())

    def run(self) -> float:
        """ns of CPU per reading of the next rounds."""
        values = [self._values() for _ in range(BY_HAND_ROUNDS)]
        began_ns = time.process_time_ns()
        for each in values:
            self._take(each)
        return (time.process_time_ns() - began_ns) / (BY_HAND_ROUNDS * BY_HAND_SENSORS)

    def _values(self) -> NDArray[np.float64]:
        return self._chance.normal(20.0, 1.0, BY_HAND_SENSORS)

    def _take(self, values: NDArray[np.float64]) -> None:
        for step, value in zip(self._steps, values.tolist(), strict=True):
            step(value)


def _ewma(alphas: tuple[float, ...]) -> Callable[[float], float]:
    from river import stats

    means, variances = [stats.EWMean(alpha) for alpha in alphas], [stats.EWVar(alpha) for alpha in alphas]

    def step(value: float) -> float:
        score = 0.0
        for mean, variance in zip(means, variances, strict=True):
            sigma = float(variance.get()) ** 0.5
            score = max(score, abs(value - float(mean.get())) / sigma) if sigma else score
            mean.update(value)
            variance.update(value)
        return score

    return step


def _range() -> Callable[[float], float]:
    from river import stats

    low, high, short = stats.Min(), stats.Max(), stats.EWMean(0.1)

    def step(value: float) -> float:
        beyond = max(value - float(high.get()), float(low.get()) - value)
        low.update(value)
        high.update(value)
        short.update(value)
        return beyond

    return step


def _median() -> Callable[[float], float]:
    from river import stats

    median, half, most = stats.Quantile(0.5), stats.Quantile(0.5), stats.Quantile(0.75)

    def step(value: float) -> float:
        distance = abs(value - float(median.get() or 0.0))
        median.update(value)
        half.update(distance)
        most.update(distance)
        return distance

    return step


def _drift() -> Callable[[float], float]:
    from river import drift

    detector = drift.PageHinkley()

    def step(value: float) -> float:
        detector.update(value)
        return float(detector.drift_detected)

    return step


def _gaussian() -> Callable[[float], float]:
    from river import anomaly

    scorer = anomaly.GaussianScorer()

    def step(value: float) -> float:
        score = scorer.score_one(None, value)
        scorer.learn_one(None, value)
        return float(score)

    return step


def _season() -> Callable[[float], float]:
    from river import stats

    levels, spread, turn = [stats.EWMean(0.3) for _ in range(24)], stats.EWVar(0.001), iter(range(10**9))

    def step(value: float) -> float:
        level = levels[next(turn) // 60 % 24]
        off = value - float(level.get())
        level.update(value)
        spread.update(off)
        return abs(off)

    return step


PEERS: dict[str, Callable[[], Callable[[float], float]]] = {
    "ewma_horizons": lambda: _ewma((0.03, 0.008, 0.002)),
    "ewma_z": lambda: _ewma((0.02,)),
    "level_shift": _drift,
    "rate_of_change": lambda: _ewma((0.01,)),
    "robust_band": _median,
    "running_range": _range,
    "seasonal": _season,
    "short_long": lambda: _ewma((0.1, 0.001)),
    "time_of_day": _season,
}
"""river's nearest, by model; its Gaussian scorer where there is nothing like it."""


def model_of(name: str) -> Model:
    """A model of the table, with defaults, but for the length of a day."""
    registry: Any = model_registry()
    options = {"period_s": PERIOD_S} if name in ("seasonal", "time_of_day") else {}
    model: Model = registry.create(name, options)
    return model


def per_model(runs: int, say: Say) -> list[Figure]:
    """ns of CPU per reading of every model in the table."""
    found = []
    for name in sorted(models.TABLE):
        figure = f"{NAME}/{name}"
        ways = {"ours": Bank(model_of(name)).run, "river": ByRiver(PEERS.get(name, _gaussian)).run}
        ours, river = medians(figure, "ns", ways, runs, say)
        found.append(Figure.cost(figure, ours, "ns", river))
    return found

"""The values of all sensors of one template, a step at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ingest.simulator.duty import DutyCycle
from ingest.simulator.parts import PARTS, Part
from ingest.simulator.states import States, follow_of
from ingest.simulator.templates import Drawn, SensorTemplate

Column = NDArray[np.float64]


class Values(Protocol):
    """What a template's sensors measure while nothing is wrong with them."""

    scale: Column
    """In the sensor's unit: its sigma and a share of its range, for what is to stand out; NaN where that is nothing."""

    def step(self, at_us: int) -> Column:
        """The next values of all: bools as 0 and 1, enums as indices of their words, NaN for waveforms."""
        ...

    def words(self, value: Column) -> Sequence[object] | None:
        """What is sent instead of the numbers: texts, arrays; None for numbers."""
        ...


def drawn(limits: Drawn, count: int, rng: Generator) -> Column:
    """One number for all, or each its own between two."""
    return rng.uniform(*limits, count) if isinstance(limits, tuple) else np.full(count, limits, np.float64)


class Gauge:
    """The sum of its parts; nothing but the base while the machine that it follows is at rest."""

    def __init__(
        self,
        said: SensorTemplate,
        count: int,
        period_s: float,
        rng: Generator,
        duty: DutyCycle,
        machine: NDArray[np.int64],
    ) -> None:
        self._decimals = said.decimals
        self._base = drawn(said.base, count, rng)
        self._parts: list[Part] = [
            part(getattr(said, key), self._base, period_s, rng)
            for key, part in PARTS.items()
            if getattr(said, key) is not None
        ]
        self._duty, self._machine = duty, machine
        self._on = drawn(said.load.on, count, rng) if said.load is not None else None
        self._light = said.load.light if said.load is not None else 0.0
        self._stopped = said.stopped
        self._follow = 1.0 - math.exp(-period_s / (said.stopped.settle / 1e6)) if said.stopped is not None else 0.0
        self._away = 0.0  # how far it has gone from what it is at work (0) to what it is in a planned stop (1)
        variance = np.zeros(count)
        for part in self._parts:
            variance += np.square(part.sigma)
        # Twenty of these are beyond everything that the slow parts do in health, and eight sigmas more.
        self.scale = np.sqrt(variance) + sum(part.spread for part in self._parts) / 12.0
        if self._on is not None:
            self.scale += np.abs(self._on) / 12.0
        self.scale[self.scale == 0.0] = np.nan

    def step(self, at_us: int) -> Column:
        """In the instrument's resolution."""
        value = self._base.copy()
        for part in self._parts:
            value += part.step(at_us)
        if self._on is not None:
            loaded, running = self._duty.loaded[self._machine], self._duty.running[self._machine]
            value += self._on * np.where(loaded, 1.0, self._light)
            value = np.where(running, value, self._base)
        if self._stopped is not None:
            self._away += self._follow * (self._duty.stopped(at_us) - self._away)
            # Noise stays: whoever measures does not stop.
            value += self._away * (self._stopped.value - self._base)
        return np.round(value, self._decimals)

    def words(self, value: Column) -> None:
        """Numbers."""


class Counter:
    """Counts parts, or the time."""

    def __init__(
        self,
        said: SensorTemplate,
        count: int,
        period_s: float,
        rng: Generator,
        duty: DutyCycle,
        machine: NDArray[np.int64],
    ) -> None:
        self.scale = np.full(count, np.nan)
        self._duty, self._machine = (duty if said.duty else None), machine
        self._counts = rng.integers(0, 50_000, count) + rng.random(count)
        self._per_step = period_s / rng.uniform(*said.count_s, count)
        self._steps = 0

    def step(self, at_us: int) -> Column:
        """Whole numbers that only grow."""
        if self._duty is not None:
            return self._duty.parts[self._machine]
        self._steps += 1
        return np.floor(self._counts + self._steps * self._per_step)

    def words(self, value: Column) -> None:
        """Numbers."""


class State:
    """An enum or a bool: of its machine, or of its own."""

    def __init__(
        self,
        said: SensorTemplate,
        count: int,
        period_s: float,
        rng: Generator,
        duty: DutyCycle,
        machine: NDArray[np.int64],
    ) -> None:
        self.scale = np.full(count, np.nan)
        self._is_bool = said.kind == "bool"
        self._duty, self._machine = duty, machine
        self._own: States | None = None
        names: Sequence[str] = duty.names
        if not said.duty:
            stays = said.stay if said.stay is not None else tuple((said.states or {}).values())
            names = tuple(said.states or ("off", "on"))
            stay_s = [max(stay_us / 1e6, period_s) for stay_us in stays]
            self._own = States(count, period_s, stay_s, follow_of(names, {}), rng)
        self._words = np.array(names, dtype=object)

    def step(self, at_us: int) -> Column:
        """Its state's number; a bool's 0 or 1."""
        if self._own is not None:
            self._own.step()
            return self._own.state.astype(np.float64)
        state = self._duty.running if self._is_bool else self._duty.state
        return state[self._machine].astype(np.float64)

    def words(self, value: Column) -> Sequence[object] | None:
        """An enum's texts."""
        if self._is_bool:
            return None
        texts: list[object] = self._words[value.astype(np.int64)].tolist()
        return texts


class Waveform:
    """Arrays: some tones, each with a phase of its own in each reading, and noise."""

    def __init__(
        self,
        said: SensorTemplate,
        count: int,
        period_s: float,
        rng: Generator,
        duty: DutyCycle,
        machine: NDArray[np.int64],
    ) -> None:
        self.scale = np.full(count, np.nan)
        self._rng, self._decimals, self._count = rng, said.decimals, count
        self._angles = 2.0 * np.pi * np.arange(said.samples) / said.rate_hz
        self._tones = said.tones
        self._sigma = (said.noise.sigma or 0.0) if said.noise is not None else 0.0
        self._arrays: list[Column] = []

    def step(self, at_us: int) -> Column:
        """No number; the arrays are kept until they are asked for."""
        arrays = self._sigma * self._rng.standard_normal((self._count, len(self._angles)))
        phases = self._rng.uniform(0.0, 2.0 * np.pi, (len(self._tones), self._count, 1))
        for tone, phase in zip(self._tones, phases, strict=True):
            arrays += tone.amplitude * np.sin(tone.hz * self._angles + phase)
        self._arrays = list(np.round(arrays, self._decimals))
        return np.full(self._count, np.nan)

    def words(self, value: Column) -> Sequence[object]:
        """The arrays of the last step."""
        return self._arrays


VALUES: Final[dict[str, Callable[..., Values]]] = {
    "gauge": Gauge,
    "counter": Counter,
    "bool": State,
    "enum": State,
    "waveform": Waveform,
}
"""By the kind of a sensor."""

"""What a gauge's value is made of: each part adds something to the base.

A part is made for `count` sensors that read once per `period_s`, whose working points are `base`. `step` moves all
on by one period and gives what they add at `at_us`. `sigma` is how much of that is there from one reading to the
next, `spread` how far the rest of it ranges from its lowest to its highest; both in the sensor's unit.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Final, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ingest.simulator.templates import (
    DailySection,
    NoiseSection,
    ShiftsSection,
    StepsSection,
    WalkSection,
    WanderSection,
)

HEALTHY_SIGMAS: Final = 6.0
"""No healthy reading of noise and wandering is further from its working point, in its own sigmas."""

_MAX_NOISE_SIGMAS: Final = 4.5
_DAY_US: Final = 86_400_000_000
Column = NDArray[np.float64]


class Part(Protocol):
    """Something that is added."""

    sigma: Column | float
    spread: float

    def step(self, at_us: int) -> Column | float:
        """What it adds."""
        ...


def clipped_normal(rng: Generator, shape: int | tuple[int, ...]) -> Column:
    """Normal, never beyond 4.5 sigma: "outside of what it ever did" is to be a promise and not a likelihood."""
    drawn = rng.standard_normal(shape)
    return np.clip(drawn, -_MAX_NOISE_SIGMAS, _MAX_NOISE_SIGMAS, out=drawn)


class Noise:
    """Another amount for each reading."""

    spread = 0.0

    def __init__(self, said: NoiseSection, base: Column, _period_s: float, rng: Generator) -> None:
        self._rng, self._kind, self._base = rng, said.kind, base
        self._share = said.share or 0.0
        if said.kind == "lognormal":
            variance = self._share**2
            self.sigma: Column | float = np.abs(base) * float(np.sqrt(np.expm1(variance) * np.exp(variance)))
        else:
            self.sigma = said.sigma if said.sigma is not None else self._share * np.abs(base)

    def step(self, at_us: int) -> Column:
        """A draw for each."""
        if self._kind == "lognormal":
            return self._base * np.expm1(self._share * clipped_normal(self._rng, len(self._base)))
        if self._kind == "uniform":
            drawn = self._rng.uniform(-(3.0**0.5), 3.0**0.5, len(self._base))
        elif self._kind == "laplace":
            drawn = self._rng.laplace(0.0, 0.5**0.5, len(self._base))
            np.clip(drawn, -HEALTHY_SIGMAS, HEALTHY_SIGMAS, out=drawn)
        else:
            drawn = clipped_normal(self._rng, len(self._base))
        return self.sigma * drawn


class Wander:
    """An autoregressive process of the first order."""

    spread = 0.0

    def __init__(self, said: WanderSection, base: Column, period_s: float, rng: Generator) -> None:
        self._rng = rng
        self.sigma: Column | float = said.sigma
        self._keep = float(np.exp(-period_s / (said.tau / 1e6)))
        # It starts as it stays: a warm plant, without a transient for models to stumble over.
        self._now = clipped_normal(rng, len(base))

    def step(self, at_us: int) -> Column:
        """A bit nearer to the base, and a push."""
        push = (1.0 - self._keep**2) ** 0.5 * clipped_normal(self._rng, len(self._now))
        self._now = np.clip(self._keep * self._now + push, -_MAX_NOISE_SIGMAS, _MAX_NOISE_SIGMAS)
        return self.sigma * self._now


class Daily:
    """A cosine with a period of a day."""

    sigma: Column | float = 0.0

    def __init__(self, said: DailySection, base: Column, period_s: float, rng: Generator) -> None:
        self._said = said
        self.spread = 2.0 * said.amplitude

    def step(self, at_us: int) -> float:
        """The same for all."""
        turn = ((at_us - self._said.peak) % _DAY_US) / _DAY_US
        return float(self._said.amplitude * np.cos(2.0 * np.pi * turn))


class Walk:
    """A random walk that is thrown back at its limits."""

    sigma: Column | float = 0.0

    def __init__(self, said: WalkSection, base: Column, period_s: float, rng: Generator) -> None:
        self._rng, self._low, self.spread = rng, said.low, said.high - said.low
        self._step = said.step * (period_s / 60.0) ** 0.5
        self._now = rng.uniform(0.0, self.spread, len(base))

    def step(self, at_us: int) -> Column:
        """A step to either side."""
        moved = (self._now + self._step * self._rng.standard_normal(len(self._now))) % (2.0 * self.spread)
        self._now = np.where(moved > self.spread, 2.0 * self.spread - moved, moved)
        return self._low + self._now


class Steps:
    """Setpoints, and how the value follows them."""

    sigma: Column | float = 0.0

    def __init__(self, said: StepsSection, base: Column, period_s: float, rng: Generator) -> None:
        self._rng = rng
        self._levels = np.asarray(said.levels, np.float64)
        self.spread = float(self._levels.max() - self._levels.min())
        self._change = 1.0 - float(np.exp(-period_s / (said.stay / 1e6)))
        # Settled means 95 %: three time constants.
        self._follow = 1.0 - float(np.exp(-3.0 * period_s / (said.settle / 1e6))) if said.settle else 1.0
        self._target = rng.choice(self._levels, len(base))
        self._now = self._target.copy()

    def step(self, at_us: int) -> Column:
        """Whoever changes the setpoint may also choose the same again."""
        drawn = self._rng.random((2, len(self._now)))
        chosen = self._levels[(drawn[1] * len(self._levels)).astype(np.int64)]
        self._target = np.where(drawn[0] < self._change, chosen, self._target)
        self._now = self._now + self._follow * (self._target - self._now)
        return self._now


class Shifts:
    """A level for each shift, and how the value follows it."""

    sigma: Column | float = 0.0

    def __init__(self, said: ShiftsSection, base: Column, period_s: float, rng: Generator) -> None:
        self._at_us, self._levels = said.at, said.levels
        self.spread = max(said.levels) - min(said.levels)
        self._follow = 1.0 - float(np.exp(-3.0 * period_s / (said.settle / 1e6))) if said.settle else 1.0
        self._now: float | None = None

    def step(self, at_us: int) -> float:
        """The same for all."""
        # Before the day's first shift it is still the last one's.
        level = self._levels[bisect_right(self._at_us, at_us % _DAY_US) - 1]
        self._now = level if self._now is None else self._now + self._follow * (level - self._now)
        return self._now


PARTS: Final[dict[str, Any]] = {
    "noise": Noise,
    "wander": Wander,
    "daily": Daily,
    "walk": Walk,
    "steps": Steps,
    "shifts": Shifts,
}
"""By the key of a sensor's description: a further part is a class and a line."""

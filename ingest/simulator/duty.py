"""What machines are doing: their state, and the work and the parts that follow from it."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ingest.simulator.description import DutySection
from ingest.simulator.states import States, follow_of


class DutyCycle:
    """`machines` machines, one step per `period_s`.

    A machine stays in a state for a random time. While it runs it makes one part per cycle, under load for a share
    of the cycle and idling for the rest. The arrays have one entry per machine and are those of the last step.
    """

    def __init__(self, described: DutySection, machines: int, period_s: float, rng: Generator) -> None:
        self.names = tuple(described.states)
        self._run = self.names.index(described.run)
        self._period_s = period_s
        stay_s = [max(stay_us / 1e6, period_s) for stay_us in described.states.values()]
        self._states = States(machines, period_s, stay_s, follow_of(self.names, described.next), rng)
        self._cycle_s = rng.uniform(*described.cycle_s, machines)
        self._load_share = rng.uniform(*described.load_share, machines)
        self._first_part = rng.integers(0, 50_000, machines).astype(np.float64)
        self._run_s = rng.uniform(0.0, 60.0, machines)
        self.state = self._states.state
        self.running: NDArray[np.bool_] = self.state == self._run
        self.loaded: NDArray[np.bool_] = np.zeros(machines, np.bool_)
        self.parts: NDArray[np.float64] = self._first_part.copy()

    def step(self) -> None:
        """Move all machines on by one period."""
        self._states.step()
        self.state = self._states.state
        self.running = self.state == self._run
        self._run_s += self._period_s * self.running
        cycles = self._run_s / self._cycle_s
        whole_cycles = np.floor(cycles)
        self.parts = self._first_part + whole_cycles
        self.loaded = self.running & (cycles - whole_cycles < self._load_share)

"""What machines are doing: their state, and the work and the parts that follow from it."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ingest.simulator.description import DutySection
from ingest.simulator.states import States, follow_of

_DAY_US = 86_400_000_000


class DutyCycle:
    """`machines` machines, one step per `period_s`.

    A machine stays in a state for a random time. While it runs it makes one part per cycle, under load for a share
    of the cycle and idling for the rest. The arrays have one entry per machine and are those of the last step.
    """

    def __init__(
        self, described: DutySection, machines: int, period_s: float, rng: Generator, start_us: int = 0
    ) -> None:
        """start_us: the plant's, from which a planned stop is counted."""
        self.names = tuple(described.states)
        self._run = self.names.index(described.run)
        self._period_s = period_s
        stay_s = [max(stay_us / 1e6, period_s) for stay_us in described.states.values()]
        self._states = States(machines, period_s, stay_s, follow_of(self.names, described.next), rng)
        self._cycle_s = rng.uniform(*described.cycle_s, machines)
        self._load_share = rng.uniform(*described.load_share, machines)
        self._first_part = rng.integers(0, 50_000, machines).astype(np.float64)
        self._run_s = rng.uniform(0.0, 60.0, machines)
        self._breaks, self._stop, self._start_us = described.breaks, described.stop, start_us
        self._rest = next(at for at, name in enumerate(self.names) if name != described.run)
        within_us = described.breaks.within if described.breaks is not None else 0
        # Of numbers of its own: what machines do otherwise is the same with breaks and without.
        self._later_us = rng.spawn(1)[0].integers(0, within_us + 1, machines)
        self.state = self._states.state
        self.running: NDArray[np.bool_] = self.state == self._run
        self.loaded: NDArray[np.bool_] = np.zeros(machines, np.bool_)
        self.parts: NDArray[np.float64] = self._first_part.copy()

    def stopped(self, at_us: int) -> bool:
        """Whether it is the time of the planned stop."""
        after_us = at_us - self._start_us
        return self._stop is not None and self._stop.after <= after_us < self._stop.after + self._stop.last

    def step(self, at_us: int) -> None:
        """Move all machines on by one period, to this time."""
        self._states.step()
        self.state = np.where(self._resting(at_us), self._rest, self._states.state)
        self.running = self.state == self._run
        self._run_s += self._period_s * self.running
        cycles = self._run_s / self._cycle_s
        whole_cycles = np.floor(cycles)
        self.parts = self._first_part + whole_cycles
        self.loaded = self.running & (cycles - whole_cycles < self._load_share)

    def _resting(self, at_us: int) -> NDArray[np.bool_]:
        resting = np.full(len(self._later_us), self.stopped(at_us))
        if self._breaks is not None:
            time_us = (at_us - self._later_us) % _DAY_US
            for begin_us in self._breaks.at:
                # Over midnight, too.
                resting |= (time_us - begin_us) % _DAY_US < self._breaks.last
        return resting

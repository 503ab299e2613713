"""What a machine is doing: its state, and the current and parts that follow from it."""

from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

STATES: Final = ("idle", "run", "setup", "fault")
RUN: Final = STATES.index("run")

_MEAN_STAY_S: Final = np.array([60.0, 600.0, 90.0, 45.0])
# Row: the state that is left; column: the state entered next.
_NEXT: Final = np.array(
    [
        [0.0, 0.8, 0.2, 0.0],
        [0.6, 0.0, 0.25, 0.15],
        [0.1, 0.9, 0.0, 0.0],
        [0.5, 0.0, 0.5, 0.0],
    ]
)
_NEXT_CUMULATIVE: Final = _NEXT.cumsum(axis=1)
_FIRST: Final = (0.1, 0.75, 0.1, 0.05)
_NO_LOAD_SHARE: Final = 0.3
_CURRENT_SIGMA_A: Final = 0.08
_MAX_NOISE_SIGMAS: Final = 4.5


class DutyCycle:
    """State, current and part count of `machines` machines, one step per `period_s`.

    A machine stays in a state for a random time. While it runs it makes one part per cycle, under
    load for a share of the cycle and idling for the rest; when it does not run it draws no current.
    The arrays have one entry per machine and are those of the last step.
    """

    def __init__(self, machines: int, period_s: float, rng: Generator) -> None:
        self._rng = rng
        self._period_s = period_s
        self._leave = 1.0 - np.exp(-period_s / _MEAN_STAY_S)
        self._cycle_s = rng.uniform(6.0, 30.0, machines)
        self._load_share = rng.uniform(0.4, 0.7, machines)
        self._load_a = rng.uniform(8.0, 20.0, machines)
        self._first_part = rng.integers(0, 50_000, machines).astype(np.float64)
        self._run_s = rng.uniform(0.0, 60.0, machines)
        self.state: NDArray[np.int64] = rng.choice(len(STATES), size=machines, p=_FIRST).astype(np.int64)
        self.running: NDArray[np.bool_] = self.state == RUN
        self.current_a: NDArray[np.float64] = np.zeros(machines)
        self.parts: NDArray[np.float64] = self._first_part.copy()

    def step(self) -> None:
        """Move all machines on by one period."""
        self._change_states()
        self.running = self.state == RUN
        self._run_s += self._period_s * self.running
        cycles = self._run_s / self._cycle_s
        whole_cycles = np.floor(cycles)
        self.parts = self._first_part + whole_cycles
        loaded = cycles - whole_cycles < self._load_share
        noise = np.clip(self._rng.standard_normal(len(cycles)), -_MAX_NOISE_SIGMAS, _MAX_NOISE_SIGMAS)
        drawn = self._load_a * np.where(loaded, 1.0, _NO_LOAD_SHARE) + _CURRENT_SIGMA_A * noise
        self.current_a = np.where(self.running, drawn, 0.0)

    def _change_states(self) -> None:
        chance = self._rng.random(len(self.state))
        leave = self._leave[self.state]
        leaving = np.flatnonzero(chance < leave)
        # Given that it is below `leave`, chance / leave is uniform again: one draw serves both choices.
        choice = chance[leaving] / leave[leaving]
        cumulative = _NEXT_CUMULATIVE[self.state[leaving]]
        entered = (cumulative <= choice[:, None]).sum(axis=1)
        self.state = self.state.copy()
        self.state[leaving] = np.minimum(entered, len(STATES) - 1)

"""Things that are in one of a few states and go from one to another: machines, switches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray


class States:
    """`count` things, one step per `period_s`. `state` has one entry each: that of the last step.

    stay_s: the mean time in each state. follow: weights of what comes after, by state; a row per state.
    """

    def __init__(
        self,
        count: int,
        period_s: float,
        stay_s: Sequence[float],
        follow: NDArray[np.float64],
        rng: Generator,
    ) -> None:
        self._rng = rng
        self._leave = 1.0 - np.exp(-period_s / np.asarray(stay_s, np.float64))
        self._follow = (follow / follow.sum(axis=1, keepdims=True)).cumsum(axis=1)
        # It starts as it stays: as often in each state as in the long run.
        lasting = _stationary(follow) * np.asarray(stay_s, np.float64)
        self.state: NDArray[np.int64] = rng.choice(len(lasting), size=count, p=lasting / lasting.sum()).astype(np.int64)

    def step(self) -> None:
        """Move on by one period."""
        chance = self._rng.random(len(self.state))
        leave = self._leave[self.state]
        leaving = np.flatnonzero(chance < leave)
        # Given that it is below `leave`, chance / leave is uniform again: one draw serves both choices.
        choice = chance[leaving] / leave[leaving]
        entered = (self._follow[self.state[leaving]] <= choice[:, None]).sum(axis=1)
        self.state = self.state.copy()
        self.state[leaving] = np.minimum(entered, self._follow.shape[1] - 1)


def follow_of(states: Sequence[str], after: Mapping[str, Mapping[str, float]]) -> NDArray[np.float64]:
    """Weights as a matrix; a state that `after` does not name goes to any other alike.

    >>> follow_of(["a", "b", "c"], {"a": {"b": 2.0}}).tolist()
    [[0.0, 2.0, 0.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
    """
    matrix = 1.0 - np.eye(len(states))
    for row, state in enumerate(states):
        if state in after:
            matrix[row] = [after[state].get(one, 0.0) for one in states]
    return matrix


def _stationary(follow: NDArray[np.float64]) -> NDArray[np.float64]:
    # Half a step at a time: a chain that only alternates would never settle.
    step = (follow / follow.sum(axis=1, keepdims=True) + np.eye(len(follow))) / 2
    settled: NDArray[np.float64] = np.linalg.matrix_power(step, 1_024)[0]
    return settled

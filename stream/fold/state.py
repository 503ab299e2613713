"""The state of one partition: struct of arrays, one row per slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.fold.alerts import EPISODE
from stream.fold.gate import Verdict
from stream.fold.plan import Plan
from stream.fold.rows import SENSOR
from stream.fold.slots import SlotTable
from stream.fold.windows import NO_PANE, PANE

_FIRST_SLOTS = 64


@dataclass(frozen=True, slots=True)
class Frozen:
    """A copy of a state at one offset. Everything that is state is here: two states are equal iff these are.

    arrays: by name, as many rows as there are names. scalars: what JSON can hold.
    """

    next_offset: int
    now_us: int
    names: list[str]
    texts: dict[int, str]
    scalars: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


class LayoutError(Exception):
    """A frozen state that does not fit the plan it is said to be of."""


class PartitionState:
    """Struct of arrays."""

    def __init__(self, plan: Plan) -> None:
        self.now_us = 0
        """The partition's clock: the latest arrival time."""
        self.next_offset = 0
        self.slots = SlotTable()
        self.texts: dict[int, str] = {}
        """The newest reading's text by slot, where it has one: enum and text sensors."""
        self.counts = np.zeros(len(Verdict), np.int64)
        """Readings by verdict."""
        self.class_of = np.zeros(_FIRST_SLOTS, np.int32)
        self.sensors = np.zeros(_FIRST_SLOTS, SENSOR)
        self.panes = np.zeros((_FIRST_SLOTS, plan.panes), PANE)
        self.panes["id"] = NO_PANE
        self.episodes = np.zeros((_FIRST_SLOTS, plan.rule_rows.shape[1]), EPISODE)
        self.banks = [np.zeros(_FIRST_SLOTS, used.model.state) for used in plan.models]
        self._bank_names = [used.name for used in plan.models]

    @property
    def names(self) -> list[str]:
        """Sensors by slot; "" where there is none."""
        return self.slots.names

    def grow(self) -> None:
        """Twice as many slots."""
        self.class_of = _doubled(self.class_of)
        self.sensors = _doubled(self.sensors)
        fresh = self.panes.shape[0]
        self.panes = _doubled(self.panes)
        self.panes["id"][fresh:] = NO_PANE
        self.episodes = _doubled(self.episodes)
        self.banks = [_doubled(rows) for rows in self.banks]

    def clear(self, slot: int) -> None:
        """Make a row as if no sensor had ever had it."""
        for array in self._arrays().values():
            array[slot] = np.zeros((), array.dtype)
        self.panes["id"][slot] = NO_PANE
        self.texts.pop(slot, None)

    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in self._arrays().values())

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """All that has a row per slot, by name."""
        banks = {f"bank.{name}": rows for name, rows in zip(self._bank_names, self.banks, strict=True)}
        return {
            "class_of": self.class_of,
            "sensors": self.sensors,
            "panes": self.panes,
            "episodes": self.episodes,
            **banks,
        }

    def freeze(self) -> Frozen:
        """A copy, while nothing folds: as quick as memory is."""
        rows = self.slots.rows
        return Frozen(
            self.next_offset,
            self.now_us,
            list(self.names),
            dict(self.texts),
            {"counts": self.counts.tolist()},
            {name: array[:rows].copy() for name, array in self._arrays().items()},
        )

    @classmethod
    def thaw(cls, plan: Plan, frozen: Frozen) -> PartitionState:
        """The state that was frozen under this plan. Raises LayoutError where it does not fit the plan."""
        state = cls(plan)
        rows = len(frozen.names)
        while state.class_of.size < rows:
            state.grow()
        own = state._arrays()
        if own.keys() != frozen.arrays.keys():
            raise LayoutError(f"has arrays {sorted(frozen.arrays)}, not {sorted(own)}")
        for name, array in own.items():
            found = frozen.arrays[name]
            if found.dtype != array.dtype or found.shape != (rows, *array.shape[1:]):
                raise LayoutError(f"{name} is {found.shape} of {found.dtype}")
            array[:rows] = found
        class_of = state.class_of[:rows]
        if rows and not 0 <= int(class_of.min()) <= int(class_of.max()) < len(plan.classes):
            raise LayoutError("a class that there is not")
        counts = np.array(frozen.scalars["counts"], np.int64)
        if counts.shape != state.counts.shape:
            raise LayoutError("other verdicts")
        state.counts = counts
        state.slots = SlotTable(frozen.names)
        if len(state.slots) != sum(name != "" for name in frozen.names):
            raise LayoutError("a sensor has two slots")
        state.texts = dict(frozen.texts)
        state.now_us, state.next_offset = frozen.now_us, frozen.next_offset
        return state

    def digest_parts(self) -> list[bytes]:
        """Everything that is state, as bytes: two states are equal if and only if these are."""
        frozen = self.freeze()
        return [
            b"%d" % frozen.now_us,
            "\0".join(frozen.names).encode(),
            repr(sorted(frozen.texts.items())).encode(),
            repr(sorted(frozen.scalars.items())).encode(),
            *(array.tobytes() for _, array in sorted(frozen.arrays.items())),
        ]


def _doubled(array: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([array, np.zeros_like(array)])

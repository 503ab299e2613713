"""The state of one partition: struct of arrays, one row per slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import run_of
from stream.fold.alerts import EPISODE
from stream.fold.backlog import OverAndDone
from stream.fold.budget import POOL, refresh, wrong_pools
from stream.fold.checking import scalars_of, wrong_rows, wrong_sketches
from stream.fold.clock import AWAY_US, Clock
from stream.fold.counters import Turn
from stream.fold.gate import Verdict
from stream.fold.kept import KeptRows, names_of
from stream.fold.levels import LEVEL
from stream.fold.masks import Masks
from stream.fold.plan import Plan
from stream.fold.quantiles import Sketches
from stream.fold.rows import SENSOR
from stream.fold.silence import SILENCE
from stream.fold.slots import FREE, SlotTable
from stream.fold.windows import NO_PANE, PANE

_FIRST_SLOTS = 64


@dataclass(frozen=True, slots=True)
class Frozen:
    """A copy of a state at one offset. Everything that is state is here: two states are equal iff these are.

    arrays: by name, as many rows as there are names, but of sketches as many as are used. scalars: what JSON can hold.
    """

    next_offset: int
    now_us: int
    names: list[str]
    texts: dict[int, str]
    scalars: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


class LayoutError(Exception):
    """A frozen state that no fold of the plan it is said to be of has made."""


class PartitionState:
    """Struct of arrays."""

    def __init__(self, plan: Plan, slots: int = _FIRST_SLOTS) -> None:
        """slots: rows to begin with."""
        self.clock = Clock()
        self.over = OverAndDone()
        """Alert episodes that were over when they were learned of."""
        self.alive_us = 0
        """For how long the log has gone on: see `forgetting.py`."""
        self.next_offset = 0
        self.slots = SlotTable()
        self.texts: dict[int, str] = {}
        """The newest reading's text by slot, where it has one: enum and text sensors."""
        self.counts = np.zeros(len(Verdict), np.int64)
        """Readings by verdict."""
        self.turns = np.zeros(len(Turn), np.int64)
        """Counters that fell, by why."""
        self.class_of = np.zeros(slots, np.int32)
        self.heard_us = np.zeros(slots, np.int64)
        """`alive_us` when the latest reading of each came."""
        self.sensors = np.zeros(slots, SENSOR)
        self.panes = np.zeros((slots, plan.panes), PANE)
        self.panes["id"] = NO_PANE
        self.episodes = np.zeros((slots, plan.rule_rows.shape[1]), EPISODE)
        self.banks = [np.zeros(slots, used.model.state) for used in plan.models]
        self._bank_names = [used.bank for used in plan.models]
        self.runs = [run_of(used.model) for used in plan.models]
        """The models' loops over a batch. What they keep beside the banks follows from these."""
        self.sketches = Sketches(plan.quantiles_us, slots)
        self.pools = np.zeros(len(plan.pool_names), POOL)
        """The budget of alerts by class, see `budget.py`."""
        self.levels = np.zeros(slots, LEVEL)
        self.kept = KeptRows()
        """What models knew before a level changed."""
        self.may_hold = False
        """Whether any level may have been rejected: no state, but known from it."""
        self.may_be_due = False
        """Whether something may be to do about levels when the clock moves on: likewise."""
        self.masks = Masks(self.slots)
        """Maintenance windows."""
        self.silences = np.zeros(slots, SILENCE)

    @property
    def now_us(self) -> int:
        """The partition's clock."""
        return self.clock.now_us

    def hear(self, at_us: int) -> None:
        """Move the clock. Where it goes back, nothing stays that came after it."""
        before_us, self.clock = self.clock.now_us, self.clock.heard(at_us)
        if self.now_us > before_us + AWAY_US:
            # Those of whom it was heard that the clock is late.
            came_us = self.sensors["last_now_us"]
            came_us[came_us > before_us] = self.now_us
        elif self.now_us < before_us:
            np.minimum(self.sensors["last_now_us"], self.now_us, out=self.sensors["last_now_us"])
            self.over.went_back(self.now_us)

    @property
    def names(self) -> list[str]:
        """Sensors by slot; "" where there is none."""
        return self.slots.names

    def grow(self) -> None:
        """Twice as many slots."""
        self.class_of = _doubled(self.class_of)
        self.heard_us = _doubled(self.heard_us)
        self.sensors = _doubled(self.sensors)
        self.panes = _doubled(self.panes)
        self.episodes = _doubled(self.episodes)
        self.banks = [_doubled(rows) for rows in self.banks]
        self.levels = _doubled(self.levels)
        self.sketches.grow()
        self.silences = _doubled(self.silences)

    def share_budget(self, plan: Plan, alerts_per_day: float) -> None:
        """Make the budgets of alerts anew, as of now; alerts_per_day: this partition's."""
        rows = self.slots.rows
        named = np.fromiter((name != FREE for name in self.names), np.bool_, rows)
        pool = plan.pool_of[self.class_of[:rows][named]]
        sensors = np.bincount(pool, minlength=self.pools.size)
        refresh(self.pools, sensors, plan.pool_weight, alerts_per_day, self.now_us)

    def clear(self, slot: int) -> None:
        """Make a row as if no sensor had ever had it."""
        for array in self._arrays().values():
            array[slot] = np.zeros((), array.dtype)
        self.panes["id"][slot] = NO_PANE
        self.sketches.free(slot)
        self.texts.pop(slot, None)
        self.kept.drop(slot)

    def retire(self, slot: int) -> None:
        """A sensor is gone: its slot is free."""
        self.clear(slot)
        self.slots.free(slot)

    def row(self, slot: int) -> dict[str, NDArray[Any]]:
        """A copy of a sensor's row of each array, by name: each of one row."""
        return {name: array[slot : slot + 1].copy() for name, array in self._arrays().items()}

    def put(self, slot: int, rows: dict[str, NDArray[Any]]) -> None:
        """Give a sensor these rows; what is not among them stays, but in another class quantiles begin anew, and what
        its models knew before is not kept.
        """
        arrays, before = self._arrays(), int(self.class_of[slot])
        self.may_hold = self.may_be_due = True
        for name, row in rows.items():
            arrays[name][slot] = row[0]
        class_index = int(self.class_of[slot])
        if class_index != before:
            self.sketches.free(slot)
            self.kept.drop(slot)
        self.sketches.give(slot, class_index, self.sensors[slot])

    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in self._arrays().values()) + self.sketches.nbytes()

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """All that has a row per slot, by name."""
        banks = {f"bank.{name}": rows for name, rows in self._banks().items()}
        return {
            "levels": self.levels,
            "class_of": self.class_of,
            "heard_us": self.heard_us,
            "sensors": self.sensors,
            "panes": self.panes,
            "episodes": self.episodes,
            "silences": self.silences,
            **banks,
        }

    def _banks(self) -> dict[str, NDArray[Any]]:
        return dict(zip(self._bank_names, self.banks, strict=True))

    def freeze(self) -> Frozen:
        """A copy, while nothing folds: as quick as memory is."""
        rows = self.slots.rows
        return Frozen(
            self.next_offset,
            self.now_us,
            list(self.names),
            dict(self.texts),
            {
                "counts": self.counts.tolist(),
                "turns": self.turns.tolist(),
                "alive_us": self.alive_us,
                "clock": {**self.clock._asdict(), "against": list(self.clock.against or ())},
                "over": self.over.frozen(),
                "masks": self.masks.frozen(),
            },
            {name: array[:rows].copy() for name, array in self._arrays().items()}
            | self.sketches.frozen(rows)
            | self.kept.frozen(self._banks())
            | {"pools": self.pools.copy()},
        )

    @classmethod
    def thaw(cls, plan: Plan, frozen: Frozen) -> PartitionState:
        """The state that was frozen under this plan.

        Raises LayoutError where it does not fit the plan, or no fold has ever made the like: see `checking.py`.
        """
        rows = len(frozen.names)
        # As large as it would have grown to.
        state = cls(plan, max(_FIRST_SLOTS, 1 << (rows - 1).bit_length()))
        try:
            state._thaw_scalars(frozen)
            "".join(frozen.names).encode()
            state.slots = SlotTable(frozen.names)
            state.masks = Masks(state.slots, frozen.scalars.get("masks", ()))
        except ValueError as error:
            raise LayoutError(str(error)) from error
        state._thaw_rows(plan, frozen)
        return state

    def _thaw_scalars(self, frozen: Frozen) -> None:
        """Raises LayoutError, ValueError."""
        scalars = scalars_of(frozen.scalars)
        if len(scalars.counts) != self.counts.size or len(scalars.turns) != self.turns.size:
            raise LayoutError("other verdicts")
        if not 0 <= frozen.next_offset < 2**63:
            raise LayoutError("an offset that there is not")
        self.counts[:], self.turns[:] = scalars.counts, scalars.turns
        self.clock = scalars.clock_told()
        self.over = OverAndDone(frozen.scalars["over"])
        self.alive_us = scalars.alive_us
        self.next_offset = frozen.next_offset

    def _thaw_rows(self, plan: Plan, frozen: Frozen) -> None:
        """Raises LayoutError. Clock and names are there already."""
        rows, found = len(frozen.names), frozen.arrays
        if len(self.slots) != sum(name != FREE for name in frozen.names):
            raise LayoutError("a sensor has two slots")
        own = self._arrays()
        if own.keys() | self.sketches.frozen(0).keys() | names_of(self._bank_names) | {"pools"} != found.keys():
            raise LayoutError(f"has arrays {sorted(found)}, not {sorted(own)}")
        if found["pools"].dtype != POOL or found["pools"].shape != self.pools.shape:
            raise LayoutError("budgets of other classes")
        if wrong := wrong_pools(found["pools"]):
            raise LayoutError(wrong)
        self.pools = found["pools"].copy()
        for name, array in own.items():
            if found[name].dtype != array.dtype or found[name].shape != (rows, *array.shape[1:]):
                raise LayoutError(f"{name} is {found[name].shape} of {found[name].dtype}")
            array[:rows] = found[name]
        named = np.fromiter((name != FREE for name in frozen.names), np.bool_, rows)
        self.may_hold = self.may_be_due = True
        if wrong := self.kept.thaw(found, self._banks(), named):
            raise LayoutError(wrong)
        own, sketches = {name: array[:rows] for name, array in own.items()}, self.sketches
        if wrong := wrong_rows(plan, own, named, self.alive_us) or sketches.thaw(found, rows):
            raise LayoutError(wrong)
        if wrong := wrong_sketches(plan.quantiles_us, sketches.of[:rows], sketches.rows, own["class_of"], named):
            raise LayoutError(wrong)
        if any(not 0 <= slot < rows or not named[slot] for slot in frozen.texts):
            raise LayoutError("a text of nobody")
        self.texts = dict(frozen.texts)

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
    # What is not written to takes no memory yet: zeros are the system's.
    grown = np.zeros((2 * array.shape[0], *array.shape[1:]), array.dtype)
    grown[: array.shape[0]] = array
    return grown

"""The sensors of a group that read with one period: a step of all of them at a time, faults included."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from ingest.simulator.columns import VALUES, Values
from ingest.simulator.duty import DutyCycle
from ingest.simulator.faults.catalogue import KINDS, Befalls, Delivery
from ingest.simulator.faults.fault import Fault
from ingest.simulator.roster import Roster
from ingest.simulator.rows import Rows, join

_MS_US = 1_000


def generator(seed: int, *names: str) -> Generator:
    """Random numbers of somebody's own: what one draws moves nothing of the others'."""
    return default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


@dataclass(slots=True)
class _Active:
    """A fault that is going on, the columns it concerns, and what the first of them measured at its beginning."""

    fault: Fault
    columns: NDArray[np.int64]
    first: float | None = None


class Cluster:
    """Sensors `numbers` (ascending), all of one group, read at `phase_us + k * period_us`, from k = 0.

    phase_us: per sensor, from the first step's beginning, which is `start_us`. sender: sensors with one number here
    send together, so that they are late together. clock_us: how far its clock is ahead.
    """

    def __init__(
        self,
        roster: Roster,
        numbers: NDArray[np.int64],
        period_us: int,
        start_us: int,
        seed: int,
        phase_us: NDArray[np.int64],
        sender: NDArray[np.int64],
        clock_us: NDArray[np.int64],
        duty: DutyCycle,
    ) -> None:
        self.numbers, self.period_us, self.phase_us = numbers, period_us, phase_us
        self.step_us = start_us
        self._clock_us, self._sender = clock_us, sender
        group = roster.groups[int(roster.group[numbers[0]])]
        self._jitter_ms = group.jitter // _MS_US
        self._rng = generator(seed, group.name, str(period_us), "jitter")
        template = roster.template[numbers]
        follows = any(roster.templates[at].said.follows_duty for at in np.unique(template).tolist())
        self._duty = duty if follows else None
        self._blocks: list[tuple[NDArray[np.int64], Values]] = []
        self.scale = np.full(len(numbers), np.nan)
        self._decimals = np.zeros(len(numbers), np.int64)
        self._deadband = np.full(len(numbers), -1.0)
        for at in np.unique(template).tolist():
            columns, one = np.flatnonzero(template == at), roster.templates[at]
            rng = generator(seed, group.name, one.name, "values")
            values = VALUES[one.said.kind](
                one.said, len(columns), period_us / 1e6, rng, duty, roster.machine[numbers[columns]]
            )
            self._blocks.append((columns, values))
            self.scale[columns] = values.scale
            self._decimals[columns] = one.said.decimals if one.said.kind == "gauge" else 0
            if one.said.is_on_change:
                self._deadband[columns] = one.said.deadband
        self._changing = np.flatnonzero(self._deadband >= 0.0)
        self._told = np.full(len(self._changing), np.nan)
        self._order = np.lexsort((numbers, phase_us))
        self._active: list[_Active] = []

    @property
    def is_periodic(self) -> NDArray[np.bool_]:
        """Of each sensor: whether it is sent whether or not it changed."""
        return self._deadband < 0.0

    def step(self, faults: Sequence[Fault], whom: Callable[[Fault], NDArray[np.int64]]) -> Rows:
        """All rows of the next step, and those that a fault makes late beyond it.

        faults: those that start within it. whom: the numbers of the sensors that a fault concerns, here and elsewhere.
        """
        if self._duty is not None:
            self._duty.step(self.step_us)
        value, other = self._values()
        nominal_us = self.step_us + self.phase_us
        for fault in faults:
            columns = np.flatnonzero(np.isin(self.numbers, whom(fault))).astype(np.int64)
            if len(columns):
                self._active.append(_Active(fault, columns))
        at_us, order = nominal_us, self._order
        if self._jitter_ms:
            late_ms = self._rng.integers(0, self._jitter_ms + 1, int(self._sender.max()) + 1)
            at_us = nominal_us + late_ms[self._sender] * _MS_US
            order = np.lexsort((self.numbers, at_us))
        ts_us = at_us + self._clock_us
        sent = np.ones(len(value), np.bool_)
        if self._active:
            extra, at_us, ts_us = self._afflict(value, nominal_us, at_us, ts_us, sent)
        else:
            extra = []
        self._leave_out_what_is_as_it_was(value, sent)
        rows = Rows(self.numbers, at_us, ts_us, value, other)
        found = rows.take(order[sent[order]])
        if extra:
            doubled = np.concatenate([columns for columns, _ in extra])
            delays = np.concatenate([np.full(len(columns), delay_us) for columns, delay_us in extra])
            again = rows.take(doubled)
            late = Rows(again.sensor, again.at_us + delays, again.ts_us, again.value, again.other)
            found = join([found, late]).in_order()
        self._end_faults()
        self.step_us += self.period_us
        return found

    def _values(self) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
        value = np.empty(len(self.numbers))
        other = np.full(len(self.numbers), None, dtype=object)
        for columns, values in self._blocks:
            found = values.step(self.step_us)
            value[columns] = found
            words = values.words(found)
            if words is not None:
                for column, word in zip(columns.tolist(), words, strict=True):
                    other[column] = word
        return value, other

    def _leave_out_what_is_as_it_was(self, value: NDArray[np.float64], sent: NDArray[np.bool_]) -> None:
        changing = self._changing
        if not len(changing):
            return
        now = value[changing]
        # Not `>`: at the first step nothing was told yet (NaN), and that has to be a change.
        moved = ~(np.abs(now - self._told) <= self._deadband[changing])
        self._told = np.where(moved, now, self._told)
        sent[changing] &= moved

    # --- faults ---------------------------------------------------------------------------------------------------

    def _afflict(
        self,
        value: NDArray[np.float64],
        nominal_us: NDArray[np.int64],
        at_us: NDArray[np.int64],
        ts_us: NDArray[np.int64],
        sent: NDArray[np.bool_],
    ) -> tuple[list[tuple[NDArray[np.int64], int]], NDArray[np.int64], NDArray[np.int64]]:
        """Change values and what is sent in place; returns rows to send again (columns, delay) and both times."""
        extra: list[tuple[NDArray[np.int64], int]] = []
        ts_us = ts_us.copy()
        for active in self._active:
            fault, kind = active.fault, KINDS[active.fault.kind]
            # Values are wrong turn by turn; what is cut off is so from one moment to another.
            moment_us = (at_us if kind.delivery is Delivery.LOST else nominal_us)[active.columns]
            within = moment_us >= fault.start_us
            if not kind.for_ever:
                within &= moment_us < fault.end_us
            columns = active.columns[within]
            if not len(columns):
                continue
            if kind.value is not None:
                column = int(columns[0])
                measured = float(value[column])
                if active.first is None:
                    active.first = measured
                said = kind.value(fault, int(nominal_us[column]), measured, active.first)
                value[column] = said if fault.kind == "unit_swap" else round(said, int(self._decimals[column]))
            elif kind.delivery is Delivery.LOST:
                sent[columns] = False
            elif kind.delivery is Delivery.TWICE:
                extra.append((columns[sent[columns]], max(_MS_US, self.period_us // 3 // _MS_US * _MS_US)))
            elif kind.delivery is Delivery.LATE:
                extra.append((columns[sent[columns]], self.period_us + self.period_us // 2 // _MS_US * _MS_US))
                sent[columns] = False
            elif kind.befalls is Befalls.DEVICES:
                ts_us[columns] += round(fault.magnitude * 1e6)
        return extra, at_us, ts_us

    def _end_faults(self) -> None:
        end_us = self.step_us + self.period_us
        lasting = []
        for active in self._active:
            kind = KINDS[active.fault.kind]
            if kind.for_ever or active.fault.end_us > end_us:
                lasting.append(active)
            elif kind.delivery is Delivery.LOST:
                # Whoever comes back says how things are.
                self._told[np.isin(self._changing, active.columns)] = np.nan
        self._active = lasting


def phases(senders: int, period_us: int, jitter_us: int, rng: Generator) -> NDArray[np.int64]:
    """A moment within the period for each sender, in whole ms, so that load is even and jitter stays within.

    >>> sorted(phases(4, 1_000_000, 0, default_rng(1)).tolist())
    [0, 250000, 500000, 750000]
    """
    room_ms = (period_us - jitter_us) // _MS_US
    return rng.permutation(senders).astype(np.int64) * room_ms // senders * _MS_US

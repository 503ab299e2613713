"""When which fault befalls whom: endless, decided by the seed."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingest.simulator.faults.catalogue import KINDS, Befalls
from ingest.simulator.faults.fault import Fault

# A tiny plant may have nobody healthy to offer: a slot asks this many and then passes.
_MAX_CANDIDATES: Final = 8
# What reads more rarely than this has longer faults, so that they are more than one reading.
_SLOW_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Targets:
    """Whom faults may befall: one entry per sensor in each column.

    `scale` is in the sensor's unit; NaN where it has none. The readings are at `phase_us + k * period_us`. A sensor
    is healthy for `warm_up_us` before its first fault and between two. `may_fall` says whether a fault may be
    negative. `devices` has the path of each device and the numbers of its sensors. `able` has the numbers of
    the sensors (for devices: of the devices) that a sort of faults can befall.
    """

    paths: Sequence[str]
    units: Sequence[str]
    scale: NDArray[np.float64]
    phase_us: NDArray[np.int64]
    period_us: NDArray[np.int64]
    warm_up_us: NDArray[np.int64]
    may_fall: NDArray[np.bool_]
    devices: Sequence[tuple[str, NDArray[np.int64]]]
    able: Mapping[Befalls, NDArray[np.int64]]


class FaultSchedule:
    """One fault in every `every_s` (at least 0.001) from `start_us` + the shortest warm-up on, for ever.

    Each starts at a reading of its sensor, of a device: of its first sensor. Faults of one sensor never overlap: it
    first gets its warm-up of healthy readings again, so that whoever watches it has something to compare with. Where
    no sensor is free, a fault is left out. The same arguments give the same faults, however often and in whatever
    steps they are asked for. A planned fault is kept, some 250 bytes each.

    Raises ValueError if no fault of these kinds can befall anybody, and for `every_s` below 0.001.
    """

    def __init__(self, targets: Targets, kinds: Sequence[str], seed: int, start_us: int, every_s: float = 20.0) -> None:
        self._kinds = [kind for kind in kinds if targets.able[KINDS[kind].befalls].size]
        if not self._kinds:
            raise ValueError(f"no sensor of this plant can have these faults: {', '.join(kinds)}")
        if not (math.isfinite(every_s) and every_s >= 0.001):
            raise ValueError(f"every_s must be at least 0.001, not {every_s}")
        self._targets = targets
        self._shares_up_to = tuple(accumulate(KINDS[kind].share for kind in self._kinds))
        self._rng = np.random.default_rng(seed)
        self._every_us = round(every_s * 1e6)
        self._next_slot_us = start_us + int(targets.warm_up_us.min())
        self._free_from_us = start_us + targets.warm_up_us
        self._faults: list[Fault] = []

    def starting(self, from_us: int, until_us: int) -> list[Fault]:
        """The faults with `from_us <= start_us < until_us`, by start and then by path."""
        # A fault never starts before its slot, so the slots that begin before until_us are enough.
        while self._next_slot_us < until_us:
            fault = self._plan(self._next_slot_us)
            self._next_slot_us += self._every_us
            if fault is not None:
                insort(self._faults, fault, key=lambda planned: (planned.start_us, planned.path))
        first = bisect_left(self._faults, from_us, key=lambda planned: planned.start_us)
        last = bisect_left(self._faults, until_us, key=lambda planned: planned.start_us)
        return self._faults[first:last]

    def _plan(self, slot_us: int) -> Fault | None:
        # Always the same number of draws, whatever comes of them: the next slot does not depend on it.
        when, who, which, size, stay, sign = (float(draw) for draw in self._rng.random(6))
        wanted_us = slot_us + int(when * self._every_us)
        # The last kind takes what rounding leaves over.
        at = bisect_right(self._shares_up_to, which * self._shares_up_to[-1], hi=len(self._kinds) - 1)
        name = self._kinds[at]
        kind, targets = KINDS[name], self._targets
        able = targets.able[kind.befalls]
        for candidate in range(min(len(able), _MAX_CANDIDATES)):
            number = int(able[(int(who * len(able)) + candidate) % len(able)])
            path, concerned = self._whom(kind.befalls, number)
            first = int(concerned[0])
            start_us = self._next_reading_us(first, wanted_us)
            if start_us >= self._free_from_us[concerned].max():
                break
        else:
            return None
        may_fall = bool(targets.may_fall[first])
        magnitude = 0.0
        if kind.sigmas is not None:
            magnitude = _between(kind.sigmas, size) * float(targets.scale[first])
        elif kind.seconds is not None:
            magnitude, may_fall = float(round(_between(kind.seconds, size))), True
        if sign < 0.5 and may_fall:
            magnitude = -magnitude
        slow = max(1.0, float(targets.period_us[concerned].max()) / 1e6 / _SLOW_S)
        stay_us = 1000 * round(1000.0 * slow * _between(kind.stay_s, stay))
        end_us = self._next_reading_us(first, start_us + max(1, stay_us))
        self._free_from_us[concerned] = end_us + targets.warm_up_us[concerned]
        return Fault(name, path, number, start_us, end_us, magnitude, may_fall, targets.units[first])

    def _whom(self, befalls: Befalls, number: int) -> tuple[str, NDArray[np.int64]]:
        if befalls is Befalls.DEVICES:
            return self._targets.devices[number]
        return self._targets.paths[number], np.array([number])

    def _next_reading_us(self, sensor: int, at_us: int) -> int:
        origin_us, period_us = int(self._targets.phase_us[sensor]), int(self._targets.period_us[sensor])
        return origin_us + -(-(at_us - origin_us) // period_us) * period_us


def _between(limits: tuple[float, float], share: float) -> float:
    low, high = limits
    return low + share * (high - low)

"""Faults that befall the periodic gauges of a plant: an endless, seeded schedule, and its truth.

A *spike* is one reading far off; a *drift* ramps up over `DRIFT_RAMP_S`, stays, and is gone at its
end; in a *noise burst* every reading is far off, each by another amount and to either side; a *level
shift* is a step that stays and goes back. They are added to what the sensor measures anyway, which may
be `signals.HEALTHY_SIGMAS` off to the other side: even then a spike and each reading of a noise burst
are 16 of the sensor's own sigmas from its working point, a grown drift and a level shift 20, at least
10 beyond anything it measures in health.
"""

import csv
import hashlib
import math
import os
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

DRIFT_RAMP_S: Final = 120.0
"""Time in which a drift grows from nothing to its magnitude."""
# The least of a noise burst's readings, as a share of its magnitude: no smaller than a spike.
_NOISE_LEAST: Final = 0.7
# A tiny plant may have no healthy gauge to offer: a slot asks this many and then passes.
_MAX_CANDIDATES: Final = 8
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a sensor during `[start_us, end_us)`.

    `kind` is a key of `KINDS`. `magnitude` is signed, in the sensor's unit: the largest the fault gets. A
    noise burst goes to either side, or to the magnitude's side alone if the sensor's readings not `may_fall`.
    """

    sensor: str
    kind: str
    start_us: int
    end_us: int
    magnitude: float
    may_fall: bool = True

    def offset_at(self, at_us: int) -> float:
        """What the fault adds to a reading at this time: the same, whenever and however often it is asked.

        >>> drift = Fault("demo/press/speed", "drift", 0, 300_000_000, 50.0)
        >>> [drift.offset_at(s * 1_000_000) for s in (-1, 0, 60, 120, 299, 300)]
        [0.0, 0.0, 25.0, 50.0, 50.0, 0.0]
        """
        if not self.start_us <= at_us < self.end_us:
            return 0.0
        return self.magnitude * KINDS[self.kind].shape(self, at_us)


def _step(_fault: Fault, _at_us: int) -> float:
    return 1.0


def _ramp(fault: Fault, at_us: int) -> float:
    return min(1.0, (at_us - fault.start_us) / (DRIFT_RAMP_S * 1e6))


def _noise(fault: Fault, at_us: int) -> float:
    # A hash and no generator: a reading must not depend on which others were asked for before it.
    told = f"{fault.sensor} {fault.start_us} {at_us}".encode()
    drawn = int.from_bytes(hashlib.blake2b(told, digest_size=7).digest(), "big")
    size, falls = divmod(drawn, 2)
    share = _NOISE_LEAST + (1.0 - _NOISE_LEAST) * size / 2**55
    return -share if falls and fault.may_fall else share


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to be wrong.

    `share` is its weight among all kinds. The ranges are those of the magnitude, in the sensor's own sigmas,
    and of the time from start to end, which is rounded up to at least one whole reading. `shape` says
    how much of the magnitude (-1 to 1) a time within the fault gets.
    """

    share: float
    sigmas: tuple[float, float]
    stay_s: tuple[float, float]
    shape: Callable[[Fault, int], float]


KINDS: Final = {
    "spike": Kind(0.4, (22.0, 40.0), (0.0, 0.0), _step),
    "drift": Kind(0.2, (26.0, 40.0), (DRIFT_RAMP_S + 60.0, DRIFT_RAMP_S + 240.0), _ramp),
    "noise_burst": Kind(0.2, (32.0, 40.0), (20.0, 60.0), _noise),
    "level_shift": Kind(0.2, (26.0, 40.0), (60.0, 240.0), _step),
}
"""All kinds of faults: a further one is a row here and its shape."""
_NAMES: Final = tuple(KINDS)
_SHARES_UP_TO: Final = tuple(accumulate(kind.share for kind in KINDS.values()))


@dataclass(frozen=True, slots=True)
class Targets:
    """The sensors that faults may befall: one entry per sensor in each column.

    `noise_sigma` is in the sensor's unit. The readings are at `start_us + phase_us + k * period_us`
    with `0 <= phase_us < period_us`. `may_fall` says whether a fault may be negative.
    """

    paths: Sequence[str]
    noise_sigma: NDArray[np.float64]
    phase_us: NDArray[np.int64]
    may_fall: NDArray[np.bool_]
    period_us: int


class FaultSchedule:
    """One fault in every `every_s` (at least 0.001) from `start_us + warm_up_s` on, for ever.

    Each starts at a reading of its sensor. Faults of one sensor never overlap: it first gets
    `warm_up_s` of healthy readings again, so that whoever watches it has something to compare with.
    Where no sensor is free, a fault is left out. The same arguments give the same faults, however
    often and in whatever steps they are asked for. A planned fault is kept, some 200 bytes each.

    Raises ValueError for no targets, `every_s` below 0.001 and a negative `warm_up_s`.
    """

    def __init__(
        self, targets: Targets, seed: int, start_us: int, every_s: float = 20.0, warm_up_s: float = 150.0
    ) -> None:
        if not targets.paths:
            raise ValueError("a schedule of faults needs at least one sensor")
        if not (math.isfinite(every_s) and every_s >= 0.001):
            raise ValueError(f"every_s must be at least 0.001, not {every_s}")
        if not (math.isfinite(warm_up_s) and warm_up_s >= 0):
            raise ValueError(f"warm_up_s must be at least 0, not {warm_up_s}")
        self._targets = targets
        self._rng = np.random.default_rng(seed)
        self._start_us = start_us
        self._every_us = round(every_s * 1e6)
        self._warm_up_us = round(warm_up_s * 1e6)
        self._next_slot_us = start_us + self._warm_up_us
        self._free_from_us = np.full(len(targets.paths), self._next_slot_us, dtype=np.int64)
        self._faults: list[Fault] = []

    def starting(self, from_us: int, until_us: int) -> list[Fault]:
        """The faults with `from_us <= start_us < until_us`, by start and then by sensor."""
        # A fault never starts before its slot, so the slots that begin before until_us are enough.
        while self._next_slot_us < until_us:
            fault = self._plan(self._next_slot_us)
            self._next_slot_us += self._every_us
            if fault is not None:
                insort(self._faults, fault, key=lambda planned: (planned.start_us, planned.sensor))
        first = bisect_left(self._faults, from_us, key=lambda planned: planned.start_us)
        last = bisect_left(self._faults, until_us, key=lambda planned: planned.start_us)
        return self._faults[first:last]

    def _plan(self, slot_us: int) -> Fault | None:
        # Always the same number of draws, whatever comes of them: the next slot does not depend on it.
        when, who, which, size, stay, sign = (float(draw) for draw in self._rng.random(6))
        wanted_us = slot_us + int(when * self._every_us)
        count = len(self._targets.paths)
        for candidate in range(min(count, _MAX_CANDIDATES)):
            target = (int(who * count) + candidate) % count
            start_us = self._next_reading_us(target, wanted_us)
            if start_us >= self._free_from_us[target]:
                break
        else:
            return None
        # The last kind takes what rounding leaves over.
        name = _NAMES[bisect_right(_SHARES_UP_TO, which * _SHARES_UP_TO[-1], hi=len(_NAMES) - 1)]
        kind = KINDS[name]
        may_fall = bool(self._targets.may_fall[target])
        magnitude = _between(kind.sigmas, size) * float(self._targets.noise_sigma[target])
        if sign < 0.5 and may_fall:
            magnitude = -magnitude
        stay_us = 1000 * round(1000.0 * _between(kind.stay_s, stay))
        end_us = self._next_reading_us(target, start_us + max(1, stay_us))
        self._free_from_us[target] = end_us + self._warm_up_us
        return Fault(self._targets.paths[target], name, start_us, end_us, magnitude, may_fall)

    def _next_reading_us(self, target: int, at_us: int) -> int:
        origin_us = self._start_us + int(self._targets.phase_us[target])
        periods = -(-(at_us - origin_us) // self._targets.period_us)
        return origin_us + periods * self._targets.period_us


def _between(limits: tuple[float, float], share: float) -> float:
    low, high = limits
    return low + share * (high - low)


def write_truth_csv(faults: Iterable[Fault], path: Path | str) -> None:
    """Write `sensor,kind,start,end`, one fault a line, times in ISO 8601 UTC with microseconds.

    The file appears whole or not at all: a reader never meets half of it, and an earlier one stays
    if writing fails. Raises OSError if the folder does not exist or cannot be written.
    """
    target = Path(path)
    # In the same folder: a rename is atomic only within one file system.
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("sensor", "kind", "start", "end"))
            for fault in faults:
                writer.writerow((fault.sensor, fault.kind, _iso(fault.start_us), _iso(fault.end_us)))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _iso(at_us: int) -> str:
    # Integers all the way: a float of seconds would lose microseconds.
    at = _EPOCH + timedelta(microseconds=at_us)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")

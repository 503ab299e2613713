"""Any anomaly detector of river's as a model: slow, for a few hundred sensors that are worth it.

River's objects are no state: they are never written anywhere. A row holds the sensor's last values, and what an object
knows follows from them alone: readings are counted in epochs, and in each of them the object at work is one that has
learned exactly what came since the beginning of the epoch before. It is made from the row where it is missing, after a
restart or when a sensor has moved, and it is then equal to the one that was there, to the bit. So it forgets as well:
whatever a detector of river's remembers, here it is one to two epochs.

A reading that scores above 2.0 is not learned, unless it is one of more than 20 in a row: a spike does not blind the
detector, a lasting change is learned. What scores between 1.0 and 2.0 is learned, or a detector with a low threshold
would see less and less of what is usual, and cry more and more.

Source: J. Montiel et al., "River: machine learning for streaming data in Python", JMLR 22, 2021. Cost: a half-space
forest takes about 110 µs a reading and 2.4 MB a sensor, see docs/river.md.
"""

from __future__ import annotations

import math
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from hashlib import blake2b
from struct import pack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import ORDERLY
from models.cost import Cost
from models.river_scale import boundary_of, end_epoch, keep_highest, kept, score_of, surprise

FAR = 2.0
"""What scores more is not learned at once."""
PATIENCE = 20
"""So many readings in a row that are far out are not learned."""
_MOST = 2**62
_SWEEP = 4_096  # readings
_STOPS = (KeyboardInterrupt, SystemExit, GeneratorExit, CancelledError, MemoryError)


@dataclass(frozen=True, slots=True, eq=False)
class Detector:
    """A detector of river's with its options.

    make: a fresh object; two of them are equal. supervised: it is asked about y, and not about x. unit: its scores are
    between 0 and 1.
    """

    make: Callable[[], Any]
    supervised: bool
    unit: bool
    difference: bool = False

    def learn(self, one: Any, value: float, previous: float) -> None:
        """A reading, and the one before it."""
        if self.supervised:
            one.learn_one({"previous": previous}, value)
        else:
            one.learn_one(self._features(value, previous))

    def score(self, one: Any, value: float, previous: float) -> float:
        """The raw score of a reading."""
        if self.supervised:
            return float(one.score_one({"previous": previous}, value))
        return float(one.score_one(self._features(value, previous)))

    def _features(self, value: float, previous: float) -> dict[str, float]:
        return {"value": value, "difference": value - previous} if self.difference else {"value": value}


class _Live:
    """A sensor's objects. old: at work, None in the first epoch. young: has learned this epoch; None before its time.

    They belong to the row that has had as many readings, and the same ones: whose chain is this.
    """

    __slots__ = ("chain", "old", "young")

    def __init__(self) -> None:
        self.chain = 0
        self.old: Any = None
        self.young: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class RiverModel:
    """Options that are ours; `river` holds those of river's constructor.

    threshold: the raw score that is 1.0; None: the model finds its own, see `models.river_scale`.
    epoch: readings. A detector knows the last one to two epochs, and scores after one, or two without a threshold.
    features: "value" alone, or "difference" to the reading before as well.
    """

    threshold: float | None
    epoch: int
    features: tuple[str, ...]
    river: Mapping[str, Any]
    detector: InitVar[Detector]
    cost: InitVar[Cost]
    timer: InitVar[Callable[[], float]]
    _detector: Detector = field(init=False, repr=False)
    _cost: Cost = field(init=False, repr=False)
    _timer: Callable[[], float] = field(init=False, repr=False)
    _state: np.dtype[Any] = field(init=False, repr=False)

    def __post_init__(self, detector: Detector, cost: Cost, timer: Callable[[], float]) -> None:
        object.__setattr__(self, "_detector", detector)
        object.__setattr__(self, "_cost", cost)
        object.__setattr__(self, "_timer", timer)
        fields = [
            ("seen", np.int64),  # readings
            ("chain", np.int64),  # a digest of all readings since the first
            ("same", np.int64),  # readings in a row with the value of the last
            ("far", np.int64),  # readings in a row that were far out
            ("restarts", np.int64),
            ("epochs", np.int64),  # those that the tail is known from, 8 at most
            ("tail", np.float64),
            ("excess", np.float64),
            ("top", np.float64, (kept(self.epoch),)),
            ("value", np.float64, (2 * self.epoch,)),  # the last two epochs, in a ring
            ("skipped", np.uint8, (2 * self.epoch,)),  # 1: the value was not learned
        ]
        object.__setattr__(self, "_state", np.dtype(fields))

    @property
    def state(self) -> np.dtype[Any]:
        """The row's fields; a fresh row is all zeros."""
        return self._state

    @property
    def params(self) -> NDArray[np.float64]:
        """None: a bank is of one set of options."""
        return np.zeros(0)

    @property
    def step(self) -> Callable[..., float]:
        """`step(row, ts_us, value, params) -> score`: what `run` does, but with the row's object made anew each time.

        It says what is meant, and takes milliseconds.
        """
        return self._step

    def _step(self, row: Any, ts_us: int, value: float, params: NDArray[np.float64]) -> float:
        return self._read(row, None, 0, value)[0]

    @property
    def band(self) -> Callable[..., tuple[float, float]]:
        """Unknown: NaN."""
        return _no_band

    @property
    def run(self) -> Callable[..., None]:
        """As `begin()`, for one batch."""
        return self.begin()

    def begin(self) -> RiverRun:
        """The loop over batches of one partition; it keeps the objects of the partition's sensors."""
        return RiverRun(self._read, self._cost, self._timer)

    # --- one reading --------------------------------------------------------------------------------------------

    def _read(self, row: Any, live: _Live | None, slot: int, value: float) -> tuple[float, _Live | None]:
        """The score of a reading, which is learned; and the sensor's objects. live: None, or what belongs to the row.

        Whatever river raises: the sensor's model begins anew.
        """
        try:
            return self._scored(row, live, slot, value)
        except _STOPS:
            raise
        except BaseException:  # noqa: BLE001  # a panic in Rust is no Exception
            restarts = int(row["restarts"])
            for name in self._state.fields or ():
                row[name] = 0
            row["restarts"] = restarts + 1 if 0 <= restarts < _MOST else 1
            self._cost.restarts += 1
            return 0.0, None

    def _scored(self, row: Any, live: _Live | None, slot: int, value: float) -> tuple[float, _Live | None]:
        seen, values = int(row["seen"]), row["value"]
        if not 0 <= seen < _MOST:
            raise ValueError("no row of ours")
        epoch = seen // self.epoch
        previous = float(values[(seen - 1) % values.size]) if seen else value
        live = self._turn(row, live, slot, seen)
        row["same"] = min(int(row["same"]) + 1, values.size) if value == previous and seen else 1
        found, skipped = 0.0, False
        if epoch:
            raw = self._detector.score(live.old, value, previous)
            found = self._judge(row, raw, seen - (epoch - 1) * self.epoch)
            far = min(int(row["far"]) + 1, PATIENCE + 1) if found > FAR else 0
            row["far"] = far
            skipped = 0 < far <= PATIENCE
        if not skipped:
            if epoch:
                self._detector.learn(live.old, value, previous)
            self._teach_young(live, value, previous)
        place = seen % values.size
        values[place] = value
        row["skipped"][place] = skipped
        live.chain = _chained(int(row["chain"]), value, skipped=skipped)
        row["chain"] = live.chain
        row["seen"] = seen + 1
        return found, live

    def _judge(self, row: Any, raw: float, known: int) -> float:
        """The score of a raw score. known: readings that the object at work has seen."""
        unit = self._detector.unit
        # Who has never seen another value knows nothing of what is usual; several of river's detectors take the only
        # value that they know for an anomaly.
        found = 0.0 if row["same"] > known else surprise(raw, unit=unit)
        if self.threshold is not None:
            return score_of(found, surprise(self.threshold, unit=unit))
        boundary = boundary_of(row, self.epoch, unit=unit)
        keep_highest(row, found)
        return score_of(found, boundary)

    # --- objects, and where they come from ----------------------------------------------------------------------

    def _turn(self, row: Any, live: _Live | None, slot: int, seen: int) -> _Live:
        """The objects as they have to be before the reading that has so many before it."""
        epoch, at = divmod(seen, self.epoch)
        begin = seen - at
        if at == 0 and epoch > 0:
            if epoch > 1:
                end_epoch(row)
            if live is not None:
                live.old, live.young = live.young, None
        if live is None:
            live = _Live()
        if epoch and live.old is None:
            self._cost.rebuilds += 1
            live.old = self._made(row, begin - self.epoch, begin, seen)
        # When the young one is made is of no consequence for what it knows: not for all sensors at the same moment,
        # and late, since it takes as much memory as the old one.
        if live.young is None and at == _due(slot, self.epoch):
            live.young = self._unless_it_fails(lambda: self._made(row, begin, seen, seen))
        return live

    def _teach_young(self, live: _Live, value: float, previous: float) -> None:
        young = live.young
        if young is not None:
            live.young = None
            live.young = self._unless_it_fails(lambda: self._taught(young, value, previous))

    def _taught(self, one: Any, value: float, previous: float) -> Any:
        self._detector.learn(one, value, previous)
        return one

    def _unless_it_fails(self, make: Callable[[], Any]) -> Any:
        """A young object, or None where it fails: it is made again in its turn, and what it does then counts.

        Whether there is a young one is no state, so nothing may follow from its failure.
        """
        try:
            return make()
        except _STOPS:
            raise
        except BaseException:  # noqa: BLE001  # as in `_read`
            return None

    def _made(self, row: Any, begin: int, scored_from: int, end: int) -> Any:
        """An object to which everything has happened that happens between two readings; from one on, it was asked."""
        one, values, skipped = self._detector.make(), row["value"], row["skipped"]
        before = float(values[(begin - 1) % values.size]) if begin else float(values[0])
        for number in range(begin, end):
            value = float(values[number % values.size])
            if not math.isfinite(value - before):
                raise ValueError("no row of ours")
            if number >= scored_from:
                self._detector.score(one, value, before)
            if not skipped[number % values.size]:
                self._detector.learn(one, value, before)
            before = value
        return one


class RiverRun:
    """The loop over batches of one partition, with the objects of its sensors by slot.

    An object counts only for the row that it belongs to, so whoever has the slot now never meets a former sensor's.
    """

    def __init__(
        self,
        read: Callable[[Any, _Live | None, int, float], tuple[float, _Live | None]],
        cost: Cost,
        timer: Callable[[], float],
    ) -> None:
        self._read = read
        self._cost = cost
        self._timer = timer
        self._live: dict[int, _Live] = {}
        self._until_sweep = _SWEEP

    def __len__(self) -> int:
        return len(self._live)

    def __call__(
        self,
        state: NDArray[Any],
        slot: NDArray[np.int32],
        ts_us: NDArray[np.int64],
        value: NDArray[np.float64],
        verdict: NDArray[np.uint8],
        class_of: NDArray[np.int32],
        uses: NDArray[np.bool_],
        params: NDArray[np.float64],
        number: int,
        score: NDArray[np.float64],
        scored_by: NDArray[np.int16],
        expected: NDArray[np.float64],
    ) -> None:
        """See `models.compiled.bank`."""
        rows = np.flatnonzero(verdict == ORDERLY)
        rows = rows[uses[class_of[slot[rows]]]]
        if not rows.size:
            return
        started_s = self._timer()
        for i in rows.tolist():
            at = int(slot[i])
            row = state[at]
            # Taken out first: what is interrupted is torn.
            live = self._live.pop(at, None)
            if live is not None and live.chain != row["chain"]:
                live = None
            found, live = self._read(row, live, at, float(value[i]))
            if live is not None:
                self._live[at] = live
            if found > score[i]:
                score[i] = found
                scored_by[i] = number
                expected[i] = np.nan
        self._until_sweep -= rows.size
        if self._until_sweep <= 0:
            self._sweep(state)
        self._cost.seconds += self._timer() - started_s
        self._cost.readings += rows.size

    def _sweep(self, state: NDArray[Any]) -> None:
        """Let go of objects whose sensor is gone."""
        self._until_sweep = _SWEEP
        chains = state["chain"]
        self._live = {at: live for at, live in self._live.items() if live.chain == chains[at]}


def _due(slot: int, epoch: int) -> int:
    """At which reading of an epoch a sensor's next object is made, in the epoch's second half."""
    half = epoch // 2
    return half + slot * 40_503 % (epoch - half)


def _chained(chain: int, value: float, *, skipped: bool) -> int:
    digest = blake2b(pack("<qd?", chain, value, skipped), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _no_band(row: Any, params: NDArray[np.float64]) -> tuple[float, float]:
    return math.nan, math.nan

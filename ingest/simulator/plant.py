"""A simulated plant: hand it a time and it hands back every message up to then."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingest.simulator.duty import STATES
from ingest.simulator.faults import Fault, FaultSchedule, Targets
from ingest.simulator.layout import COLUMN, QUANTITIES, lay_out
from ingest.simulator.signals import Signals

_MS_US: Final = 1000
_WARM_UP_READINGS: Final = 150
_WARM_UP_S: Final = 150.0
# Streams of random numbers of their own: the same plant with and without faults reads the same.
_PHASES, _SIGNALS, _FAULTS = range(3)
_STATE_TEXTS: Final = np.array(STATES, dtype=object)


@dataclass(frozen=True, slots=True)
class Burst:
    """Messages in columns of equal length, in event-time order (then by sensor).

    `sensor` indexes `Plant.sensors`; `ts_us` is event time; `value` is NaN where the reading is a
    text, 0/1 for bools; `text` is None for numbers.
    """

    sensor: NDArray[np.int64]
    ts_us: NDArray[np.int64]
    value: NDArray[np.float64]
    text: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.ts_us)

    def __getitem__(self, rows: slice) -> "Burst":
        return Burst(self.sensor[rows], self.ts_us[rows], self.value[rows], self.text[rows])


class Plant:
    """`sensors` sensors (at least 1) that all read once per `period_s`, from `start_us` on.

    Every sensor has a fixed moment of its own within the period, so that load is even; on-change
    sensors speak at theirs if something changed. `period_s` (0.001 to 86,400) is kept to the whole
    millisecond and so is every time stamp, because that is what payloads carry. About one fault per
    `fault_every_s` (at least 0.001; None for no faults) befalls a periodic gauge, none before
    `warm_up_s` (default: 150 readings and at least 150 s). The arguments decide every reading,
    however it is advanced. Raises ValueError for arguments out of these ranges or a negative seed.

    >>> plant = Plant(sensors=80, seed=1, start_us=0)
    >>> burst = plant.advance(2_000_000)
    >>> len(plant.sensors), bool((np.diff(burst.ts_us) >= 0).all())
    (80, True)
    """

    def __init__(
        self,
        sensors: int,
        seed: int,
        start_us: int,
        site: str = "demo",
        period_s: float = 1.0,
        fault_every_s: float | None = 20.0,
        warm_up_s: float | None = None,
    ) -> None:
        if not (math.isfinite(period_s) and 0.001 <= period_s <= 86_400):
            raise ValueError(f"period_s must be from 0.001 to 86400, not {period_s}")
        self.sensors = lay_out(sensors, site)
        period_ms = round(period_s * 1000)
        self._period_us = period_ms * _MS_US
        self._start_us = start_us
        self._now_us = start_us
        self._step_us = -(-start_us // _MS_US) * _MS_US
        places = np.random.default_rng((seed, _PHASES)).permutation(sensors).astype(np.int64)
        self._phase_us: NDArray[np.int64] = places * period_ms // sensors * _MS_US
        self._order = np.lexsort((np.arange(sensors), self._phase_us)).astype(np.int64)
        self._columns = len(QUANTITIES)
        self._signals = Signals(-(-sensors // self._columns), period_ms / 1000, np.random.default_rng((seed, _SIGNALS)))
        self._current: Burst | None = None
        self._taken = 0
        self._active: list[Fault] = []
        self._schedule: FaultSchedule | None = None
        self._index: dict[str, int] = {}
        if fault_every_s is not None:
            if warm_up_s is None:
                warm_up_s = max(_WARM_UP_S, _WARM_UP_READINGS * period_ms / 1000)
            self._schedule = self._plan_faults(seed, fault_every_s, warm_up_s)

    @property
    def now_us(self) -> int:
        """Event time up to which messages were handed out."""
        return self._now_us

    @property
    def faults(self) -> list[Fault]:
        """The faults that started before `now_us`, by start; the last may still be going on."""
        return self._schedule.starting(self._start_us, self._now_us) if self._schedule else []

    def advance(self, until_us: int) -> Burst:
        """All messages in `[now_us, until_us)`; none if that time has been handed out already.

        The burst holds all of them at once: advance in steps that fit in memory.
        """
        bursts = [_nothing()]
        while self._step_us < until_us:
            if self._current is None:
                self._current, self._taken = self._step(), 0
            step_end_us = self._step_us + self._period_us
            stop = int(np.searchsorted(self._current.ts_us, until_us, side="left"))
            bursts.append(self._current[self._taken : stop])
            self._taken = max(self._taken, stop)
            if until_us < step_end_us:
                break
            self._current, self._step_us = None, step_end_us
        self._now_us = max(self._now_us, until_us)
        return Burst(
            np.concatenate([burst.sensor for burst in bursts]),
            np.concatenate([burst.ts_us for burst in bursts]),
            np.concatenate([burst.value for burst in bursts]),
            np.concatenate([burst.text for burst in bursts]),
        )

    def _step(self) -> Burst:
        # Always a whole period, whatever was asked for: this is what makes splits not matter.
        step = self._signals.step()
        value = step.value.reshape(-1)[: len(self.sensors)]
        if self._schedule is not None:
            self._afflict(value, self._schedule)
        reported = step.reported.reshape(-1)[: len(self.sensors)]
        sensor = self._order[reported[self._order]]
        text = np.full(len(sensor), None, dtype=object)
        is_state = sensor % self._columns == COLUMN["state"]
        text[is_state] = _STATE_TEXTS[step.state[sensor[is_state] // self._columns]]
        return Burst(sensor, self._step_us + self._phase_us[sensor], value[sensor], text)

    def _afflict(self, value: NDArray[np.float64], schedule: FaultSchedule) -> None:
        end_us = self._step_us + self._period_us
        self._active.extend(schedule.starting(self._step_us, end_us))
        for fault in self._active:
            sensor = self._index[fault.sensor]
            offset = fault.offset_at(self._step_us + int(self._phase_us[sensor]))
            value[sensor] = round(value[sensor] + offset, QUANTITIES[sensor % self._columns].decimals)
        self._active = [fault for fault in self._active if fault.end_us > end_us]

    def _plan_faults(self, seed: int, every_s: float, warm_up_s: float) -> FaultSchedule:
        sigma = self._signals.noise_sigma.reshape(-1)[: len(self.sensors)]
        gauges = np.flatnonzero(np.isfinite(sigma))
        paths = [self.sensors[gauge].path for gauge in gauges]
        self._index = dict(zip(paths, gauges.tolist(), strict=True))
        targets = Targets(
            paths=paths,
            noise_sigma=sigma[gauges],
            phase_us=self._phase_us[gauges],
            # A vibration is a magnitude: it cannot fall below nothing.
            may_fall=gauges % self._columns != COLUMN["vibration"],
            period_us=self._period_us,
        )
        fault_seed = int(np.random.default_rng((seed, _FAULTS)).integers(2**63))
        return FaultSchedule(targets, fault_seed, self._step_us, every_s, warm_up_s)


def _nothing() -> Burst:
    return Burst(
        np.empty(0, dtype=np.int64),
        np.empty(0, dtype=np.int64),
        np.empty(0, dtype=np.float64),
        np.empty(0, dtype=object),
    )

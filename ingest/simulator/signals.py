"""What the sensors of a plant's machines measure while nothing is wrong with them.

The periodic gauges sit on parts that never rest (bearing, hydraulics, flywheel): they keep to their
working point whether or not the machine makes parts, so that every excursion of theirs is a fault
that the truth knows of. What a machine is doing shows in its current, parts, running and state.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ingest.simulator.duty import DutyCycle
from ingest.simulator.layout import COLUMN, QUANTITIES

HEALTHY_SIGMAS: Final = 6.0
"""No healthy reading of a periodic gauge is further from its working point, in its own noise sigmas."""
CURRENT_DEAD_BAND_A: Final = 0.5
"""A current is reported when it is further than this from the value reported last."""

_MAX_NOISE_SIGMAS: Final = 4.5
_THERMAL_TAU_S: Final = 120.0
_THERMAL_SIGMA_CEL: Final = 0.5
_THERMOMETER_SIGMA_CEL: Final = 0.2
_VIBRATION_LOG_SIGMA: Final = 0.12
_PRESSURE_SIGMA_BAR: Final = 0.03
_SPEED_RELATIVE_SIGMA: Final = 0.003
_PERIODIC: Final = np.array([quantity.reporting == "periodic" for quantity in QUANTITIES])


@dataclass(frozen=True, slots=True)
class Step:
    """All machines at one step: one row per machine, one column per quantity of `QUANTITIES`."""

    value: NDArray[np.float64]
    """Bool as 0/1; NaN where the reading is a text."""
    reported: NDArray[np.bool_]
    """Whether the sensor has something to say: always if periodic, else at its first value and changes."""
    state: NDArray[np.int64]
    """Index into `duty.STATES`, per machine."""


class Signals:
    """The signals of `machines` machines, one step per `period_s`; draws only from `rng`."""

    def __init__(self, machines: int, period_s: float, rng: Generator) -> None:
        self._rng = rng
        self._machines = machines
        self._temperature_cel = rng.uniform(45.0, 75.0, machines)
        self._vibration_mm_s = rng.uniform(1.0, 4.0, machines)
        self._pressure_bar = rng.uniform(5.0, 7.0, machines)
        self._speed_per_min = np.round(rng.uniform(600.0, 3000.0, machines), -1)
        # It starts as it stays: a warm plant, without a transient for models to stumble over.
        self._wander = self._noise(1)[0]
        self._wander_keep = float(np.exp(-period_s / _THERMAL_TAU_S))
        self._duty = DutyCycle(machines, period_s, rng)
        self._told_current_a = np.full(machines, np.nan)
        self._told_state = np.full(machines, -1, dtype=np.int64)
        self._told_running = np.full(machines, -1, dtype=np.int64)
        self.noise_sigma = self._sigmas()
        """Per machine and quantity, in the quantity's unit; NaN for all but periodic gauges."""

    def step(self) -> Step:
        """Move all machines on by one period."""
        self._duty.step()
        wander_z, thermometer_z, vibration_z, pressure_z, speed_z = self._noise(5)
        keep = self._wander_keep
        wander = keep * self._wander + np.sqrt(1.0 - keep * keep) * wander_z
        self._wander = np.clip(wander, -_MAX_NOISE_SIGMAS, _MAX_NOISE_SIGMAS)
        columns = {
            "temperature": self._temperature_cel
            + _THERMAL_SIGMA_CEL * self._wander
            + _THERMOMETER_SIGMA_CEL * thermometer_z,
            "vibration": self._vibration_mm_s * np.exp(_VIBRATION_LOG_SIGMA * vibration_z),
            "pressure": self._pressure_bar + _PRESSURE_SIGMA_BAR * pressure_z,
            "current": self._duty.current_a,
            "speed": self._speed_per_min * (1.0 + _SPEED_RELATIVE_SIGMA * speed_z),
            "parts": self._duty.parts,
            "running": self._duty.running,
        }
        value = np.full((self._machines, len(QUANTITIES)), np.nan)
        for name, column in columns.items():
            at = COLUMN[name]
            value[:, at] = np.round(column, QUANTITIES[at].decimals)
        return Step(value, self._reported(value[:, COLUMN["current"]]), self._duty.state)

    def _reported(self, current_a: NDArray[np.float64]) -> NDArray[np.bool_]:
        reported = np.tile(_PERIODIC, (self._machines, 1))
        # Not `>`: at the first step nothing was told yet (NaN), and that has to be a change.
        moved = ~(np.abs(current_a - self._told_current_a) <= CURRENT_DEAD_BAND_A)
        self._told_current_a = np.where(moved, current_a, self._told_current_a)
        reported[:, COLUMN["current"]] = moved
        running = self._duty.running.astype(np.int64)
        reported[:, COLUMN["running"]] = running != self._told_running
        reported[:, COLUMN["state"]] = self._duty.state != self._told_state
        self._told_running = running
        self._told_state = self._duty.state
        return reported

    def _noise(self, rows: int) -> NDArray[np.float64]:
        # Clipped, so that "outside of what it ever did" is a promise and not a likelihood.
        return np.clip(self._rng.standard_normal((rows, self._machines)), -_MAX_NOISE_SIGMAS, _MAX_NOISE_SIGMAS)

    def _sigmas(self) -> NDArray[np.float64]:
        sigma = np.full((self._machines, len(QUANTITIES)), np.nan)
        variance = _VIBRATION_LOG_SIGMA**2
        sigma[:, COLUMN["temperature"]] = np.hypot(_THERMAL_SIGMA_CEL, _THERMOMETER_SIGMA_CEL)
        sigma[:, COLUMN["vibration"]] = self._vibration_mm_s * np.sqrt(np.expm1(variance) * np.exp(variance))
        sigma[:, COLUMN["pressure"]] = _PRESSURE_SIGMA_BAR
        sigma[:, COLUMN["speed"]] = self._speed_per_min * _SPEED_RELATIVE_SIGMA
        return sigma

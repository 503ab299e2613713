"""A fault: what is wrong with one sensor, or with one device and all its sensors, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong during `[start_us, end_us)`, true time in µs UTC.

    kind: a key of `KINDS`. path: of the sensor, or of the device. number: the sensor's or the device's.
    magnitude: signed; in the sensor's unit for those of values, in seconds for those of clocks, else 0.
    may_fall: whether a value may go to either side; if not, only upwards. unit: what the sensor says it is in.
    """

    kind: str
    path: str
    number: int
    start_us: int
    end_us: int
    magnitude: float = 0.0
    may_fall: bool = True
    unit: str = ""

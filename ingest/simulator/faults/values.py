"""Faults of values: what a sensor says in place of what it measures.

Each takes the fault, the (true) time of the reading within the fault, what the sensor measures, and what it measured
in the first reading of the fault. The same is given whenever and however often it is asked for.
"""

from __future__ import annotations

import hashlib
from typing import Final

from ingest.simulator.faults.fault import Fault

DRIFT_RAMP_S: Final = 120.0
"""Time in which a drift grows from nothing to its magnitude; a longer fault takes a quarter of itself."""
SENTINEL: Final = 65_535.0
# The least of a noise burst's readings, as a share of its magnitude: no smaller than a spike.
_NOISE_LEAST: Final = 0.7

SWAPS: Final = {
    "Cel": (1.8, 32.0),  # [degF]
    "K": (1.0, -273.15),  # Cel
    "bar": (14.503_773_773, 0.0),  # [psi]
    "mbar": (0.001, 0.0),  # bar
    "kPa": (0.01, 0.0),  # bar
    "m": (1_000.0, 0.0),  # mm
    "mm": (0.001, 0.0),  # m
    "m/s": (3.6, 0.0),  # km/h
    "km/h": (1.0 / 3.6, 0.0),  # m/s
    "mm/s": (1.0 / 25.4, 0.0),  # [in_i]/s
    "A": (1_000.0, 0.0),  # mA
    "kW": (1_000.0, 0.0),  # W
    "L/min": (1.0 / 3.785_411_784, 0.0),  # [gal_us]/min
    "m3/h": (1_000.0 / 3_600.0, 0.0),  # L/s
    "/min": (1.0 / 60.0, 0.0),  # Hz
    "%": (0.01, 0.0),  # 1
}
"""Unit → (factor, offset) into the unit that it is taken for."""


def step(fault: Fault, _at_us: int, measured: float, _first: float) -> float:
    """Off by the magnitude: a spike if it is one reading, a level shift if it stays.

    >>> step(Fault("spike", "s", 0, 0, 1, 50.0), 0, 7.0, 7.0)
    57.0
    """
    return measured + fault.magnitude


def drift(fault: Fault, at_us: int, measured: float, _first: float) -> float:
    """Off by more and more, and then by the magnitude.

    >>> one = Fault("drift", "s", 0, 0, 300_000_000, 50.0)
    >>> [drift(one, at_s * 1_000_000, 0.0, 0.0) for at_s in (0, 60, 120, 299)]
    [0.0, 25.0, 50.0, 50.0]
    """
    ramp_us = max(DRIFT_RAMP_S * 1e6, (fault.end_us - fault.start_us) / 4)
    return measured + fault.magnitude * min(1.0, (at_us - fault.start_us) / ramp_us)


def noise(fault: Fault, at_us: int, measured: float, _first: float) -> float:
    """Each reading off by another amount, and to either side."""
    # A hash and no generator: a reading must not depend on which others were asked for before it.
    told = f"{fault.path} {fault.start_us} {at_us}".encode()
    hashed = int.from_bytes(hashlib.blake2b(told, digest_size=7).digest(), "big")
    size, falls = divmod(hashed, 2)
    share = _NOISE_LEAST + (1.0 - _NOISE_LEAST) * size / 2**55
    return measured + fault.magnitude * (-share if falls and fault.may_fall else share)


def stuck(_fault: Fault, _at_us: int, _measured: float, first: float) -> float:
    """The same again and again."""
    return first


def sentinel(_fault: Fault, _at_us: int, _measured: float, _first: float) -> float:
    """What a register full of ones is."""
    return SENTINEL


def swap(fault: Fault, _at_us: int, measured: float, _first: float) -> float:
    """In another unit than is said.

    >>> swap(Fault("unit_swap", "s", 0, 0, 1, unit="Cel"), 0, 100.0, 100.0)
    212.0
    """
    factor, offset = SWAPS[fault.unit]
    return round(measured * factor + offset, 6)


def restart(_fault: Fault, _at_us: int, measured: float, first: float) -> float:
    """A counter that began at 0 again."""
    return measured - first

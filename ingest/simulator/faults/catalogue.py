"""All kinds of faults: a further one is a row here and, if it is one of values, its function.

Faults of values are added to what the sensor measures anyway, which may be `parts.HEALTHY_SIGMAS` off to the other
side: even then a spike and each reading of a noise burst are 16 of the sensor's own sigmas from its working point, a
grown drift and a level shift 20, at least 10 beyond anything that it measures in health.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ingest.simulator.faults import values
from ingest.simulator.faults.fault import Fault


class Befalls(StrEnum):
    """Whom a kind of fault can befall. What speaks only of changes says nothing when it is stuck or cut off."""

    GAUGES = "periodic gauges that have a noise or a range"
    UNITS = "periodic gauges in a unit that others are taken for"
    COUNTERS = "counters"
    PERIODIC = "whatever is sent periodically"
    DEVICES = "a device and all its sensors"


class Delivery(StrEnum):
    """What becomes of a reading on its way."""

    LOST = "lost"
    TWICE = "twice"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to be wrong.

    share: its weight among all kinds. stay_s: the time from start to end, which is rounded up to at least one whole
    reading, and longer for sensors that read less than every ten seconds. sigmas: the magnitude in the sensor's own
    sigmas; or seconds: the magnitude is one of time. value, delivery: what it does to a value and to a message; a
    device's fault with neither puts its clock out by the magnitude. for_ever: what it does to the value goes on after
    its end.
    """

    befalls: Befalls
    share: float
    stay_s: tuple[float, float]
    sigmas: tuple[float, float] | None = None
    seconds: tuple[float, float] | None = None
    value: Callable[[Fault, int, float, float], float] | None = None
    delivery: Delivery | None = None
    for_ever: bool = False


KINDS: Final = {
    "spike": Kind(Befalls.GAUGES, 4, (0.0, 0.0), sigmas=(22.0, 40.0), value=values.step),
    "drift": Kind(Befalls.GAUGES, 2, (180.0, 360.0), sigmas=(26.0, 40.0), value=values.drift),
    "noise_burst": Kind(Befalls.GAUGES, 2, (20.0, 60.0), sigmas=(32.0, 40.0), value=values.noise),
    "level_shift": Kind(Befalls.GAUGES, 2, (60.0, 240.0), sigmas=(26.0, 40.0), value=values.step),
    "stuck": Kind(Befalls.GAUGES, 2, (60.0, 240.0), value=values.stuck),
    "unit_swap": Kind(Befalls.UNITS, 1, (60.0, 240.0), value=values.swap),
    "sentinel_65535": Kind(Befalls.GAUGES, 2, (0.0, 5.0), value=values.sentinel),
    "counter_rollover": Kind(Befalls.COUNTERS, 1, (0.0, 0.0), value=values.restart, for_ever=True),
    "dropout": Kind(Befalls.PERIODIC, 2, (20.0, 120.0), delivery=Delivery.LOST),
    "duplicate": Kind(Befalls.PERIODIC, 1, (0.0, 20.0), delivery=Delivery.TWICE),
    "reorder": Kind(Befalls.PERIODIC, 1, (0.0, 0.0), delivery=Delivery.LATE),
    "clock_jump": Kind(Befalls.DEVICES, 0.5, (60.0, 240.0), seconds=(30.0, 3_600.0)),
    "gateway_death": Kind(Befalls.DEVICES, 0.5, (30.0, 120.0), delivery=Delivery.LOST),
}

"""Windows: rings of panes, merged on read. Any number of window lengths share the panes.

A pane covers [id × width, (id + 1) × width) in event time. For periodic sensors each reading weighs 1; for on-change
sensors the value weighs the seconds it held. Mean and M2 (the sum of squared deviations) after B. P. Welford,
Technometrics 4, 1962; weighted after D. H. D. West, Comm. ACM 22, 1979; merged after T. F. Chan et al., 1979.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

PANE = np.dtype(
    [
        ("id", np.int64),
        ("samples", np.int64),
        ("weight", np.float64),
        ("mean", np.float64),
        ("m2", np.float64),
        ("min", np.float64),
        ("max", np.float64),
        ("first", np.float64),
        ("last", np.float64),
    ]
)
NO_PANE = -1
_US_PER_S = 1e6

STATISTICS = np.dtype(
    [
        ("samples", np.int64),
        ("weight", np.float64),
        ("mean", np.float64),
        ("stddev", np.float64),
        ("min", np.float64),
        ("max", np.float64),
    ]
)


@kernel
def open_pane(panes: Any, number: int) -> int:
    """Place of a pane in the ring, emptied if it held an older one; NO_PANE if the ring has moved past it."""
    at: int = number % panes.size
    pane = panes[at]
    if pane["id"] == number:
        return at
    if pane["id"] > number:
        return NO_PANE
    pane["id"] = number
    pane["samples"] = 0
    pane["weight"] = 0.0
    pane["mean"] = 0.0
    pane["m2"] = 0.0
    pane["min"] = np.inf
    pane["max"] = -np.inf
    pane["first"] = np.nan
    pane["last"] = np.nan
    return at


@kernel
def weigh(pane: Any, value: float, weight: float) -> None:
    """Let a value count with a weight."""
    pane["weight"] += weight
    deviation = value - pane["mean"]
    # The quotient first: the first value's share is exactly 1, so a mean of one value is that value.
    pane["mean"] += deviation * (weight / pane["weight"])
    pane["m2"] += weight * deviation * (value - pane["mean"])
    pane["min"] = min(pane["min"], value)
    pane["max"] = max(pane["max"], value)


@kernel
def add_sample(panes: Any, width_us: int, ts_us: int, value: float, weight: float, in_order: bool) -> bool:
    """Add a reading; False if its pane is gone. Weight 0: it counts, and holds from now on (on-change)."""
    at = open_pane(panes, ts_us // width_us)
    if at == NO_PANE:
        return False
    pane = panes[at]
    if weight > 0.0:
        weigh(pane, value, weight)
    else:
        pane["min"] = min(pane["min"], value)
        pane["max"] = max(pane["max"], value)
    if pane["samples"] == 0:
        pane["first"] = value
    if in_order or pane["samples"] == 0:
        pane["last"] = value
    pane["samples"] += 1
    return True


@kernel
def hold(panes: Any, width_us: int, from_us: int, until_us: int, value: float) -> None:
    """A value held over [from_us, until_us): every pane that it crosses counts the seconds."""
    # What lies before the ring is not seen by any window.
    at_us = max(from_us, ((until_us - 1) // width_us - panes.size + 1) * width_us)
    while at_us < until_us:
        number = at_us // width_us
        stop_us = min(until_us, (number + 1) * width_us)
        at = open_pane(panes, number)
        if at != NO_PANE:
            weigh(panes[at], value, (stop_us - at_us) / _US_PER_S)
        at_us = stop_us


@kernel
def read(
    sensors: Any,
    panes: Any,
    class_of: NDArray[np.int32],
    limits: Any,
    width_us: int,
    window_us: int,
    now_us: int,
    out: Any,
) -> None:
    """Statistics of one window length for all slots; nothing is changed. out: STATISTICS, shape (slots,).

    The window of a sensor ends with the pane of its own latest time. `now_us`, the partition's clock, moves it on
    only as far as the sensor has been idle; then a held value counts on, up to the staleness limit.
    """
    span = window_us // width_us
    for slot in range(out.size):
        row = sensors[slot]
        limit = limits[class_of[slot]]
        idle_us = max(0, now_us - row["last_now_us"])
        until_us = row["last_us"] + idle_us
        if row["on_change"] == 0:
            # A pane of grace: the reading that would move the window may be on its way.
            until_us = max(row["last_us"], until_us - width_us)
        end = until_us // width_us
        samples, weight, mean, m2 = 0, 0.0, 0.0, 0.0
        low, high = np.inf, -np.inf
        for number in range(end - span + 1, end + 1):
            pane = panes[slot, number % panes.shape[1]]
            if pane["id"] != number:
                continue
            samples += pane["samples"]
            low = min(low, pane["min"])
            high = max(high, pane["max"])
            if pane["weight"] > 0.0:
                total = weight + pane["weight"]
                deviation = pane["mean"] - mean
                mean += deviation * (pane["weight"] / total)
                m2 += pane["m2"] + deviation * deviation * weight * pane["weight"] / total
                weight = total
        at_once = False
        if row["on_change"] != 0 and row["holds"] != 0:
            held_from = max(row["last_us"], (end - span + 1) * width_us)
            held_until = min(until_us, row["last_us"] + limit["staleness_us"])
            if held_until > held_from:
                held = (held_until - held_from) / _US_PER_S
                total = weight + held
                deviation = row["last_value"] - mean
                mean += deviation * (held / total)
                m2 += deviation * deviation * weight * held / total
                weight = total
                low = min(low, row["last_value"])
                high = max(high, row["last_value"])
            elif weight == 0.0 and samples > 0:
                # It came, and no time has passed since.
                mean = row["last_value"]
                at_once = True
        found = out[slot]
        found["samples"] = samples
        found["weight"] = weight
        found["mean"] = mean if weight > 0.0 or at_once else np.nan
        found["stddev"] = np.sqrt(max(0.0, m2 / weight)) if weight > 0.0 else (0.0 if at_once else np.nan)
        found["min"] = low if low <= high else np.nan
        found["max"] = high if low <= high else np.nan

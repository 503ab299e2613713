"""Silence: a sensor that is heard of no more, judged as time passes in the log.

A sensor learns the gaps between the times at which it is heard of, as arrivals have them: who sends every second and is
brought in blocks of five minutes is silent after several of those. Time is `alive_us`, in which the log went on: what
the partition's clock leaps over makes nobody silent. What comes in one record came at once; backlog, what is out of
order, twice there, refused or masked shows life and teaches nothing. Boundaries, of which the score is a multiple:

- regular (gaps' mean deviation is at most half of their mean): `FACTOR` times the longest gap, at least `LEAST_US`;
- irregular: `IRREGULAR_FACTOR` times the longest gap, at least a day: a door's contact has its nights and week-ends,
  and nobody knows what its silence means;
- on-change: silence says nothing, unless the newest reading is bad (so says the death of a Sparkplug device) and
  nothing came for `DEATH_US` since;
- a class with a `heartbeat`, whoever reports how: two of them missed.

The longest gap is a peak that decays over days. Beyond the boundary, a gap counts `GROWTH` times the longest at most:
one outage teaches little, a habit is learned in a few, so that who sent ten times a second and now sends once an hour
cries two or three times.

What falls silent together is one alert: `silent_together.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import borrowing_kernel
from models.prefetch import ahead, prefetch
from stream.fold.alerts import Phase
from stream.fold.gate import BAD, FOLDED, OVER_BUDGET, Verdict

SILENCE = np.dtype(
    [
        ("long_us", np.float64),  # the longest gap, decaying; on-change: -1 while the newest reading is bad
        ("mean_us", np.float64),  # of the gaps; 0: none is known; -1: it reports on change
        ("dev_us", np.float64),  # how far from the mean they are, on average
        ("from_s", np.int32),  # in time that counts: before it, nobody is silent; 0: nobody's row
        ("leader", np.int32),  # 1 + the slot of the sensor under which it is told that it is silent; 0: it is not
    ]
)
"""State per sensor."""

SILENT = np.dtype(
    [
        ("rule", np.int64),  # its place among the class's rules; -1: silence is not judged
        ("above", np.float64),
        ("hold_us", np.int64),
        ("heartbeat_us", np.int64),  # 0: nothing is promised
    ]
)
"""What a class says of silence."""

LEAST_US = 10_000_000.0
FACTOR = 3.5
"""Three readings in a row were missed, and the next one is not due for half a gap: jitter tells nobody silent."""
REGULAR = 0.5
IRREGULAR_US = 86_400_000_000.0
IRREGULAR_FACTOR = 16.0
DEATH_US = 30_000_000.0
MISSED = 2.0
GROWTH = 3.0
MEMORY_US = 5 * 86_400_000_000.0
"""The longest gap has lost 63 % after so long."""
WARM_US = 300_000_000
"""A new sensor is not judged before."""
SLACK_US = 5_000_000.0
"""How much earlier or later than the others' a sensor's end may be seen."""
LONGEST_US = 2.0**57
"""No gap that was learned is longer, nor deviates by more."""
_SHARE = 1.0 / 16.0
_FADING = 1.0 / MEMORY_US
_US = 1_000_000
_STATE = int(Verdict.STATE)
_RETAINED = int(Verdict.RETAINED)
_NONE, _PENDING, _FIRING = int(Phase.NONE), int(Phase.PENDING), int(Phase.FIRING)
BEGINS, FIRES, ENDS = range(3)


def begin(row: Any, alive_us: int, on_change: bool) -> None:
    """A new sensor's row."""
    row["from_s"] = begun_s(alive_us)
    row["mean_us"] = -1.0 if on_change else 0.0


def begun_s(alive_us: int) -> int:
    """`from_s` of a sensor that is new."""
    return (alive_us + WARM_US) // _US


# --- learning -----------------------------------------------------------------------------------------------------


@borrowing_kernel
def hear(
    heard_us: NDArray[np.int64],
    silences: Any,
    sensors: Any,
    alive_us: int,
    slot: NDArray[np.int32],
    verdict: NDArray[np.uint8],
    backlog: NDArray[np.bool_],
) -> None:
    """Readings came, folded already. The broker's stored messages, which outlive their sensors, are no sign of life.

    heard_us, silences, sensors: by slot. slot, verdict, backlog: by row; what is masked has a verdict that is neither
    FOLDED nor STATE.
    """
    for i in range(slot.size):
        for k in ahead(i, slot.size):
            prefetch(heard_us, slot[k])
            prefetch(silences, slot[k])
        if verdict[i] == OVER_BUDGET:
            continue
        at = slot[i]
        row = silences[at]
        if row["mean_us"] < 0.0:
            # Of what is shown after the whole record: whatever came last has to say so, the stored message as well.
            sensor = sensors[at]
            row["long_us"] = -1.0 if sensor["shown_quality"] == BAD and sensor["last_us"] > 0 else 0.0
        if verdict[i] == _RETAINED:
            continue
        gap_us = alive_us - heard_us[at]
        heard_us[at] = alive_us
        if row["mean_us"] >= 0.0 and gap_us > 0 and not backlog[i] and (verdict[i] == FOLDED or verdict[i] == _STATE):
            learn(row, float(gap_us), alive_us >= int(row["from_s"]) * _US)


@borrowing_kernel
def learn(row: Any, gap_us: float, judged: bool) -> None:
    """A periodic sensor was heard of after so long. judged: it was told if that was too long."""
    long_us = row["long_us"]
    if row["mean_us"] == 0.0:
        row["long_us"] = gap_us
        row["mean_us"] = gap_us
        # Regular is who has shown it: 22 times more, if all gaps are the same.
        row["dev_us"] = 2.0 * gap_us
        return
    if judged and gap_us >= learned_us(row):
        gap_us = min(gap_us, GROWTH * long_us)
    away_us = abs(gap_us - row["mean_us"])
    row["mean_us"] += _SHARE * (gap_us - row["mean_us"])
    row["dev_us"] += _SHARE * (away_us - row["dev_us"])
    row["long_us"] = max(gap_us, long_us - long_us * (gap_us * _FADING))


@borrowing_kernel
def learned_us(row: Any) -> Any:
    """The boundary that a sensor has learned, infinite if none: how long it may be idle."""
    if row["long_us"] < 0.0:
        return DEATH_US
    if row["mean_us"] <= 0.0:
        return np.inf
    if row["dev_us"] <= REGULAR * row["mean_us"]:
        return max(LEAST_US, FACTOR * row["long_us"])
    return max(IRREGULAR_US, IRREGULAR_FACTOR * row["long_us"])


@borrowing_kernel
def boundary_us(row: Any, limit: Any) -> Any:
    """How long a sensor of a class may be idle. limit: of SILENT."""
    if limit["rule"] < 0:
        return np.inf
    if limit["heartbeat_us"] > 0:
        return max(LEAST_US, MISSED * limit["heartbeat_us"])
    return learned_us(row)


# --- judging ------------------------------------------------------------------------------------------------------


@borrowing_kernel
def look(
    silences: Any,
    heard_us: NDArray[np.int64],
    class_of: NDArray[np.int32],
    limits: Any,
    episodes: Any,
    masked: NDArray[np.bool_],
    alive_us: int,
    slots: NDArray[np.int32],
    what: NDArray[np.int8],
) -> int:
    """Find what is to be told; returns of how many, whose slot and what are written. Lets go of those who are covered
    no more.

    masked: by slot, or empty: who is not judged, and begins anew when he is again.
    """
    n = 0
    for at in range(silences.size):
        row = silences[at]
        from_us = int(row["from_s"]) * _US
        leader = row["leader"] - 1
        if leader < 0:
            if masked.size > 0 and masked[at] and from_us > 0:
                row["from_s"] = max(row["from_s"], alive_us // _US)
                continue
            idle_us = alive_us - max(heard_us[at], from_us)
            if idle_us < LEAST_US or from_us == 0:
                continue
            limit = limits[class_of[at]]
            if idle_us >= limit["above"] * boundary_us(row, limit):
                slots[n] = at
                what[n] = BEGINS
                n += 1
            continue
        limit = limits[class_of[at]]
        if limit["rule"] < 0:
            row["leader"] = 0
        elif leader == at:
            episode = episodes[at, limit["rule"]]
            idle_us = alive_us - max(heard_us[at], from_us)
            over_us = idle_us - limit["above"] * boundary_us(row, limit)
            if episode["phase"] == _NONE:
                # It was ended by somebody else: with a new name, or a new rule.
                row["leader"] = 0
                row["from_s"] = alive_us // _US
            elif over_us < 0:
                slots[n] = at
                what[n] = ENDS
                n += 1
            elif episode["phase"] == _PENDING and over_us >= limit["hold_us"]:
                slots[n] = at
                what[n] = FIRES
                n += 1
        elif leader >= silences.size or silences[leader]["leader"] != leader + 1:
            row["leader"] = 0
            row["from_s"] = alive_us // _US
        else:
            # Heard of last before that was told, so this is later: it is back.
            first, its = silences[leader], limits[class_of[leader]]
            begun_us = max(heard_us[leader], int(first["from_s"]) * _US)
            if heard_us[at] >= begun_us + its["above"] * boundary_us(first, its):
                row["leader"] = 0
    return n


@borrowing_kernel
def weigh(
    silences: Any,
    heard_us: NDArray[np.int64],
    class_of: NDArray[np.int32],
    limits: Any,
    alive_us: int,
    since_us: NDArray[np.int64],
    due_us: NDArray[np.float64],
    score: NDArray[np.float64],
) -> None:
    """Write of each slot since when it is idle, when something was due at the latest, and the score."""
    for at in range(silences.size):
        row, limit = silences[at], limits[class_of[at]]
        from_us = int(row["from_s"]) * _US
        since_us[at] = max(heard_us[at], from_us)
        usual_us = float(limit["heartbeat_us"]) if limit["heartbeat_us"] > 0 else max(0.0, row["long_us"])
        due_us[at] = since_us[at] + usual_us + SLACK_US
        score[at] = max(0, alive_us - since_us[at]) / boundary_us(row, limit) if from_us > 0 else 0.0


# --- what comes from outside --------------------------------------------------------------------------------------


def wrong_silences(
    limits: NDArray[Any],
    rows: NDArray[Any],
    episodes: NDArray[Any],
    class_of: NDArray[np.int32],
    named: NDArray[np.bool_],
    latest_us: int,
) -> str | None:
    """What is wrong with rows of SILENCE, if anything is. latest_us: no time that counts is later."""
    for name in ("long_us", "mean_us", "dev_us"):
        low = 0.0 if name == "dev_us" else -1.0
        # A gap may have been learned in a partition that is older than this one.
        if not ((rows[name] >= low) & (rows[name] <= LONGEST_US)).all():
            return f"a gap that there is not: {name}"
    if ((rows["from_s"] < 0) | (rows["from_s"] > begun_s(latest_us)) | (rows["leader"] < 0)).any():
        return "a silence that nobody has"
    if ((rows["from_s"] > 0) & ~named).any():
        return "a silence of nobody"
    rule = limits["rule"][class_of]
    judged = np.flatnonzero(rule >= 0)
    if ((episodes["phase"][judged, rule[judged]] != _NONE) & (rows["leader"][judged] == 0)).any():
        return "an alert of silence without its sensor"
    return None

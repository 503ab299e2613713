"""Alerts: pending → firing → resolved, per sensor and rule, in event time.

Silence never resolves: only a reading inside the limits does, or, for on-change sensors whose last value holds, time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel
from stream.fold.gate import FOLDED


class Phase(IntEnum):
    """Where an episode stands."""

    NONE = 0
    PENDING = 1
    FIRING = 2
    RESOLVED = 3


_NONE, _PENDING, _FIRING, _RESOLVED = (int(phase) for phase in Phase)

EPISODE = np.dtype([("phase", np.int64), ("since_us", np.int64), ("inside_us", np.int64)])
"""State per sensor and rule. inside_us: since when the signal is back inside; 0: it is not."""

RULE = np.dtype(
    [
        ("used", np.int64),  # a class may have fewer rules than another
        ("on_score", np.int64),
        ("sign", np.float64),  # +1: above is outside, -1: below is
        ("limit", np.float64),
        ("clear", np.float64),
        ("hold_us", np.int64),
        ("resolve_us", np.int64),
    ]
)

EVENT = np.dtype(
    [
        ("slot", np.int64),
        ("rule", np.int64),
        ("phase", np.int64),
        ("at_us", np.int64),
        ("since_us", np.int64),
        ("value", np.float64),
        ("score", np.float64),
        ("scored_by", np.int64),
        ("low", np.float64),
        ("high", np.float64),
    ]
)


@kernel
def advance(episode: Any, rule: Any, at_us: int, outside: bool, inside: bool) -> int:
    """Move one episode to a time; the phase it changed to, or NONE."""
    phase = episode["phase"]
    if phase == _NONE:
        if not outside:
            return _NONE
        episode["since_us"] = at_us
        episode["inside_us"] = 0
        begun = _PENDING if rule["hold_us"] > 0 else _FIRING
        episode["phase"] = begun
        return begun
    if phase == _PENDING:
        if outside:
            if at_us - episode["since_us"] < rule["hold_us"]:
                return _NONE
            episode["phase"] = _FIRING
            return _FIRING
        episode["phase"] = _NONE
        return _RESOLVED
    if not inside:
        episode["inside_us"] = 0
        return _NONE
    if episode["inside_us"] == 0:
        episode["inside_us"] = at_us
    if at_us - episode["inside_us"] < rule["resolve_us"]:
        return _NONE
    episode["phase"] = _NONE
    return _RESOLVED


@kernel
def _emit(
    events: Any,
    n: int,
    slot: int,
    rule: int,
    phase: int,
    at_us: int,
    since_us: int,
    value: float,
    score: float,
    by: int,
    low: float,
    high: float,
) -> int:
    event = events[n]
    event["low"] = low
    event["high"] = high
    event["slot"] = slot
    event["rule"] = rule
    event["phase"] = phase
    event["at_us"] = at_us
    event["since_us"] = since_us
    event["value"] = value
    event["score"] = score
    event["scored_by"] = by
    return n + 1


@kernel
def judge_rows(
    episodes: Any,
    rules: Any,
    class_of: NDArray[np.int32],
    slot: NDArray[np.int32],
    ts_us: NDArray[np.int64],
    value: NDArray[np.float64],
    verdict: NDArray[np.uint8],
    score: NDArray[np.float64],
    scored_by: NDArray[np.int16],
    expected: NDArray[np.float64],
    events: Any,
) -> int:
    """Hold each folded row against its class's rules; returns how many events were written.

    episodes: EPISODE, shape (slots, rules); rules: RULE, shape (classes, rules); events: EVENT, at least rows × rules.
    """
    n = 0
    for i in range(slot.size):
        if verdict[i] != FOLDED:
            continue
        at = slot[i]
        for r in range(rules.shape[1]):
            rule = rules[class_of[at], r]
            if rule["used"] == 0:
                break
            x = rule["sign"] * (score[i] if rule["on_score"] != 0 else value[i])
            episode = episodes[at, r]
            changed = advance(episode, rule, ts_us[i], x >= rule["limit"], x < rule["clear"])
            if changed != _NONE:
                n = _emit(
                    events,
                    n,
                    at,
                    r,
                    changed,
                    ts_us[i],
                    episode["since_us"],
                    value[i],
                    score[i],
                    scored_by[i],
                    expected[i, 0],
                    expected[i, 1],
                )
    return n


@kernel
def judge_held(
    episodes: Any, rules: Any, class_of: NDArray[np.int32], limits: Any, sensors: Any, now_us: int, events: Any
) -> int:
    """Time passed: go on with open episodes of on-change sensors whose value holds. events: at least open episodes."""
    n = 0
    for at in range(class_of.size):
        limit = limits[class_of[at]]
        row = sensors[at]
        if row["on_change"] == 0 or row["holds"] == 0:
            continue
        idle_us = max(0, now_us - row["last_now_us"])
        if idle_us == 0 or idle_us > limit["staleness_us"]:
            continue
        for r in range(rules.shape[1]):
            rule = rules[class_of[at], r]
            episode = episodes[at, r]
            if rule["used"] == 0:
                break
            if episode["phase"] == _NONE:
                continue
            x = rule["sign"] * (row["score"] if rule["on_score"] != 0 else row["last_value"])
            at_us = row["last_us"] + idle_us
            changed = advance(episode, rule, at_us, x >= rule["limit"], x < rule["clear"])
            if changed != _NONE:
                n = _emit(
                    events,
                    n,
                    at,
                    r,
                    changed,
                    at_us,
                    episode["since_us"],
                    row["last_value"],
                    row["score"],
                    row["scored_by"],
                    row["low"],
                    row["high"],
                )
    return n


@dataclass(frozen=True, slots=True)
class Transition:
    """An alert's change of phase: an effect of the fold.

    id: the same for all transitions of an episode, and the same in every replay. at_us, since_us: event time, µs.
    model: which one set the score, or None. band: what was expected, (low, high), None
    for no limit on that side; None where nothing was known.
    """

    id: str
    phase: Phase
    sensor: str
    rule: str
    revision: str
    severity: str
    at_us: int
    since_us: int
    value: float
    score: float
    model: str | None
    band: tuple[float | None, float | None] | None = None


def alert_id(rule: str, revision: str, sensor: str, since_us: int) -> str:
    """A deterministic id: BLAKE2b-128 over rule, revision, sensor and the episode's start in event time.

    >>> alert_id("anomaly", "r1", "demo/t", 5) == alert_id("anomaly", "r1", "demo/t", 5)
    True
    """
    text = "\0".join((rule, revision, sensor, str(since_us)))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

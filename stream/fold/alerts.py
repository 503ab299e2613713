"""Alerts: pending → firing → resolved, per sensor and rule, in event time.

Silence never resolves: only a reading inside the limits does, or, for on-change sensors whose last value holds, time.
An episode goes on over backlog too, but people are not told of it before the sensor has caught up (`backlog.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import inlined_kernel, kernel
from models.prefetch import ahead, prefetch
from stream.fold.calibration import REFRACTORY
from stream.fold.explaining import DataQuality, quality_of_row, quality_without_row
from stream.fold.gate import FOLDED, MASKED


class Phase(IntEnum):
    """Where an episode stands."""

    NONE = 0
    PENDING = 1
    FIRING = 2
    RESOLVED = 3


_NONE, _PENDING, _FIRING, _RESOLVED = (int(phase) for phase in Phase)

EPISODE = np.dtype(
    [
        ("phase", np.int16),
        ("told", np.int16),  # the phase that people were told last; NONE: they know nothing of it
        ("behind", np.int32),  # 1: the newest reading that it was held against was backlog
        ("since_us", np.int64),
        ("inside_us", np.int64),  # since when the signal is back inside; 0: it is not
        ("peak", np.float64),  # the highest score in it
        ("rest", np.int64),  # a rule on scores: readings before it fires anew, unless for far worse
    ]
)
"""State per sensor and rule."""

RULE = np.dtype(
    [
        ("used", np.int64),  # a class may have fewer rules than another
        ("on_score", np.int64),
        ("sign", np.float64),  # +1: above is outside, -1: below is
        ("limit", np.float64),
        ("clear", np.float64),
        ("hold_us", np.int64),
        ("resolve_us", np.int64),
        ("on_silence", np.int64),  # judged as time passes: see `silence.py`
    ]
)

EVENT = np.dtype(
    [
        ("slot", np.int64),
        ("rule", np.int64),
        ("phase", np.int64),
        ("follows", np.int64),  # SAY, MISSED, or both
        ("at_us", np.int64),
        ("since_us", np.int64),
        ("peak", np.float64),
        ("value", np.float64),
        ("score", np.float64),
        ("scored_by", np.int64),
        ("low", np.float64),
        ("high", np.float64),
        ("width", np.float64),
        ("spent", np.float64),
        ("quality", np.int64),  # of the data: `explaining.DataQuality`
    ]
)

SAY = 1
"""People are told of the phase."""
MISSED = 2
"""It fired and is over, and nobody was told."""


_FAR_WORSE = 3.0
_DAY_US = 86_400_000_000
_MAINTENANCE = int(DataQuality.MAINTENANCE)


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


@inlined_kernel
def step(episode: Any, rule: Any, at_us: int, x: float, score: float, caught_up: bool) -> int:
    """Move one episode on by a signal x; what follows: 0, SAY, MISSED, or both. caught_up: people may be told."""
    before = episode["phase"]
    outside = x >= rule["limit"]
    if episode["rest"] > 0:
        episode["rest"] -= 1
        rested = at_us - episode["since_us"] >= _DAY_US or score >= _FAR_WORSE * episode["peak"]
        if before == _NONE and not rested:
            outside = False
    changed = advance(episode, rule, at_us, outside, x < rule["clear"])
    if before == _NONE:
        if changed == _NONE:
            return 0
        episode["told"] = _NONE
        episode["peak"] = score
    elif score > episode["peak"]:
        episode["peak"] = score
    if changed == _FIRING and rule["on_score"] != 0:
        episode["rest"] = REFRACTORY
    if changed == _RESOLVED:
        follows = SAY if episode["told"] != _NONE else 0
        return follows | MISSED if before == _FIRING and episode["told"] != _FIRING else follows
    return tell(episode, caught_up)


@kernel
def tell(episode: Any, caught_up: bool) -> int:
    """SAY if people may be told what they do not know yet, else 0."""
    if not caught_up or episode["told"] == episode["phase"]:
        return 0
    episode["told"] = episode["phase"]
    return SAY


@kernel
def _emit(
    events: Any,
    n: int,
    slot: int,
    rule: int,
    follows: int,
    episode: Any,
    at_us: int,
    value: float,
    score: float,
    by: int,
    low: float,
    high: float,
    width: float,
    spent: float,
    quality: int,
) -> int:
    event = events[n]
    event["quality"] = quality
    event["width"] = width
    event["spent"] = spent
    event["low"] = low
    event["high"] = high
    event["slot"] = slot
    event["rule"] = rule
    event["phase"] = _RESOLVED if episode["phase"] == _NONE else episode["phase"]
    event["follows"] = follows
    event["at_us"] = at_us
    event["since_us"] = episode["since_us"]
    event["peak"] = episode["peak"]
    event["value"] = value
    event["score"] = score
    event["scored_by"] = by
    return n + 1


@kernel
def _end_masked(episodes: Any, at: int, ts_us: int, value: float, events: Any, n: int) -> int:
    """A reading in maintenance: what is open ends. Returns how many events there are."""
    for r in range(episodes.shape[1]):
        episode = episodes[at, r]
        phase, told = episode["phase"], episode["told"]
        if phase == _NONE:
            continue
        episode["phase"] = _NONE
        episode["behind"] = 0
        follows = SAY if told != _NONE else 0
        if phase == _FIRING and told != _FIRING:
            follows |= MISSED
        if follows != 0:
            none = np.nan
            n = _emit(
                events, n, at, r, follows, episode, ts_us, value, 0.0, -1, none, none, 1.0, 0.0, _MAINTENANCE
            )  # fmt: skip
    return n


@kernel
def judge_rows(
    episodes: Any,
    rules: Any,
    class_of: NDArray[np.int32],
    slot: NDArray[np.int32],
    ts_us: NDArray[np.int64],
    value: NDArray[np.float64],
    verdict: NDArray[np.uint8],
    backlog: NDArray[np.bool_],
    score: NDArray[np.float64],
    scored_by: NDArray[np.int16],
    expected: NDArray[np.float64],
    allowance: Any,
    source: NDArray[np.uint8],
    events: Any,
) -> int:
    """Hold each folded row against its class's rules; returns how many events were written. A masked one ends them.

    A rule on scores that has fired is at rest for some readings: what comes and goes is one alert, not many.
    episodes: EPISODE, shape (slots, rules); rules: RULE, shape (classes, rules); source: the readings' quality as they
    came; events: EVENT, at least rows × rules.
    """
    n = 0
    for i in range(slot.size):
        for k in ahead(i, slot.size):
            prefetch(episodes, slot[k])
        if verdict[i] == MASKED:
            n = _end_masked(episodes, slot[i], ts_us[i], value[i], events, n)
        if verdict[i] != FOLDED:
            continue
        at = slot[i]
        for r in range(rules.shape[1]):
            rule = rules[class_of[at], r]
            if rule["used"] == 0:
                break
            if rule["on_silence"] != 0:
                continue
            x = rule["sign"] * (score[i] if rule["on_score"] != 0 else value[i])
            episode = episodes[at, r]
            follows = step(episode, rule, ts_us[i], x, score[i], not backlog[i])
            episode["behind"] = episode["phase"] != _NONE and backlog[i]
            if follows != 0:
                n = _emit(
                    events,
                    n,
                    at,
                    r,
                    follows,
                    episode,
                    ts_us[i],
                    value[i],
                    score[i],
                    scored_by[i],
                    expected[i, 0],
                    expected[i, 1],
                    allowance[i]["width"],
                    allowance[i]["spent"],
                    quality_of_row(source[i], backlog[i], allowance[i]["warming"]),
                )
    return n


@kernel
def open_slots(episodes: Any) -> NDArray[np.intp]:
    """Who has an open episode, ascending: shape (slots,)."""
    found = np.empty(episodes.shape[0], np.intp)
    n = 0
    for at in range(episodes.shape[0]):
        for r in range(episodes.shape[1]):
            if episodes[at, r]["phase"] != _NONE:
                found[n] = at
                n += 1
                break
    return found[:n].copy()


@kernel
def judge_open(
    episodes: Any,
    rules: Any,
    class_of: NDArray[np.int32],
    limits: Any,
    sensors: Any,
    slots: NDArray[np.intp],
    now_us: int,
    backlog_us: int,
    events: Any,
) -> int:
    """Time passed: go on with open episodes. Returns how many events were written.

    Those of on-change sensors whose value holds move on. Who has been silent for `backlog_us` after a backlog has
    caught up: nothing newer is known. slots: those with open episodes; events: at least one for each of their rules.
    """
    n = 0
    for i in range(slots.size):
        at = slots[i]
        limit = limits[class_of[at]]
        row = sensors[at]
        idle_us = max(0, now_us - row["last_now_us"])
        if idle_us == 0:
            continue
        holds = row["on_change"] != 0 and row["holds"] != 0 and idle_us <= limit["staleness_us"]
        for r in range(rules.shape[1]):
            rule = rules[class_of[at], r]
            episode = episodes[at, r]
            if rule["used"] == 0:
                break
            if episode["phase"] == _NONE or rule["on_silence"] != 0:
                continue
            behind = episode["behind"]
            caught_up = behind == 0 or idle_us >= backlog_us
            at_us = row["last_us"]
            if holds:
                at_us += idle_us
                x = rule["sign"] * (row["score"] if rule["on_score"] != 0 else row["last_value"])
                follows = step(episode, rule, at_us, x, row["score"], caught_up)
            else:
                follows = tell(episode, caught_up)
            if follows != 0:
                n = _emit(
                    events,
                    n,
                    at,
                    r,
                    follows,
                    episode,
                    at_us,
                    row["last_value"],
                    row["score"],
                    row["scored_by"],
                    row["low"],
                    row["high"],
                    (row["bar"] if row["bar"] > 0.0 else 1.0) * (1.0 + row["extra"]),
                    row["spent"],
                    quality_without_row(row, behind, holds),
                )
    return n


@dataclass(frozen=True, slots=True)
class Transition:
    """An alert's change of phase: an effect of the fold.

    id: the same for all transitions of an episode, and the same in every replay. at_us, since_us: event time, µs.
    model: which one set the score, or None. band: what was expected, (low, high), None
    for no limit on that side; None where nothing was known. width: what the model's own score was divided by.
    spent: alerts of this sensor within about a day before; share: of those that the plant may bring in a day.
    quality: of the data behind it, in words (`explaining.DataQuality`).
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
    width: float = 1.0
    spent: float = 0.0
    together: int = 1
    """How many sensors fell silent with this one, itself among them."""
    node: str | None = None
    """What they have in common of their paths."""
    quality: str = "good"
    share: float = 0.0


def alert_id(rule: str, revision: str, sensor: str, since_us: int) -> str:
    """A deterministic id: BLAKE2b-128 over rule, revision, sensor and the episode's start in event time.

    >>> alert_id("anomaly", "r1", "demo/t", 5) == alert_id("anomaly", "r1", "demo/t", 5)
    True
    """
    text = "\0".join((rule, revision, sensor, str(since_us)))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

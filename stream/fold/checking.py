"""Whether frozen rows are such as a fold writes. All that comes from outside goes through here before a kernel sees it.

A checksum says that nothing was changed since, not that it was right. Looked at is what kernels index, shift or loop
by, what names a part of the plan, and what time is reckoned with. That a mean is true cannot be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any, get_args

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from ingest.contract.class_settings import RuleSettings
from models.compiled import kernel
from stream.fold.alerts import Phase
from stream.fold.backlog import KEPT, Episode
from stream.fold.calibration import REFRACTORY
from stream.fold.clock import Clock
from stream.fold.gate import RING, Verdict
from stream.fold.levels import wrong_levels
from stream.fold.masks import MOST, Maintenance
from stream.fold.plan import Plan
from stream.fold.quantiles import panes_of
from stream.fold.silence import wrong_silences
from stream.fold.sketch import HEAVIEST, PANES, SKETCH
from stream.fold.windows import NO_PANE

FARTHEST_US = 2**56
"""No time that is kept is later, whatever was added to it; sums of some of them still fit into 64 bits."""
_ROOM, _STRAYS, _EDGES = (SKETCH[name].shape[0] for name in ("value", "stray", "begin"))
_SEEDS = 2**31 - 1
_FIRING = int(Phase.FIRING)
_LARGEST = 1e300
_STATE, _VERDICTS = int(Verdict.STATE), len(Verdict)
# So many rows at a time that what is made of them stays in the processor's cache.
_AT_ONCE = 2_048
_SEVERITIES = frozenset(get_args(RuleSettings.model_fields["severity"].annotation))


def wrong_rows(
    plan: Plan,
    arrays: Mapping[str, NDArray[Any]],
    named: NDArray[np.bool_],
    alive_us: int = FARTHEST_US,
) -> str | None:
    """What is wrong with sensors' rows, if anything is.

    arrays: of a state, with the plan's types and shapes. named: by row, whether a sensor has it. alive_us: the state's,
    where the rows are its own.
    """
    class_of = arrays["class_of"]
    if class_of.size and not 0 <= int(class_of.min()) <= int(class_of.max()) < len(plan.classes):
        return "a class that there is not"
    if not _within(arrays["heard_us"], 0, alive_us):
        return "a sensor that was heard of in the future"
    if wrong := wrong_levels(arrays["levels"], named):
        return wrong
    for array in (arrays["sensors"], arrays["episodes"], arrays["levels"]):
        for name in (one for one in array.dtype.names or () if one.endswith("_us")):
            if not _within(array[name], 0, FARTHEST_US):
                return f"a time that there is not: {name}"
    sensors = arrays["sensors"]
    if not (_within(sensors["left"], 0, REFRACTORY) and _within(arrays["episodes"]["rest"], 0, REFRACTORY)):
        return "a time of excitement without end"
    if ((sensors["left"] > 0) & ~(sensors["bar"] >= 1.0)).any():
        return "a time of excitement without its boundary"
    if not all(_within(sensors[name], 0.0, _LARGEST) for name in ("top", "bar", "spent", "extra")):
        return "a score that is none"
    fault = _first_fault(
        arrays["sensors"], arrays["panes"], arrays["episodes"], class_of, named, len(plan.models), plan.levels,
        plan.rule_rows,
    )  # fmt: skip
    if fault:
        return _FAULTS[fault]
    return wrong_silences(plan.silences, arrays["silences"], arrays["episodes"], class_of, named, alive_us)


def _within(numbers: NDArray[Any], low: float, high: float) -> bool:
    """Whether all are; NaN is not."""
    return not numbers.size or bool(numbers.min() >= low and numbers.max() <= high)


_FLAG, _MODEL, _RING, _PANE, _PHASE, _RULE, _REASON, _COUNT = range(1, 9)
_FAULTS = {
    _FLAG: "neither yes nor no",
    _MODEL: "a score of a model that there is not",
    _RING: "a ring of timestamps that leaves its row, or is in disorder",
    _PANE: "a pane that is not in its place",
    _PHASE: "an alert in a phase that there is not",
    _RULE: "an alert of a rule that there is not",
    _REASON: "a reading refused for nothing that there is",
    _COUNT: "a counter that has turned less than never, or by no number",
}


@kernel
def _first_fault(
    sensors: Any,
    panes: Any,
    episodes: Any,
    class_of: NDArray[np.int32],
    named: NDArray[np.bool_],
    models: int,
    levels: NDArray[np.int64],
    rules: Any,
) -> int:
    """The first of _FAULTS, 0 if there is none. In one pass: what is read is much, and what is done with it little."""
    for at in range(class_of.size):
        row = sensors[at]
        if not (_is_flag(row["shown_text"]) and _is_flag(row["on_change"]) and _is_flag(row["holds"])):
            return _FLAG
        if row["refused"] != 0 and not _STATE < row["refused"] < _VERDICTS:
            return _REASON
        counted = row["offset"] + row["before"] + row["turned_value"]
        if row["rollovers"] < 0 or row["resets"] < 0 or not np.isfinite(counted):
            return _COUNT
        # A row that nobody has is all zeros, even where there are no models.
        if row["scored_by"] < -1 or row["scored_by"] >= (models if named[at] else max(1, models)):
            return _MODEL
        if not _is_ring(row["ring"], row["ring_at"], row["ring_used"]):
            return _RING
        for level in range(levels.shape[0]):
            width_us, first, count = levels[level]
            latest = FARTHEST_US // width_us
            for place in range(count):
                number = panes[at, first + place]["id"]
                if number != NO_PANE and (number < 0 or number > latest or number % count != place):
                    return _PANE
        for r in range(episodes.shape[1]):
            episode = episodes[at, r]
            phase, told, behind = episode["phase"], episode["told"], episode["behind"]
            if phase < 0 or phase > _FIRING or told < 0 or told > _FIRING or not _is_flag(behind):
                return _PHASE
            if phase != 0 and (not named[at] or rules[class_of[at], r]["used"] == 0):
                return _RULE
    return 0


@kernel
def _is_flag(number: int) -> bool:
    return 0 <= number <= 1


@kernel
def _is_ring(ring: NDArray[np.int64], at: int, used: int) -> bool:
    if at < 0 or at >= RING or used < 0 or used > RING:
        return False
    before_us = -1
    for k in range(used):
        time_us = ring[(at + k) % RING]
        if time_us <= before_us:
            return False
        before_us = time_us
    return before_us <= FARTHEST_US


# --- sketches -----------------------------------------------------------------------------------------------------


def wrong_sketches(
    windows_us: NDArray[np.int64],
    of: NDArray[np.int32],
    rows: NDArray[Any],
    class_of: NDArray[np.int32],
    named: NDArray[np.bool_],
) -> str | None:
    """What is wrong with rows of SKETCH, if anything is. windows_us, of: see `quantiles.Sketches`, whose they are."""
    has = of > 0
    if (has & ~((windows_us[class_of] > 0) & named[:, None])).any():
        return "a sketch of a window that there is not"
    # Nobody's is fresh, so it has no panes.
    panes = np.zeros(rows.size, np.int64)
    by_window = {window_us: panes_of(window_us) for window_us in np.unique(windows_us[windows_us > 0]).tolist()}
    for window_us, count in by_window.items():
        panes[of[has & (windows_us[class_of] == window_us)] - 1] = count
    pieces = (slice(first, first + _AT_ONCE) for first in range(0, rows.size, _AT_ONCE))
    return next((wrong for at in pieces if (wrong := _wrong_piece(rows[at], panes[at]))), None)


def _wrong_piece(rows: NDArray[Any], panes: NDArray[np.int64]) -> str | None:
    newest, total, begin = rows["newest"], rows["total"], rows["begin"].copy()
    if not (
        _within(newest, 0, FARTHEST_US)
        and _within(rows["open"], 0, FARTHEST_US)
        and _within(rows["last_us"], 0, FARTHEST_US)
        and _within(rows["holds"], 0, 1)
        and _within(rows["seed"], 0, _SEEDS)
        and _within(rows["halves"], 0, 2 ** (_EDGES - 1) - 1)
        and _within(rows["turns"], 0, 2 ** (_EDGES - 1) - 1)
        and _within(total, 0, HEAVIEST)
        and _within(begin, 0, _ROOM)
        and not (((newest > 0) | (rows["holds"] > 0)) & (panes == 0)).any()
        and not ((newest == 0) & (total > 0)).any()
        and (rows["open"] <= newest).all()
    ):
        return "a sketch out of its bounds"
    counts = np.diff(begin, axis=1)
    ends = (begin[:, -1] == np.where(newest > 0, _ROOM, 0)) & (counts >= 0).all(axis=1)
    if not ends.all() or (counts @ (1 << np.arange(_EDGES - 1)) != total).any():
        return "a sketch whose levels are not in order"
    return _wrong_strays(rows, newest, panes) or _wrong_points(rows, newest, panes)


def _wrong_strays(rows: NDArray[Any], newest: NDArray[np.int64], panes: NDArray[np.int64]) -> str | None:
    strays = rows["strays"]
    if not _within(strays, 0, _STRAYS - 1):
        return "a sketch with too many strays"
    weight, pane = rows["stray_weight"], rows["stray_pane"]
    right = (weight > 0) & (weight <= FARTHEST_US) & (pane > 0) & (pane <= newest[:, None])
    right &= pane > (newest - panes)[:, None]
    if (~right & (np.arange(_STRAYS) < strays[:, None])).any():
        return "a stray of no pane"
    return None


def _wrong_points(rows: NDArray[Any], newest: NDArray[np.int64], panes: NDArray[np.int64]) -> str | None:
    pane, total = rows["pane"], rows["pane_total"]
    there = pane != 0
    right = (pane > 0) & (pane <= newest[:, None]) & (pane % np.maximum(panes, 1)[:, None] == np.arange(PANES))
    right &= (total > 0) & (total <= HEAVIEST)
    if (there & ~right).any() or (~there & (total != 0)).any():
        return "a sketch with a pane that there is not"
    return None


# --- scalars ------------------------------------------------------------------------------------------------------


_Count = Annotated[int, Meta(ge=0, le=2**62)]
_Time = Annotated[int, Meta(ge=0, le=FARTHEST_US)]
# Its seconds fit into 32 bits; no log goes on for 35 years.
_Alive = Annotated[int, Meta(ge=0, le=2**50)]


class _Over(Struct, frozen=True, forbid_unknown_fields=True):
    first_us: _Time
    last_us: _Time
    episodes: Annotated[list[Episode], Meta(max_length=KEPT)]
    more: dict[str, _Count]


class Scalars(Struct, frozen=True, forbid_unknown_fields=True):
    """What of a state is neither a row nor a name, checked; see `PartitionState.freeze`."""

    counts: list[_Count]
    turns: list[_Count]
    alive_us: _Alive
    clock: dict[str, _Time | list[_Time]]
    over: _Over
    masks: Annotated[list[Maintenance], Meta(max_length=MOST)] = []

    def __post_init__(self) -> None:
        """Raises ValueError, as does msgspec for what is of another type or not there."""
        for one in self.over.episodes:
            if not isfinite(one.badness) or one.severity not in _SEVERITIES:
                raise ValueError("an episode that is none")
            if not (0 <= one.since_us <= FARTHEST_US and 0 <= one.until_us <= FARTHEST_US):
                raise ValueError("an episode of a time that there is not")
            "\0".join((one.id, one.sensor, one.rule)).encode()
        "\0".join(self.over.more).encode()
        if any(one.problem() for one in self.masks) or len({one.id for one in self.masks}) < len(self.masks):
            raise ValueError("a maintenance window that is none")

    def clock_told(self) -> Clock:
        """Raises ValueError where a clock has other parts."""
        if self.clock.keys() != set(Clock._fields):
            raise ValueError(f"a clock of {', '.join(sorted(self.clock))}"[:200])
        return msgspec.convert(
            [self.clock[name] or (None if name == "against" else 0) for name in Clock._fields], Clock
        )


def scalars_of(found: Mapping[str, Any]) -> Scalars:
    """Raises ValueError for what `freeze` has not made."""
    return msgspec.convert(found, Scalars)

"""What of a sensor's rows stays valid when its class, or what its class says, is another one from now on.

Everything is by rows in columns: thousands of sensors change together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel
from stream.fold.counters import forget_turns
from stream.fold.plan import AS_ITS_SOURCE, Plan
from stream.fold.state import PartitionState
from stream.fold.windows import NO_PANE, merge, open_pane

Rows = dict[str, NDArray[Any]]
"""Rows of a state's arrays, by name: all of the same sensors in the same order."""


@dataclass(slots=True)
class Carried:
    """arrays: in the layout of the new plan. The rest: by row, what its sensor kept or lost of what it had."""

    arrays: Rows
    comparable: NDArray[np.bool_]
    """Whether a window's numbers mean what they meant before."""
    windows_kept: NDArray[np.bool_]
    windows_reset: NDArray[np.bool_]
    models_kept: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    models_reset: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    closed: list[tuple[int, int]] = field(default_factory=list)
    """(row, place of the rule in the old class) of open episodes whose rule is gone."""


def fresh_rows(plan: Plan, count: int) -> Rows:
    """Rows of sensors that nothing is known of."""
    rows = {name: np.zeros((count, *row.shape[1:]), row.dtype) for name, row in PartitionState(plan).row(0).items()}
    rows["panes"]["id"] = NO_PANE
    return rows


def carry(old: Plan, rows: Mapping[str, NDArray[Any]], new: Plan, class_of: NDArray[np.int32]) -> Carried:
    """Rows of one plan in the layout of another.

    class_of: by row, the class in the new plan. Kept are: what was shown, timestamps, on-change or not (unless the new
    class says); panes of a width that there still is; models with the same options; episodes of rules with the same
    revision. Where a sensor has another unit or is no number any more, its numbers mean nothing: windows and models
    begin anew; with another way of reporting, windows do.
    """
    was, count = rows["class_of"], class_of.size
    made = fresh_rows(new, count)
    special = {"class_of", "sensors", "panes", "episodes"}
    for name in made.keys() & rows.keys() - special:
        if not name.startswith("bank.") and made[name].shape == rows[name].shape:
            made[name][:] = rows[name]
    made["class_of"][:] = class_of
    sensors = made["sensors"]
    sensors[:] = rows["sensors"]
    said = new.limits["on_change"][class_of]
    sensors["on_change"] = np.where(said == AS_ITS_SOURCE, sensors["on_change"], said)
    # Gaps of one way of reporting say nothing of the other's.
    begun = (sensors["on_change"] != rows["sensors"]["on_change"]).nonzero()[0]
    made["silences"]["long_us"][begun] = made["silences"]["dev_us"][begun] = 0.0
    made["silences"]["mean_us"][begun] = np.where(sensors["on_change"][begun] != 0, -1.0, 0.0)
    same_numbers = _same_numbers(old, was, new, class_of)
    _carry_counters(old, was, new, class_of, sensors, same_numbers)
    same_weights = same_numbers & (sensors["on_change"] == rows["sensors"]["on_change"])
    sensors["holds"][~same_weights] = 0
    sensors["until_us"][~same_weights] = 0
    # Another unit: neither levels nor what was learned mean anything.
    made["levels"][~same_numbers] = 0
    for name in ("left", "top", "bar", "spent", "spent_us", "extra"):
        sensors[name][~same_numbers] = 0
    had = (rows["panes"]["id"] != NO_PANE).any(axis=1)
    kept = _carry_panes(old, rows["panes"], new, made["panes"], same_weights)
    carried = Carried(made, same_weights, had & kept, had & ~kept)
    _carry_models(old, rows, new, class_of, same_numbers, carried)
    _carry_episodes(old, rows, new, class_of, carried)
    return carried


def _same_numbers(old: Plan, was: NDArray[np.int32], new: Plan, class_of: NDArray[np.int32]) -> NDArray[np.bool_]:
    numeric = (old.limits["numeric"][was] != 0) & (new.limits["numeric"][class_of] != 0)
    old_units = np.array([one.unit for one in old.classes.classes])
    new_units = np.array([one.unit for one in new.classes.classes])
    # To be told a unit, where none was known, changes no number as a rule: most sources send none.
    before, after = old_units[was], new_units[class_of]
    same: NDArray[np.bool_] = numeric & ((before == after) | (before == "") | (after == ""))
    return same


def _carry_counters(
    old: Plan, was: NDArray[np.int32], new: Plan, class_of: NDArray[np.int32], sensors: Any, same: NDArray[np.bool_]
) -> None:
    """What was unwrapped is another number to a class that unwraps nothing: then `same` is no more."""
    ends = (old.limits["counter"][was] != 0) & (new.limits["counter"][class_of] == 0)
    same &= ~(ends & (sensors["offset"] != 0.0))
    forget_turns(sensors, ends | ~same)
    # Nothing can be too far from a value that means something else.
    sensors["last_value"][~same & np.isfinite(new.limits["max_rate"][class_of])] = np.nan


def _carry_panes(
    old: Plan, panes: NDArray[Any], new: Plan, made: NDArray[Any], valid: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Panes go to the finest level whose panes are as wide, or several times as wide. True for rows that lost none."""
    if np.array_equal(old.levels, new.levels):
        made[valid] = panes[valid]
        return valid
    wider = new.levels[:, 0].tolist()
    onto = np.array(
        [next((at for at, one in enumerate(wider) if one % width == 0), -1) for width in old.levels[:, 0].tolist()]
    )
    pour(panes, old.levels, onto, np.flatnonzero(valid), made, new.levels)
    kept = valid.copy()
    for (_, first, count), target in zip(old.levels, onto, strict=True):
        if target < 0:
            kept &= (panes["id"][:, first : first + count] == NO_PANE).all(axis=1)
    return kept


@kernel
def pour(
    panes: Any,
    levels: NDArray[np.int64],
    onto: NDArray[np.int64],
    rows: NDArray[np.int64],
    into: Any,
    into_levels: NDArray[np.int64],
) -> None:
    """Put sensors' panes into rings of other sizes, beside what is there; coarse panes first, as they are older.

    panes, into: PANE, shape (sensors, panes). onto: by level, the finest one that can take its panes; -1: none can.
    """
    for i in range(rows.size):
        row = rows[i]
        for level in range(levels.shape[0] - 1, -1, -1):
            if onto[level] < 0:
                continue
            for at in range(levels[level, 1], levels[level, 1] + levels[level, 2]):
                pane = panes[row, at]
                if pane["id"] == NO_PANE:
                    continue
                pane_us = pane["id"] * levels[level, 0]
                place, begin_us = open_pane(into, row, into_levels, onto[level], pane_us)
                # Where all rings have moved on, no window would see it.
                if place >= 0:
                    merge(into[row, place], pane, (pane_us - begin_us) / 1e6)


def join_panes(plan: Plan, older: NDArray[Any], own: NDArray[Any]) -> NDArray[Any]:
    """A sensor's panes, and what another's have from before the oldest of them. Both: PANE, shape (1, panes)."""
    width_us = np.repeat(plan.levels[:, 0], plan.levels[:, 2])
    there = own["id"][0] != NO_PANE
    past = older.copy()
    if there.any():
        oldest_us = (own["id"][0] * width_us)[there].min()
        past["id"][0, (older["id"][0] + 1) * width_us > oldest_us] = NO_PANE
    joined = own.copy()
    pour(past, plan.levels, np.arange(len(plan.levels)), np.zeros(1, np.int64), joined, plan.levels)
    return joined


def _carry_models(
    old: Plan,
    rows: Mapping[str, NDArray[Any]],
    new: Plan,
    class_of: NDArray[np.int32],
    valid: NDArray[np.bool_],
    carried: Carried,
) -> None:
    was, sensors = rows["class_of"], carried.arrays["sensors"]
    by = rows["sensors"]["scored_by"]
    now_by = np.full(class_of.size, -1, np.int64)
    places = {used.bank: place for place, used in enumerate(new.models)}
    for number, used in enumerate(old.models):
        bank = rows[f"bank.{used.bank}"]
        had = used.uses[was] & _written(bank)
        keeps, place = np.zeros(class_of.size, np.bool_), places.get(used.bank)
        if place is not None:
            other = new.models[place]
            if other.model.state == used.model.state and other.params.shape[1] == used.params.shape[1]:
                keeps = valid & used.uses[was] & other.uses[class_of]
                keeps &= (used.params[was] == other.params[class_of]).all(axis=1)
                carried.arrays[f"bank.{used.bank}"][keeps] = bank[keeps]
                now_by[keeps & (by == number)] = place
        carried.models_kept[used.bank] = had & keeps
        carried.models_reset[used.bank] = had & ~keeps
    # A score without its model: nobody could say what it means.
    gone = (by >= 0) & (now_by < 0)
    sensors["scored_by"] = now_by
    for name, nothing in (("score", 0.0), ("low", np.nan), ("high", np.nan)):
        sensors[name][gone] = nothing


def _written(rows: NDArray[Any]) -> NDArray[np.bool_]:
    flat = np.ascontiguousarray(rows).view(np.uint8).reshape(rows.shape[0], rows.dtype.itemsize)
    return np.asarray(flat.any(axis=1))


def _carry_episodes(
    old: Plan, rows: Mapping[str, NDArray[Any]], new: Plan, class_of: NDArray[np.int32], carried: Carried
) -> None:
    episodes, made = rows["episodes"], carried.arrays["episodes"]
    for one, other, at in _by_pair(rows["class_of"], class_of):
        places = {(rule.settings.name, rule.revision): place for place, rule in enumerate(new.rules[other])}
        for place, rule in enumerate(old.rules[one]):
            now = places.get((rule.settings.name, rule.revision))
            if now is not None:
                made[at, now] = episodes[at, place]
            else:
                is_open = episodes["phase"][at, place] != 0
                carried.closed += [(row, place) for row in at[is_open].tolist()]
    carried.closed.sort()


def _by_pair(was: NDArray[np.int32], class_of: NDArray[np.int32]) -> Iterator[tuple[int, int, NDArray[np.intp]]]:
    """(old class, new class, rows) for each pair that there is."""
    if not was.size:
        return
    key = was.astype(np.int64) << 32 | class_of
    order = np.argsort(key, kind="stable")
    firsts = np.flatnonzero(np.diff(key[order], prepend=-1))
    for at in np.split(order, firsts[1:]):
        yield int(was[at[0]]), int(class_of[at[0]]), at

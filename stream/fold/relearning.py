"""What follows from a changed level: one event, its alerts end, models begin anew; and the answers of people.

Everything happens when the partition's clock moves on, or at a command, so it does not depend on how the log is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.fold.alerts import Phase, Transition, alert_id
from stream.fold.closing import Ends
from stream.fold.explaining import DataQuality, quality_of_sensor
from stream.fold.kept import carried
from stream.fold.levels import EVENT_OPEN, Stage, calm, hold
from stream.fold.plan import Plan
from stream.fold.state import PartitionState

RULE = "level"
"""The name of the rule that nobody has to configure …"""
REVISION = "builtin"
"""… and what tells it from one that somebody has called so."""
SEVERITY = "info"
_DUE = (int(Stage.OUTSIDE), int(Stage.STEADY), int(Stage.BACK), int(Stage.LEARNED))


_NOTHING = np.zeros(0, np.uint8)


def taught_and_held(
    state: PartitionState, slot: NDArray[np.int32], value: NDArray[np.float64], seen: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(the verdicts as models see them, what `hold` says of the rows of sensors whose level was rejected)."""
    if not state.may_hold:
        return seen, _NOTHING
    taught, held = seen.copy(), np.zeros(seen.size, np.uint8)
    hold(state.levels, slot, value, seen, taught, held)
    return taught, held


def settle(plan: Plan, state: PartitionState) -> list[Transition]:
    """The clock moved on: do what rows have marked since. The transitions, in order of slots."""
    if not (state.may_be_due or state.may_hold or state.kept):
        return []
    stage = state.levels[: state.slots.rows]["stage"]
    state.may_hold = state.may_be_due = False
    if not stage.any():
        state.kept.watched.clear()
        state.kept.forget(state.now_us)
        _remember(state)
        return []
    state.may_hold = bool((stage == Stage.REJECTED).any())
    told: list[Transition] = []
    due = np.flatnonzero(np.isin(stage, _DUE))
    begun = due[stage[due] == Stage.OUTSIDE]
    if begun.size:
        _watch(plan, state, begun)
    for slot in due[stage[due] > Stage.WATCHED].tolist():
        match Stage(int(state.levels[slot]["stage"])):
            case Stage.STEADY:
                told += _change(plan, state, slot)
            case Stage.BACK:
                told += _end_scored(plan, state, slot)
                told += end_level(state, slot)
                _give_back(state, slot)
            case _:
                told += end_level(state, slot)
    for slot in [slot for slot in state.kept.watched if stage[slot] != Stage.WATCHED]:
        del state.kept.watched[slot]
    state.kept.forget(state.now_us)
    _remember(state)
    return told


def _remember(state: PartitionState) -> None:
    """Sensors whose level has changed know the one before for as long as it is kept."""
    rows = state.levels[: state.slots.rows]
    for slot in np.flatnonzero(rows["stage"] == Stage.SETTLED).tolist():
        if slot not in state.kept.changed:
            calm(rows[slot : slot + 1])
    for slot, past in state.kept.changed.items():
        row = rows[slot]
        if row["stage"] == Stage.CALM:
            row["stage"], row["low"], row["high"], row["inside"] = Stage.SETTLED, past.low, past.high, 0


def _watch(plan: Plan, state: PartitionState, slots: NDArray[np.intp]) -> None:
    """Runs that began: with an open alert on a score they are watched, others are none."""
    episodes = state.episodes[slots]
    on_score = plan.rule_rows["on_score"][state.class_of[slots]] != 0
    is_open = ((episodes["phase"] != 0) & on_score).any(axis=1)
    known = ((episodes["phase"] != 0) & (episodes["told"] != 0) & on_score).any(axis=1)
    state.levels["stage"][slots] = np.where(is_open, int(Stage.WATCHED), int(Stage.CALM))
    state.levels["told"][slots] = known
    state.kept.watch(slots[is_open].tolist(), state.now_us, state.levels, state.banks)


def _change(plan: Plan, state: PartitionState, slot: int) -> list[Transition]:
    """The level has changed."""
    row, told = state.levels[slot], _end_scored(plan, state, slot)
    if told:
        row["told"] = 1
    state.kept.change(slot, state.now_us)
    _begin_anew(state, slot)
    row["stage"], row["run"], row["inside"] = Stage.CHANGED, 0, 0
    return [*told, event(state, slot, Phase.FIRING)] if row["told"] else told


def _end_scored(plan: Plan, state: PartitionState, slot: int) -> list[Transition]:
    """End a sensor's alerts on scores: what they were about is no anomaly any more."""
    ends, class_index = Ends(), int(state.class_of[slot])
    for at in np.flatnonzero(state.episodes[slot]["phase"]).tolist():
        if plan.rules[class_index][at].settings.signal == "score":
            ends.add(
                plan, class_index, state.names[slot], state.sensors[slot], at, state.episodes[slot, at], state.now_us
            )  # fmt: skip
            state.episodes[slot, at] = 0
    return [*ends.told(state)]


def event(state: PartitionState, slot: int, phase: Phase) -> Transition:
    """The "level changed" of a sensor. value: the new level, or the newest where it is over; band: the old one.

    score: how far the new level is from the old band's middle, in halves of its width.
    """
    row, sensor, since_us = state.levels[slot], state.names[slot], int(state.levels[slot]["since_us"])
    last = state.sensors[slot]
    # Of a counter that was unwrapped, as the values that people see.
    offset = float(last["offset"])
    low, high, level = float(row["low"]) - offset, float(row["high"]) - offset, float(row["mean"]) - offset
    half = 0.5 * (high - low)
    return Transition(
        id=alert_id(RULE, REVISION, sensor, since_us),
        phase=phase,
        sensor=sensor,
        rule=RULE,
        revision=REVISION,
        severity=SEVERITY,
        at_us=max(since_us, int(last["last_us"])),
        since_us=since_us,
        value=level if phase is Phase.FIRING else float(last["last_value"]),
        score=min(abs(level - (low + half)) / half, 1e9) if half > 0.0 else 0.0,
        model=None,
        band=(low, high),
        quality=quality_of_sensor(last, DataQuality.WARMING if phase is Phase.FIRING else DataQuality.GOOD),
    )


def end_level(state: PartitionState, slot: int) -> list[Transition]:
    """End what is going on with a sensor's level; its "level changed" is over. What was rejected stays so."""
    told = is_told(state, slot)
    found = [event(state, slot, Phase.RESOLVED)] if told else []
    calm(state.levels[slot : slot + 1])
    return found


def is_told(state: PartitionState, slot: int) -> bool:
    """Whether people know of a "level changed" that is not over."""
    row = state.levels[slot]
    return bool(row["stage"] in EVENT_OPEN and row["told"])


def open_levels(state: PartitionState) -> dict[str, Transition]:
    """Every "level changed" that is not over and that people know of, by its id."""
    slots = np.flatnonzero(np.isin(state.levels[: state.slots.rows]["stage"], EVENT_OPEN)).tolist()
    events = (event(state, slot, Phase.FIRING) for slot in slots if is_told(state, slot))
    return {one.id: one for one in events}


def end_alerts(plan: Plan, state: PartitionState, slot: int) -> tuple[Transition, ...]:
    """End all alerts of a sensor, under the ids that they have: an id is made of the sensor's name."""
    ends = Ends()
    for at in np.flatnonzero(state.episodes[slot]["phase"]).tolist():
        ends.add(
            plan, int(state.class_of[slot]), state.names[slot], state.sensors[slot], at, state.episodes[slot, at],
            state.now_us,
        )  # fmt: skip
    state.episodes[slot] = 0
    return (*ends.told(state), *end_level(state, slot))


def _begin_anew(state: PartitionState, slot: int) -> None:
    for bank in state.banks:
        bank[slot] = np.zeros((), bank.dtype)


def _give_back(state: PartitionState, slot: int) -> None:
    """Models know again what they knew before the level changed; where that was not kept, they begin anew."""
    past = state.kept.changed.get(slot)
    if past is None:
        _begin_anew(state, slot)
    else:
        for bank, row in zip(state.banks, past.banks, strict=True):
            bank[slot] = row[0]
    state.kept.drop(slot)


# --- answers ------------------------------------------------------------------------------------------------------


def accept(state: PartitionState, slot: int) -> tuple[str, list[Transition]]:
    """The new level is right. (What became of it: "done" or "no_change", the transitions.)"""
    stage = state.levels[slot]["stage"]
    if stage == Stage.REJECTED:
        # Somebody has thought again. What models know is of the level before.
        state.levels["stage"][slot] = Stage.CALM
        calm(state.levels[slot : slot + 1])
        _begin_anew(state, slot)
        return "done", []
    if stage not in EVENT_OPEN and slot not in state.kept.changed:
        return "no_change", []
    told = end_level(state, slot) if stage in EVENT_OPEN or stage == Stage.SETTLED else []
    state.kept.changed.pop(slot, None)
    return "done", told


def reject(state: PartitionState, slot: int) -> tuple[str, list[Transition]]:
    """The new level is wrong: the sensor is anomalous until it is back; models know again what they knew."""
    row, past = state.levels[slot], state.kept.changed.get(slot)
    if row["stage"] == Stage.REJECTED:
        return "done", []
    if row["stage"] not in EVENT_OPEN and past is None:
        return "no_change", []
    low, high = (float(row["low"]), float(row["high"])) if past is None else (past.low, past.high)
    told = end_level(state, slot)
    _give_back(state, slot)
    row["stage"], row["low"], row["high"] = Stage.REJECTED, low, high
    state.episodes[slot]["rest"] = 0  # people want to hear of it again
    state.may_hold = True
    return "done", told


# --- other definitions --------------------------------------------------------------------------------------------


def carry_kept(
    old: Plan, arrays: Mapping[str, NDArray[Any]], new: Plan, class_of: NDArray[np.int32]
) -> dict[str, NDArray[Any]]:
    """What is kept, under other definitions: of sensors whose unit and models, with all options, are the same.

    arrays: frozen. class_of: by slot, the class in the new plan.
    """
    slots, was = arrays["kept"]["slot"], arrays["class_of"]
    same = np.zeros(class_of.size, np.bool_)
    for slot in np.unique(slots).tolist():
        one, other = int(was[slot]), int(class_of[slot])
        same[slot] = _models_of(old, one) == _models_of(new, other)
    return carried(arrays, same, {used.bank: np.zeros(0, used.model.state) for used in new.models})


def _models_of(plan: Plan, at: int) -> tuple[str, list[tuple[str, str, list[float]]]]:
    """Of a class: its unit; names, rows and options."""
    used = [(one.bank, str(one.model.state), one.params[at].tolist()) for one in plan.models if one.uses[at]]
    return plan.classes.classes[at].unit, sorted(used)


def ended_levels(before: PartitionState, after: PartitionState) -> list[Transition]:
    """The ends of events that other definitions ended. Slots are the same."""
    was = np.isin(before.levels[: before.slots.rows]["stage"], EVENT_OPEN)
    gone = was & (after.levels[: before.slots.rows]["stage"] == Stage.CALM)
    return [event(before, slot, Phase.RESOLVED) for slot in np.flatnonzero(gone).tolist() if is_told(before, slot)]

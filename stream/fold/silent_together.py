"""What falls silent together is one alert.

The alert's sensor is the *leader*: of those who are silent first, the one that was heard of last. It covers whoever is
overdue, then or later, and may have stopped with it: there is a moment before which all of them were heard of last, and
before which the next reading of none was due. They are of its machine, or of the whole partition if these are at least
`MANY` (a gateway is gone). When the leader is heard of, the others have their whole boundary to come back before
anything is said of them, and so has who is late by then and may have stopped with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.contract.sensors import machine_of
from stream.fold.alerts import Phase, Transition, alert_id
from stream.fold.explaining import DataQuality, quality_of_sensor
from stream.fold.plan import Plan
from stream.fold.silence import BEGINS, ENDS, FIRES, SLACK_US, look, weigh
from stream.fold.state import PartitionState

MANY = 20
"""So many that fall silent together are not one machine's matter."""
OVERDUE = 0.5
"""Of those with this score it may be told that they are silent, if it is told of another."""
_AT_ONCE = 1_000
_US = 1_000_000
_NONE = int(Phase.NONE)
_NOBODY = np.zeros(0, np.bool_)


def judge(plan: Plan, state: PartitionState, now_us: int, masked: NDArray[np.bool_] | None = None) -> list[Transition]:
    """Once a second of the log: what is to be told of silence, as of `state.alive_us`, up to which all is known.

    now_us: the partition's clock then; transitions have its times: silence is no matter of the sensor's own clock.
    masked: by slot, who is not judged.
    """
    used = state.slots.rows
    slots, what = np.empty(used, np.int32), np.empty(used, np.int8)
    n = look(
        state.silences[:used], state.heard_us, state.class_of, plan.silences, state.episodes,
        _NOBODY if masked is None else masked, state.alive_us, slots, what,
    )  # fmt: skip
    return _Round(plan, state, now_us).told(slots[:n], what[:n]) if n else []


class _Round:
    """One second in which there is something to tell."""

    def __init__(self, plan: Plan, state: PartitionState, now_us: int) -> None:
        self._plan, self._state, self._now_us = plan, state, now_us
        used = state.slots.rows
        self._rows = state.silences[:used]
        self._since_us, self._due_us, self._score = np.empty(used, np.int64), np.empty(used), np.empty(used)
        weigh(
            self._rows, state.heard_us, state.class_of, plan.silences, state.alive_us, self._since_us, self._due_us,
            self._score,
        )  # fmt: skip
        self._overdue = np.zeros(0, np.intp)
        self._machines: dict[str, list[int]] = {}
        """Of those who are overdue."""
        self._found: list[Transition] = []

    def told(self, slots: NDArray[np.int32], what: NDArray[np.int8]) -> list[Transition]:
        for slot in slots[what == ENDS].tolist():
            self._spare(slot)
            self._rows["leader"][slot] = 0
            self._say(slot, Phase.RESOLVED, 1)
        for slot in slots[what == FIRES].tolist():
            covered = np.flatnonzero(self._rows["leader"] == slot + 1)
            self._say(slot, Phase.FIRING, len(covered), self._node(covered))
        fresh = slots[what == BEGINS]
        fresh = fresh[self._score[fresh] >= OVERDUE]
        if fresh.size:
            self._overdue = np.flatnonzero((self._rows["leader"] == 0) & (self._score >= OVERDUE))
            self._cover(fresh)
            self._open(fresh)
        return self._found

    def _spare(self, leader: int) -> None:
        """It is back. Who is late and may have stopped with it has the whole boundary to come back, told of or not."""
        state, rows = self._state, self._rows
        episode = state.episodes[leader, self._plan.silences["rule"][state.class_of[leader]]]
        # In time that counts; if the clock leapt meanwhile, too early, and nobody is spared.
        stopped_us = state.alive_us - (self._now_us - int(episode["since_us"]))
        may = (rows["leader"] == 0) & (self._score >= OVERDUE)
        may &= (self._since_us <= stopped_us + SLACK_US) & (self._due_us >= stopped_us)
        late = np.flatnonzero(may)
        if np.count_nonzero(rows["leader"] == leader + 1) < MANY:
            machine = machine_of(state.names[leader])
            late = late[[machine_of(state.names[at]) == machine for at in late.tolist()]]
        rows["from_s"][late] = state.alive_us // _US
        self._score[late] = 0.0

    def _with(self, leader: int, low_us: float, high_us: float, *, wide: bool) -> NDArray[np.intp]:
        """Those who may have stopped at one moment from low to high, and are not told of yet: the most there are.

        wide: not of its machine alone.
        """
        among = self._overdue if wide else self._of_machine(leader)
        may = (self._since_us[among] <= high_us) & (self._due_us[among] >= low_us)
        among = np.asarray(among[may & (self._rows["leader"][among] == 0)], np.intp)
        if not among.size:
            return among
        since_us, due_us = self._since_us[among], self._due_us[among]
        moments_us = np.unique(np.maximum(since_us, low_us))
        silent = np.searchsorted(np.sort(since_us), moments_us, "right")
        counts = silent - np.searchsorted(np.sort(due_us), moments_us, "left")
        moment_us = moments_us[np.argmax(counts)]
        found: NDArray[np.intp] = among[(since_us <= moment_us) & (moment_us <= due_us)]
        return found

    def _of_machine(self, leader: int) -> NDArray[np.intp]:
        """Those who are overdue."""
        names = self._state.names
        if not self._machines:
            for at in self._overdue.tolist():
                self._machines.setdefault(machine_of(names[at]), []).append(at)
        return np.array(self._machines.get(machine_of(names[leader]), []), np.intp)

    def _cover(self, fresh: NDArray[np.int32]) -> None:
        """Let alerts that there are cover those who stopped with them and are overdue only now."""
        leader = self._rows["leader"]
        covered = np.flatnonzero(leader > 0)
        of = leader[covered] - 1
        counts = np.bincount(of, minlength=leader.size)
        # From when to when all of an alert may have stopped.
        low_us, high_us = np.zeros(leader.size), np.full(leader.size, np.inf)
        np.maximum.at(low_us, of, self._since_us[covered])
        np.minimum.at(high_us, of, self._due_us[covered])
        # Of those who were silent long before, none needs to be looked at.
        lead = leader == np.arange(1, leader.size + 1)
        leaders = np.flatnonzero(lead & (high_us >= self._since_us[fresh].min()))
        for one in leaders[np.lexsort((leaders, -counts[leaders]))].tolist()[:_AT_ONCE]:
            leader[self._with(one, low_us[one], high_us[one], wide=bool(counts[one] >= MANY))] = one + 1

    def _open(self, fresh: NDArray[np.int32]) -> None:
        """Alerts for the rest; of more than can be told in a second, the next one tells."""
        leader = self._rows["leader"]
        order = np.lexsort((fresh, -self._since_us[fresh]))
        opened = 0
        for slot in fresh[order].tolist():
            if leader[slot] or opened == _AT_ONCE:
                continue
            own_us = float(self._since_us[slot]), float(self._due_us[slot])
            covered = self._with(slot, *own_us, wide=True)
            if len(covered) < MANY:
                covered = self._with(slot, *own_us, wide=False)
            leader[covered] = slot + 1
            hold_us = self._plan.silences["hold_us"][self._state.class_of[slot]]
            self._say(slot, Phase.PENDING if hold_us else Phase.FIRING, len(covered), self._node(covered))
            opened += 1

    def _node(self, slots: NDArray[np.intp]) -> str | None:
        return common_node([self._state.names[at] for at in slots.tolist()])

    def _say(self, slot: int, phase: Phase, together: int, node: str | None = None) -> None:
        """Move the episode of a leader on, of which people are told at once."""
        plan, state = self._plan, self._state
        class_index = int(state.class_of[slot])
        at = int(plan.silences["rule"][class_index])
        rule, episode, row = plan.rules[class_index][at], state.episodes[slot, at], state.sensors[slot]
        score = float(self._score[slot])
        if episode["phase"] == _NONE:
            episode["since_us"] = max(0, self._now_us - (state.alive_us - int(self._since_us[slot])))
            episode["inside_us"] = episode["behind"] = 0
            episode["peak"] = score
        episode["phase"] = episode["told"] = _NONE if phase is Phase.RESOLVED else phase
        episode["peak"] = max(float(episode["peak"]), score)
        since_us, name = int(episode["since_us"]), state.names[slot]
        self._found.append(
            Transition(
                id=alert_id(rule.settings.name, rule.revision, name, since_us),
                phase=phase,
                sensor=name,
                rule=rule.settings.name,
                revision=rule.revision,
                severity=rule.settings.severity,
                at_us=max(since_us, self._now_us),
                since_us=since_us,
                value=float(row["last_value"]),
                score=score,
                model=None,
                together=together,
                node=node,
                quality=quality_of_sensor(row, DataQuality.GOOD if phase is Phase.RESOLVED else DataQuality.SILENT),
            )
        )


def common_node(paths: Sequence[str]) -> str | None:
    """The lowest node above several sensors; None for one sensor, or if they have nothing in common.

    >>> common_node(["a/line-1/press/t", "a/line-1/saw/t", "a/line-1/saw/p"]), common_node(["a/t"])
    ('a/line-1', None)
    """
    if len(paths) < 2:
        return None
    split = [path.split("/") for path in paths]
    low, high = min(split), max(split)
    same = next((at for at, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), None)
    return "/".join(low[:same]) or None

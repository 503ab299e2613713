"""After the state was lost and rebuilt from what is left of the log: bring its episodes into line with what was told.

A rebuild begins in the middle of things, so an episode may have begun earlier than it knows, and one that it does not
know of may be open for those who were told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any

from stream.fold.alerts import Phase, Transition, alert_id
from stream.fold.explaining import DataQuality, quality_of_sensor, said
from stream.fold.partition import PartitionFold
from stream.fold.relearning import open_levels


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """What was last told of an alert that was not resolved. times: event time, µs."""

    id: str
    phase: Phase
    sensor: str
    rule: str
    revision: str
    severity: str
    since_us: int


def reconcile(fold: PartitionFold, told: Iterable[OpenAlert]) -> list[Transition]:
    """What is to be told now; episodes take over the beginnings, and so the ids, of the alerts that go on.

    An alert is resolved if its sensor is back inside, its rule is gone, or nothing was heard of its sensor in what is
    left of the log. One that fires and of which nobody was told is told.
    """
    state, plan = fold.state, fold.plan
    said: list[Transition] = []
    known: set[tuple[int, int]] = set()
    levels = open_levels(state)
    for one in sorted(told, key=lambda alert: (alert.since_us, alert.id)):
        if levels.pop(one.id, None) is not None:
            continue
        slot = state.slots.get(one.sensor)
        at = -1 if slot is None else _rule_at(fold, slot, one)
        if slot is None or at < 0 or (slot, at) in known or state.episodes[slot, at]["phase"] == Phase.NONE:
            said.append(_transition(fold, one, Phase.RESOLVED, slot))
            continue
        known.add((slot, at))
        episode = state.episodes[slot, at]
        episode["since_us"] = one.since_us
        if episode["told"] == Phase.FIRING and one.phase is not Phase.FIRING:
            said.append(_transition(fold, one, Phase.FIRING, slot))
        episode["told"] = max(int(episode["told"]), one.phase)
        # Who told that it fires has seen it hold for long enough.
        episode["phase"] = max(int(episode["phase"]), one.phase)
    # What is behind, and not to be told yet, is told when its sensor has caught up.
    for slot, at in zip(*state.episodes[: state.slots.rows]["phase"].nonzero(), strict=True):
        if (int(slot), int(at)) in known or state.episodes[slot, at]["told"] != Phase.FIRING:
            continue
        rule = plan.rules[int(state.class_of[slot])][int(at)]
        since_us, sensor = int(state.episodes[slot, at]["since_us"]), state.names[int(slot)]
        name, revision = rule.settings.name, rule.revision
        fresh = OpenAlert(
            alert_id(name, revision, sensor, since_us),
            Phase.FIRING, sensor, name, revision, rule.settings.severity, since_us,
        )  # fmt: skip
        said.append(_transition(fold, fresh, Phase.FIRING, int(slot)))
    return said + list(levels.values())


def _rule_at(fold: PartitionFold, slot: int, alert: OpenAlert) -> int:
    for at, rule in enumerate(fold.plan.rules[int(fold.state.class_of[slot])]):
        if (rule.settings.name, rule.revision) == (alert.rule, alert.revision):
            return at
    return -1


def _transition(fold: PartitionFold, alert: OpenAlert, phase: Phase, slot: int | None) -> Transition:
    row: Any = None if slot is None else fold.state.sensors[slot]
    heard = row is not None and row["last_us"] > 0
    by = int(row["scored_by"]) if heard else -1
    value = float(row["last_value"]) if heard else 0.0
    return Transition(
        id=alert.id,
        phase=phase,
        sensor=alert.sensor,
        rule=alert.rule,
        revision=alert.revision,
        severity=alert.severity,
        at_us=max(alert.since_us, int(row["last_us"])) if heard else max(alert.since_us, fold.state.now_us),
        since_us=alert.since_us,
        value=value if isfinite(value) else 0.0,
        score=float(row["score"]) if heard else 0.0,
        model=None if by < 0 else fold.plan.models[by].name,
        quality=quality_of_sensor(row) if heard else said(DataQuality.SILENT),
    )

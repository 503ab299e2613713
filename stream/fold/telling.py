"""From what the kernels found of episodes to what people are told."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from stream.fold.alerts import MISSED, SAY, Phase, Transition, alert_id
from stream.fold.backlog import Episode
from stream.fold.explaining import band_of, said, share_of
from stream.fold.plan import Plan
from stream.fold.state import PartitionState


def told(plan: Plan, state: PartitionState, events: NDArray[Any]) -> list[Transition]:
    """What people are told at once; what they missed is kept for a digest. events: of EVENT, in their order."""
    found = []
    for event in events:
        sensor = state.names[event["slot"]]
        rule = plan.rules[int(state.class_of[event["slot"]])][int(event["rule"])]
        since_us, by = int(event["since_us"]), int(event["scored_by"])
        name, severity = rule.settings.name, rule.settings.severity
        who = alert_id(name, rule.revision, sensor, since_us)
        if event["follows"] & MISSED:
            missed = Episode(-float(event["peak"]), since_us, int(event["at_us"]), who, sensor, name, severity)
            state.over.add(missed, state.now_us)
        if not event["follows"] & SAY:
            continue
        found.append(
            Transition(
                id=who,
                phase=Phase(int(event["phase"])),
                sensor=sensor,
                rule=name,
                revision=rule.revision,
                severity=severity,
                at_us=int(event["at_us"]),
                since_us=since_us,
                value=float(event["value"]),
                score=float(event["score"]),
                model=None if by < 0 else plan.models[by].name,
                band=band_of(rule.settings, float(event["low"]), float(event["high"])),
                width=float(event["width"]),
                spent=float(event["spent"]),
                quality=said(int(event["quality"])),
                share=share_of(float(event["spent"]), plan.definitions),
            )
        )
    return found

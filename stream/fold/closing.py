"""Alerts that end for another reason than a reading: their rule is gone, or their sensor, or its name."""

from __future__ import annotations

from typing import Any

from stream.fold.alerts import Phase, Transition, alert_id
from stream.fold.backlog import Episode
from stream.fold.explaining import band_of, quality_of_sensor, share_of, width_of_sensor
from stream.fold.plan import Plan
from stream.fold.state import PartitionState


class Ends:
    """Collects the ends of open episodes: people are told of those that they know of, the rest goes into a digest."""

    def __init__(self) -> None:
        self._told: list[Transition] = []
        self._missed: list[Episode] = []

    def add(self, plan: Plan, class_index: int, name: str, row: Any, at: int, episode: Any, now_us: int) -> None:
        """An episode of the `at`-th rule of a class ends, under the id that it began with.

        row: of SENSOR. now_us: the partition's clock; the end is in the sensor's own time, which went on as the clock
        did.
        """
        rule = plan.rules[class_index][at]
        settings, since_us = rule.settings, int(episode["since_us"])
        at_us = max(since_us, int(row["last_us"]) + max(0, now_us - int(row["last_now_us"])))
        who = alert_id(settings.name, rule.revision, name, since_us)
        if episode["phase"] == Phase.FIRING and episode["told"] != Phase.FIRING:
            badness = -float(episode["peak"])
            self._missed.append(Episode(badness, since_us, at_us, who, name, settings.name, settings.severity))
        if episode["told"] == Phase.NONE:
            return
        # Silence is no model's finding.
        silence = settings.signal == "silence"
        by, spent = (-1, 0.0) if silence else (int(row["scored_by"]), float(row["spent"]))
        self._told.append(
            Transition(
                id=who,
                phase=Phase.RESOLVED,
                sensor=name,
                rule=settings.name,
                revision=rule.revision,
                severity=settings.severity,
                at_us=at_us,
                since_us=since_us,
                value=float(row["last_value"]),
                score=float(row["score"]),
                model=None if by < 0 else plan.models[by].name,
                band=band_of(settings, float(row["low"]), float(row["high"])),
                width=1.0 if silence else width_of_sensor(row),
                spent=spent,
                quality=quality_of_sensor(row),
                share=share_of(spent, plan.definitions),
            )
        )

    def told(self, state: PartitionState) -> tuple[Transition, ...]:
        """What is to be told now; the state keeps what nobody was told of, for a digest."""
        for one in self._missed:
            state.over.add(one, state.now_us)
        return tuple(self._told)

"""What follows from the log, to Kafka: alerts, late readings, digests, and records that cannot be read.

Guarantee: `publish` returns when all of it is on all in-sync replicas. Each carries the fence of its partition's
owner and the offset of the record that caused it, or the last of those that were folded at once.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

from ingest.contract.clock import Clock
from ingest.contract.log_writer import LogWriter, Outgoing
from ingest.contract.quarantine import quarantine_record
from ingest.contract.sensors import labels_of
from ingest.contract.settings import Settings
from stream.effects import (
    Description,
    alert_record,
    alerts_partition,
    digest_records,
    is_armed,
    late_records,
    may_be_armed,
)
from stream.fold.plan import Plan
from stream.owned import Outcome, OwnedPartition, SetAside
from stream.worker_events import WorkerEvents


class _Origin(TypedDict):
    partition: int
    generation: int
    group: str
    offset: int


Records = defaultdict[tuple[str, int], list[Outgoing]]


@dataclass(frozen=True, slots=True)
class PartitionCounts:
    """Of the topics that a worker writes to."""

    alerts: int
    quarantine: int
    late: int


class Publisher:
    """Writes what outcomes bring."""

    def __init__(
        self, settings: Settings, writer: LogWriter, counts: PartitionCounts, events: WorkerEvents, clock: Clock
    ) -> None:
        self._settings = settings
        self._writer = writer
        self._counts = counts
        self._events = events
        self._clock = clock

    async def publish(self, outcomes: Mapping[int, Outcome], owned: Mapping[int, OwnedPartition]) -> None:
        """Write all of it and wait until Kafka has it."""
        records: Records = defaultdict(list)
        for partition, outcome in outcomes.items():
            if outcome.gap is not None:
                self._events.gap(partition, *outcome.gap)
            self._effects(partition, outcome, owned[partition], records)
            for bad in outcome.set_aside:
                number, record = self._set_aside(partition, bad)
                records[self._settings.kafka.topics.quarantine.name, number].append(record)
        await asyncio.gather(*(self._writer.write(topic, at, some) for (topic, at), some in records.items()))
        for partition, outcome in outcomes.items():
            plan = owned[partition].fold.plan
            for effects in outcome.effects:
                self._events.steered(partition, effects)
                for one in effects.transitions:
                    self._events.published(one, armed=self._describe(plan, one.sensor).armed)

    def _effects(self, partition: int, outcome: Outcome, owned: OwnedPartition, records: Records) -> None:
        topics, group, plan = self._settings.kafka.topics, self._settings.worker.group, owned.fold.plan
        describe = partial(self._describe, plan)
        for effects in outcome.effects:
            origin: _Origin = {
                "partition": partition, "generation": owned.fence, "group": group, "offset": effects.offset
            }  # fmt: skip
            for one in effects.transitions:
                place = topics.alerts.name, alerts_partition(one.sensor, self._counts.alerts)
                records[place].append(alert_record(one, describe(one.sensor), **origin))
            for digest in effects.digests:
                others = may_be_armed(digest.site, plan.classes.classes, self._settings.plant)
                for number, record in digest_records(
                    digest, describe, others_armed=others, alerts_partitions=self._counts.alerts, **origin
                ):
                    records[topics.alerts.name, number].append(record)
            if effects.late is not None:
                most = self._settings.gateway.max_record_bytes
                late = late_records(
                    effects, partition=partition, generation=owned.fence, group=group, max_record_bytes=most
                )
                records[topics.late.name, partition % self._counts.late] += late

    def _describe(self, plan: Plan, sensor: str) -> Description:
        plant, table = self._settings.plant, plan.classes
        one = table.classes[table.index_of(sensor)]
        labels = labels_of(sensor, tuple(plant.levels))
        return Description(labels, table.display_name(sensor), one.unit, one.name, is_armed(sensor, one, plant))

    def _set_aside(self, partition: int, bad: SetAside) -> tuple[int, Outgoing]:
        self._events.quarantined(partition, bad.record.offset, bad.error.detail)
        topic = self._settings.kafka.topics.readings.name
        return quarantine_record(
            f"{topic}/{partition}/{bad.record.offset}".encode(),
            bad.record.value or b"",
            bad.error,
            route=topic,
            source=self._settings.worker.group,
            arrival_us=self._clock.now_us(),
            partitions=self._counts.quarantine,
        )

"""The plant that workers under test watch: its settings, and what its machines send, the same in every run."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import TypeVar

from deploy.registries import model_registry
from ingest.contract.class_settings import ClassSettings, RuleSettings
from ingest.contract.partition import partition_of
from stream.fold.definitions import Definitions
from stream.fold.plan import Plan, make_plan
from tests.unit.stream.logs import PLANT, START_US, Batch, long_log

T = TypeVar("T")

PARTITIONS = 4
ALARM = 500.0
"""A level at which an alert fires at once."""
NO_TICKS = {"worker": 'tick = "1h"'}
"""Settings with which nothing is in the log but what a test puts there."""
CLASSES = (
    ClassSettings(
        name="level",
        match=["**/level"],
        models=[],
        rules=[RuleSettings(name="high", signal="value", above=100.0, resolve_after="0s")],
    ),
    *PLANT,
)


def plan_of_plant() -> Plan:
    """As a worker has it that runs with `settings_of`'s settings and no others."""
    return make_plan(Definitions(CLASSES, 100_000, 300_000_000), model_registry())


def settings_of(kafka: str, prefix: str, snapshots: Path, more: Mapping[str, str]) -> str:
    """TOML. more: keys and values by section (`{"worker": 'tick = "200ms"'}`)."""
    sections = {
        "plant": "armed = true",
        "kafka": f'bootstrap = ["{kafka}"]',
        "kafka.topics.readings": f'name = "{prefix}.readings"\npartitions = {PARTITIONS}',
        # One partition, so that there is an order in which all is read.
        "kafka.topics.alerts": f'name = "{prefix}.alerts"\npartitions = 1',
        "kafka.topics.quarantine": f'name = "{prefix}.quarantine"\npartitions = 1',
        "kafka.topics.late": f'name = "{prefix}.late"\npartitions = 1',
        "worker": f'group = "{prefix}-worker"\ncommit_every = "500ms"',
        "worker.snapshots": f'url = {json.dumps(str(snapshots))}\nevery = "1s"',
    }
    for name, lines in more.items():
        sections[name] = f"{sections.get(name, '')}\n{lines}"
    text = "".join(f"[{name}]\n{lines}\n" for name, lines in sections.items())
    text += '[[route]]\ntopic = "plant/{line}/{machine}/{quantity}"\ndecoder = "json"\n'
    for one in CLASSES:
        text += "[[class]]\n" + "".join(
            f"{key} = {_toml(value)}\n" for key, value in one.model_dump(mode="json", exclude_defaults=True).items()
        )
    return text


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def machines_of(partition: int) -> list[str]:
    """Two machines that live on a partition."""
    names = (f"plant/line-{number // 10}/m-{number:02d}" for number in count())
    found = (name for name in names if partition_of(f"{name}/level", PARTITIONS) == partition)
    return [next(found), next(found)]


def level_of(partition: int) -> str:
    """A sensor that alerts at once."""
    return f"{machines_of(partition)[0]}/level"


def moved(batches: Iterable[Batch], partition: int, first_us: int, squeeze: int) -> Iterator[Batch]:
    """A log of PLANT as one of this plant's: other machines, another beginning, and its time runs faster."""
    places = dict(zip(("a/1", "a/2"), machines_of(partition), strict=True))

    def at(us: int) -> int:
        return first_us + (us - START_US) // squeeze

    for batch in batches:
        rows = tuple(
            row._replace(sensor=f"{places[row.sensor[:3]]}{row.sensor[3:]}", ts_us=at(row.ts_us)) for row in batch.rows
        )
        yield Batch(at(batch.arrival_us), rows)


def plant_log(
    seed: int, batches: int, partitions: Iterable[int], first_us: int, squeeze: int = 1
) -> list[tuple[int, Batch]]:
    """(partition, batch), in order of arrival. batches: of each partition."""
    found = [
        (partition, batch)
        for partition in partitions
        for batch in moved(long_log(seed * PARTITIONS + partition, batches), partition, first_us, squeeze)
    ]
    return sorted(found, key=lambda one: one[1].arrival_us)


def by_partition(log: Iterable[tuple[int, T]]) -> defaultdict[int, list[T]]:
    """What is of each partition, in order."""
    found: defaultdict[int, list[T]] = defaultdict(list)
    for partition, one in log:
        found[partition].append(one)
    return found

"""`millstream sensors ls | rename | retire` against a real Kafka and snapshots: what they write, the fold obeys."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deploy.commands.sensors import sensors_app
from deploy.registries import model_registry, read_settings
from deploy.topics import try_topics
from ingest.contract.clock import SystemClock
from ingest.contract.partition import partition_of
from ingest.contract.settings import Settings
from stream.fold.commands import Outcome
from stream.fold.definitions import Definitions
from stream.fold.partition import Effects, LogRecord, PartitionFold
from stream.fold.plan import make_plan
from stream.snapshot import Snapshot
from stream.snapshot_store import SnapshotStore, open_objects
from tests.deployment.logs import read_topic
from tests.servers.ports import free_port
from tests.unit.stream.logs import HOUR_US, MINUTE_US, S_US, Batch, Row, record_of

PLANT = """\
[[route]]
topic = "factory/{{machine}}/{{quantity}}"

[[class]]
name = "temperature"
match = ["**/temperature"]
windows = ["1m"]
[[class.rules]]
name = "hot"
signal = "value"
above = 90

[worker.snapshots]
url = "{snapshots}"

[kafka]
bootstrap = "{kafka}"

[kafka.topics.readings]
name = "{prefix}.readings"
partitions = 4

[kafka.topics.alerts]
name = "{prefix}.alerts"

[kafka.topics.quarantine]
name = "{prefix}.quarantine"
"""
PARTITIONS = 4
OLD, GONE, HOT = "press-1/temperature", "press-1/pressure", "press-2/temperature"
NEAR = "press-1/oil-temperature"
FAR = next(
    f"oven-{at}/temperature" for at in range(99) if partition_of(f"oven-{at}/temperature", 4) != partition_of(OLD, 4)
)


@dataclass
class Plant:
    """Settings in a file, a worker's snapshots, and the log that the commands write."""

    kafka: str
    prefix: str
    config: Path
    now_us: int = field(default_factory=lambda: SystemClock().now_us())
    folds: dict[int, PartitionFold] = field(default_factory=dict)

    async def begin(self) -> Settings:
        self.config.write_text(
            PLANT.format(kafka=self.kafka, prefix=self.prefix, snapshots=self.config.parent / "snapshots")
        )
        settings = read_settings(self.config, with_models=True)
        plan = make_plan(Definitions.of(settings), model_registry())
        self.folds = {at: PartitionFold(plan, PARTITIONS) for at in range(PARTITIONS)}
        return settings

    def hear(self, sensor: str, count: int, ago_us: int, value: float = 20.0) -> None:
        """So many readings, a second apart, the last one so long ago; hours pass as the log would have had them."""
        fold, last_us = self.folds[partition_of(sensor, PARTITIONS)], self.now_us - ago_us
        rows = tuple(Row(sensor, last_us - at * S_US, value + at % 3) for at in reversed(range(count)))
        fold.fold(record_of(fold.state.next_offset, Batch(last_us, rows)))

    def pass_time(self, hours: int) -> None:
        for fold in self.folds.values():
            for at in range(60 * hours, -1, -1):
                arrival_us = self.now_us - at * MINUTE_US
                fold.fold(record_of(fold.state.next_offset, Batch(arrival_us), tick=True))

    async def snapshot(self, settings: Settings, *partitions: int, made_us: int | None = None) -> None:
        worker, topic = settings.worker, settings.kafka.topics.readings.name
        store = SnapshotStore(open_objects(worker.snapshots, worker.state_dir), worker.group, topic, PARTITIONS)
        for at in partitions or range(PARTITIONS):
            fold = self.folds[at]
            await store.put(
                Snapshot(
                    worker.group, topic, at, PARTITIONS, 1 if made_us is None else 2, made_us or self.now_us,
                    fold.plan.definitions.to_bytes(), fold.state.freeze(),
                )
            )  # fmt: skip
        store.close()

    async def run(self, *arguments: str, code: int = 0) -> Result:
        # In a thread, as a command has an event loop of its own.
        done = await asyncio.to_thread(CliRunner().invoke, sensors_app, [*arguments, "--config", str(self.config)])
        assert done.exit_code == code, f"{done.output} {done.exception!r}"
        return done

    async def listed(self, *arguments: str) -> dict[str, dict[str, object]]:
        lines = (await self.run("ls", "--json", *arguments)).stdout.splitlines()
        return {str(one["sensor"]): one for one in map(json.loads, lines)}

    async def obey(self) -> dict[int, list[Effects]]:
        """Fold what was written, as the workers would."""
        found: dict[int, list[Effects]] = {at: [] for at in range(PARTITIONS)}
        for record in await read_topic(self.kafka, f"{self.prefix}.readings"):
            fold = self.folds[record.partition]
            at = fold.state.next_offset
            found[record.partition].append(fold.fold(LogRecord(at, list(record.headers.items()), record.value)))
        return found

    def names(self) -> set[str]:
        return {name for fold in self.folds.values() for name in fold.state.names if name}


@pytest.fixture(autouse=True)
def _log_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # A command sets up its process's log, and here the process is the test's.
    monkeypatch.setattr("deploy.commands.known_sensors.configure_log", lambda _: None)


@pytest.fixture
def plant(kafka: str, tmp_path: Path, topic_prefix: str) -> Plant:
    return Plant(kafka, topic_prefix, tmp_path / "plant.toml")


async def known_plant(plant: Plant) -> Settings:
    settings = await plant.begin()
    await try_topics(settings.kafka)
    plant.hear(OLD, 60, 5 * HOUR_US)
    plant.hear(GONE, 5, 5 * HOUR_US, 3.25)
    plant.pass_time(5)
    plant.hear(HOT, 10, 2 * S_US, 95.0)
    await plant.snapshot(settings)
    return settings


async def test_before_the_first_snapshot_nothing_is_known_and_that_is_said(plant: Plant) -> None:
    await plant.begin()
    for arguments in (("ls",), ("rename", OLD, NEAR, "--yes"), ("retire", OLD, "--yes")):
        said = (await plant.run(*arguments, code=1)).stderr
        assert "there is no snapshot of" in said
        assert "a worker makes the first one soon after its start" in " ".join(said.split())


async def test_sensors_are_listed_with_their_newest_reading_and_silence(plant: Plant) -> None:
    settings = await known_plant(plant)
    found = await plant.listed()

    assert sorted(found) == sorted([OLD, GONE, HOT])
    assert found[OLD]["class"] == "temperature"
    assert (found[GONE]["class"], found[GONE]["value"]) == ("default", 3.25)
    assert found[OLD]["last_us"] == plant.now_us - 5 * HOUR_US
    assert found[HOT]["alerts"] == 1
    assert 4 * 3_600 <= int(str(found[OLD]["silent_s"])) <= 5 * 3_600
    assert found[OLD]["partition"] == partition_of(OLD, PARTITIONS)
    assert sorted(await plant.listed("--silent", "3h")) == sorted([OLD, GONE])
    assert list(await plant.listed("--match", "press-1/*", "--silent", "1m")) == [GONE, OLD]
    done = await plant.run("ls", "--limit", "2")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["SENSOR", "CLASS", "SILENT", "LAST", "READING", "VALUE", "ALERTS", "PARTITION"]
    assert len(lines) == 4
    assert lines[-1] == "2 of 3; --limit shows more"
    assert "as of" in done.stderr
    assert "no sensor of this kind; 3 others are known" in (await plant.run("ls", "--silent", "30d")).stdout
    # Some partitions have none yet, and that is said.
    settings = settings.model_copy(update={"worker": settings.worker.model_copy(update={"group": "another"})})
    plant.config.write_text(plant.config.read_text() + '\n[worker]\ngroup = "another"\n')
    await plant.snapshot(settings, partition_of(OLD, PARTITIONS))
    assert "of 3 of 4 partitions there is no snapshot yet" in (await plant.run("ls")).stderr


async def test_a_rename_within_a_partition_keeps_what_was_learned(plant: Plant) -> None:
    await known_plant(plant)
    fold = plant.folds[partition_of(OLD, PARTITIONS)]
    slot = fold.state.slots.get(OLD)
    assert slot is not None
    before = fold.state.row(slot)

    told = (await plant.run("rename", OLD, NEAR, "--dry-run")).stdout
    assert f"{OLD} (partition {partition_of(OLD, 4)}) to {NEAR}" in told
    assert all(not effects for effects in (await plant.obey()).values())
    await plant.run("rename", OLD, NEAR, "--yes")
    effects = await plant.obey()

    assert plant.names() == {NEAR, GONE, HOT}
    assert fold.state.row(slot)["panes"].tobytes() == before["panes"].tobytes()
    applied = [one.applied for some in effects.values() for one in some]
    assert [(one.command, one.outcome) for one in applied if one is not None] == [("rename", Outcome.DONE)]


async def test_a_rename_to_another_partition_takes_what_was_learned_along(plant: Plant) -> None:
    await known_plant(plant)
    source, target = plant.folds[partition_of(OLD, 4)], plant.folds[partition_of(FAR, 4)]
    slot = source.state.slots.get(OLD)
    assert slot is not None
    before = source.state.row(slot)

    await plant.run("rename", OLD, FAR, "--yes")
    effects = await plant.obey()

    assert plant.names() == {FAR, GONE, HOT}
    there = target.state.slots.get(FAR)
    assert there is not None
    after = target.state.row(there)
    # When it was heard of, and from when its silence counts, is by the partition.
    for name in before.keys() - {"heard_us", "episodes", "sensors", "silences"}:
        assert after[name].tobytes() == before[name].tobytes()
    assert after["sensors"]["ring"].tobytes() == before["sensors"]["ring"].tobytes()
    outcomes = {at: [one.applied.outcome for one in some if one.applied] for at, some in effects.items() if some}
    assert outcomes == {partition_of(OLD, 4): [Outcome.DONE], partition_of(FAR, 4): [Outcome.DONE]}


async def test_a_rename_waits_until_both_partitions_have_the_same_definitions(plant: Plant) -> None:
    settings = await known_plant(plant)
    target = partition_of(FAR, PARTITIONS)
    other = make_plan(Definitions(settings.classes, 5, 0), model_registry())
    plant.folds[target] = PartitionFold(other, PARTITIONS)
    await plant.snapshot(settings, target, made_us=plant.now_us + 1)

    said = (await plant.run("rename", OLD, FAR, "--yes", code=1)).stderr

    assert "other definitions are in force" in said


async def test_the_silent_are_retired_and_their_alerts_end(plant: Plant) -> None:
    settings = await known_plant(plant)
    told = await plant.run("retire", "--silent", "3h", "--dry-run")
    assert OLD in told.stdout
    assert "nothing was written" in told.stderr
    await plant.run("retire", "--silent", "3h", "--match", "press-1/p*", "--yes")
    await plant.run("retire", HOT, "--yes")
    effects = await plant.obey()

    assert plant.names() == {OLD}
    ends = [one for some in effects.values() for effect in some for one in effect.transitions]
    assert [(one.sensor, one.rule, one.phase.name) for one in ends] == [(HOT, "hot", "RESOLVED")]
    await plant.snapshot(settings, made_us=plant.now_us + MINUTE_US)
    assert list(await plant.listed()) == [OLD]


async def test_mistakes_are_told_and_write_nothing(plant: Plant) -> None:
    await known_plant(plant)
    mistakes: list[tuple[tuple[str, ...], int, str]] = [
        (("ls", "--silent", "soon"), 2, "--silent: a duration"),
        (("rename", OLD, "a//b", "--yes"), 2, "is no sensor's path"),
        (("rename", OLD, OLD, "--yes"), 2, "both names are the same"),
        (("rename", OLD, NEAR), 2, "nobody can be asked"),
        (("rename", "press-1/temperatur", NEAR, "--yes"), 1, 'did you mean "press-1/temperature"?'),
        (("retire",), 2, "say which sensors"),
        (("retire", "--match", "**", "--yes"), 2, "say which sensors"),
        (("retire", OLD, "--silent", "1d", "--yes"), 2, "not both"),
        (("retire", OLD, "press-7/t", "--yes"), 1, "the workers know no such sensor"),
    ]
    for arguments, code, said in mistakes:
        assert said in " ".join((await plant.run(*arguments, code=code)).stderr.split())
    assert all(not effects for effects in (await plant.obey()).values())


async def test_a_kafka_that_is_away_is_told(plant: Plant) -> None:
    away = Plant(f"127.0.0.1:{free_port()}", plant.prefix, plant.config)
    settings = await away.begin()
    away.hear(OLD, 3, S_US)
    await away.snapshot(settings)

    assert (await away.run("retire", OLD, "--yes", code=1)).stderr.splitlines()[-1].startswith(f"{away.kafka}: ")

"""`millstream maintenance` and `millstream levels` against a real Kafka and snapshots: the fold obeys them."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from deploy.commands.levels import levels_app
from deploy.commands.maintenance import maintenance_app
from stream.fold.levels import Stage
from tests.integration.test_known_sensors import GONE, HOT, PARTITIONS, Plant, known_plant
from tests.unit.stream.logs import HOUR_US, MINUTE_US, S_US, Batch, Row, record_of

APP = typer.Typer()
APP.add_typer(maintenance_app, name="maintenance")
APP.add_typer(levels_app, name="levels")


@pytest.fixture(autouse=True)
def _log_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # A command sets up its process's log, and here the process is the test's.
    for name in ("maintenance", "levels", "known_sensors"):
        monkeypatch.setattr(f"deploy.commands.{name}.configure_log", lambda _: None)


@pytest.fixture
def plant(kafka: str, tmp_path: Path, topic_prefix: str) -> Plant:
    return Plant(kafka, topic_prefix, tmp_path / "plant.toml")


async def run(plant: Plant, *arguments: str, code: int = 0) -> Result:
    done = await asyncio.to_thread(CliRunner().invoke, APP, [*arguments, "--config", str(plant.config)])
    assert done.exit_code == code, f"{done.output} {done.exception!r}"
    return done


async def outcomes(plant: Plant) -> list[tuple[int, str, str]]:
    """(partition, command, outcome) of what was written since the beginning of the log."""
    return [
        (at, one.applied.command, one.applied.outcome.value)
        for at, some in (await plant.obey()).items()
        for one in some
        if one.applied is not None
    ]


async def test_a_window_comes_to_every_partition_is_listed_and_ends(plant: Plant) -> None:
    settings = await known_plant(plant)
    said = (
        await run(plant, "maintenance", "add", "press-2/**", "--for", "2h", "--note", "bearing [3]", "--id", "m1")
    ).stdout
    assert "1 of 3 that are known fit press-2/**" in said
    assert "m1  written to all 4 partitions" in said
    assert "ls shows it with the workers' next snapshots, every 1m" in said
    assert await outcomes(plant) == [(at, "maintain", "done") for at in range(PARTITIONS)]
    assert not any(fold.state.episodes["phase"].any() for fold in plant.folds.values())

    await plant.snapshot(settings, made_us=plant.now_us + MINUTE_US)
    (line,) = (await run(plant, "maintenance", "ls", "--json")).stdout.splitlines()
    found = json.loads(line)
    assert (found["id"], found["match"], found["note"], found["state"]) == ("m1", "press-2/**", "bearing [3]", "on")
    assert found["until_us"] - found["from_us"] == 2 * HOUR_US
    assert found["partitions"] == list(range(PARTITIONS))
    lines = (await run(plant, "maintenance", "ls")).stdout.splitlines()
    assert lines[0].split() == ["ID", "STATE", "FROM", "UNTIL", "SENSORS", "BY", "NOTE"]
    assert lines[1].startswith("m1  on")
    assert lines[1].endswith("bearing [3]")

    await run(plant, "maintenance", "end", "m1")
    ended = [one for one in await outcomes(plant) if one[1] == "end_maintenance"]
    assert ended == [(at, "end_maintenance", "done") for at in range(PARTITIONS)]
    await plant.snapshot(settings, made_us=plant.now_us + 2 * MINUTE_US)
    assert "no maintenance is on or to come" in (await run(plant, "maintenance", "ls")).stdout
    assert "m1  over" in (await run(plant, "maintenance", "ls", "--all")).stdout


async def test_mistakes_are_told_and_write_nothing(plant: Plant) -> None:
    await known_plant(plant)
    add = ("maintenance", "add", "**")
    mistakes: list[tuple[tuple[str, ...], int, str]] = [
        (add, 2, "say when it ends"),
        ((*add, "--for", "2h", "--until", "now"), 2, "say when it ends"),
        ((*add, "--for", "soon"), 2, "--for: a duration"),
        ((*add, "--for", "0s"), 2, "over before it begins"),
        ((*add, "--until", "tomorrow"), 2, "--until: 'tomorrow' is neither now nor a time like"),
        ((*add, "--from", "2020-01-01", "--for", "1h"), 2, "over before it begins"),
        ((*add, "--until", "2020-01-01"), 2, "ends before it begins"),
        ((*add, "--for", "1h", "--note", "x" * 201), 2, "note: more than 200 characters"),
        (("maintenance", "add", "*/" * 9, "--for", "1h"), 2, "more than 6 wildcards"),
        (("levels", "accept", "a//b"), 2, "is no sensor's path"),
        (("levels", "reject", "press-1/temperatur"), 1, 'did you mean "press-1/temperature"?'),
    ]
    for arguments, code, said in mistakes:
        assert said in " ".join((await run(plant, *arguments, code=code)).stderr.split())
    assert await outcomes(plant) == []


async def test_a_changed_level_is_listed_rejected_and_accepted(plant: Plant) -> None:
    settings = await known_plant(plant)
    assert "no level has changed" in (await run(plant, "levels", "ls")).stdout
    said = await run(plant, "levels", "accept", HOT)
    assert "written all the same" in said.stderr
    assert [one[1:] for one in await outcomes(plant)] == [("accept_level", "no_change")]

    (fold,) = [one for one in plant.folds.values() if one.state.slots.get(GONE) is not None]
    slot, chance = fold.state.slots.get(GONE), random.Random(1)
    assert slot is not None
    fold.plan.limits["level_lasts_us"] = 0  # instead of two days of readings
    for at in range(600):
        value = (20.0 if at < 200 else 60.0) + chance.gauss(0.0, 0.2)
        at_us = plant.now_us + (at + 1) * S_US
        fold.fold(record_of(fold.state.next_offset, Batch(at_us, (Row(GONE, at_us, value),))))
    assert fold.state.levels[slot]["stage"] == Stage.CHANGED
    await plant.snapshot(settings, made_us=plant.now_us + MINUTE_US)
    (line,) = (await run(plant, "levels", "ls", "--json")).stdout.splitlines()
    found = json.loads(line)
    assert (found["sensor"], found["state"]) == (GONE, "changed")
    assert found["low"] < 20.0 < found["high"] < 55.0 < found["value"]
    assert found["since_us"] == plant.now_us + 201 * S_US

    await run(plant, "levels", "reject", GONE)
    assert ("reject_level", "done") in [one[1:] for one in await outcomes(plant)]
    assert fold.state.levels[slot]["stage"] == Stage.REJECTED
    await plant.snapshot(settings, made_us=plant.now_us + 2 * MINUTE_US)
    assert (await run(plant, "levels", "ls")).stdout.splitlines()[1].split()[1] == "rejected"
    await run(plant, "levels", "accept", GONE)
    assert ("accept_level", "done") in [one[1:] for one in await outcomes(plant)]
    assert fold.state.levels[slot]["stage"] == Stage.CALM


async def test_maintenance_does_not_wait_for_snapshots(plant: Plant) -> None:
    await known_plant(plant)
    text = plant.config.read_text()
    plant.config.with_name("a-file").touch()
    plant.config.write_text(text.replace(str(plant.config.parent / "snapshots"), str(plant.config.with_name("a-file"))))
    said = await run(plant, "maintenance", "add", "**", "--for", "2h", "--id", "m1")
    assert "what the workers know cannot be read" in said.stderr
    assert "written to all 4 partitions" in said.stdout
    await run(plant, "maintenance", "end", "m1")
    assert len(await outcomes(plant)) == 2 * PARTITIONS

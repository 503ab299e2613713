"""`millstream simulate`: the settings that it prints are accepted, mistakes end with 2 before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deploy.cli import app
from deploy.registries import read_settings
from ingest.contract.classes import ClassTable, Kind
from ingest.simulator.plant import Plant
from tests.unit.simulator.reading_back import OURS, START_US, ours


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["simulate", *arguments], env={"COLUMNS": "200", "TERM": "dumb"})


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_a_plant_of_ours_are_accepted_and_class_its_sensors(name: str, tmp_path: Path) -> None:
    done = run("--plant", name, "--settings")
    assert done.exit_code == 0, done.output
    config = tmp_path / "plant.toml"
    config.write_text(done.stdout)
    settings = read_settings(config, with_models=True, environ={})
    classes, plant = ClassTable(settings.classes), Plant(ours(name), 1, START_US, fault_every_s=0)
    assert settings.plant.levels == ours(name).plant.levels
    assert settings.plant.expected_sensors == len(plant.roster)
    for sensor, path in enumerate(plant.roster.paths):
        found, said = classes.classes[classes.index_of(path)], plant.roster.said(sensor)
        assert (found.kind, found.unit) == (Kind(said.kind), said.unit)
        assert (found.reporting == "on-change") == said.is_on_change
        assert found.range == said.range


def test_the_prefix_is_in_the_settings() -> None:
    assert 'topic = "hall/{site}/{area}' in run("--settings", "--prefix", "hall").stdout


def test_a_plant_of_ones_own_is_a_file(tmp_path: Path) -> None:
    own = tmp_path / "works.toml"
    own.write_text(
        '[plant]\nlevels = ["m", "q"]\n[[group]]\nname = "g"\nmachines = "m"\n[[group.sensor]]\nname = "x"\n'
    )
    done = run("--plant", str(own), "--settings")
    assert done.exit_code == 0, done.output
    assert 'topic = "factory/{m}/{q}"' in done.stdout
    own.write_text(own.read_text() + 'unti = "bar"\n')
    done = run("--plant", str(own), "--settings")
    assert done.exit_code == 2
    assert f'{own}:8: group.1.sensor.1.unti: no such key (did you mean "unit"?)' in done.stderr
    assert "1 mistake in the plant; nothing was started" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--config says which broker to play to"),
        (["--plant", "demon"], "no plant is called 'demon' (did you mean \"demo\"?); there are: bottling, demo,"),
        (["--plant", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["--plant", "bottling", "--sensors", "500"], "bottling: the plant has 93 sensors, not 500"),
        (["--faults", "spike,stcuk"], "--faults: no fault is called 'stcuk' (did you mean \"stuck\"?)"),
        (["--period", "1"], "--period: a duration is a number with a unit"),
        (["--period", "0s"], "demo: the period must be from 0.001 to 86400 s"),
        (["--fault-every", "often"], "--fault-every: a duration"),
        (["--prefix", "a/#"], "wildcards are for subscribers"),
        (["--truth", "no/such/folder/truth.csv"], "cannot be written there"),
        (["--truth", "."], ".: is a directory"),
        (["--log-level", "loud"], "--log-level: 'loud' is none of"),
        (["--config", "nowhere.toml"], "nowhere.toml: cannot be read"),
    ],
)
def test_mistakes_are_said_before_anything_is_sent(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_the_help_names_all_plants_and_faults() -> None:
    from ingest.simulator.faults.catalogue import KINDS

    text = " ".join(run("--help").stdout.split())
    for name in (*OURS, *KINDS):
        assert name in text
    assert "millstream simulate --plant sparkplug --settings" in text

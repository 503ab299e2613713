"""`millstream sensors import` and `millstream explain`, as commands; comparing with a real Mosquitto."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.registries import read_settings
from deploy.tags import read_plant_tags
from ingest.contract.tags import Tag
from tests.servers.mosquitto import Mosquitto
from tests.servers.ports import free_port

PROGRAM = """
import typer
from deploy.commands.explain import explain
from deploy.commands.sensors import sensors_app
app = typer.Typer()
app.add_typer(sensors_app, name="sensors")
app.command()(explain)
app()
"""
PLANT = """\
[plant]
levels = ["line", "machine", "quantity"]

[mqtt]
port = {port}

[[route]]
topic = "factory/{{line}}/{{machine}}/{{quantity}}"

[[route]]
topic = "cells/{{line}}/{{machine}}"
path = "{{line}}/{{machine}}/{{field}}"
options = {{ values = ["temp", "load"] }}

[[class]]
name = "hot"
match = ["**/temp"]
unit = "Cel"
range = [-40, 400]
models = [{{ name = "ewma_z", options = {{ warm_up = 7 }} }}]

[[class.rules]]
name = "high"
signal = "value"
above = 90
"""
TAGS = "Tag;Description;Unit;Min;Max;Class\r\nl1.press.temp;Öl;;0,5;90;\r\nl1/press/gone;;bar;;;hot\r\n"


def run(*arguments: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(environment or {})},
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "plant" / "plant.toml"
    path.parent.mkdir()
    path.write_text(PLANT.format(port=free_port()))
    path.with_name("tags.csv").write_bytes(TAGS.encode("cp1252"))
    return path


def entries(config: Path) -> set[str]:
    return {one.name for one in config.parent.iterdir() if one.is_file()}


def test_import_writes_the_normal_form_and_says_what_to_add(config: Path) -> None:
    done = run("sensors", "import", config.with_name("tags.csv"), "--config", config)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 tags have a class of their own" in done.stdout
    assert "nothing was compared with the plant" in done.stdout
    assert 'tags = "plant.tags.csv"' in done.stdout
    target = config.with_name("plant.tags.csv")
    assert target.read_text(encoding="utf-8") == (
        "path,name,unit,low,high,class\nl1/press/gone,,bar,,,hot\nl1/press/temp,Öl,,0.5,90,\n"
    )
    config.write_text(config.read_text().replace("[plant]\n", '[plant]\ntags = "plant.tags.csv"\n'))
    tags = read_plant_tags(read_settings(config, with_models=False), config)
    assert tags["l1/press/temp"] == Tag("l1/press/temp", "Öl", "", 0.5, 90.0, "", 3)
    again = run("sensors", "import", config.with_name("tags.csv"), "--config", config)
    assert again.returncode == 0, again.stderr
    assert "stand already in" in again.stdout
    assert "next" not in again.stdout


def test_nothing_is_overwritten_unasked(config: Path) -> None:
    target = config.with_name("other.csv")
    target.write_text("mine\n")
    command = ("sensors", "import", config.with_name("tags.csv"), "--config", config, "-o", target)
    done = run(*command)
    assert done.returncode == 2
    assert "exists and differs; --force overwrites it" in done.stderr
    assert target.read_text() == "mine\n"
    assert run(*command, "--force").returncode == 0
    assert target.read_text().startswith("path,")
    own = run("sensors", "import", config.with_name("tags.csv"), "--config", config, "-o", config, "--force")
    assert own.returncode == 2
    assert config.read_text().startswith("[plant]")


def test_mistakes_and_an_unreachable_broker_write_nothing(config: Path) -> None:
    before = entries(config)
    bad = config.with_name("tags.csv")
    assert "cannot be read" in run("sensors", "import", config.with_name("no.csv"), "--config", config).stderr
    gone = run("sensors", "import", bad, "--config", config, "--listen", "1s")
    assert gone.returncode == 1
    assert "Nothing was written" in gone.stderr
    bad.write_text("path,colour\nl1/a,\nl1/a,\n")
    done = run("sensors", "import", bad, "--config", config)
    assert done.returncode == 2
    assert f"{bad}:1: unknown column 'colour'" in done.stderr
    assert f"{bad}:3: l1/a stands on line 2 already" in done.stderr
    assert "nothing was written" in done.stderr
    assert entries(config) == before


def test_tags_are_compared_with_what_is_heard(mosquitto: Mosquitto, config: Path) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", mosquitto.port)
    client.loop_start()
    said = {
        "factory/l1/press/temp": '{"value": 20.5}',
        "factory/l1/press/speed": '{"value": 3}',
        "factory/l1/press/bad": "no json",
        "cells/l2/robot": '{"temp": 21.5, "load": 3}',
    }
    for topic, payload in said.items():
        client.publish(topic, payload, qos=1, retain=True).wait_for_publish(20)
    client.disconnect()
    client.loop_stop()
    where = {"MILLSTREAM__MQTT__PORT": str(mosquitto.port)}
    command = ("sensors", "import", config.with_name("tags.csv"), "--config", config, "--listen", "2s")
    done = run(*command, environment=where)
    assert done.returncode == 0, done.stderr
    assert "matched     1 tags were heard" in done.stdout
    assert "unknown     1 tags were never heard: l1/press/gone" in done.stdout
    assert "missing     3 sensors were heard that have no tag" in done.stdout
    assert ": l1/press/speed, l2/robot/load, l2/robot/temp" in done.stdout
    assert "not read    1 × syntax" in done.stdout
    assert "nothing was compared" not in done.stdout
    assert config.with_name("plant.tags.csv").exists()


def explained(config: Path, sensor: str, environment: dict[str, str] | None = None) -> dict[str, tuple[str, str]]:
    done = run("explain", sensor, "--config", config, environment=environment)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip().split("  ") if cell.strip()] for line in done.stdout.splitlines()]
    return {row[0]: (row[1], row[2].replace(f"{config.parent}/", "") if len(row) > 2 else "") for row in rows}


def line_of(config: Path, text: str) -> int:
    return next(at for at, line in enumerate(config.read_text().splitlines(), 1) if line.startswith(text))


def test_explain_says_where_everything_comes_from(config: Path) -> None:
    config.write_text(config.read_text().replace("[plant]\n", '[plant]\ntags = "tags.csv"\n'))
    rows = explained(config, "l1/press/temp")
    hot = "[[class]] hot"
    assert rows["display name"] == ("Öl", "tags.csv:2")
    assert rows["class"] == ("hot, by **/temp", f"plant.toml:{line_of(config, 'match')} {hot}")
    assert rows["unit"] == ("Cel", f"plant.toml:{line_of(config, 'unit')} {hot}")
    assert rows["range"] == ("0.5 to 90", "tags.csv:2")
    assert rows["windows"] == ("10s, 1m, 10m, 1h", "default")
    assert rows["model"][0] == "ewma_z"
    assert rows["warm_up"] == ("7", f"plant.toml:{line_of(config, 'models')} {hot}")
    assert rows["alpha"][1] == "default"
    assert rows["rule"] == ("high", f"plant.toml:{line_of(config, '[[class.rules]]')} {hot}")
    assert rows["above"] == ("90", f"plant.toml:{line_of(config, 'above')} {hot}")
    assert rows["severity"] == ("warning", "default")
    assert rows["alerts"] == ("not armed: alerts are only counted", "default")
    assert rows["machine"] == ("l1/press", "from the path")
    assert rows["partition"][1] == "default"
    assert rows["label line"] == ("l1", f"plant.toml:{line_of(config, 'levels')} [plant]")
    topics = [line for line in run("explain", "l1/press/temp", "-c", config).stdout.splitlines() if "topic" in line]
    assert [line.split()[1] for line in topics] == ["factory/l1/press/temp", "cells/l1/press"]
    named = explained(config, "l1/press/gone")
    assert (named["class"], named["unit"]) == (("hot", "tags.csv:3"), ("bar", "tags.csv:3"))


def test_explain_knows_the_environment_and_the_class_of_everything_else(config: Path) -> None:
    where = {"MILLSTREAM__KAFKA__TOPICS__READINGS__PARTITIONS": "5"}
    rows = explained(config, "alone", where)
    assert rows["class"] == ("default, by **", "default")
    assert rows["alert budget"] == ("20 a day on scores, of the whole plant", "default")
    assert (rows["shown_windows"][0], rows["max_rate"][0], rows["hold"][0]) == ("1m", "none", "none")
    assert not {"None", "0us"} & {value for value, _ in rows.values()}
    assert rows["partition"][0].endswith(" of 5")
    assert rows["partition"][1] == "MILLSTREAM__KAFKA__TOPICS__READINGS__PARTITIONS"
    assert rows["topic"] == ("none: no route gives a sensor this path", "")


def test_explain_refuses_what_is_no_path_and_says_what_is_wrong_with_the_tags(config: Path) -> None:
    done = run("explain", "a//b", "--config", config)
    assert done.returncode == 2
    assert "'a//b' is no sensor's path: an empty segment" in done.stderr
    config.write_text(config.read_text().replace("[plant]\n", '[plant]\ntags = "none.csv"\n'))
    done = run("explain", "a/b", "--config", config)
    assert done.returncode == 2
    assert "none.csv: cannot be read" in done.stderr

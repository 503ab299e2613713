"""The README's walk: each of its commands, in its order, on a plant of one's own."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployment.plant import PlantUnderTest
from tests.servers.mosquitto import Mosquitto
from tests.servers.ports import free_port

README = Path(__file__).parents[2] / "README.md"
TAGS = "Tag;Description;Unit;Min;Max\nline-01.press-01.temperature;Press 1, oil;Cel;-10;120,5\n"


def walk() -> list[str]:
    """The commands of the section, in order."""
    section = README.read_text(encoding="utf-8").partition("## Your own plant")[2].partition("\n## ")[0]
    return re.findall(r"^ *(millstream .+)$", section, re.MULTILINE)


@pytest.mark.timeout(180)
def test_the_walk_works_as_written(mosquitto: Mosquitto, kafka: str, tmp_path: Path, topic_prefix: str) -> None:
    commands = walk()
    assert [shlex.split(one)[1] for one in commands] == ["discover", "sensors", "check", "explain", "up", "alerts"]
    plant = PlantUnderTest(tmp_path / "plant", mosquitto.port, kafka, topic_prefix)
    (tmp_path / "tags.csv").write_text(TAGS)
    settings = {
        "KAFKA__BOOTSTRAP": kafka,
        "KAFKA__TOPICS__READINGS__NAME": f"{topic_prefix}.readings",
        "KAFKA__TOPICS__ALERTS__NAME": f"{topic_prefix}.alerts",
        "KAFKA__TOPICS__QUARANTINE__NAME": f"{topic_prefix}.quarantine",
        "WORKER__GROUP": f"{topic_prefix}-worker",
        "NOTIFIER__GROUP": f"{topic_prefix}-notifier",
        "GATEWAY__STATE_DIR": str(tmp_path / "state"),
        "WORKER__STATE_DIR": str(tmp_path / "state"),
        "NOTIFIER__STATE_DIR": str(tmp_path / "state"),
        **{f"{part}__HTTP": f"127.0.0.1:{free_port()}" for part in ("GATEWAY", "WORKER", "NOTIFIER")},
    }
    environment = {**os.environ, **{f"MILLSTREAM__{name}": value for name, value in settings.items()}}
    said: dict[str, str] = {}
    simulator = plant.simulating("--sensors", "40", "--duration", "60s")
    try:
        for command in commands:
            line = command.replace("broker.plant.example", f"127.0.0.1:{mosquitto.port}")
            line = line.replace("--for 60s", "--for 4s").replace("--listen 10s", "--listen 3s")
            words = shlex.split(line)[1:]
            if words[0] == "up":
                words += ["--duration", "6s", "--report", "report.json"]
            done = subprocess.run(
                [sys.executable, "-m", "deploy", *words],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr
            said[words[0]] = done.stdout
            if words[0] == "sensors":
                # As it says: one line for [plant].
                (next_line,) = re.findall(r'tags = "[^"]+"', done.stdout)
                config = tmp_path / "plant.toml"
                config.write_text(config.read_text().replace("[plant]\n", f"[plant]\n{next_line}\n", 1))
    finally:
        simulator.terminate()
        simulator.communicate(timeout=30)
    assert "(100.0%)" in said["discover"]
    assert "matched     1 tags were heard" in said["sensors"]
    assert re.findall(r"^(\w+) +ok ", said["check"], re.MULTILINE)[:2] == ["settings", "mqtt"]
    assert re.search(r"unit +Cel +plant\.tags\.csv:2", said["explain"])
    assert "not armed" in said["explain"]
    assert json.loads((tmp_path / "report.json").read_text())["balanced"]
    assert said["alerts"].startswith("would have alerted ")

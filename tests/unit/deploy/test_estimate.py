"""What `millstream check` says a plant will need, held against what a worker really takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from deploy.estimate import estimate, series_of
from ingest.contract.class_settings import ClassSettings
from ingest.contract.settings import Settings

SENSORS = 20_000
ROUTES = {"route": [{"topic": "plant/{sensor...}"}]}


def taken() -> float:
    """Bytes a sensor, as the operating system counts them."""
    command = [sys.executable, "-m", "tests.bench.fold_memory", "--way", "ours", "--sensors", str(SENSORS)]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout)["scraped"])


def test_the_memory_that_is_foretold_is_the_memory_that_is_taken() -> None:
    foretold = estimate(Settings.model_validate(ROUTES), SENSORS)
    tried = list[float]()
    # What else a process does now and then (it compiles, say) takes memory as well.
    while not tried or (len(tried) < 3 and tried[-1] > foretold.bytes_per_sensor / 0.9):
        tried.append(taken())
    assert 0.9 < foretold.bytes_per_sensor / tried[-1] < 1.2, (foretold, tried)
    assert foretold.state_bytes == SENSORS * foretold.bytes_per_sensor


def test_how_good_texts_are_is_a_series_of_them_as_well() -> None:
    asked = {"name": "states", "match": ["**"], "kind": "enum", "series": ["value", "mean", "refused", "quality"]}

    assert series_of(ClassSettings.model_validate(asked)) == 3

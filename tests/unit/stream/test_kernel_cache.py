"""Machine code is kept between processes, and never outlives the source that it was made of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import models

HOME = Path(models.__file__).parents[1]
CALLEE = "from models.compiled import kernel\n\n@kernel\ndef step(x):\n    return {result}\n"
CALLER = (
    "from models.compiled import kernel\nfrom plant.callee import step\n\n"
    "@kernel\ndef run(x):\n    return step(x) + 0.0\n"
)
ASK = "from plant.caller import run\nprint(run(1.0), sum(run.stats.cache_hits.values()))\n"


def python(program: str, cwd: Path, **environ: str) -> str:
    """Run a program in a process of its own; what it prints."""
    known = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env={**known, "PYTHONPATH": f"{cwd}{os.pathsep}{HOME}", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    """A folder of kernels, one of which calls the other across files; its parent is where to run it."""
    folder = tmp_path / "plant"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "callee.py").write_text(CALLEE.format(result="x"))
    (folder / "caller.py").write_text(CALLER)
    return folder


def test_a_second_process_finds_the_kernels_until_a_callee_in_another_file_changes(plant: Path) -> None:
    cache = str(plant.parent / "cache")
    first, second = (python(ASK, plant.parent, NUMBA_CACHE_DIR=cache) for _ in range(2))
    assert (first, second) == ("1.0 0", "1.0 1")

    (plant / "callee.py").write_text(CALLEE.format(result="x * 100.0"))

    assert python(ASK, plant.parent, NUMBA_CACHE_DIR=cache) == "100.0 0"


MODEL = """
from models.compiled import bank

def step(row, ts_us, value, params):
    return value + {added}

def band(row, params):
    return 0.0, 1.0

_, _, run = bank(step, band)
"""
ASK_MODELS = """
import numpy as np
from plant import one, two
for model in (one, two):
    score = np.zeros(1)
    model.run(
        np.zeros(1, [("x", np.float64)]), np.zeros(1, np.int32), np.zeros(1, np.int64), np.zeros(1),
        np.zeros(1, np.uint8), np.zeros(1, np.int32), np.ones(1, np.bool_), np.zeros((1, 1)), 1,
        score, np.zeros(1, np.int16), np.zeros((1, 2)),
    )
    print(score[0], sum(model.run.stats.cache_hits.values()), end=" ")
"""


def test_every_model_is_found_again_and_none_is_taken_for_another(plant: Path) -> None:
    """Loops over a batch are copies of one function: each model needs an entry of its own.

    That a worker finds all that it needs is seen where the image is built, in tests/integration/test_images.py.
    """
    for name, added in (("one", 1.0), ("two", 2.0)):
        (plant / f"{name}.py").write_text(MODEL.format(added=added))

    first, second = (python(ASK_MODELS, plant.parent, NUMBA_CACHE_DIR=str(plant.parent / "cache")) for _ in range(2))

    assert (first, second) == ("1.0 0 2.0 0", "1.0 1 2.0 1")


def test_a_place_that_cannot_be_written_is_passed_over(plant: Path) -> None:
    blocked = plant.parent / "a-file"
    blocked.touch()
    places = {"NUMBA_CACHE_DIR": str(blocked / "cache"), "XDG_CACHE_HOME": str(plant.parent / "home")}

    assert python(ASK, plant.parent, **places) == "1.0 0"

    assert list((plant.parent / "home" / "millstream" / "kernels").rglob("*.nbi"))
    assert python(ASK, plant.parent, **places) == "1.0 1"


def test_without_any_place_to_keep_them_kernels_still_work(plant: Path) -> None:
    blocked, temporary = plant.parent / "a-file", plant.parent / "temporary"
    blocked.touch()
    temporary.mkdir()
    (temporary / f"millstream-kernels-{os.getuid()}").touch()
    places = {"NUMBA_CACHE_DIR": str(blocked / "1"), "XDG_CACHE_HOME": str(blocked), "TMPDIR": str(temporary)}

    assert python(ASK, plant.parent, **places) == "1.0 0"


def test_machine_code_is_never_loaded_from_a_place_of_somebody_else(plant: Path) -> None:
    cache, home = plant.parent / "cache", plant.parent / "home"
    places = {"NUMBA_CACHE_DIR": str(cache), "XDG_CACHE_HOME": str(home), "TMPDIR": str(plant.parent)}
    somebody_else = f"import os\nos.getuid = lambda: {os.getuid() + 1}\n"
    assert python(ASK, plant.parent, **places) == "1.0 0"

    assert python(somebody_else + ASK, plant.parent, **places) == "1.0 0"

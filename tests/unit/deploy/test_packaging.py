"""The wheel: what it holds, and that our generic package names are nobody else's."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OURS = {"ingest", "stream", "models", "deploy"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_holds_our_packages_their_data_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == OURS
    assert "deploy/plants/demo.toml" in names
    metadata = wheel.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert "Private :: Do Not Upload" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    entry_points = wheel.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert "millstream = deploy.__main__:main" in entry_points


def test_no_other_installed_distribution_has_a_package_of_our_names() -> None:
    strangers = {
        (one.metadata["Name"], file.parts[0])
        for one in distributions()
        if one.metadata["Name"] != "millstream"
        for file in one.files or ()
        if len(file.parts) > 1 and file.parts[0] in OURS
    }
    assert strangers == set()

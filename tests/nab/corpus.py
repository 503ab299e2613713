"""A corpus in the layout of NAB: series as `data/<group>/<file>.csv`, and the windows in which each is odd."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from tests.nab.scoring import Windows

REPOSITORY = Path(__file__).parents[2]
VARIABLE = "MILLSTREAM_NAB"
PLACES = (REPOSITORY.parent / "shared" / "nab", REPOSITORY.parent / "NAB")
LABELS = ("combined_windows.json", "labels/combined_windows.json")


@dataclass(frozen=True, slots=True)
class Labelled:
    """A series. at_us: what its clock shows, taken as UTC; as in the file, so neither sorted nor without repetitions.

    windows: first and last row of each, shape (windows, 2), in order.
    """

    name: str
    at_us: NDArray[np.int64]
    value: NDArray[np.float64]
    windows: Windows

    @property
    def group(self) -> str:
        """The folder it lies in."""
        return self.name.partition("/")[0]


def _time_us(text: str) -> int:
    at = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return round(at.timestamp() * 1e6)


def _labels(folder: Path) -> Path | None:
    return next((folder / name for name in LABELS if (folder / name).is_file()), None)


def find(chosen: Path | None = None) -> Path | None:
    """The folder of the corpus: the chosen one, or that of MILLSTREAM_NAB, or one beside this checkout; or none.

    Raises FileNotFoundError where a folder was named and is no corpus.
    """
    named = chosen or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    for folder in PLACES if named is None else (named,):
        if (folder / "data").is_dir() and _labels(folder) is not None:
            return folder
    if named is not None:
        raise FileNotFoundError(f"{named}: no NAB corpus, which has data/ and {' or '.join(LABELS)}")
    return None


def load(folder: Path) -> list[Labelled]:
    """All series that the labels name, in order of their names."""
    labels = _labels(folder)
    if labels is None:
        raise FileNotFoundError(f"{folder}: no {' or '.join(LABELS)}")
    windows = json.loads(labels.read_text(encoding="utf-8"))
    return [_series(folder / "data" / name, name, windows[name]) for name in sorted(windows)]


def _series(path: Path, name: str, labelled: list[list[str]]) -> Labelled:
    table = pa.csv.read_csv(path)
    at_us = table["timestamp"].cast(pa.timestamp("us")).to_numpy().astype(np.int64)
    value = table["value"].cast(pa.float64()).to_numpy()
    windows = np.empty((len(labelled), 2), np.int64)
    for at, (start, end) in enumerate(labelled):
        inside = np.flatnonzero((at_us >= _time_us(start)) & (at_us <= _time_us(end)))
        windows[at] = inside[0], inside[-1]
    return Labelled(name, at_us, value, windows[np.argsort(windows[:, 0])])

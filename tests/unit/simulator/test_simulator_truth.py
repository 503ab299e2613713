"""The truth can be read back, to the microsecond, by whoever read it before."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.up.balance import read_truth
from ingest.simulator.faults.truth import Label, write_truth_csv

START_US = 1_700_000_000_000_000
LABELS = [
    Label("demo/press/speed", "spike", START_US, START_US + 1_000_000),
    Label("demo/odd,name", "gateway_death", 1, 999_999),
]


def test_the_truth_can_be_read_back_to_the_microsecond(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    write_truth_csv(LABELS, path)
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["sensor", "kind", "start", "end"]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    read_back = [
        Label(sensor, kind, *((datetime.fromisoformat(at) - epoch) // timedelta(microseconds=1) for at in (start, end)))
        for sensor, kind, start, end in rows
    ]
    assert read_back == LABELS
    assert rows[-1][2:] == ["1970-01-01T00:00:00.000001Z", "1970-01-01T00:00:00.999999Z"]


def test_the_balance_of_a_run_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    write_truth_csv(LABELS, path)
    assert [(one.sensor, one.kind, one.start_us, one.end_us) for one in read_truth(path)] == [
        (one.sensor, one.kind, one.start_us, one.end_us) for one in LABELS
    ]


def test_a_truth_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    write_truth_csv([], path)
    earlier = path.read_bytes()
    year_one_million_us = 10**6 * 365 * 86_400 * 1_000_000
    with pytest.raises(OverflowError):
        write_truth_csv([Label("s", "spike", year_one_million_us, year_one_million_us)], path)
    assert path.read_bytes() == earlier
    assert list(tmp_path.iterdir()) == [path]

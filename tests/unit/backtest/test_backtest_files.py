"""Recorded files, good and bad: what they are taken for, what is left out, and what people are told."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.backtest.recorded import look_through
from deploy.backtest.shape import Columns
from deploy.backtest.tables import Reading
from ingest.contract.errors import StopError
from tests.unit.backtest.tables import opened, rows_of, written

T0 = 1_704_067_200_000_000
S = 1_000_000
LONG = "time,sensor,value\n2024-01-01T00:00:00Z,a/t,1.5\n2024-01-01T00:00:01Z,a/p,2\n"
WIDE = "time,a/t,a/p\n2024-01-01T00:00:00Z,1.5,\n2024-01-01T00:00:01Z,,2\n"
ROWS = [(T0, "a/t", 1.5), (T0 + S, "a/p", 2.0)]


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        WIDE,
        "\ufeff" + LONG,
        LONG.replace("\n", "\r\n"),
        LONG.replace(",", ";"),
        LONG.replace(",", "\t"),
        "\n\n" + WIDE,
        LONG.replace(",", ";").replace("1.5", "1,5"),
        "tag;x;Wert;Zeit\na/t;1;1,5;01.01.2024 00:00:00\na/p;1;2;01.01.2024 00:00:01\n",
        "sensor_id,quality,value,timestamp\na/t,good,1.5,1704067200\na/p,bad,2.0,1704067201\n",
        WIDE.replace("1.5,", "1.5, ").replace(",2\n", ",yes\n2024-01-01T00:00:01Z,, 2 \n"),
    ],
)
def test_the_same_readings_however_they_are_written(text: str, tmp_path: Path) -> None:
    assert rows_of(written(tmp_path, text))[0] == ROWS


def test_compressed_files_and_other_encodings_are_read(tmp_path: Path) -> None:
    assert rows_of(written(tmp_path, gzip.compress(LONG.encode()), "data.csv.gz"))[0] == ROWS
    assert rows_of(written(tmp_path, LONG.encode("utf-16"), "wide.csv"))[0] == ROWS
    latin = written(tmp_path, "time,Öl\n2024-01-01T00:00:00Z,1\n".encode("latin-1"))
    with pytest.raises(StopError, match="try --encoding latin-1"):
        rows_of(latin)
    assert rows_of(latin, reading=Reading(encoding="latin-1"))[0] == [(T0, "Öl", 1.0)]


@pytest.mark.parametrize("kind", [pa.float32(), pa.int64(), pa.uint8(), pa.decimal128(25, 2), pa.utf8()])
def test_parquet_has_the_types_it_has(kind: pa.DataType, tmp_path: Path) -> None:
    times = pa.array([T0, T0 + S], pa.timestamp("us", tz="UTC")).cast(pa.timestamp("ns", tz="Europe/Berlin"))
    values = pa.array([1, 2]).cast(kind) if not pa.types.is_string(kind) else pa.array(["1", "2"])
    pq.write_table(pa.table({"ts": times, "name": ["a/t", "a/p"], "value": values}), tmp_path / "data.parquet")
    assert rows_of(tmp_path / "data.parquet")[0] == [(T0, "a/t", 1.0), (T0 + S, "a/p", 2.0)]
    pq.write_table(pa.table({"ts": times, "t": values, "p": [None, float("nan")]}), tmp_path / "wide.parquet")
    rows, recording = rows_of(tmp_path / "wide.parquet")
    assert [value for _, _, value in rows] == [1.0, 2.0]
    assert recording.met.barren == ["p"]


def test_the_only_series_of_a_file_is_called_by_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    files = [
        written(tmp_path / "a", "timestamp,value\n2024-01-01 00:00:00,1\n2024-01-01 00:05:00,2\n", "cpu.csv"),
        written(tmp_path / "b", "timestamp,value\n2024-01-01 00:00:00,1\n", "cpu.csv"),
        written(tmp_path / "b", "timestamp,oil #1\n2024-01-01 00:00:00,1\n", "x.csv"),
    ]
    found = look_through(files, Reading(), Columns())
    assert found.sensors.paths == ["a/cpu", "b/cpu", "oil _1"]
    assert any("'oil #1' → oil _1" in line for line in found.said)
    assert any("taken as UTC" in line and line.startswith("  3 files") for line in found.said)
    assert look_through(files[2:], Reading(), Columns(), prefix="demo/line/").sensors.paths == ["demo/line/oil _1"]


def test_columns_of_one_name_are_two_sensors_and_one_of_states_is_left_out(tmp_path: Path) -> None:
    text = "time,t,t,state,empty\n" + "2024-01-01T00:00:00Z,1,2,run,\n"
    found = look_through([written(tmp_path, text)], Reading(), Columns())
    assert found.sensors.paths == ["t", "t-2", "empty"]
    assert any("left out: 'state'" in line for line in found.said)
    assert any("nothing is: 'empty'" in line for line in found.said)


def test_cells_that_are_no_numbers_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    lines = [f"2024-01-01T00:00:{at:02}Z,{at},{'offline' if at == 40 else at},7" for at in range(60)]
    path = written(tmp_path, "time,a,b,c\n" + "\n".join(lines))
    rows, recording = rows_of(path)
    assert len(rows) == 179
    values = recording.met.values
    assert (values.empty, values.unread, values.example) == (0, 1, "offline")


def test_a_bad_cell_far_down_the_file_is_met_too(tmp_path: Path) -> None:
    lines = [
        f"{1_704_067_200 + at},{at % 7},{'n.a.' if at == 29_999 else 1},{'?' if at == 25_000 else 2}"
        for at in range(30_000)
    ]
    rows, recording = rows_of(written(tmp_path, "time,a,b,c\nshort\n" + "\n".join(lines)))
    assert len(rows) == 89_998
    # It is read anew from the start, and nothing is counted twice.
    assert (recording.met.lines, recording.met.ragged.lines) == (30_000, 1)
    assert recording.met.values.unread == 2


def test_lines_that_do_not_fit_rows_without_time_or_name_are_left_out_and_told(tmp_path: Path) -> None:
    text = (
        LONG
        + "2024-01-01T00:00:02Z,a\n"
        + "soon,a/t,3\n"
        + "2024-01-01T00:00:03Z,,3\n"
        + "2024-01-01T00:00:04Z,a/t,x\n"
    )
    found = look_through([written(tmp_path, text)], Reading(), Columns())
    assert found.readings == 2
    said = "\n".join(found.said)
    for part in (
        "do not fit the header, left out: 1, such as 2 cells",
        "without a time between 1990 and 2200, left out: 1, such as 'soon'",
        "name no sensor, left out: 1",
        "no numbers, not folded: 1, such as 'x'",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n \r\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"time,sensor,value\n", "has a header and no rows"),
        (b"time,sensor,value", "has a header and no rows"),
        (b"time,a\n1\n2\n", "has a header and no rows: 2 lines do not fit it"),
        (b"2024-01-01 00:00:00,3.5\n2024-01-01 00:00:01,3.5\n", "has no header"),
        (b"just text\nmore\n", "one column only"),
        (b"a,b\n1,2\n3,4\n", "no column looks like times"),
        (b"time,a\n03/02/2024 1pm,2\n", "--time-format"),
        (b"time,a\n2024-01-01,x\n", "no column has numbers"),
        (b"time,a\n2024-01-01,\n", "no reading in 1 rows"),
        (b"PAR1 and nothing more", "cannot be read as Parquet"),
        (b"\x00\x01\x02\x03", "neither CSV nor Parquet"),
    ],
)
def test_a_file_without_data_says_what_is_wrong(content: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(StopError, match=says):
        rows_of(written(tmp_path, content))


def test_a_file_that_is_not_there_and_one_torn_in_the_middle_are_told(tmp_path: Path) -> None:
    with pytest.raises(StopError, match="cannot be read"):
        rows_of(tmp_path / "nothing.csv")
    pq.write_table(pa.table({"time": [T0], "a": [1.0]}), tmp_path / "whole.parquet")
    torn = written(tmp_path, (tmp_path / "whole.parquet").read_bytes()[:-30], "torn.parquet")
    with pytest.raises(StopError, match="cannot be read as Parquet"):
        rows_of(torn)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (Columns(time="tme"), r'no column .tme. \(did you mean "time"\?\)'),
        (Columns(sensor="sensr"), 'did you mean "sensor"'),
        (Columns(value="q"), "there are: 'time', 'sensor', 'value'"),
    ],
)
def test_a_column_that_is_not_there_is_asked_back(columns: Columns, says: str, tmp_path: Path) -> None:
    with pytest.raises(StopError, match=says):
        opened(written(tmp_path, LONG), columns)


def test_said_columns_win_over_guesses(tmp_path: Path) -> None:
    text = "time,logged,name,value,peak\n2024-01-01,2024-01-02,a/t,1,9\n"
    rows, _ = rows_of(written(tmp_path, text), Columns(time="logged", sensor="name", value="peak"))
    assert rows == [(T0 + 86_400 * S, "a/t", 9.0)]
    wide, _ = rows_of(written(tmp_path, "time,a,b\n2024-01-01,1,2\n"), Columns(value="b"))
    assert wide == [(T0, "b", 2.0)]


def test_a_header_may_be_longer_than_any_block(tmp_path: Path) -> None:
    names = [f"{'n' * 100_000}-{at}" for at in range(12)]
    path = written(tmp_path, "time," + ",".join(names) + "\n2024-01-01" + ",1" * 12 + "\n2024-01-02" + ",2" * 12)
    rows, recording = rows_of(path)
    assert len(rows) == 24
    assert "and 7 more" in recording.told()


def test_the_two_nights_in_which_clocks_are_changed_are_told(tmp_path: Path) -> None:
    times = ["2024-03-31 02:30", "2024-10-27 02:10", "2024-10-27 02:40", "2024-10-27 02:10"]
    path = written(tmp_path, "time,a\n" + "".join(f"{one},1\n" for one in times))
    found = look_through([path], Reading(), Columns(zone=ZoneInfo("Europe/Berlin")))
    said = "\n".join(found.said)
    assert "without a zone are taken as Europe/Berlin" in said
    assert "skipped in spring, moved on by what was skipped: 1" in said
    assert "showed twice in autumn: 3, of which 1 are the second" in said


def test_huge_integers_are_numbers(tmp_path: Path) -> None:
    rows, _ = rows_of(written(tmp_path, f"time,a,b\n{T0},{10**30},{2**63}\n"))
    assert [value for _, _, value in rows] == [1e30, float(2**63)]
    assert datetime.fromtimestamp(rows[0][0] / 1e6, UTC).year == 2024

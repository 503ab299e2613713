"""Recorded times: zones, the two nights in which clocks are changed, numbers, and what is no time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.backtest.times import TimeReader, read_us
from ingest.contract.errors import StopError

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]
AUTUMN = datetime(2024, 10, 26, 22, tzinfo=UTC)
"""Three hours before Berlin's clocks go back."""


def read(texts: list[str | None], zone: ZoneInfo | None = BERLIN) -> tuple[list[str | None], TimeReader]:
    reader = TimeReader(zone)
    at_us, known = reader.read(pa.array(texts, pa.utf8()))
    return [
        datetime.fromtimestamp(one / 1e6, UTC).isoformat(timespec="milliseconds")[:-6] if is_known else None
        for one, is_known in zip(at_us.tolist(), known.tolist(), strict=True)
    ], reader


@given(
    st.lists(st.datetimes(datetime(1991, 1, 1), datetime(2100, 1, 1)), min_size=1, max_size=20),
    st.sampled_from(ZONES),
)
def test_a_local_time_is_what_the_zone_says(times: list[datetime], name: str) -> None:
    zone = ZoneInfo(name)
    # In order, so that nothing steps back into a repeated hour.
    texts = [one.isoformat(sep=" ") for one in sorted(times)]
    at_us, known = TimeReader(zone).read(pa.array(texts))
    assert known.all()
    for one, found_us in zip(sorted(times), at_us.tolist(), strict=True):
        assert found_us == (one.replace(tzinfo=zone) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@given(st.integers(1, 29), st.integers(0, 400), st.integers(1, 400))
def test_a_night_with_a_repeated_hour_is_read_as_it_was_however_it_is_split(
    step_min: int, split: int, rows: int
) -> None:
    truth = [AUTUMN + timedelta(minutes=step_min * at) for at in range(rows)]
    texts = [one.astimezone(BERLIN).replace(tzinfo=None).isoformat() for one in truth]
    reader = TimeReader(BERLIN)
    parts = [part for part in (texts[:split], texts[split:]) if part]
    found = [at for part in parts for at in reader.read(pa.array(part))[0].tolist()]
    assert found == [int(one.timestamp() * 1e6) for one in truth]


def test_sensor_after_sensor_in_one_file_each_has_the_repeated_hour_twice() -> None:
    truth = [AUTUMN + timedelta(minutes=10 * at) for at in range(30)] * 3
    texts = [one.astimezone(BERLIN).replace(tzinfo=None).isoformat() for one in truth]
    assert TimeReader(BERLIN).read(pa.array(texts))[0].tolist() == [int(one.timestamp() * 1e6) for one in truth]


def test_what_the_clocks_skipped_is_moved_on_and_counted() -> None:
    found, reader = read(["2024-03-31 01:59:00", "2024-03-31 02:30:00", "2024-03-31 03:30:00"])
    assert found == ["2024-03-31T00:59:00.000", "2024-03-31T01:30:00.000", "2024-03-31T01:30:00.000"]
    assert reader.tally.skipped == 1


def test_zones_numbers_and_other_ways_in_one_column_each_mean_what_they_say() -> None:
    found, reader = read(
        [
            "2024-01-01 12:00:00",
            "2024-01-01T12:00:00Z",
            "2024-01-01T12:00:00.1234567891 -0500",
            "2024-01-01 12:00:00 UTC",
            "1704110400",
            "1704110400123",
            "1704110400123000000",
            "01.02.2024 13:45",
            "2024/02/01 13:45:00",
            "2024-02-01 13:45:00,5",
        ]
    )
    assert found == [
        "2024-01-01T11:00:00.000",
        "2024-01-01T12:00:00.000",
        "2024-01-01T17:00:00.123",
        "2024-01-01T12:00:00.000",
        "2024-01-01T12:00:00.000",
        "2024-01-01T12:00:00.123",
        "2024-01-01T12:00:00.123",
        "2024-02-01T12:45:00.000",
        "2024-02-01T12:45:00.000",
        "2024-02-01T12:45:00.500",
    ]
    assert (reader.tally.local, reader.tally.zoned) == (4, 3)
    assert reader.tally.units == {"s": 1, "ms": 1, "ns": 1}


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "",
        "2024-13-01 00:00:00",
        "2024-01-01 25:00:00",
        "1e300",
        "99999999999999999999999",
        "-5",
        "12",
        "1800-01-01",
    ],
)
def test_what_is_no_time_is_counted_and_the_rest_is_read(text: str) -> None:
    found, reader = read(["2024-01-01T00:00:00Z", text, None])
    assert found == ["2024-01-01T00:00:00.000", None, None]
    assert (reader.tally.unread, reader.tally.example) == (2, text)


@pytest.mark.parametrize(
    ("column", "seconds"),
    [
        (pa.array([1.7e9, float("nan"), 1e300]), [1.7e9, None, None]),
        (pa.array([2**63 - 1, 1_700_000_000_000_000_000]), [None, 1.7e9]),
        (pa.array([2**64 - 1, 1_700_000_000], pa.uint64()), [None, 1.7e9]),
        (pa.array([1_700_000_000_000], pa.timestamp("ms")), [1.7e9]),
        (pa.array([1_700_000_000_000_000_000], pa.timestamp("ns", tz="America/New_York")), [1.7e9]),
        (pa.array([datetime(2023, 11, 14).date()]), [1_699_920_000]),
        (pa.array(["2023-11-14T22:13:20Z", None]).dictionary_encode(), [1.7e9, None]),
    ],
)
def test_typed_columns_are_times_too(column: pa.Array, seconds: list[float | None]) -> None:
    at_us, known = TimeReader().read(column)
    found = [at / 1e6 if is_known else None for at, is_known in zip(at_us.tolist(), known.tolist(), strict=True)]
    assert found == seconds


def test_a_column_that_cannot_hold_times_is_told() -> None:
    with pytest.raises(StopError, match="holds no times"):
        TimeReader().read(pa.array([[1]]))


def test_a_format_of_ones_own_settles_days_and_months() -> None:
    at_us, known = TimeReader(None, "%d/%m/%Y %H:%M").read(pa.array(["03/02/2024 10:00", "2024-02-03"]))
    assert known.tolist() == [True, False]
    assert at_us[0] == read_us("2024-02-03T10:00Z")


def test_a_time_on_the_command_line_is_read_or_refused() -> None:
    assert read_us("2024-07-01", BERLIN) == read_us("2024-06-30T22:00:00Z")
    with pytest.raises(ValueError, match="no time between 1990 and 2200"):
        read_us("yesterday")

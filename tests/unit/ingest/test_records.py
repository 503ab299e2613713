"""Readings become records of a bounded size, and nothing of them is lost or moved on the way."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.contract.log_writer import Outgoing
from ingest.contract.readings import Readings, Words
from ingest.contract.wire import (
    ARROW,
    MAX_INFLATED_BYTES,
    MAX_ROWS,
    Envelope,
    Kind,
    decode_readings,
    encode_readings,
    envelope_of,
)
from ingest.records import join_readings, readings_records

NOW_US = 1_700_000_000_123_456
ENVELOPE = Envelope(Kind.READINGS, ARROW, "gateway-1", 7, NOW_US, 4)

WORD = st.text(st.sampled_from("abü/"), min_size=1, max_size=6)
ROW = st.tuples(WORD, st.none() | WORD, st.none() | WORD, st.integers(0, 2), st.integers(0, 63))
TABLE = st.lists(ROW, max_size=30)
Row = tuple[str, str | None, str | None, int, int]


def table(rows: list[Row], first: int = 0) -> Readings:
    """With the row's number as its time and value, so that rows can be told apart."""
    sensors, texts, codes, qualities, flags = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    numbers = np.arange(first, first + len(rows))
    return Readings(
        Words.encode(sensors),
        NOW_US + numbers.astype(np.int64),
        numbers.astype(np.float64),
        np.array(qualities, np.uint8),
        np.array(flags, np.uint8),
        Words.encode(texts) if any(texts) else None,
        Words.encode(codes) if any(codes) else None,
    )


def plain(readings: Readings) -> list[tuple[object, ...]]:
    none = [None] * len(readings)
    return list(
        zip(
            readings.sensor.decode(),
            readings.ts_us.tolist(),
            readings.value.tolist(),
            readings.quality.tolist(),
            readings.flags.tolist(),
            none if readings.text is None else readings.text.decode(),
            none if readings.code is None else readings.code.decode(),
            strict=True,
        )
    )


def value_of(record: Outgoing) -> bytes:
    assert record.value is not None
    return record.value


@settings(max_examples=60, deadline=None)
@given(tables=st.lists(TABLE, min_size=1, max_size=5))
def test_joined_tables_have_all_rows_in_order_and_each_word_once(tables: list[list[Row]]) -> None:
    parts = [table(rows, first=100 * at) for at, rows in enumerate(tables)]
    joined = join_readings(parts)
    assert plain(joined) == [row for part in parts for row in plain(part)]
    for column in (joined.sensor, joined.text, joined.code):
        assert column is None or len(set(column.words)) == len(column.words)
    # What is written has all the types that are read again.
    assert plain(decode_readings(encode_readings(joined))) == plain(joined)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=40), share=st.floats(0.1, 1.2))
def test_records_are_split_until_they_fit_and_numbered_in_order(rows: list[Row], share: float) -> None:
    readings = table(rows)
    limit = int(len(encode_readings(readings)) * share)
    records = readings_records(readings, ENVELOPE, limit)
    found = [decode_readings(value_of(record)) for record in records]
    assert [row for one in found for row in plain(one)] == plain(readings)
    assert all(len(value_of(record)) <= limit or len(one) == 1 for record, one in zip(records, found, strict=True))
    for at, record in enumerate(records):
        envelope = envelope_of(record.headers)
        assert (envelope.seq, envelope.arrival_us, envelope.partitions) == (7 + at, NOW_US, 4)
        assert (record.key, record.timestamp_ms) == (None, NOW_US // 1000)


def test_what_fits_is_one_record() -> None:
    assert len(readings_records(table([("a", None, None, 0, 0)] * 1_000), ENVELOPE, 900_000)) == 1


def test_of_readings_that_compress_to_nothing_no_record_has_more_than_its_reader_takes() -> None:
    count = MAX_ROWS + 1
    same = Words(np.zeros(count, np.int32), ["a/b"])
    nothing = np.zeros(count, np.uint8)
    readings = Readings(same, np.full(count, NOW_US), np.ones(count), nothing, nothing)

    records = readings_records(readings, ENVELOPE, 16_777_216)

    assert [len(decode_readings(value_of(one))) for one in records] == [count // 2, count - count // 2]


def test_of_long_texts_that_compress_to_nothing_no_record_has_more_than_its_reader_takes() -> None:
    texts = ["x" * 4_000 + str(at) for at in range(MAX_INFLATED_BYTES // 4_000 + 100)]
    count = len(texts)
    same = Words(np.zeros(count, np.int32), ["a/b"])
    nothing = np.zeros(count, np.uint8)
    numbered = Words(np.arange(count, dtype=np.int32), texts)
    readings = Readings(same, np.full(count, NOW_US), np.ones(count), nothing, nothing, numbered)

    records = readings_records(readings, ENVELOPE, 16_777_216)

    assert sum(len(decode_readings(value_of(one))) for one in records) == count
    assert len(records) == 2

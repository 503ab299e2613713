"""A record that Arrow accepts can still be poison; the reader knows more than Arrow does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ingest.contract.errors import IncompatibleError, QuarantineError, Reason
from ingest.contract.readings import MAX_TS_US, MIN_TS_US, Readings, Words
from ingest.contract.wire import (
    ARROW,
    MAX_INFLATED_BYTES,
    MAX_ROWS,
    SCHEMA,
    Envelope,
    Kind,
    decode_readings,
    encode_readings,
    envelope_of,
    headers_of,
)

NOW_US = 1_700_000_000_000_000


def words(index: list[int | None], known: list[str | None]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(index, pa.int32()), pa.array(known, pa.utf8()), safe=False)


def masked(index: list[int], absent: list[bool], known: list[str]) -> pa.DictionaryArray:
    """Arbitrary bits under the nulls, as Arrow allows."""
    written = pa.array(np.array(index, np.int32), mask=np.array(absent))
    return pa.DictionaryArray.from_arrays(written, pa.array(known, pa.utf8()), safe=False)


def batch(schema: pa.Schema = SCHEMA, **columns: Any) -> pa.RecordBatch:
    """Two good rows, but for the columns given."""
    good = {
        "sensor": words([0, 1], ["a/b", "a/c"]),
        "ts": pa.array([NOW_US, NOW_US], pa.timestamp("us", tz="UTC")),
        "value": pa.array([1.0, 2.0]),
        "text": words([None, None], []),
        "quality": pa.array([0, 0], pa.uint8()),
        "code": words([None, None], []),
        "flags": pa.array([0, 0], pa.uint8()),
    }
    return pa.record_batch([columns.get(field.name, good.get(field.name)) for field in schema], schema=schema)


def stream(*parts: pa.RecordBatch, schema: pa.Schema = SCHEMA, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for one in parts:
            writer.write_batch(one)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def refused(data: bytes) -> str:
    with pytest.raises(QuarantineError) as caught:
        decode_readings(data)
    assert caught.value.reason is Reason.RECORD
    return caught.value.detail


@pytest.mark.parametrize("options", [{}, {"compression": "lz4"}, {"compression": "zstd"}], ids=str)
def test_a_foreign_producer_may_compress_as_it_likes(options: dict[str, str]) -> None:
    readings = decode_readings(stream(batch(), **options))
    assert readings.sensor.decode() == ["a/b", "a/c"]
    assert readings.text is None
    assert readings.code is None


def test_numbers_are_aligned_wherever_the_producer_put_them() -> None:
    # Damaged offsets, found by fuzzing: compiled loops then met arrays of another sort.
    data: Any = memoryview(b"x" + stream(batch()))[1:]
    readings = decode_readings(data)
    for column in (readings.sensor.index, readings.ts_us, readings.value):
        assert column.flags.aligned


def test_a_slice_of_a_table_is_read_as_that_slice() -> None:
    readings = decode_readings(stream(batch().slice(1, 1)))
    assert (readings.sensor.decode(), readings.value.tolist()) == (["a/c"], [2.0])


def test_no_rows_are_no_readings() -> None:
    assert len(decode_readings(stream(batch().slice(0, 0)))) == 0


@pytest.mark.parametrize("column", ["sensor", "text", "code"])
@pytest.mark.parametrize("index", [-1, -2, 2, 2**31 - 1, -(2**31)])
def test_a_dictionary_index_out_of_range_is_refused(column: str, index: int) -> None:
    assert refused(stream(batch(**{column: words([0, index], ["x", "y"])})))


@pytest.mark.parametrize("column", ["text", "code"])
def test_a_written_minus_one_is_refused_also_beside_nulls(column: str) -> None:
    three = [pa.concat_arrays([one, one.slice(0, 1)]) for one in batch().columns]
    at = SCHEMA.get_field_index(column)
    three[at] = masked([0, -1, 0], [False, False, True], ["x"])
    assert refused(stream(pa.record_batch(three, schema=SCHEMA)))


@pytest.mark.parametrize("below", [-1, -5, 7, 2**31 - 1])
def test_what_stands_under_a_null_does_not_matter(below: int) -> None:
    readings = decode_readings(stream(batch(text=masked([0, below], [False, True], ["RUN"]))))
    assert readings.text is not None
    assert readings.text.decode() == ["RUN", None]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("sensor", words([0, None], ["a/b"])),
        ("ts", pa.array([NOW_US, None], pa.timestamp("us", tz="UTC"))),
        ("value", pa.array([1.0, None])),
        ("quality", pa.array([0, None], pa.uint8())),
        ("flags", pa.array([None, 0], pa.uint8())),
    ],
)
def test_a_null_where_none_may_be_is_refused(column: str, values: Any) -> None:
    assert refused(stream(batch(**{column: values}))) == f"nulls in {column}"


@pytest.mark.parametrize("column", ["sensor", "text"])
def test_a_null_among_the_words_is_refused(column: str) -> None:
    assert "null in a dictionary" in refused(stream(batch(**{column: words([0, 1], ["a", None])})))


def test_words_that_are_not_utf_8_are_refused() -> None:
    offsets = np.array([0, 2], np.int32).tobytes()
    broken = pa.Array.from_buffers(pa.utf8(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(b"\xff\xfe")])
    index = pa.array([0, 0], pa.int32())
    assert refused(stream(batch(sensor=pa.DictionaryArray.from_arrays(index, broken, safe=False))))


@pytest.mark.parametrize(
    "columns",
    [
        {"quality": pa.array([0, 3], pa.uint8())},
        {"ts": pa.array([NOW_US, MIN_TS_US - 1], pa.timestamp("us", tz="UTC"))},
        {"ts": pa.array([NOW_US, MAX_TS_US], pa.timestamp("us", tz="UTC"))},
        {"ts": pa.array([NOW_US, -(2**63)], pa.timestamp("us", tz="UTC"))},
    ],
    ids=["quality", "before 1990", "after 2200", "lowest"],
)
def test_what_is_out_of_range_is_refused(columns: dict[str, Any]) -> None:
    assert refused(stream(batch(**columns)))


def test_a_record_is_one_batch() -> None:
    assert refused(stream())
    assert "more than one" in refused(stream(batch(), batch()))
    assert "more than one" in refused(stream(batch(), batch().slice(0, 0)))


def replaced(field: str, **changes: Any) -> pa.Schema:
    at = SCHEMA.get_field_index(field)
    old = SCHEMA.field(at)
    new = pa.field(changes.get("name", field), changes.get("type", old.type), changes.get("nullable", old.nullable))
    return SCHEMA.set(at, new)


@pytest.mark.parametrize(
    "schema",
    [
        replaced("value", type=pa.float32()),
        replaced("value", name="values"),
        replaced("sensor", nullable=True),
        replaced("ts", type=pa.timestamp("ms", tz="UTC")),
        replaced("ts", type=pa.timestamp("us")),
        SCHEMA.remove(3),
        SCHEMA.append(pa.field("more", pa.int8())),
        pa.schema([]),
    ],
    ids=str,
)
def test_another_schema_is_refused(schema: pa.Schema) -> None:
    assert refused(stream(schema=schema)) == "another Arrow schema"


def test_a_file_is_not_a_stream() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_batch(batch())
    assert refused(sink.getvalue().to_pybytes())


def test_a_row_costs_tens_of_bytes_and_not_hundreds() -> None:
    rows = 5_000
    readings = Readings(
        Words(np.arange(rows, dtype=np.int32) % 100, [f"demo/line-01/press-{at:02d}/x" for at in range(100)]),
        NOW_US + np.arange(rows, dtype=np.int64) * 1_000,
        np.random.default_rng(1).normal(size=rows),
        np.zeros(rows, np.uint8),
        np.zeros(rows, np.uint8),
    )
    assert len(encode_readings(readings)) < 30 * rows


# --- headers --------------------------------------------------------------------------------------------------------

GOOD = dict(headers_of(Envelope(Kind.READINGS, ARROW, "gateway-1", 7, NOW_US, 12)))


@pytest.mark.parametrize("version", [b"2.0", b"2", b"17.3", b"999999999999"])
def test_a_newer_major_version_stops_the_reader(version: bytes) -> None:
    with pytest.raises(IncompatibleError, match="upgrade"):
        envelope_of({**GOOD, "schema": version}.items())


@pytest.mark.parametrize("version", [b"1.0", b"1.9", b"1"])
def test_a_newer_minor_version_is_read(version: bytes) -> None:
    assert envelope_of({**GOOD, "schema": version}.items()).seq == 7


@pytest.mark.parametrize("version", [None, b"", b"x", b".1", b"0", b"0.9", b"-1.0", b"1,0", b"\xff", b"9" * 5_000])
def test_a_version_that_never_was_is_quarantined(version: bytes | None) -> None:
    with pytest.raises(QuarantineError) as caught:
        envelope_of({**GOOD, "schema": version}.items())
    assert caught.value.reason is Reason.RECORD


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", b"reading"),
        ("kind", b"\xff"),
        ("content-type", b"\xff"),
        ("source", b"\xff"),
        ("seq", b"x"),
        ("arrival", b"1.5"),
        ("arrival", b"0"),
        ("arrival", b"%d" % MAX_TS_US),
        ("arrival", b"9" * 5_000),
        ("partitions", b""),
    ],
)
def test_headers_that_say_nothing_are_quarantined(name: str, value: bytes) -> None:
    with pytest.raises(QuarantineError) as caught:
        envelope_of({**GOOD, name: value}.items())
    assert caught.value.reason is Reason.RECORD


@pytest.mark.parametrize("name", list(GOOD))
def test_every_header_is_needed(name: str) -> None:
    with pytest.raises(QuarantineError):
        envelope_of([(other, value) for other, value in GOOD.items() if other != name])


def test_headers_of_others_do_not_disturb() -> None:
    assert envelope_of([("traceparent", b"00-x"), ("nothing", None), *GOOD.items()]).source == "gateway-1"


# --- bombs ----------------------------------------------------------------------------------------------------------


def rows(count: int, **columns: Any) -> pa.RecordBatch:
    """So many readings that compress to almost nothing."""
    none = pa.DictionaryArray.from_arrays(pa.nulls(count, pa.int32()), pa.array([""], pa.utf8()))
    first = pa.array(np.zeros(count, np.int32))
    return batch(
        sensor=pa.DictionaryArray.from_arrays(first, pa.array(["a/b"])),
        ts=pa.array(np.full(count, NOW_US), pa.timestamp("us", tz="UTC")),
        value=pa.array(np.ones(count)),
        quality=pa.array(np.zeros(count, np.uint8)),
        flags=pa.array(np.zeros(count, np.uint8)),
        **{"text": none, "code": none, **columns},
    )


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_ten_million_readings_in_a_record_of_kilobytes_are_refused(compression: str | None) -> None:
    assert len(decode_readings(stream(rows(MAX_ROWS), compression=compression))) == MAX_ROWS
    assert "at most 262,144" in refused(stream(rows(MAX_ROWS + 1), compression=compression))


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("column", ["sensor", "text", "code"])
def test_what_would_inflate_to_gigabytes_is_refused_before_it_does(column: str, compression: str) -> None:
    bomb = stream(batch(**{column: words([0, 0], ["x" * (MAX_INFLATED_BYTES + 1)])}), compression=compression)
    before = pa.default_memory_pool().bytes_allocated(), pa.default_memory_pool().max_memory()
    assert "when inflated" in refused(bomb)
    assert (pa.default_memory_pool().bytes_allocated(), pa.default_memory_pool().max_memory()) == before


@pytest.mark.parametrize("column", ["text", "code"])
def test_a_text_of_megabytes_stays_in_no_state(column: str) -> None:
    assert "over 4,096 characters" in refused(stream(batch(**{column: words([0, 1], ["RUN", "x" * 4_097])})))
    longest = decode_readings(stream(batch(**{column: words([0, 1], ["RUN", "ä" * 4_096])})))
    found = getattr(longest, column)
    assert found.decode() == ["RUN", "ä" * 4_096]

"""Readings survive the wire column by column, and no damage to a record gets past its reader."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingest.contract.errors import IncompatibleError, QuarantineError, Reason
from ingest.contract.readings import MAX_TS_US, MIN_TS_US, Flag, Quality, Readings, Words
from ingest.contract.utf8 import Utf8
from ingest.contract.wire import (
    ARROW,
    JSON,
    SCHEMA,
    Envelope,
    Kind,
    decode_readings,
    encode_readings,
    envelope_of,
    headers_of,
)

few = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

ALL_FLAGS = sum(Flag)
TIMES = st.integers(MIN_TS_US, MAX_TS_US - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def batches(draw: st.DrawFn, max_rows: int = 20) -> Readings:
    rows = draw(st.integers(0, max_rows))

    def column(elements: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(elements, min_size=rows, max_size=rows))

    optional = st.none() | st.sampled_from(["RUN", "STOP", "", "192"]) | TEXTS
    return Readings(
        Words.encode(column(st.sampled_from(["a", "a/b", "ä/温度"]) | TEXTS)),
        np.array(column(TIMES), np.int64),
        np.array(column(st.floats()), np.float64),
        np.array(column(st.sampled_from(Quality)), np.uint8),
        np.array(column(st.integers(0, ALL_FLAGS)), np.uint8),
        draw(st.none() | st.just(optional).map(lambda one: Words.encode(column(one)))),
        draw(st.none() | st.just(optional).map(lambda one: Words.encode(column(one)))),
    )


def plain(words: Words | None, rows: int) -> list[str | None]:
    return [None] * rows if words is None else words.decode()


def columns(readings: Readings) -> dict[str, list[Any]]:
    rows = len(readings)
    return {
        "sensor": readings.sensor.decode(),
        "ts": readings.ts_us.tolist(),
        "value": readings.value.view(np.int64).tolist(),  # by bits: NaN equals itself, 0.0 is not -0.0
        "quality": readings.quality.tolist(),
        "flags": readings.flags.tolist(),
        "text": plain(readings.text, rows),
        "code": plain(readings.code, rows),
    }


@few
@given(batches())
def test_what_is_written_is_read_again(readings: Readings) -> None:
    again = decode_readings(encode_readings(readings))
    assert columns(again) == columns(readings)
    assert [column.dtype for column in arrays(again)] == [column.dtype for column in arrays(readings)]


@few
@given(batches(), st.randoms(use_true_random=False))
def test_some_rows_of_a_batch_are_those_rows(readings: Readings, random: Any) -> None:
    rows = np.array([random.randrange(len(readings)) for _ in range(len(readings))], np.intp)
    whole, some = columns(readings), columns(decode_readings(encode_readings(readings.take(rows))))
    assert some == {name: [column[row] for row in rows] for name, column in whole.items()}


@few
@given(batches())
def test_an_outsider_reads_the_record_with_plain_arrow(readings: Readings) -> None:
    table = pa.ipc.open_stream(encode_readings(readings)).read_all()
    assert table.column_names == ["sensor", "ts", "value", "text", "quality", "code", "flags"]
    assert str(table.schema.field("ts").type) == "timestamp[us, tz=UTC]"
    assert table["sensor"].to_pylist() == readings.sensor.decode()
    assert table["ts"].cast(pa.int64()).to_pylist() == readings.ts_us.tolist()
    assert table["text"].to_pylist() == plain(readings.text, len(readings))


# --- damage ---------------------------------------------------------------------------------------------------------


def arrays(readings: Readings) -> list[NDArray[Any]]:
    return [readings.sensor.index, readings.ts_us, readings.value, readings.quality, readings.flags]


def assert_sound(readings: Readings) -> None:
    """Fit for compiled loops, which look at nothing and go astray on everything."""
    rows = len(readings)
    for column in arrays(readings):
        assert column.shape == (rows,)
        assert column.flags.aligned
        assert column.flags.c_contiguous
        assert not column.flags.writeable  # that would be another type, and compiled anew
    for words, lowest in ((readings.sensor, 0), (readings.text, -1), (readings.code, -1)):
        if words is not None:
            assert words.index.shape == (rows,)
            assert all(lowest <= one < len(words.words) for one in words.index.tolist())
            assert all(word.encode().decode() == word for word in words.words)
            assert isinstance(words.words, Utf8)
            assert words.words.offsets.flags.aligned
            assert not any(one.flags.writeable for one in (words.index, words.words.data, words.words.offsets))
            assert words.words.offsets[0] >= 0
            assert (np.diff(words.words.offsets) >= 0).all()
            assert words.words.offsets[-1] <= words.words.data.size
    assert all(MIN_TS_US <= one < MAX_TS_US for one in readings.ts_us.tolist())
    assert all(one <= Quality.BAD for one in readings.quality.tolist())
    assert all(one <= ALL_FLAGS for one in readings.flags.tolist())


def read_or_refuse(data: bytes) -> bool:
    """Whether the record was read. Any other exception than a QuarantineError(RECORD) fails the test."""
    try:
        readings = decode_readings(data)
    except QuarantineError as error:
        if error.reason is not Reason.RECORD:
            raise
        return False
    assert_sound(readings)
    return True


SAMPLE = Readings(
    Words.encode(["demo/press-01/temperature", "demo/press-01/state", "demo/press-02/current"] * 4),
    np.arange(12, dtype=np.int64) * 1_000_000 + 1_700_000_000_000_000,
    np.array([21.5, np.nan, 4.0] * 4),
    np.array([0, 1, 2] * 4, np.uint8),
    np.array([0, 2, 8] * 4, np.uint8),
    Words.encode([None, "RUN", None] * 4),
    Words.encode([None, "192", "BAD"] * 4),
)


def uncompressed(record: bytes) -> bytes:
    """As a foreign producer may write it; here every flipped bit reaches the columns."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, SCHEMA, options=pa.ipc.IpcWriteOptions(compression=None)) as writer:
        writer.write_table(pa.ipc.open_stream(record).read_all())
    return sink.getvalue()


RECORDS = {"lz4": encode_readings(SAMPLE), "uncompressed": uncompressed(encode_readings(SAMPLE))}
formats = pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS.keys())


@formats
def test_a_record_cut_short_is_refused(record: bytes) -> None:
    read = [length for length in range(len(record)) if read_or_refuse(record[:length])]
    # Only the end-of-stream mark may be missing: eight bytes that carry nothing.
    assert read == [] or read[0] >= len(record) - 8


@formats
@pytest.mark.parametrize("flip", [0x01, 0x10, 0x80, 0xFF])
def test_one_changed_byte_is_refused_or_harmless(record: bytes, flip: int) -> None:
    outcomes = set()
    for at in range(len(record)):
        damaged = bytearray(record)
        damaged[at] ^= flip
        outcomes.add(read_or_refuse(bytes(damaged)))
    assert outcomes == {True, False}


@settings(few, max_examples=200)
@given(st.sampled_from(list(RECORDS.values())), st.data())
def test_any_damage_is_refused_or_harmless(record: bytes, data: st.DataObject) -> None:
    damaged = bytearray(record)
    places = st.integers(0, len(record))
    for start, cut, insert in data.draw(st.lists(st.tuples(places, st.integers(0, 16), st.binary(max_size=16)))):
        damaged[start : start + cut] = insert
    read_or_refuse(bytes(damaged))


@few
@given(st.binary(max_size=200), st.integers(0, len(RECORDS["lz4"])))
def test_bytes_that_are_no_record_are_refused(noise: bytes, head: int) -> None:
    assert not read_or_refuse(noise)
    read_or_refuse(RECORDS["lz4"][:head] + noise)


# --- headers --------------------------------------------------------------------------------------------------------

ENVELOPES = st.builds(
    Envelope,
    kind=st.sampled_from(Kind),
    content_type=st.sampled_from([ARROW, JSON]),
    source=TEXTS,
    seq=st.integers(0, 2**63),
    arrival_us=TIMES,
    partitions=st.integers(1, 10_000),
    sent_us=st.none() | TIMES,
)
NAMES = ["kind", "schema", "content-type", "source", "seq", "arrival", "partitions", "sent"]


@few
@given(ENVELOPES)
def test_headers_are_read_as_written(envelope: Envelope) -> None:
    assert envelope_of(headers_of(envelope)) == envelope


@few
@given(ENVELOPES, st.dictionaries(st.sampled_from(NAMES) | st.text(), st.none() | st.binary(max_size=12)))
@example(Envelope(Kind.READINGS, ARROW, "g", 0, MIN_TS_US, 1), {"seq": b"9" * 5_000})
@example(Envelope(Kind.READINGS, ARROW, "g", 0, MIN_TS_US, 1), {"schema": b"9" * 5_000})
def test_foreign_headers_are_understood_or_refused(envelope: Envelope, foreign: dict[str, bytes | None]) -> None:
    headers: dict[str, bytes | None] = {**dict(headers_of(envelope)), **foreign}
    try:
        found = envelope_of(headers.items())
    except QuarantineError as error:
        if error.reason is not Reason.RECORD:
            raise
    except IncompatibleError:
        assert "schema" in foreign
    else:
        assert MIN_TS_US <= found.arrival_us <= found.heard_us < MAX_TS_US

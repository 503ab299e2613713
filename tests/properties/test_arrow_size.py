"""How large a record becomes is known before it does, however it was compressed and whatever was damaged."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest.contract.arrow_size import exceeds, inflated_bytes
from ingest.contract.readings import Readings
from ingest.contract.wire import SCHEMA, encode_readings
from tests.properties.test_wire import SAMPLE, batches

few = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def written(readings: Readings, compression: str | None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(pa.ipc.open_stream(encode_readings(readings)).read_all())
    data: bytes = sink.getvalue().to_pybytes()
    return data


def buffers_of(array: Any) -> int:
    """As Arrow counts them when it has read a column."""
    if isinstance(array, pa.DictionaryArray):
        return buffers_of(array.indices) + buffers_of(array.dictionary)
    return sum(one.size for one in array.buffers() if one is not None)


@few
@given(batches(), st.sampled_from([None, "lz4", "zstd"]))
def test_a_record_is_as_large_as_arrow_makes_it(readings: Readings, compression: str | None) -> None:
    data = written(readings, compression)
    found = pa.ipc.open_stream(data).read_all()

    size = inflated_bytes(data)

    assert size == inflated_bytes(written(readings, None))
    # Uncompressed, a buffer ends with what fills it up.
    held = sum(buffers_of(chunk) for column in found.columns for chunk in column.chunks)
    assert size <= held if compression is None else size == held


@few
@given(batches(), st.integers(0, 2_000), st.sampled_from([None, "lz4", "zstd"]))
def test_a_limit_is_told_from_what_is_within_it(readings: Readings, limit: int, compression: str | None) -> None:
    data = written(readings, compression)
    size = inflated_bytes(data)
    assert exceeds(data, limit) == (size if size > limit else None)


def test_a_buffer_that_was_not_worth_compressing_counts_as_it_is() -> None:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    one = pa.ipc.open_stream(encode_readings(SAMPLE)).read_next_batch()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA, options=options) as writer:
        writer.write_batch(one)
    assert inflated_bytes(sink.getvalue().to_pybytes()) == inflated_bytes(encode_readings(SAMPLE))


@settings(few, max_examples=300)
@given(
    st.sampled_from([written(SAMPLE, one) for one in (None, "lz4", "zstd")]),
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 16), st.binary(max_size=16)), max_size=4),
)
@example(b"", [])
@example(b"\xff" * 400, [])
@example(b"\x00" * 400, [])
def test_damage_has_a_size_or_is_refused(record: bytes, cuts: list[tuple[int, int, bytes]]) -> None:
    damaged = bytearray(record)
    for start, cut, insert in cuts:
        damaged[start : start + cut] = insert
    with suppress(ValueError):
        assert inflated_bytes(bytes(damaged)) >= 0


def test_a_stream_of_an_old_version_is_not_looked_into() -> None:
    options = pa.ipc.IpcWriteOptions(use_legacy_format=True)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA, options=options) as writer:
        writer.write_table(pa.ipc.open_stream(encode_readings(SAMPLE)).read_all())
    with pytest.raises(ValueError, match="old version"):
        inflated_bytes(sink.getvalue().to_pybytes())

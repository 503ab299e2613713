"""Readings, ticks, commands and configuration ⇄ Kafka records.

A record is (value, headers, Kafka timestamp). Readings travel as one Arrow IPC stream with one record batch,
so Spark, Flink, DuckDB, Polars and pandas read the topic as it is. Headers:

    kind          readings | tick | command | config
    schema        "1.0": a reader takes its own major version and the one before, and refuses newer ones
    content-type  application/vnd.apache.arrow.stream | application/json (commands: always) |
                  application/vnd.millstream.definitions+zstd (config)
    source        id of the gateway or worker that wrote it
    seq           the source's batch number, counted from 0
    arrival       µs UTC when the youngest reading came in: the *now* of the fold
    partitions    partition count of the topic when it was written
    sent          µs UTC when it went to Kafka, of what waited in a gateway's spool (optional)

The Kafka timestamp is the arrival time too (in ms), so that a sensor's wrong clock cannot break retention.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.contract.arrow_size import exceeds
from ingest.contract.errors import IncompatibleError, QuarantineError, Reason
from ingest.contract.readings import MAX_TS_US, MIN_TS_US, Quality, Readings, Words
from ingest.contract.utf8 import Utf8
from ingest.contract.values import MAX_TEXT

SCHEMA_MAJOR = 1
SCHEMA_VERSION = f"{SCHEMA_MAJOR}.0"
ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
DEFINITIONS = "application/vnd.millstream.definitions+zstd"

HeaderList = list[tuple[str, bytes]]

_WORDS = pa.dictionary(pa.int32(), pa.utf8())
SCHEMA = pa.schema(
    [
        pa.field("sensor", _WORDS, nullable=False),
        pa.field("ts", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("text", _WORDS),
        pa.field("quality", pa.uint8(), nullable=False),
        pa.field("code", _WORDS),
        pa.field("flags", pa.uint8(), nullable=False),
    ]
)
# Threads cost more than they save on batches of thousands of rows.
_WRITE = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
# A foreign stream may put its buffers anywhere; compiled loops want numbers where the processor wants them.
_READ = pa.ipc.IpcReadOptions(use_threads=False, ensure_alignment=pa.ipc.Alignment.DataTypeSpecific)
with pa.ipc.new_stream(_empty := pa.BufferOutputStream(), SCHEMA, options=_WRITE):
    pass
_HEAD = _empty.getvalue().to_pybytes()[:-8]
"""The schema as it stands at the start of our own records, without the mark of their end."""
MAX_ROWS = 262_144
"""Readings in a record."""
MAX_INFLATED_BYTES = 64 * 2**20
"""A record's columns and words, as they are in memory."""
_NO_WORDS = Utf8.of(())
# Without what `min` and `max` look at first: half their time where rows are few.
_least, _most = np.minimum.reduce, np.maximum.reduce


class Kind(StrEnum):
    """What a record of the readings topic says: everything that changes state is in the log."""

    READINGS = "readings"
    TICK = "tick"
    COMMAND = "command"
    CONFIG = "config"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A record's headers, understood."""

    kind: Kind
    content_type: str
    source: str
    seq: int
    arrival_us: int
    partitions: int
    sent_us: int | None = None
    """When it was sent, if that was not when it arrived."""

    @property
    def heard_us(self) -> int:
        """The latest time that the record tells."""
        return self.arrival_us if self.sent_us is None else max(self.arrival_us, self.sent_us)


def headers_of(envelope: Envelope) -> HeaderList:
    """The headers that `envelope_of` reads again."""
    headers = [
        ("kind", envelope.kind.encode()),
        ("schema", SCHEMA_VERSION.encode()),
        ("content-type", envelope.content_type.encode()),
        ("source", envelope.source.encode()),
        ("seq", b"%d" % envelope.seq),
        ("arrival", b"%d" % envelope.arrival_us),
        ("partitions", b"%d" % envelope.partitions),
    ]
    return headers if envelope.sent_us is None else [*headers, sent_header(envelope.sent_us)]


def sent_header(sent_us: int) -> tuple[str, bytes]:
    """What is added to a record that waited, when it goes to Kafka."""
    return "sent", b"%d" % sent_us


def envelope_of(headers: Iterable[tuple[str, bytes | None]]) -> Envelope:
    """Read a record's headers.

    Raises QuarantineError(RECORD) for what Millstream did not write, IncompatibleError for a newer major
    version: skipping that would lose data that an upgraded worker can read.
    """
    found = {name: value for name, value in headers if value is not None}
    try:
        major = int(found["schema"].partition(b".")[0])
    except (KeyError, ValueError) as error:
        raise QuarantineError(Reason.RECORD, "no schema version in the headers") from error
    if major < max(1, SCHEMA_MAJOR - 1):
        raise QuarantineError(Reason.RECORD, "a schema version that is not read any more, or never was")
    if major > SCHEMA_MAJOR:
        raise IncompatibleError(
            f"a record of schema version {found['schema'].decode(errors='replace')}, this program reads up to "
            f"{SCHEMA_MAJOR}.x: upgrade it (nothing was skipped; it goes on from here)"
        )
    try:
        arrival_us = int(found["arrival"])
        sent_us = int(found["sent"]) if "sent" in found else None
        envelope = Envelope(
            Kind(found["kind"].decode("ascii")),
            found["content-type"].decode("ascii"),
            found["source"].decode(),
            int(found["seq"]),
            arrival_us,
            int(found["partitions"]),
            sent_us,
        )
    except (KeyError, ValueError) as error:
        raise QuarantineError(Reason.RECORD, f"headers: {error}") from error
    for name, at_us in (("arrival", arrival_us), ("sending", arrival_us if sent_us is None else sent_us)):
        if not MIN_TS_US <= at_us < MAX_TS_US:
            raise QuarantineError(Reason.RECORD, f"{name} time {at_us} is not between 1990 and 2200")
    return envelope


def _arrow_words(column: Words) -> pa.DictionaryArray:
    index = column.index
    indices = pa.array(index, mask=index < 0) if index.size and index.min() < 0 else pa.array(index)
    return pa.DictionaryArray.from_arrays(indices, pa.array(column.words, pa.utf8()))


def encode_readings(readings: Readings) -> bytes:
    """One Arrow IPC stream with the batch, lz4-compressed."""
    none = None
    if readings.text is None or readings.code is None:
        none = Words(np.full(len(readings), -1, np.int32), ())
    batch = pa.record_batch(
        [
            _arrow_words(readings.sensor),
            pa.array(readings.ts_us, SCHEMA.field("ts").type),
            pa.array(readings.value),
            _arrow_words(readings.text or none),  # type: ignore[arg-type]
            pa.array(readings.quality),
            _arrow_words(readings.code or none),  # type: ignore[arg-type]
            pa.array(readings.flags),
        ],
        schema=SCHEMA,
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA, options=_WRITE) as writer:
        writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def fits(readings: Readings, encoded: bytes) -> bool:
    """Whether a record that `encode_readings` wrote is within what `decode_readings` reads; else, write several."""
    return len(readings) <= MAX_ROWS and exceeds(encoded, MAX_INFLATED_BYTES) is None


def decode_readings(data: bytes) -> Readings:
    """Read and fully validate an Arrow IPC stream.

    Nothing is trusted: a dictionary index of -1 is legal to Arrow and takes NumPy's last row. Sensor *paths*
    are checked where they are first met, not here. At most MAX_ROWS and MAX_INFLATED_BYTES, texts and codes of at most
    MAX_TEXT characters. Raises QuarantineError(RECORD).
    """
    try:
        size = exceeds(data, MAX_INFLATED_BYTES)
    except ValueError as error:
        raise QuarantineError(Reason.RECORD, f"not readable as Arrow: {error}") from error
    if size is not None:
        raise QuarantineError(Reason.RECORD, f"{size:,} bytes when inflated, at most {MAX_INFLATED_BYTES:,}")
    try:
        with pa.ipc.open_stream(data, options=_READ) as reader:
            if data[: len(_HEAD)] != _HEAD and not reader.schema.equals(SCHEMA):
                raise QuarantineError(Reason.RECORD, "another Arrow schema")
            batch = reader.read_next_batch()
            if batch.num_rows > MAX_ROWS:
                raise QuarantineError(Reason.RECORD, f"{batch.num_rows:,} readings in a record, at most {MAX_ROWS:,}")
            batch.validate(full=True)
            if next(iter(reader), None) is not None:
                raise QuarantineError(Reason.RECORD, "more than one record batch")
    # Arrow's readers raise OSError for a torn stream and KeyError for an unknown dictionary.
    except (pa.ArrowException, OSError, KeyError, StopIteration, UnicodeDecodeError) as error:
        raise QuarantineError(Reason.RECORD, f"not readable as Arrow: {error}") from error
    sensor, ts, value, text, quality, code, flags = batch.columns
    for name, column in (("sensor", sensor), ("ts", ts), ("value", value), ("quality", quality), ("flags", flags)):
        if column.null_count:
            raise QuarantineError(Reason.RECORD, f"nulls in {name}")
    readings = Readings(
        sensor=_words(sensor),
        ts_us=ts.to_numpy().view(np.int64),
        value=value.to_numpy(),
        quality=quality.to_numpy(),
        flags=flags.to_numpy(),
        text=_texts("text", text),
        code=_texts("code", code),
    )
    _check_ranges(readings)
    return readings


def _words(column: pa.DictionaryArray) -> Words:
    dictionary = column.dictionary
    if dictionary.null_count:
        raise QuarantineError(Reason.RECORD, "a null in a dictionary")
    indices = column.indices
    index: NDArray[np.int32] = (indices.fill_null(-1) if indices.null_count else indices).to_numpy()
    if index.size:
        # After fill_null a written -1 and a null look alike, so look for the written one before.
        lowest = int(_least(index)) if not indices.null_count else _lowest_written(indices)
        if lowest < 0 or int(_most(index)) >= len(dictionary):
            raise QuarantineError(Reason.RECORD, "a dictionary index out of range")
    return Words(index, _as_it_lies(dictionary))


def _texts(name: str, column: pa.DictionaryArray) -> Words | None:
    if column.null_count == len(column):
        return None
    words = _words(column)
    utf8: Utf8 = words.words  # type: ignore[assignment]
    # A short buffer holds no long text; of the others, only those of so many bytes can have too many characters.
    if utf8.data.size > MAX_TEXT:
        for at in np.flatnonzero(np.diff(utf8.offsets) > MAX_TEXT).tolist():
            if len(utf8[at]) > MAX_TEXT:
                raise QuarantineError(Reason.RECORD, f"a {name} of over {MAX_TEXT:,} characters")
    return words


def _as_it_lies(strings: pa.StringArray) -> Utf8:
    """Validated strings without nulls, their bytes where they are. What is empty may have no buffers at all."""
    _, offsets, data = strings.buffers()
    if not len(strings):
        return _NO_WORDS
    return Utf8(
        np.frombuffer(data, np.uint8) if data else _NO_WORDS.data,
        np.frombuffer(offsets, np.int32, len(strings) + 1, strings.offset * 4),
    )


def _lowest_written(indices: pa.Int32Array) -> int:
    written = indices.drop_null()
    return int(written.to_numpy().min()) if len(written) else 0


def _check_ranges(readings: Readings) -> None:
    if not len(readings):
        return
    if int(_most(readings.quality)) > Quality.BAD:
        raise QuarantineError(Reason.RECORD, "a quality that is none")
    if int(_least(readings.ts_us)) < MIN_TS_US or int(_most(readings.ts_us)) >= MAX_TS_US:
        raise QuarantineError(Reason.RECORD, "a timestamp that is not between 1990 and 2200")

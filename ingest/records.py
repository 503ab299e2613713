"""Readings as records of the readings topic."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ingest.batch import RawWaveform
from ingest.contract.log_writer import Outgoing
from ingest.contract.partition import partition_of
from ingest.contract.readings import Readings, Words
from ingest.contract.sensors import machine_of
from ingest.contract.wire import ARROW, SCHEMA_VERSION, Envelope, encode_readings, fits, headers_of

WAVEFORMS = pa.schema(
    [
        pa.field("sensor", pa.utf8(), nullable=False),
        pa.field("ts", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("rate_hz", pa.float64()),
        pa.field("samples", pa.list_(pa.float64()), nullable=False),
    ]
)


def readings_records(readings: Readings, envelope: Envelope, max_record_bytes: int) -> list[Outgoing]:
    """One record, or several in order where one would be larger than `max_record_bytes`, or than a reader takes; a
    single row always fits.

    envelope: of the first; the next have the sequence numbers that follow, so the caller's next is `seq` plus the
    number of records. No key: the partition is known. The Kafka timestamp is the arrival time.
    """
    return [
        Outgoing(
            value, None, headers_of(dataclasses.replace(envelope, seq=envelope.seq + at)), envelope.arrival_us // 1000
        )
        for at, value in enumerate(_encoded(readings, max_record_bytes))
    ]


def _encoded(readings: Readings, max_record_bytes: int) -> list[bytes]:
    value = encode_readings(readings)
    if (len(value) <= max_record_bytes and fits(readings, value)) or len(readings) == 1:
        return [value]
    half = np.arange(len(readings)) < len(readings) // 2
    first, second = readings.take(np.flatnonzero(half)), readings.take(np.flatnonzero(~half))
    return [*_encoded(first, max_record_bytes), *_encoded(second, max_record_bytes)]


def join_readings(parts: Sequence[Readings]) -> Readings:
    """One table of several, in order; each word once. At least one part."""
    if len(parts) == 1:
        return parts[0]
    sizes = [len(one) for one in parts]
    sensor = Words.join([one.sensor for one in parts], sizes)
    assert sensor is not None
    return Readings(
        sensor,
        np.concatenate([one.ts_us for one in parts]),
        np.concatenate([one.value for one in parts]),
        np.concatenate([one.quality for one in parts]),
        np.concatenate([one.flags for one in parts]),
        Words.join([one.text for one in parts], sizes),
        Words.join([one.code for one in parts], sizes),
    )


def waveform_record(waveform: RawWaveform, source: str, arrival_us: int, partitions: int) -> tuple[int, Outgoing]:
    """(partition, record of the waveforms topic): an Arrow stream of one row, sensor, ts, rate_hz and samples.

    Samples are in the sensor's unit; rate_hz is null where nobody knows it. The key is the machine, as its partition.
    """
    batch = pa.record_batch(
        [
            pa.array([waveform.sensor]),
            pa.array([waveform.ts_us or arrival_us], pa.timestamp("us", tz="UTC")),
            pa.array([waveform.rate_hz or None], pa.float64()),
            pa.ListArray.from_arrays(pa.array([0, waveform.samples.size], pa.int32()), pa.array(waveform.samples)),
        ],
        schema=WAVEFORMS,
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, WAVEFORMS, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_batch(batch)
    headers = [
        ("kind", b"waveform"),
        ("schema", SCHEMA_VERSION.encode()),
        ("content-type", ARROW.encode()),
        ("source", source.encode()),
        ("arrival", b"%d" % arrival_us),
    ]
    key = machine_of(waveform.sensor).encode()
    record = Outgoing(sink.getvalue().to_pybytes(), key, headers, arrival_us // 1000)
    return partition_of(waveform.sensor, partitions), record

"""What a plant at 1 Hz puts into the log, in process: records of 5,000 rows as gateways make them.

Machines have eight sensors and send them whole; every sensor speaks once a round, and no two rounds have the machines
in the same order, so that neighbours in the log are no neighbours in the arrays. What machines say is up to ten seconds
old, each with a delay of its own, so that their panes do not all end in the same round.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import orjson

from ingest.contract.partition import partition_of
from ingest.contract.readings import Readings, Words
from ingest.contract.wire import ARROW, JSON, Envelope, Kind, encode_readings, headers_of
from stream.fold.partition import LogRecord

ROWS = 5_000
"""`gateway.max_batch`."""
QUANTITIES = ("temperature", "pressure", "vibration", "speed", "torque", "current", "flow", "level")
MACHINES_PER_LINE = 50
START_US = 1_700_000_000_000_000
ROUND_US = 1_000_000
DELAYS = 125
LONGEST_DELAY_US = 10_000_000


def machine_names(machines: int) -> list[str]:
    """Paths of four levels.

    >>> machine_names(51)[50]
    'works/line-0001/press-0050'
    """
    return [f"works/line-{at // MACHINES_PER_LINE:04}/press-{at:04}" for at in range(machines)]


def sensor_names(machines: list[str]) -> list[str]:
    """Eight sensors a machine."""
    return [f"{machine}/{quantity}" for machine in machines for quantity in QUANTITIES]


@dataclass(frozen=True, slots=True)
class Part:
    """One partition's sensors, and its share of the log so far."""

    number: int
    partitions: int
    names: list[str]
    noise: np.random.Generator
    offsets: Iterator[int]


def parts_of(sensors: int, partitions: int, seed: int = 1) -> list[Part]:
    """The sensors of a plant, dealt out by machine as gateways do. sensors: a multiple of eight."""
    machines = machine_names(sensors // len(QUANTITIES))
    mine: list[list[str]] = [[] for _ in range(partitions)]
    for machine in machines:
        mine[partition_of(f"{machine}/{QUANTITIES[0]}", partitions)].append(machine)
    return [
        Part(number, partitions, sensor_names(names), np.random.default_rng([seed, number]), count())
        for number, names in enumerate(mine)
    ]


def readings_of(part: Part, first_round: int, rounds: int) -> Readings:
    """Some rounds over the sensors of a partition, in the order of arrival."""
    machines, each = len(part.names) // len(QUANTITIES), len(QUANTITIES)
    sensor, ts_us = [], []
    for number in range(first_round, first_round + rounds):
        order = part.noise.permutation(machines)
        sensor.append((order[:, None] * each + np.arange(each)).ravel())
        delay_us = order % DELAYS * (LONGEST_DELAY_US // DELAYS)
        ts_us.append((START_US + number * ROUND_US - delay_us).repeat(each))
    index = np.concatenate(sensor).astype(np.int32)
    nothing = np.zeros(index.size, np.uint8)
    value = part.noise.normal(20.0, 1.0, index.size).round(3)
    return Readings(Words(index, part.names), np.concatenate(ts_us).astype(np.int64), value, nothing, nothing)


def pieces_of(part: Part, first_round: int, rounds: int, rows: int = ROWS) -> Iterator[Readings]:
    """The same in batches, each with the words that it uses."""
    readings = readings_of(part, first_round, rounds)
    for begin in range(0, len(readings), rows):
        yield readings.take(np.arange(begin, min(begin + rows, len(readings))))


def arrow_records(part: Part, first_round: int, rounds: int, rows: int = ROWS) -> list[LogRecord]:
    """The same as a gateway writes them."""
    return [_record(part, piece, encode_readings(piece)) for piece in pieces_of(part, first_round, rounds, rows)]


def json_lines(readings: Readings) -> list[bytes]:
    """The usual way to write them: a JSON record per reading."""
    return [orjson.dumps(one) for one in _documents(readings)]


def json_arrays(readings: Readings) -> list[bytes]:
    """As producers do that send in batches: one JSON record, an array of readings."""
    return [orjson.dumps(_documents(readings))]


def json_columns(readings: Readings) -> list[bytes]:
    """The same in columns."""
    columns = readings.sensor.decode(), (readings.ts_us // 1_000).tolist(), readings.value.tolist()
    return [orjson.dumps(dict(zip(("sensor", "ts", "value"), columns, strict=True)))]


def _documents(readings: Readings) -> list[dict[str, object]]:
    rows = zip(readings.sensor.decode(), (readings.ts_us // 1_000).tolist(), readings.value.tolist(), strict=True)
    return [{"sensor": sensor, "ts": ts_ms, "value": value} for sensor, ts_ms, value in rows]


def foreign_records(
    part: Part, first_round: int, rounds: int, rows: int, written: Callable[[Readings], list[bytes]]
) -> list[LogRecord]:
    """The same from other producers, who do not speak all at once. written: how they write so many rows."""
    records, arrived = [], first_round * len(part.names)
    for piece in pieces_of(part, first_round, rounds, rows):
        values = written(piece)
        for value in values:
            # When the last of its readings is there.
            arrived += len(piece) // len(values)
            at_us = START_US + (arrived - 1) * ROUND_US // len(part.names)
            records.append(LogRecord(next(part.offsets), [("content-type", JSON.encode())], value, at_us // 1_000))
    return records


def _record(part: Part, readings: Readings, value: bytes) -> LogRecord:
    # It arrives when the youngest machine has spoken.
    offset, arrival_us = next(part.offsets), int(readings.ts_us.max())
    envelope = Envelope(Kind.READINGS, ARROW, "bench", offset, arrival_us, part.partitions)
    return LogRecord(offset, headers_of(envelope), value)

"""Commands about sensors, written to the log of their partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.sensors.known import Known, KnownSensor, NoSnapshotError
from deploy.topics import try_topics
from deploy.writing import OnTerminal
from ingest.contract.clock import SystemClock
from ingest.contract.errors import ReconnectError
from ingest.contract.log_writer import LogWriter, Outgoing
from ingest.contract.partition import partition_of
from ingest.contract.settings import Settings
from stream.control import command_record
from stream.fold.commands import Command, Rename, Retire

_SOURCE = "millstream-sensors"
_CONFIRM_S = 60.0


@dataclass(frozen=True, slots=True)
class Renaming:
    """One sensor, another name. partition: the new name's."""

    sensor: KnownSensor
    to: str
    partition: int

    async def write(self, known: Known) -> None:
        """Raises ReconnectError, StopError."""
        sensor = self.sensor
        if self.partition == sensor.partition:
            await _write(known, [[(sensor.partition, Rename(sensor.path, self.to))]])
            return
        # What was learned is to be there before it is gone here.
        adopt = await known.adoption(sensor, self.to)
        if adopt.definitions != known.digests[sensor.partition]:
            raise NoSnapshotError("other definitions came into force meanwhile: try again")
        await _write(known, [[(self.partition, adopt)], [(sensor.partition, Retire(sensor.path))]])


def renaming(known: Known, sensor: KnownSensor, to: str) -> Renaming:
    """Raises NoSnapshotError where the other partition could not make anything of the sensor's rows."""
    partition = partition_of(to, known.partitions)
    there, here = known.digests.get(partition), known.digests[sensor.partition]
    if there != here:
        what = "there is no snapshot yet" if there is None else "other definitions are in force"
        raise NoSnapshotError(
            f"{to} belongs to partition {partition}, of which {what}: what was learned would be lost. Try again when "
            "the workers have made their next snapshots"
        )
    return Renaming(sensor, to, partition)


@dataclass(frozen=True, slots=True)
class Retiring:
    """Sensors that are to be forgotten."""

    sensors: Sequence[KnownSensor]

    async def write(self, known: Known) -> None:
        """Raises ReconnectError, StopError."""
        await _write(known, [[(one.partition, Retire(one.path)) for one in self.sensors]])


def retiring(sensors: Sequence[KnownSensor]) -> Retiring:
    """Of sensors that are known."""
    return Retiring(sensors)


async def _write(known: Known, steps: Sequence[Sequence[tuple[int, Command]]]) -> None:
    await write_commands(known.settings, steps)


async def write_commands(settings: Settings, steps: Sequence[Sequence[tuple[int, Command]]]) -> None:
    """(partition, command) after each other; a step begins when Kafka has confirmed the one before.

    Raises ReconnectError, StopError.
    """
    kafka, clock, seq = settings.kafka, SystemClock(), 0
    try:
        await try_topics(kafka, create=False)
    except ReconnectError as error:
        raise ReconnectError(f"{','.join(kafka.bootstrap)}: {error}") from error
    topic = kafka.topics.readings
    writer = LogWriter(kafka, _SOURCE, OnTerminal(), settings.gateway.max_record_bytes)
    try:
        async with asyncio.timeout(_CONFIRM_S):
            await writer.start()
            for step in steps:
                records: dict[int, list[Outgoing]] = {}
                for partition, command in step:
                    record = command_record(command, _SOURCE, seq, clock.now_us(), topic.partitions)
                    records.setdefault(partition, []).append(record)
                    seq += 1
                await asyncio.gather(*(writer.write(topic.name, at, some) for at, some in records.items()))
    except TimeoutError as error:
        raise ReconnectError(
            f"Kafka did not confirm everything within {_CONFIRM_S:.0f} s; the same command can be given again"
        ) from error
    finally:
        await writer.close()

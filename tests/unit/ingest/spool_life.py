"""One life of a gateway's delivery, as a process that may be killed: `python -m … DIRECTORY up|down FIRST COUNT`.

Delivers COUNT numbers from FIRST on, in turn to two partitions; says each on stdout when it is safe. Kafka is two
files. When Kafka is up, ends when all is drained.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ingest.contract.clock import SystemClock
from ingest.contract.log_writer import Outgoing
from ingest.delivery import Delivery
from ingest.spool import Spool
from tests.unit.ingest.deliveries import Events, number_of

PARTITIONS = 2


class FileKafka:
    """A log in a directory, when it is up."""

    failing: set[tuple[str, int]] = set()

    def __init__(self, directory: Path, up: bool) -> None:
        self._directory = directory
        self._up = up

    async def write(self, topic: str, partition: int, records: Sequence[Outgoing]) -> list[int]:
        if not self._up:
            await asyncio.Event().wait()
        with (self._directory / f"log-{partition}").open("a") as log:
            log.writelines(f"{number_of(one)}\n" for one in records)
        return []


async def live(directory: Path, up: bool, first: int, count: int) -> None:
    spool = Spool(directory / "spool", 2**20, 2_000)
    delivery = Delivery(FileKafka(directory, up), spool, Events(), SystemClock(), after_s=0.01)
    watching = asyncio.create_task(delivery.run())

    async def say(number: int) -> None:
        # Larger than a chunk, so that draining takes several.
        await delivery.deliver("t", number % PARTITIONS, [Outgoing(b"%d:" % number + b"x" * 300)])
        os.write(sys.stdout.fileno(), b"%d\n" % number)

    await asyncio.gather(*(say(number) for number in range(first, first + count)))
    while up and delivery.spooling:
        await asyncio.sleep(0.001)
    watching.cancel()
    await delivery.close()
    spool.close()


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1]), sys.argv[2] == "up", int(sys.argv[3]), int(sys.argv[4])))

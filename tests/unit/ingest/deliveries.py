"""Kafka and a disk that answer when a test says so, and a Delivery between them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.contract.log_writer import Outgoing
from ingest.spool import Damage, SpoolFullError

AFTER_S = 5.0
IN_MEMORY = next((name for name in ("/dev/shm",) if Path(name).is_dir()), None)
"""Where thousands of fsyncs cost nothing, if there is such a place."""


def number_of(record: Outgoing) -> int:
    assert record.value is not None
    return int(record.value.partition(b":")[0])


@dataclass
class Write:
    """A call of the writer, open until a test confirms or fails it."""

    kafka: Kafka
    partition: int
    records: list[Outgoing]
    done: asyncio.Future[list[int]]

    def confirm(self) -> None:
        self.kafka.log[self.partition] += map(number_of, self.records)
        self.done.set_result(list(range(len(self.records))))


@dataclass
class Kafka:
    """Stands for the LogWriter."""

    log: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    writes: list[Write] = field(default_factory=list)
    failing: set[tuple[str, int]] = field(default_factory=set)

    async def write(self, topic: str, partition: int, records: Sequence[Outgoing]) -> list[int]:
        write = Write(self, partition, list(records), asyncio.get_running_loop().create_future())
        self.writes.append(write)
        return await write.done

    def open(self) -> list[Write]:
        return [write for write in self.writes if not write.done.done()]

    def forget(self) -> None:
        """Writes of an earlier life."""
        self.writes.clear()


class HeldDisk(Executor):
    """Does what it is asked when a test says so, in the test's thread."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: fn(*args, **kwargs)))
        return future

    def answer(self, which: int = 0) -> None:
        future, work = self.waiting.pop(which)
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except (OSError, SpoolFullError) as error:  # the caller gets whatever it is
                future.set_exception(error)

    def answer_all(self) -> None:
        while self.waiting:
            self.answer()


@dataclass
class Events:
    """Keeps what a delivery says."""

    said: list[tuple[str, int]] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    drained: int = 0
    failures: list[str] = field(default_factory=list)

    def lane_spooling(self, topic: str, partition: int, batches: int) -> None:
        self.said.append(("spooling", partition))

    def lane_drained(self, topic: str, partition: int) -> None:
        self.said.append(("drained", partition))

    def records_drained(self, topic: str, partition: int, records: int) -> None:
        self.drained += records

    def spool_failed(self, topic: str, partition: int, reason: str, retry_in_s: float) -> None:
        self.failures.append(reason)

    def spool_full(self, topic: str, partition: int, used_bytes: int, retry_in_s: float) -> None:
        self.failures.append("full")

    def spool_damaged(self, damage: Damage) -> None:
        self.damage.append(damage)

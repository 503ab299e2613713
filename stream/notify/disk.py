"""The outbox, off the event loop and until it is done: a full or failing disk stops nothing and loses nothing."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from ingest.contract.kafka_client import Backoff

T = TypeVar("T")


class DiskEvents(Protocol):
    """What a disk has to say."""

    def disk_failed(self, reason: str, retry_in_s: float) -> None:
        """The outbox could not be read or written."""
        ...


class Disk:
    """One thread, so calls never overlap; each is tried until it works."""

    def __init__(self, events: DiskEvents) -> None:
        self._events = events
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox")
        self.trouble: str | None = None
        """Why the last try failed, while it does."""

    async def run(self, call: Callable[[], T]) -> T:
        """Call it on the thread. It must be all or nothing."""
        backoff = Backoff()
        while True:
            try:
                result = await asyncio.get_running_loop().run_in_executor(self._thread, call)
            except sqlite3.Error as error:
                self.trouble = str(error)
                retry_in_s = backoff.next_s()
                self._events.disk_failed(self.trouble, retry_in_s)
                await asyncio.sleep(retry_in_s)
            else:
                self.trouble = None
                return result

    def close(self) -> None:
        """Wait for what is being written."""
        self._thread.shutdown(wait=True)

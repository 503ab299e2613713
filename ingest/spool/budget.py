"""How many bytes all lanes together may have on disk."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ingest.contract.errors import MillstreamError


class SpoolFullError(MillstreamError):
    """There is no room; nothing was stored. Try again when something was drained."""


class Budget:
    """Bytes on disk, of all segments; lanes take and give from several threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used = 0
        self.freed = 0
        """All that was ever given back: whoever waits for room looks whether it grew."""
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """Bytes that are there already."""
        with self._lock:
            self.used += size

    def take(self, fixed: int, sizes: Sequence[int]) -> int:
        """Room for `fixed` bytes and for as many as possible of `sizes`, which are sums; returns how many.

        Raises SpoolFullError when not even the first fits.

        >>> budget = Budget(100)
        >>> budget.take(10, [40, 80, 120]), budget.used
        (2, 90)
        """
        with self._lock:
            room = self.max_bytes - self.used - fixed
            count = sum(size <= room for size in sizes)
            if not count:
                raise SpoolFullError(f"{self.used} of {self.max_bytes} bytes are used")
            self.used += fixed + sizes[count - 1]
            return count

    def give(self, size: int) -> None:
        """Bytes that are gone."""
        with self._lock:
            self.used -= size
            self.freed += size

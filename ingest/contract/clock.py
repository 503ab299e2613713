"""Time, injected.

Two clocks, because they answer two questions: *when did it happen* (wall clock, UTC, may jump) and *how
long has it been* (monotonic, never jumps). No other module asks the operating system for the time.
"""

from __future__ import annotations

import time
from typing import Protocol

US_PER_S = 1_000_000


class Clock(Protocol):
    """What the daemons know of time."""

    def now_us(self) -> int:
        """Wall clock, microseconds since 1970-01-01 UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary origin; never goes back."""
        ...


class SystemClock:
    """The operating system's clocks."""

    def now_us(self) -> int:
        """Wall clock, microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary origin; never goes back."""
        return time.monotonic()

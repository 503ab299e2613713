"""The wall clock without its jumps: what stamps arrivals neither leaps nor stands still because somebody set a clock.

Stamps of sensors without a clock of their own only ever go up: after an hour's jump ahead and back they would stand
still for an hour, and with them everything that waits for their time to pass.
"""

from __future__ import annotations

from ingest.contract.clock import US_PER_S, Clock

JUMP_US = US_PER_S
"""What differs by more from what was expected is a jump. Less is followed as it comes."""
PATIENCE_S = 60.0
"""A jump that is taken back within this time never happened."""
_HALF = 2


class EvenClock:
    """Never goes back. Goes on by the monotonic clock while the wall clock has jumped and may jump back.

    After `PATIENCE_S` it goes with the wall clock: at once where that is ahead, and where it is behind at half the
    pace, until they meet.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now_us = clock.now_us()
        self._at_s = clock.monotonic_s()
        self._jumped_s: float | None = None

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary origin; never goes back."""
        return self._clock.monotonic_s()

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        wall_us, at_s = self._clock.now_us(), self._clock.monotonic_s()
        passed_us = round((at_s - self._at_s) * US_PER_S)
        self._at_s = at_s
        off_us = wall_us - (self._now_us + passed_us)
        if abs(off_us) <= JUMP_US:
            self._jumped_s = None
        elif self._jumped_s is None:
            self._jumped_s = at_s
        if self._jumped_s is not None and at_s - self._jumped_s < PATIENCE_S:
            self._now_us += passed_us
        else:
            self._now_us = max(wall_us, self._now_us + passed_us // _HALF)
        return self._now_us

"""The partition's clock: the latest time that the log tells, unless what told it was wrong.

It goes ahead with the latest record at once, and stays there when an older one comes. A source whose clock jumped ahead
would leave it standing, and everything that waits for time to pass with it, until the others have caught up. So the
clock goes back once a minute has passed in the records' own time during which each was more than a minute behind it.
What comes late out of a gateway's spool says when it was sent and is not behind; records that waited elsewhere are soon
followed by newer ones.
"""

from __future__ import annotations

from typing import NamedTuple

AWAY_US = 60_000_000
"""How far behind the clock a record has to be to speak against it. Sources' clocks are expected to agree better."""
AGREED_US = 60_000_000
"""For how long, in the time that they tell themselves, records have to speak against the clock."""
TRUSTED_US = 7_200_000_000
"""How much of what the clock went back sensors' own times may still be ahead of it …"""
TRUSTED_FOR_US = 86_400_000_000
"""… and for how long."""


class Clock(NamedTuple):
    """now_us: µs UTC, 0 before the first record.

    ahead_us, until_us: how far, and until when, sensors' own times may be ahead. against: (earliest, latest) of the
    times told since all speak against it.
    """

    now_us: int = 0
    ahead_us: int = 0
    until_us: int = 0
    against: tuple[int, int] | None = None

    @property
    def trusted_us(self) -> int:
        """Up to here sensors' own times are believed: where the clock went back, it may be wrong now, not before."""
        return self.now_us + self.ahead_us if self.now_us < self.until_us else self.now_us

    def heard(self, at_us: int) -> Clock:
        """The clock after a record that was under way at this time. Hearing the same time again changes nothing.

        >>> clock = Clock().heard(1_000_000_000).heard(5_000_000_000).heard(1_001_000_000)
        >>> clock.now_us
        5000000000
        >>> clock.heard(1_061_000_000).now_us
        1061000000
        """
        if at_us > self.now_us + AWAY_US:
            return Clock(at_us)
        if at_us >= self.now_us - AWAY_US:
            return self._replace(now_us=max(self.now_us, at_us), against=None)
        earliest, latest = self.against or (at_us, at_us)
        earliest, latest = min(earliest, at_us), max(latest, at_us)
        if latest - earliest < AGREED_US:
            return self._replace(against=(earliest, latest))
        ahead_us = min(self.trusted_us - latest, TRUSTED_US)
        return Clock(latest, ahead_us, latest + TRUSTED_FOR_US).heard(at_us)

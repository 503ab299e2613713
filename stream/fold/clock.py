"""The partition's clock: the time that the log tells, unless one who tells it is wrong.

It goes ahead with the latest record, and stays where it is when an older one comes. A record that is more than a minute
away from it, ahead or behind, does not move it: until a minute has passed in the time of such records, on one side and
without a single one that says what the clock does. So one source whose clock is wrong, or jumps to and fro, moves
nothing for the others, while after an outage of everything, or when all agree that the clock is wrong, it goes where
they are. The worker's ticks speak where sensors do not.

What comes late out of a gateway's spool says when it was sent and is not behind; records that waited elsewhere are soon
followed by newer ones. Sensors' own times are believed up to the latest that anybody tells, see `trusted_us`.
"""

from __future__ import annotations

from typing import NamedTuple

AWAY_US = 60_000_000
"""How far from the clock a record has to be to speak against it. Sources' clocks are expected to agree better."""
AGREED_US = 60_000_000
"""For how long, in the time that they tell themselves, records have to speak against the clock."""
STEP_US = 30_000_000
"""As how much a step in that time counts at the most: two records are not enough, however far they are apart."""
TRUSTED_US = 7_200_000_000
"""How much of what the latest time went back sensors' own times may still be ahead of it …"""
TRUSTED_FOR_US = 86_400_000_000
"""… and for how long."""


class Clock(NamedTuple):
    """now_us: µs UTC, 0 before the first record.

    early_us, late_us: the newest record's time among those ahead of the clock, and behind it, since one was near it; 0:
    there was none. early_for_us, late_for_us: for how long they have been, in their own time.

    latest_us: the latest time told, believed at once; it goes back when for a minute all were behind it. ahead_us,
    until_us: how far, and until when, sensors' own times may be ahead of it. against: (earliest, latest) of the times
    told since all speak against it.
    """

    now_us: int = 0
    early_us: int = 0
    early_for_us: int = 0
    late_us: int = 0
    late_for_us: int = 0
    latest_us: int = 0
    ahead_us: int = 0
    until_us: int = 0
    against: tuple[int, int] | None = None

    @property
    def trusted_us(self) -> int:
        """Up to here sensors' own times are believed: to refuse what is right would lose it."""
        latest_us = self.latest_us + self.ahead_us if self.latest_us < self.until_us else self.latest_us
        return max(self.now_us, latest_us)

    @property
    def row_us(self) -> int:
        """When what comes now came, by this clock: while it is told to be late, just after it."""
        return self.now_us + 1 if self.early_us else self.now_us

    def heard(self, at_us: int) -> Clock:
        """The clock after a record that was under way at this time. Hearing the same time again changes nothing.

        >>> clock = Clock().heard(1_000_000_000).heard(5_000_000_000)
        >>> clock.now_us, clock.trusted_us
        (1000000000, 5000000000)
        >>> clock.heard(5_030_000_000).heard(5_060_000_000).now_us
        5060000000
        >>> clock.heard(5_030_000_000).heard(1_001_000_000).heard(5_060_000_000).now_us
        1001000000
        """
        clock = self._told(at_us)
        if not self.now_us or abs(at_us - self.now_us) <= AWAY_US:
            return clock._at(max(self.now_us, at_us))
        if at_us > self.now_us:
            for_us = self.early_for_us + _passed_us(self.early_us, at_us)
            clock = clock._replace(early_us=at_us, early_for_us=for_us)
        else:
            for_us = self.late_for_us + _passed_us(self.late_us, at_us)
            clock = clock._replace(late_us=at_us, late_for_us=for_us)
        return clock._at(at_us) if for_us >= AGREED_US else clock

    def _at(self, now_us: int) -> Clock:
        return self._replace(now_us=now_us, early_us=0, early_for_us=0, late_us=0, late_for_us=0)

    def _told(self, at_us: int) -> Clock:
        """With the latest time that is told after this record."""
        if at_us > self.latest_us + AWAY_US:
            return self._replace(latest_us=at_us, ahead_us=0, until_us=0, against=None)
        if at_us >= self.latest_us - AWAY_US:
            return self._replace(latest_us=max(self.latest_us, at_us), against=None)
        earliest, latest = self.against or (at_us, at_us)
        earliest, latest = min(earliest, at_us), max(latest, at_us)
        if latest - earliest < AGREED_US:
            return self._replace(against=(earliest, latest))
        trusted_us = self.latest_us + self.ahead_us if self.latest_us < self.until_us else self.latest_us
        gone_back = self._replace(
            latest_us=latest,
            ahead_us=min(trusted_us - latest, TRUSTED_US),
            until_us=latest + TRUSTED_FOR_US,
            against=None,
        )
        return gone_back._told(at_us)


def _passed_us(before_us: int, at_us: int) -> int:
    """What counts of the time from one record to the next of its side; before_us: 0 if it is the first."""
    return min(max(0, at_us - before_us), STEP_US) if before_us else 0

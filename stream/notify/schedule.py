"""When to try again.

5 s, 10 s, 20 s, … up to an hour, each varied by a quarter, for 24 hours: some 33 tries. A receiver's Retry-After
(429, 503) makes a pause longer, up to the longest one, and holds all of that webhook's deliveries.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ingest.contract.notifier_settings import NotifierSettings

_MOST_DOUBLINGS = 40


class Schedule:
    """Pauses. `spread`: a number in [0, 1), each time another."""

    def __init__(self, settings: NotifierSettings, spread: Callable[[], float]) -> None:
        self._settings = settings
        self._spread = spread

    def pause_us(self, failures: int, asked_us: int | None = None) -> int:
        """How long to wait after so many failures, and after a receiver asked for a pause."""
        longest = self._settings.retry_longest
        pause = min(longest, self._settings.retry_first << min(failures - 1, _MOST_DOUBLINGS))
        return max(int(pause * (0.75 + 0.5 * self._spread())), min(asked_us or 0, longest))

    def is_over(self, at_us: int, then_us: int) -> bool:
        """Whether it is too late at `then_us` for what happened at `at_us`."""
        return then_us - at_us > self._settings.give_up


def retry_after_us(header: str | None, now_us: int) -> int | None:
    """A Retry-After header: seconds or a date; None for anything else.

    >>> retry_after_us("120", 0), retry_after_us("Thu, 01 Jan 1970 00:01:00 GMT", 0), retry_after_us("soon", 0)
    (120000000, 60000000, None)
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text) * 1_000_000
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0, round((when - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000) - now_us)

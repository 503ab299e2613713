"""When a batch is sent: by size, by age, and before a broker's in-flight window stops the stream.

A record costs the same for one row as for hundreds, so a reading may wait for company. But a broker that allows only
20 unacknowledged messages (Mosquitto's default) would then send 20 and wait out the linger. The window is not
announced, so it is learned: as many as were ever seen unacknowledged at once is where a small window would stall.

A guess that is too small is as bad as none: messages that come in bursts of 20 would leave in batches of 20. So a guess
is put to the test before it is acted upon: the linger runs out once. If more arrives meanwhile, the window is larger;
if not, the guess counts for 1, 2, 4, 8 … batches until the next test.
"""

from __future__ import annotations

SMALLEST_WINDOW = 20
_LONGEST_TRUST = 4_096


class FlushPolicy:
    """Pure: told what happens, says when to flush.

    linger_s: a reading's longest wait for company. max_batch: messages. window: the most that this side allows.
    """

    def __init__(self, linger_s: float, max_batch: int, window: int) -> None:
        self._linger_s = linger_s
        self._max_batch = max_batch
        self._limit = window
        self._oldest_s: float | None = None
        self._window = min(SMALLEST_WINDOW, window)
        self._trusted, self._next_trust, self._testing = 0, 1, False

    def received(self, pending: int, unacknowledged: int, now_s: float) -> bool:
        """Messages were added; whether to flush at once.

        pending: messages waiting for company. unacknowledged: all QoS 1 messages not yet acknowledged.
        """
        if self._oldest_s is None:
            self._oldest_s = now_s
        if unacknowledged > self._window:
            self._window = min(self._limit, unacknowledged)
            self._trusted, self._next_trust, self._testing = 0, 1, False
        if pending >= self._max_batch:
            return True
        if unacknowledged < self._window:
            return False
        if self._window == self._limit:
            return True  # the one thing that is known: more than we allow the broker will not send
        if self._trusted > 0:
            self._trusted -= 1
            return True
        self._testing = True
        return False

    def wait_s(self, now_s: float) -> float | None:
        """How long until the oldest message has waited enough; None if none waits."""
        return None if self._oldest_s is None else max(0.0, self._oldest_s + self._linger_s - now_s)

    def flushed(self) -> None:
        """Nothing waits any more."""
        self._oldest_s = None
        if self._testing:
            # All the time that readings may wait, and no more came than was guessed.
            self._testing = False
            self._trusted = self._next_trust
            self._next_trust = min(2 * self._next_trust, _LONGEST_TRUST)

    def new_connection(self) -> None:
        """Another broker, or the same with other settings: learn the window anew."""
        self._window = min(SMALLEST_WINDOW, self._limit)
        self._trusted, self._next_trust, self._testing = 0, 1, False

"""The fold by hand, in plain Python: a dict of sensors, a deque of a minute's readings, running sums, a z-score.

As a careful programmer writes it: nothing is computed twice, minimum and maximum come from monotonic deques, and one
JSON record is one reading. It knows one window only, and neither duplicates nor late readings, qualities or ranges.
"""

from collections import deque
from collections.abc import Iterable
from math import sqrt

import orjson

WINDOW_MS = 60_000
ALPHA = 0.02
BOUNDARY_SIGMAS = 6.0
WARM_UP = 100


class Sensor:
    """A minute's statistics, and how unusual the newest value is."""

    __slots__ = ("_highest", "_lowest", "_mean", "_seen", "_squares", "_total", "_variance", "_window")

    def __init__(self) -> None:
        self._window: deque[tuple[int, float]] = deque()
        # Values that are the least, or the greatest, of the window at some time from now on.
        self._lowest: deque[tuple[int, float]] = deque()
        self._highest: deque[tuple[int, float]] = deque()
        self._total = self._squares = 0.0
        self._mean = self._variance = 0.0
        self._seen = 0

    def fold(self, at_ms: int, value: float) -> float:
        """Take a reading; its score by what was known before it, 1.0 is the boundary."""
        reading = (at_ms, value)
        gone_ms = at_ms - WINDOW_MS
        window, lowest, highest = self._window, self._lowest, self._highest
        window.append(reading)
        self._total += value
        self._squares += value * value
        while window[0][0] <= gone_ms:
            _, gone = window.popleft()
            self._total -= gone
            self._squares -= gone * gone
        while lowest and lowest[-1][1] >= value:
            lowest.pop()
        lowest.append(reading)
        while lowest[0][0] <= gone_ms:
            lowest.popleft()
        while highest and highest[-1][1] <= value:
            highest.pop()
        highest.append(reading)
        while highest[0][0] <= gone_ms:
            highest.popleft()
        score = 0.0
        deviation = value - self._mean
        if self._seen >= WARM_UP and self._variance > 0.0:
            score = abs(deviation) / (BOUNDARY_SIGMAS * sqrt(self._variance))
        self._seen += 1
        self._mean += ALPHA * deviation
        self._variance = (1.0 - ALPHA) * (self._variance + ALPHA * deviation * deviation)
        return score

    def statistics(self) -> tuple[int, float, float, float, float]:
        """Readings, mean, standard deviation, minimum and maximum of the last minute."""
        n = len(self._window)
        mean = self._total / n
        variance = max(0.0, self._squares / n - mean * mean)
        return n, mean, sqrt(variance), self._lowest[0][1], self._highest[0][1]


class PlainFold:
    """All sensors of a worker."""

    def __init__(self) -> None:
        self.sensors: dict[str, Sensor] = {}
        self.alerts = 0

    def fold(self, payloads: Iterable[bytes]) -> None:
        """One reading a record: `{"sensor": …, "ts": ms, "value": …}`."""
        sensors, loads = self.sensors, orjson.loads
        for payload in payloads:
            reading = loads(payload)
            name = reading["sensor"]
            sensor = sensors.get(name)
            if sensor is None:
                sensor = sensors[name] = Sensor()
            if sensor.fold(reading["ts"], reading["value"]) > 1.0:
                self.alerts += 1

    def fold_arrays(self, payloads: Iterable[bytes]) -> None:
        """Likewise, an array of readings a record."""
        for payload in payloads:
            for reading in orjson.loads(payload):
                self._take(reading["sensor"], reading["ts"], reading["value"])

    def fold_columns(self, payloads: Iterable[bytes]) -> None:
        """Likewise, columns."""
        for payload in payloads:
            columns = orjson.loads(payload)
            for name, at_ms, value in zip(columns["sensor"], columns["ts"], columns["value"], strict=True):
                self._take(name, at_ms, value)

    def _take(self, name: str, at_ms: int, value: float) -> None:
        sensor = self.sensors.get(name)
        if sensor is None:
            sensor = self.sensors[name] = Sensor()
        if sensor.fold(at_ms, value) > 1.0:
            self.alerts += 1

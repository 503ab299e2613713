"""Backlog: readings that were on their way for so long that what they tell may be over.

A row is backlog if its record came off a gateway's spool later than `backlog_us` after its arrival (both times are that
gateway's own, so nobody else's wrong clock makes backlog of anything), or if its source marked it as historical and it
is that old. Episodes go on as usual over such rows, but people are not told of what they bring. Who fires still when
the sensor has caught up is told then; what fired and was over by then is told once, in a digest of its site.
"""

from __future__ import annotations

import hashlib
import sys
from bisect import insort
from collections import Counter
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.contract.readings import Flag, Readings
from ingest.contract.wire import Envelope

QUIET_US = 60_000_000
"""A digest leaves when for so long no episode was added, by the partition's clock."""
LONGEST_US = 3_600_000_000
"""… or when its first episode was added so long ago: a source may be behind for ever."""
KEPT = 1_000
"""Episodes that are kept of a partition: the worst, and the worst of each site. The rest are counted by site."""
_SITES = 1_000
SEVERITIES = ("info", "warning", "critical")
_SEVERE = {severity: at for at, severity in enumerate(SEVERITIES)}
_HISTORICAL = np.uint8(Flag.HISTORICAL)


def backlog_rows(readings: Readings, envelope: Envelope, backlog_us: int) -> NDArray[np.bool_]:
    """Which rows are backlog, shape (rows,)."""
    if envelope.sent_us is not None and envelope.sent_us - envelope.arrival_us > backlog_us:
        return np.ones(len(readings), np.bool_)
    if not readings.flags.any():
        return np.zeros(len(readings), np.bool_)
    historical: NDArray[np.bool_] = (readings.flags & _HISTORICAL) != 0
    return historical & (readings.ts_us < envelope.arrival_us - backlog_us)


class Episode(NamedTuple):
    """One that fired and was over before anybody was told. Times: event time, µs. badness: minus its peak score."""

    badness: float
    since_us: int
    until_us: int
    id: str
    sensor: str
    rule: str
    severity: str

    @property
    def peak_score(self) -> float:
        """The highest score in it."""
        return -self.badness

    @property
    def order(self) -> tuple[int, float, int, int, str]:
        """The worst first: by severity, then by score (limits on values may have none), then by how long it lasted."""
        lasted_us = self.until_us - self.since_us
        return -_SEVERE.get(self.severity, 0), self.badness, -lasted_us, self.since_us, self.id

    @property
    def site(self) -> str:
        """The first segment of the sensor's path."""
        return self.sensor.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Digest:
    """What came and went unseen at a site, as far as one partition knows: an effect of the fold.

    id: the same in every replay. at_us: the partition's clock. episodes: the worst first. more: of the site, not kept,
    none of them severer than those that are. There are no episodes, but more, where more than `KEPT` sites have some.
    """

    id: str
    site: str
    at_us: int
    episodes: tuple[Episode, ...]
    more: int = 0


class OverAndDone:
    """Collects episodes for the next digests; bounded. Part of a partition's state."""

    def __init__(self, scalars: dict[str, Any] | None = None) -> None:
        """scalars: what `frozen` made; it may come out of JSON."""
        found = scalars or {"first_us": 0, "last_us": 0, "episodes": [], "more": {}}
        self._first_us = int(found["first_us"])
        self._last_us = int(found["last_us"])
        self._episodes = [Episode(*row) for row in found["episodes"]]
        self._more: dict[str, int] = dict(found["more"])
        self._kept = Counter(one.site for one in self._episodes)

    def frozen(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {
            "first_us": self._first_us,
            "last_us": self._last_us,
            "episodes": [list(one) for one in self._episodes],
            "more": dict(self._more),
        }

    def add(self, episode: Episode, now_us: int) -> None:
        """now_us: the partition's clock."""
        if not self._episodes:
            self._first_us = now_us
        self._last_us = now_us
        # JSON has no infinity, and an order has no NaN.
        badness = episode.badness if isfinite(episode.badness) else -sys.float_info.max
        insort(self._episodes, episode._replace(badness=badness), key=lambda one: one.order)
        self._kept[episode.site] += 1
        if len(self._episodes) > KEPT:
            site = self._episodes.pop(self._mildest()).site
            self._kept[site] -= 1
            if site in self._more or len(self._more) < _SITES:
                self._more[site] = self._more.get(site, 0) + 1

    def _mildest(self) -> int:
        """Which one is not kept: what comes and goes at one site must not hide that there was something at another."""
        for at in reversed(range(len(self._episodes))):
            if self._kept[self._episodes[at].site] > 1:
                return at
        return -1

    def went_back(self, now_us: int) -> None:
        """The partition's clock had been wrong."""
        self._first_us, self._last_us = min(self._first_us, now_us), min(self._last_us, now_us)

    def due(self, now_us: int) -> list[Digest]:
        """The digests that are to leave now, one for each site, in order of sites; forgets what is in them."""
        if not self._episodes or (now_us - self._last_us < QUIET_US and now_us - self._first_us < LONGEST_US):
            return []
        of: dict[str, list[Episode]] = {}
        for episode in self._episodes:
            of.setdefault(episode.site, []).append(episode)
        found = [_digest(site, now_us, of.get(site, []), self._more.get(site, 0)) for site in sorted(of | self._more)]
        self._episodes, self._more, self._kept = [], {}, Counter()
        self._first_us = self._last_us = 0
        return found


def _digest(site: str, at_us: int, episodes: list[Episode], more: int) -> Digest:
    # Where it has no episodes, its time tells it from the next one.
    names = [one.id for one in episodes] or [str(at_us)]
    who = hashlib.blake2b("\0".join(["digest", site, *names]).encode(), digest_size=16).hexdigest()
    return Digest(who, site, at_us, tuple(episodes), more)

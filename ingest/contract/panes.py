"""How window lengths share panes: levels of rings, each level's panes as wide as several of the finer one's.

In the contract, because settings that ask for too many panes are a mistake like any other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

MAX_PANES = 256
_FEWEST_PANES = 5
"""Of a window: the pane that slides out is then at most a fifth of it."""
_ENOUGH_PANES = 12
_USUAL_PANES = 24
"""Of a sensor: as long as it has no more than these, its windows have more than the fewest."""


class Level(NamedTuple):
    """A ring of so many panes, from place `first` of a sensor's panes."""

    width_us: int
    first: int
    panes: int


def pane_levels(windows_us: Collection[int]) -> tuple[Level, ...]:
    """The levels for these window lengths, the finest first: a pure function of the set.

    Each width divides the next one and every window is a whole number, five at least, of one level's panes. A window
    has up to twelve panes while a sensor has no more than 24, else the windows have as few as it takes. Raises
    ValueError when that is more than 256 panes a sensor.

    >>> [(level.width_us, level.panes) for level in pane_levels({60_000_000})]
    [(5000000, 12)]
    >>> four = pane_levels({10_000_000, 60_000_000, 600_000_000, 3_600_000_000})
    >>> [(level.width_us // 1_000_000, level.first, level.panes) for level in four]
    [(2, 0, 5), (12, 5, 5), (120, 10, 5), (720, 15, 5)]
    """
    if not windows_us:
        return (Level(1_000_000, 0, 1),)
    windows = sorted(set(windows_us))
    for least in range(_ENOUGH_PANES, _FEWEST_PANES - 1, -1):
        panes, rings = _fewest(windows, least)
        if rings and (panes <= _USUAL_PANES or (least == _FEWEST_PANES and panes <= MAX_PANES)):
            return _in_a_row(rings)
    raise ValueError(
        f"the windows of all classes together need more than {MAX_PANES} panes a sensor: make them multiples of each "
        "other, or of a common length that is not much shorter than the shortest"
    )


def level_of(levels: Sequence[Sequence[int]], window_us: int) -> int:
    """Which level has all of a window: its panes and finer ones hold every reading in it.

    Raises ValueError for a window that these levels were not made for.

    >>> level_of(pane_levels({10_000_000, 60_000_000}), 60_000_000)
    1
    """
    for at, (width_us, _, count) in enumerate(levels):
        if window_us <= width_us * count:
            if window_us % width_us:
                break
            return at
    raise ValueError(f"a window of {window_us} µs is not among those that the panes were made for")


_Rings = tuple[tuple[int, int], ...]


def _fewest(windows: Sequence[int], least: int) -> tuple[int, _Rings]:
    """(panes, (width, count) of each ring) with the fewest panes, `least` in each window; no rings if there is no way.

    From the longest window down: by the width of the finest ring so far, the best rings that end with it.
    """
    best: dict[int, tuple[int, _Rings]] = {}
    for window_us in reversed(windows):
        found: dict[int, tuple[int, _Rings]] = {}
        for count in range(least, MAX_PANES + 1):
            width_us, rest = divmod(window_us, count)
            if rest:
                continue
            ways = [
                (panes + count, ((width_us, count), *rings))
                for wider_us, (panes, rings) in best.items()
                if wider_us % width_us == 0 and wider_us > width_us
            ]
            if width_us in best:  # the next longer window's ring serves this one, too
                ways.append(best[width_us])
            if window_us == windows[-1]:
                ways.append((count, ((width_us, count),)))
            if ways:
                found[width_us] = min(ways)
        best = found
    return min(best.values(), default=(0, ()))


def _in_a_row(rings: _Rings) -> tuple[Level, ...]:
    levels: list[Level] = []
    for width_us, count in rings:
        levels.append(Level(width_us, levels[-1].first + levels[-1].panes if levels else 0, count))
    return tuple(levels)

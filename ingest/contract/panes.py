"""How window lengths share one ring of panes.

In the contract, because settings that ask for too many panes are a mistake like any other.
"""

from __future__ import annotations

from collections.abc import Collection
from math import gcd

MAX_PANES = 2_048
_PANES_PER_WINDOW = 12
# Beyond the longest window: the pane being filled, and one for readings that come out of order.
_SPARE_PANES = 2


def pane_ring(windows_us: Collection[int]) -> tuple[int, int]:
    """(pane width in µs, panes): at least twelve panes in the shortest window, every window a whole number of panes.

    Raises ValueError when that takes more than 2,048 panes a sensor.

    >>> pane_ring({60_000_000}), pane_ring({60_000_000, 600_000_000})
    ((5000000, 14), (5000000, 122))
    """
    if not windows_us:
        return 1_000_000, 1
    shortest_us, longest_us, common_us = min(windows_us), max(windows_us), gcd(*windows_us)
    # The widest pane that divides all windows.
    fewest = -(-_PANES_PER_WINDOW * common_us // shortest_us)
    for parts in range(fewest, common_us + 1):
        panes = longest_us // common_us * parts + _SPARE_PANES
        if panes > MAX_PANES:
            break
        if common_us % parts == 0:
            return common_us // parts, panes
    raise ValueError(
        f"the windows of all classes together need more than {MAX_PANES} panes a sensor: bring the shortest and the "
        "longest closer together, or make them multiples of each other"
    )

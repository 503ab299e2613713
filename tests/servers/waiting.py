"""Waiting for a condition instead of for a time."""

import time
from collections.abc import Callable

_LONGEST_INTERVAL_S = 0.1


def wait_until(condition: Callable[[], bool], *, timeout_s: float, what: str, interval_s: float = 0.02) -> None:
    """Poll `condition`; TimeoutError naming `what` after `timeout_s` seconds.

    Every `interval_s` seconds, and more seldom the longer it takes: asking costs those who are asked what they need
    to get there. What has come is seen a tenth of the time later that it took.
    """
    started_s = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - started_s
        if waited_s >= timeout_s:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(max(interval_s, min(waited_s / 10, _LONGEST_INTERVAL_S)))

"""A child that ends when its parent does, however that ended: nothing is left behind by a kill -9 of `up`."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

VARIABLE = "MILLSTREAM_UP_PID"
_PR_SET_PDEATHSIG = 1


def tether() -> None:
    """In a child of `up`: ask the kernel for a SIGTERM at the parent's end. Elsewhere, nothing."""
    parent = os.environ.pop(VARIABLE, None)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # The parent may have ended before the kernel knew.
    if os.getppid() != int(parent):
        os.kill(os.getpid(), signal.SIGTERM)

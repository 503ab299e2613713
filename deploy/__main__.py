"""The program: `millstream`, or `python -m deploy` where its script is not on PATH."""

from __future__ import annotations

import os
import signal
from types import FrameType


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(130)


def main() -> None:
    """Run the command line. Ctrl-C ends it with exit code 130 and no traceback, while the program still loads too."""
    # Loading takes most of a second, and an exception in the middle of an import may be taken for a failed one.
    interrupts = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interrupts:
        signal.signal(signal.SIGINT, _end)
    from deploy.cli import app
    from deploy.up.tether import tether

    if interrupts:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    tether()
    app(prog_name="millstream")


if __name__ == "__main__":
    main()

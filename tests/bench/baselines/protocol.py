"""What a harness reads from a baseline's stdout: READY, progress lines, a last line with counts."""

import asyncio
import json
import signal
from collections.abc import Callable

PROGRESS_INTERVAL_S = 0.1


def announce_ready() -> None:
    print("READY", flush=True)


def announce(counts: dict[str, int]) -> None:
    print(json.dumps(counts), flush=True)


async def report_progress(name: str, count: Callable[[], int]) -> None:
    """Print `{name: count()}` whenever it has changed, at most every 100 ms, until cancelled."""
    printed = 0
    while True:
        # Polling keeps the report out of the path of a message, so it costs the measurement nothing.
        await asyncio.sleep(PROGRESS_INTERVAL_S)
        if (current := count()) != printed:
            announce({name: current})
            printed = current


def stop_event_on_sigterm() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    return stop


async def cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

"""Run a daemon as a subprocess and follow the lines it prints."""

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
STOP_DEADLINE_S = 15.0


class DaemonError(RuntimeError):
    """The daemon ended or fell silent before it said what was awaited."""


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of one process, ended ones too, without its children."""
    if sys.platform.startswith("linux"):
        # The clock that clock_getcpuclockid(3) names: to the ns, where psutil has steps of 10 ms.
        return time.clock_gettime(~pid << 3 | 2)
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def memory_mib(pid: int) -> float:
    """Resident memory of one process."""
    return float(psutil.Process(pid).memory_info().rss) / 2**20


class Daemon:
    """`python -m module *arguments` from the repository's root, ended by SIGTERM on leaving the block."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        # A thread reads, so that waiting for a line can have a deadline and a full pipe blocks nobody.
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def stand_still(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def wait_ready(self, deadline_s: float = 60.0) -> None:
        """Wait for the line `READY`."""
        until = time.monotonic() + deadline_s
        while self._line(until) != "READY":
            pass

    def wait_count(self, name: str, at_least: int, deadline_s: float = 120.0) -> int:
        """Wait for a JSON line whose `name` has reached `at_least`."""
        until = time.monotonic() + deadline_s
        while True:
            count = json.loads(self._line(until)).get(name, 0)
            if count >= at_least:
                return int(count)

    def stop(self) -> Sequence[str]:
        """SIGTERM, wait, and hand back the lines nobody has read; the last one holds the counts."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        lines = []
        while not self._lines.empty():
            if (line := self._lines.get()) is not None:
                lines.append(line)
        return lines

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _line(self, until: float) -> str:
        try:
            line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            raise DaemonError(f"{self._module} did not print the awaited line in time") from None
        if line is None:
            raise DaemonError(f"{self._module} ended with exit code {self._process.wait()}")
        return line

    def _read(self, stdout: IO[str]) -> None:
        with stdout:
            for line in stdout:
                self._lines.put(line.strip())
        self._lines.put(None)

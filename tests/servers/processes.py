"""One server as a child process: started until ready, stopped, killed, paused, never left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.servers import tether
from tests.servers.ports import free_port
from tests.servers.waiting import wait_until

__all__ = ["Server", "ServerFailedError", "free_port", "wait_until"]

# A tethered server dies with the *thread* that started it (see tether.py): this one lives as long as we do.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


class ServerFailedError(RuntimeError):
    """A server ended or did not become ready; the message carries the end of its log."""


class Server:
    """A command that runs until it is told to stop; its output is appended to `<directory>/<name>.log`.

    `ready` is polled after the start and must not raise: true means that clients may come. The same object
    can be started again after `terminate` or `kill`. The server dies with this process at the latest.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        directory: Path,
        ready: Callable[[], bool],
        ready_timeout_s: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log_path = directory / f"{name}.log"
        self._command = list(command)
        self._directory = directory
        self._ready = ready
        self._ready_timeout_s = ready_timeout_s
        self._environment = environment
        self._log_offset = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def alive(self) -> bool:
        """Whether the process runs (or is paused)."""
        return self._process is not None and self._process.poll() is None

    @property
    def paused(self) -> bool:
        """Whether the process is alive, but paused."""
        return self._paused and self.alive

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        return self._running().pid

    def start(self) -> None:
        """Start the process and return when it is ready; ServerFailedError if it ends or takes too long."""
        if self.alive:
            raise RuntimeError(f"{self.name} runs already")
        with ExitStack() as on_failure:
            on_failure.callback(self.kill)
            self._process = _SPAWNER.submit(self._spawn).result()
            self._paused = False
            try:
                wait_until(
                    lambda: not self.alive or self._ready(),
                    timeout_s=self._ready_timeout_s,
                    what=f"{self.name} ready",
                )
            except TimeoutError as error:
                raise self._failure(str(error)) from None
            if not self.alive:
                raise self._failure(f"{self.name} ended with status {self._process.returncode} at its start")
            on_failure.pop_all()

    def terminate(self, timeout_s: float = 15.0) -> None:
        """SIGTERM, and SIGKILL if it is still there after `timeout_s` seconds. No-op if it is gone."""
        if self._process is None or not self.alive:
            return
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)  # a paused process would not see SIGTERM
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as a power cut would end it. No-op if the server is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: the process keeps its sockets and answers nothing."""
        self._running().send_signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """SIGCONT, the end of `pause`."""
        self._running().send_signal(signal.SIGCONT)
        self._paused = False

    def log(self) -> str:
        """What the server has written since its last start."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as file:
            file.seek(self._log_offset)
            return file.read().decode(errors="replace")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._directory.mkdir(parents=True, exist_ok=True)
        # -I -S: a small interpreter, and neither directory nor environment change what it runs.
        leash = [sys.executable, "-I", "-S", str(Path(tether.__file__).resolve()), str(os.getpid()), "--"]
        with self.log_path.open("ab") as log:
            self._log_offset = log.tell()
            return subprocess.Popen(
                [*leash, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env=self._environment,
                start_new_session=True,  # Ctrl-C in a terminal is for us: we stop the servers in order
            )

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or not self.alive:
            raise RuntimeError(f"{self.name} does not run")
        return self._process

    def _failure(self, reason: str) -> ServerFailedError:
        tail = "\n".join(self.log().splitlines()[-40:])
        return ServerFailedError(f"{reason}; the end of {self.log_path}:\n{tail}")

"""Workers as processes: begun, ended, stopped, and what they say of themselves."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.deployment.plant import PlantUnderTest
from tests.servers import tether
from tests.servers.ports import free_port
from tests.servers.waiting import wait_until

ROOT = Path(__file__).parents[2]
# One process forks all others, and it must outlive the thread that first asks for it: see tether.py.
_SPAWNER = ThreadPoolExecutor(1, "fork-server")


class ForkServer:
    """Where processes come from that have everything loaded: see altered_worker.py."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", str(Path(tether.__file__).resolve()), str(os.getpid()), "--"]
        command += [sys.executable, "-m", "tests.faults.altered_worker"]
        # As many threads as there are: a fork has only the one that forked.
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = _SPAWNER.submit(
            subprocess.Popen, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ).result()
        self._lock = threading.Lock()
        assert self._answer() == "ready"

    def fork(self, order: Mapping[str, object]) -> int:
        """Begin a process; its id."""
        with self._lock:
            assert self._process.stdin
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return int(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@cache
def fork_server() -> ForkServer:
    """The one of this process."""
    return ForkServer()


class WorkerProcess:
    """A worker that can be ended and begun again. `environment`: of its next lives; `alter`: TEST_…, FAILPOINTS."""

    def __init__(self, directory: Path, number: int, config: Path, environment: Mapping[str, str]) -> None:
        self.name = f"worker-{number}"
        self.port = free_port()
        self.log_path = directory / f"{self.name}.log"
        self.environment = {**environment, "MILLSTREAM__WORKER__HTTP": f"127.0.0.1:{self.port}"}
        self._directory = directory
        self._arguments = ["worker", "--config", str(config)]
        self._began = 0
        self._pidfd: int | None = None
        self.pid = 0

    # --- life ---------------------------------------------------------------------------------------------------

    def begin(self, failpoints: str = "", **alter: str) -> None:
        """Start; does not wait. failpoints: of this life. alter: of this life, SESSION_S="4" and the like."""
        assert not self.alive
        self._began = self.log_path.stat().st_size if self.log_path.exists() else 0
        environment = self.environment | {"MILLSTREAM_FAILPOINTS": failpoints}
        environment |= {f"MILLSTREAM_TEST_{name}": value for name, value in alter.items()}
        order = {
            "arguments": self._arguments,
            "environment": environment,
            "log": str(self.log_path),
            "directory": str(self._directory),
        }
        self._close()
        self.pid = fork_server().fork(order)
        with suppress(ProcessLookupError):  # so quickly over
            self._pidfd = os.pidfd_open(self.pid)

    def start(self, failpoints: str = "", **alter: str) -> None:
        """Start, and wait until it is ready."""
        self.begin(failpoints, **alter)
        self.wait_ready()

    @property
    def alive(self) -> bool:
        """Whether there is the process, paused or not."""
        return self._pidfd is not None and not select.select([self._pidfd], [], [], 0)[0]

    @property
    def ready(self) -> bool:
        """Whether it says so itself."""
        return PlantUnderTest.is_ready(self.port)

    @property
    def stopped(self) -> bool:
        """Whether it was stopped with SIGSTOP, by whomever."""
        return self.alive and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; none if it is gone."""
        if self._pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        self.wait_gone()

    def terminate(self) -> None:
        """SIGTERM, and wait for the end."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        self.wait_gone()

    def wait_gone(self, timeout_s: float = 60.0) -> None:
        """Until it has ended."""
        if self._pidfd is not None and not select.select([self._pidfd], [], [], timeout_s)[0]:
            raise TimeoutError(f"{self.name} runs still; {self._where()}the end of its log:\n{self.tail()}")

    def _where(self) -> str:
        """What keeps it from its work, by its own account; its stacks go into its log."""
        said = ""
        with suppress(OSError, TimeoutError):
            said = PlantUnderTest.page(self.port, "/metrics")
            self.signal(signal.SIGUSR1)
            wait_until(lambda: "that is where it is" in self.log(), timeout_s=5, what="where it is")
        return "".join(
            f"{line}\n" for line in said.splitlines() if line.startswith("millstream_") and "_bucket" not in line
        )

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Until it is ready; AssertionError if it ends."""
        wait_until(lambda: not self.alive or self.ready, timeout_s=timeout_s, what=f"{self.name} ready\n{self.tail()}")
        assert self.alive, f"{self.name} has ended:\n{self.tail()}"

    def _close(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    # --- what it says ---------------------------------------------------------------------------------------------

    def log(self) -> str:
        """What it has said in this life."""
        with self.log_path.open("rb") as file:
            file.seek(self._began)
            return file.read().decode(errors="replace")

    def tail(self) -> str:
        """The end of its log, without what it says of alerts."""
        if not self.log_path.exists():
            return ""
        return "\n".join([line[:500] for line in self.log().splitlines() if '"event": "alert ' not in line][-200:])

    def metric(self, name: str, **labels: str) -> float:
        """A metric's sum over all its series that have these labels; without its prefix."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(PlantUnderTest.page(self.port))
            for sample in family.samples
            if sample.name == f"millstream_worker_{name}" and labels.items() <= sample.labels.items()
        )

    def wait_metric(self, name: str, at_least: float, timeout_s: float = 60.0, **labels: str) -> None:
        """Until a metric is there."""
        wait_until(
            lambda: self.metric(name, **labels) >= at_least,
            timeout_s=timeout_s,
            what=f"{self.name}: {name} {labels or ''} at {at_least:g}",
        )

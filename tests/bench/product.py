"""Millstream's own daemons under load: configured, started until ready, measured by the process's CPU time."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from deploy.embedded import MOCK_PARTITIONS, free_port
from tests.bench.daemon import REPOSITORY, DaemonError, cpu_seconds, memory_mib

DEADLINE_S = 60.0
STOP_DEADLINE_S = 30.0
# Reading metrics costs the daemon CPU too, some 2 ms, so it is asked rarely.
POLL_S = 0.05

# `levels`: lines of it, where several gateways share them.
CONFIG = """
[[route]]
topic = "f/{{site}}/{{line}}/{{machine}}/{{quantity}}"
{levels}

[kafka.topics.readings]
name = "readings"
partitions = {partitions}
"""


def wait_for(number: Callable[[], float], at_least: int, deadline_s: float = DEADLINE_S) -> int:
    """Wait until a number is large enough; returns it."""
    until_s = time.monotonic() + deadline_s
    while not (found := number()) >= at_least:
        if time.monotonic() > until_s:
            raise DaemonError(f"{at_least} wanted, {found} after {deadline_s:g} s")
        time.sleep(POLL_S)
    return int(found)


class Product:
    """One of our daemons as a process."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self._port = port

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._process.pid)

    def memory_mib(self) -> float:
        return memory_mib(self._process.pid)

    def stand_still(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def wait_ready(self) -> None:
        wait_for(lambda: self._get("/readyz") is not None, True)

    def wait_total(self, metric: str, at_least: int, deadline_s: float = DEADLINE_S) -> int:
        """Wait until a metric's sum over its labels has reached a number; returns the sum."""
        return wait_for(lambda: self.total(metric), at_least, deadline_s)

    def total(self, metric: str) -> float:
        """A metric's sum over its labels; NaN if the daemon does not answer. Raises DaemonError if it has ended."""
        if self._process.poll() is not None:
            raise DaemonError(f"a daemon ended: {self._process.args!r}")
        page = self._get("/metrics")
        if page is None:
            return float("nan")
        families = text_string_to_metric_families(page)
        return sum(sample.value for family in families for sample in family.samples if sample.name == metric)

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10) as answer:
                text: str = answer.read().decode()
                return text
        except (urllib.error.URLError, OSError):
            return None


@contextmanager
def product(
    daemon: str,
    kafka: str,
    mqtt: str = "127.0.0.1:1",
    *,
    lines: list[str] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Product]:
    """`millstream gateway` or `millstream worker`, ready. lines: values of the topics' level; settings: variables."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "bench.toml"
        levels = f"levels = {{ line = {lines} }}" if lines else ""
        config.write_text(CONFIG.format(levels=levels, partitions=MOCK_PARTITIONS))
        variables = {
            "MQTT__HOST": mqtt.partition(":")[0],
            "MQTT__PORT": mqtt.partition(":")[2],
            # As for the baseline: the broker may send as many as the protocol allows.
            "MQTT__RECEIVE_MAXIMUM": "65535",
            "KAFKA__BOOTSTRAP": kafka,
            "GATEWAY__STATE_DIR": str(Path(folder) / "state"),
            "WORKER__STATE_DIR": str(Path(folder) / "state"),
            f"{daemon.upper()}__HTTP": f"127.0.0.1:{port}",
            **(settings or {}),
        }
        environment = {**os.environ, **{f"MILLSTREAM__{name}": value for name, value in variables.items()}}
        command = [sys.executable, "-m", "deploy", daemon, "--config", str(config), "--log-level", "error"]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment)
        try:
            running = Product(process, port)
            running.wait_ready()
            yield running
        finally:
            process.terminate()
            process.wait(STOP_DEADLINE_S)

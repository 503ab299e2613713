"""Millstream's own daemons under load: configured, started until ready, measured by the process's CPU time."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from deploy.embedded import MOCK_PARTITIONS, free_port
from tests.bench.daemon import REPOSITORY, DaemonError, cpu_seconds

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 30.0
# Reading metrics costs the daemon CPU too, so it is asked rarely.
POLL_S = 0.25

CONFIG = f"""
[[route]]
topic = "f/{{site}}/{{line}}/{{machine}}/{{quantity}}"

[kafka.topics.readings]
name = "readings"
partitions = {MOCK_PARTITIONS}
"""


class Product:
    """One of our daemons as a process."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self._port = port

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._process.pid)

    def wait_ready(self) -> None:
        self._wait(lambda: self._get("/readyz") is not None)

    def wait_total(self, metric: str, at_least: int) -> None:
        """Wait until a counter's sum over its labels has reached a number."""
        self._wait(lambda: self._total(metric) >= at_least, POLL_S)

    def _total(self, metric: str) -> float:
        families = text_string_to_metric_families(self._get("/metrics") or "")
        return sum(sample.value for family in families for sample in family.samples if sample.name == metric)

    def _wait(self, condition, interval_s: float = 0.05) -> None:  # type: ignore[no-untyped-def]
        deadline_s = time.monotonic() + START_DEADLINE_S
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise DaemonError(f"a daemon ended or did not get there: {self._process.args!r}")
            time.sleep(interval_s)

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10) as answer:
                text: str = answer.read().decode()
                return text
        except (urllib.error.URLError, OSError):
            return None


@contextmanager
def product(daemon: str, kafka: str, mqtt: str = "127.0.0.1:1") -> Iterator[Product]:
    """`millstream gateway` or `millstream worker`, ready."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "bench.toml"
        config.write_text(CONFIG)
        variables = {
            "MQTT__HOST": mqtt.partition(":")[0],
            "MQTT__PORT": mqtt.partition(":")[2],
            # As for the baseline: the broker may send as many as the protocol allows.
            "MQTT__RECEIVE_MAXIMUM": "65535",
            "KAFKA__BOOTSTRAP": kafka,
            f"{daemon.upper()}__HTTP": f"127.0.0.1:{port}",
        }
        environment = {**os.environ, **{f"MILLSTREAM__{name}": value for name, value in variables.items()}}
        command = [sys.executable, "-m", "deploy", daemon, "--config", str(config), "--log-level", "warning"]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment)
        try:
            running = Product(process, port)
            running.wait_ready()
            yield running
        finally:
            process.terminate()
            process.wait(STOP_DEADLINE_S)

"""A plant under test: one configuration, its gateway and worker as processes, what they say of themselves."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.servers.ports import free_port
from tests.servers.processes import Server
from tests.servers.waiting import wait_until


@dataclass(frozen=True)
class Fault:
    """A line of the simulator's truth; times in µs UTC."""

    sensor: str
    kind: str
    start_us: int
    end_us: int


class PlantUnderTest:
    """`mqtt_port`, `kafka`: running brokers. `prefix`: start of topic and group names. `partitions`: of readings."""

    def __init__(
        self, directory: Path, mqtt_port: int, kafka: str, prefix: str, partitions: int = 4, extra: str = ""
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.gateway_port, self.worker_port = free_port(), free_port()
        self.prefix = prefix
        self.config = directory / "plant.toml"
        demo = files("deploy").joinpath("plants/demo.toml").read_text()
        self.config.write_text(demo.partition("# One worker and little data")[0] + extra)
        variables = {
            "MQTT__PORT": str(mqtt_port),
            "KAFKA__BOOTSTRAP": kafka,
            "KAFKA__TOPICS__READINGS__NAME": f"{prefix}.readings",
            "KAFKA__TOPICS__READINGS__PARTITIONS": str(partitions),
            "KAFKA__TOPICS__ALERTS__NAME": f"{prefix}.alerts",
            "KAFKA__TOPICS__QUARANTINE__NAME": f"{prefix}.quarantine",
            "GATEWAY__HTTP": f"127.0.0.1:{self.gateway_port}",
            "GATEWAY__STATE_DIR": str(directory / "state"),
            "WORKER__STATE_DIR": str(directory / "state"),
            "WORKER__HTTP": f"127.0.0.1:{self.worker_port}",
            "WORKER__GROUP": f"{prefix}-worker",
            "WORKER__COMMIT_EVERY": "1s",
        }
        self.environment = {**os.environ, **{f"MILLSTREAM__{name}": value for name, value in variables.items()}}
        self.gateway = self._daemon("gateway", self.gateway_port)
        self.worker = self._daemon("worker", self.worker_port)
        self.truth_path = directory / "truth.csv"

    def _daemon(self, name: str, port: int) -> Server:
        command = [sys.executable, "-m", "deploy", name, "--config", str(self.config)]
        return Server(
            name,
            command,
            directory=self.directory,
            ready=lambda: self.is_ready(port),
            environment=self.environment,
        )

    def command(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run `millstream …` with this plant's configuration to its end."""
        command = [sys.executable, "-m", "deploy", arguments[0], "--config", str(self.config), *arguments[1:]]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def simulate(self, *arguments: str, timeout_s: float = 90.0) -> int:
        """Play a plant to its end; how many messages the broker confirmed."""
        done = self.command("simulate", "--truth", str(self.truth_path), *arguments, timeout_s=timeout_s)
        assert done.returncode == 0, done.stderr
        sent, unconfirmed = (int(word) for word in done.stdout.split() if word.isdigit())
        assert unconfirmed == 0
        return sent

    def simulating(self, *arguments: str) -> subprocess.Popen[str]:
        """Play a plant in the background."""
        command = [sys.executable, "-m", "deploy", "simulate", "--config", str(self.config), *arguments]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)

    def faults(self) -> list[Fault]:
        """The truth of the last simulation."""

        def us(text: str) -> int:
            return round(datetime.fromisoformat(text).timestamp() * 1e6)

        with self.truth_path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [Fault(row["sensor"], row["kind"], us(row["start"]), us(row["end"])) for row in rows]

    # --- what the daemons say ---------------------------------------------------------------------------------

    @staticmethod
    def is_ready(port: int) -> bool:
        """Whether /readyz says so."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    @staticmethod
    def page(port: int, path: str = "/metrics") -> str:
        """A page's text."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def metric(self, port: int, name: str, **labels: str) -> float:
        """A metric's sum over all its series that have these labels."""
        # Asked again and again while something is waited for: the parser is slow, and gets what is wanted only.
        lines = (line for line in self.page(port).splitlines(keepends=True) if line.startswith(name))
        return sum(
            sample.value
            for family in text_string_to_metric_families("".join(lines))
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def gateway_metric(self, name: str, **labels: str) -> float:
        """Of the gateway, without its prefix."""
        return self.metric(self.gateway_port, f"millstream_gateway_{name}", **labels)

    def worker_metric(self, name: str, **labels: str) -> float:
        """Of the worker, without its prefix."""
        return self.metric(self.worker_port, f"millstream_worker_{name}", **labels)

    def wait_folded(self, at_least: int, timeout_s: float = 60.0) -> None:
        """Until the worker has judged so many readings."""
        wait_until(
            lambda: self.worker_metric("readings_total") >= at_least,
            timeout_s=timeout_s,
            what=f"{at_least} readings folded",
        )

    def check_ledger(self) -> None:
        """Per route: received = produced + spooled + quarantined + dropped + in flight."""
        accounted: Counter[str] = Counter()
        for family in text_string_to_metric_families(self.page(self.gateway_port)):
            name = family.name.removeprefix("millstream_gateway_messages_")
            for sample in family.samples:
                if sample.name.endswith("_created"):
                    continue
                if name == "received":
                    accounted[sample.labels["route"]] -= int(sample.value)
                elif name in ("produced", "spooled", "quarantined", "dropped", "in_flight"):
                    accounted[sample.labels["route"]] += int(sample.value)
        assert set(accounted.values()) <= {0}, accounted

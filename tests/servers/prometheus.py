"""Prometheus that scrapes what a test serves, and promtool's opinion of a metrics page."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.servers.binaries import find_binary
from tests.servers.ports import free_port
from tests.servers.processes import Server
from tests.servers.waiting import wait_until

_HTTP_TIMEOUT_S = 5.0
_PROMTOOL_TIMEOUT_S = 30.0


class Sample(NamedTuple):
    """One series of an answer (with `__name__` among the labels) and its value."""

    labels: dict[str, str]
    value: float


class MetricsRefusedError(AssertionError):
    """promtool does not accept a metrics page; the message is what it says."""


class Prometheus:
    """Prometheus on 127.0.0.1 that scrapes every second; `directory` holds configuration, storage and log.

    `scrapes` are (job, "host:port", "/path") each.
    """

    def __init__(self, directory: Path, scrapes: Sequence[tuple[str, str, str]], *, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self._directory = directory.resolve()
        self._scrapes = list(scrapes)
        self._config_file = self._directory / "prometheus.yml"
        self.server = Server(
            "prometheus",
            [
                find_binary("prometheus"),
                f"--config.file={self._config_file}",
                f"--storage.tsdb.path={self._directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
            directory=self._directory,
            ready=self._answers,
            ready_timeout_s=30,
        )

    def start(self) -> None:
        """Start and return when it answers queries. It discovers its targets, and scrapes, 5–6 s later."""
        self._directory.mkdir(parents=True, exist_ok=True)
        jobs = [
            {"job_name": job, "metrics_path": path, "static_configs": [{"targets": [target]}]}
            for job, target, path in self._scrapes
        ]
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
        self._config_file.write_text(json.dumps(config, indent=2))  # every JSON document is YAML
        self.server.start()

    def stop(self) -> None:
        """Stop; the storage stays for another start."""
        self.server.terminate()

    def query(self, promql: str) -> list[Sample]:
        """Instant query; a scalar comes as one sample without labels. HTTPError if the query is refused."""
        answer = self._get("/api/v1/query?" + urllib.parse.urlencode({"query": promql}))
        data = answer["data"]
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(series["metric"], float(series["value"][1])) for series in data["result"]]

    def wait_for(self, promql: str, deadline_s: float) -> list[Sample]:
        """The first non-empty answer; after `deadline_s` seconds TimeoutError with the targets' errors."""
        answer: list[Sample] = []

        def answered() -> bool:
            answer[:] = self.query(promql)
            return bool(answer)

        try:
            wait_until(answered, timeout_s=deadline_s, what=f"an answer to {promql}", interval_s=0.1)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {self._targets()}") from None
        return answer

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            self._open("/-/ready").close()
        except OSError:  # refused, or 503 while starting
            return False
        return True

    def _targets(self) -> str:
        targets = self._get("/api/v1/targets")["data"]["activeTargets"]
        return "; ".join(f"{t['scrapeUrl']} is {t['health']} {t['lastError']}".rstrip() for t in targets)

    def _get(self, path: str) -> Any:
        with self._open(path) as response:
            return json.load(response)

    def _open(self, path: str) -> Any:
        return urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=_HTTP_TIMEOUT_S)


def promtool_check_metrics(text: str) -> None:
    """Have promtool check a page in the text format; MetricsRefusedError with its words if it objects."""
    run = subprocess.run(
        [find_binary("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=_PROMTOOL_TIMEOUT_S,
        check=False,
    )
    if run.returncode != 0:
        raise MetricsRefusedError((run.stdout + run.stderr).strip())

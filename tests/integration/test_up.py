"""`millstream up`: what `make run` shows."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(120)
def test_up_shows_rates_and_alerts_and_draws_the_balance(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [
        *(sys.executable, "-m", "deploy", "up", "--sensors", "60", "--fault-every", "5s"),
        *("--duration", "20s", "--report", str(report)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^gateway +http://127\.0\.0\.1:\d+/metrics$", done.stdout, re.MULTILINE)
    assert re.search(r"^alert +firing +demo/", done.stdout, re.MULTILINE)
    folded = [int(found.replace(",", "")) for found in re.findall(r"folded in all ([\d,]+)", done.stdout)]
    assert folded == sorted(folded)
    # Four minutes of history, sixty sensors.
    assert folded[-1] > 5_000
    # Alerts and webhooks go on being told of until everything that was sent is folded.
    assert re.search(
        r"^stopping …\n((alert|webhook) .*\n)*balance .*: balanced\nwebhooks .*\nfaults .*\nstopped\n$",
        done.stdout,
        re.MULTILINE,
    )
    found = json.loads(report.read_text())
    assert found["balanced"]
    assert found["sent"] == found["received"] == found["produced"] == found["folded"] > 5_000
    assert found["quarantined"] == found["dropped"] == found["restarts"] == 0
    assert found["faults_alerted"] == found["faults_injected"] > 0
    # Each alert that fired, and each that was resolved since, has reached the receiver.
    assert found["webhooks_delivered"] > found["faults_alerted"]
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(120)
def test_ctrl_c_on_the_terminal_stops_in_order_and_still_balances() -> None:
    # A terminal sends Ctrl-C to every process of the group: once, that ended the children before their turn.
    command = [sys.executable, "-m", "deploy", "up", "--sensors", "20"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("rates"):
                break
        os.killpg(process.pid, signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "started again" not in rest
    assert ": balanced\n" in rest
    assert rest.endswith("stopped\n")
    assert "Traceback" not in errors

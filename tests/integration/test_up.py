"""`millstream up`: what `make run` shows."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest


@pytest.mark.timeout(120)
def test_up_shows_rates_and_alerts_and_stops_in_order() -> None:
    command = [sys.executable, "-m", "deploy", "up", "--sensors", "60", "--fault-every", "5s", "--duration", "20s"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^gateway +http://127\.0\.0\.1:\d+/metrics$", done.stdout, re.MULTILINE)
    assert re.search(r"^alert +firing +demo/", done.stdout, re.MULTILINE)
    folded = [int(found.replace(",", "")) for found in re.findall(r"folded in all ([\d,]+)", done.stdout)]
    assert folded == sorted(folded)
    # Four minutes of history, sixty sensors.
    assert folded[-1] > 5_000
    assert done.stdout.endswith("stopping …\nstopped\n")
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(120)
def test_ctrl_c_stops_everything_that_up_has_started() -> None:
    command = [sys.executable, "-m", "deploy", "up", "--sensors", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("simulator"):
                break
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert rest.endswith("stopped\n")
    assert "Traceback" not in errors

"""A Mosquitto without limits on a free loopback port, so that no message is dropped under load."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_DEADLINE_S = 10.0
STOP_DEADLINE_S = 10.0
POLL_INTERVAL_S = 0.02

CONFIGURATION = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_inflight_messages 0
max_queued_messages 0
set_tcp_nodelay true
log_dest none
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except ConnectionRefusedError:
            time.sleep(POLL_INTERVAL_S)
        else:
            return
    raise RuntimeError(f"mosquitto does not listen on port {port} (exit code {process.poll()})")


@contextmanager
def mosquitto() -> Iterator[str]:
    """`host:port` of a fresh broker; needs the `mosquitto` binary."""
    # Distributions install it for root only, in a directory that a user's PATH may lack.
    binary = shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
    if binary is None:
        raise RuntimeError("mosquitto is not installed")
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        configuration = Path(directory, "mosquitto.conf")
        configuration.write_text(CONFIGURATION.format(port=port), encoding="utf-8")
        process = subprocess.Popen([binary, "-c", str(configuration)])
        try:
            wait_until_listening(process, port)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

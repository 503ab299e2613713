"""Servers start, fail, stop and never outlive the process that started them."""

import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.servers.binaries import ServerMissingError
from tests.servers.mosquitto import Mosquitto
from tests.servers.ports import free_port, port_is_free
from tests.servers.processes import Server, ServerFailedError
from tests.servers.require import require

TIMEOUT_S = 20.0
SLEEPER = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]
DEAF = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()",
]

# Starts a broker from a short-lived thread, says its process id, and waits to be killed.
OWNER = """
import sys, threading
from pathlib import Path
from tests.servers.mosquitto import Mosquitto
broker = Mosquitto(Path(sys.argv[1]))
starter = threading.Thread(target=broker.start)
starter.start()
starter.join()
if "paused" in sys.argv:
    broker.pause()
print(broker.server.pid, flush=True)
sys.stdin.read()
"""


def sleeper(directory: Path, command: list[str] = SLEEPER, timeout_s: float = TIMEOUT_S) -> Server:
    server = Server(
        "sleeper", command, directory=directory, ready=lambda: "up" in server.log(), ready_timeout_s=timeout_s
    )
    return server


@pytest.mark.real
@pytest.mark.parametrize("state", ["running", "paused"])
def test_a_server_dies_with_its_owner(tmp_path: Path, state: str) -> None:
    require("mosquitto")
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), state],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as owner:
        assert owner.stdout is not None
        server = os.pidfd_open(int(owner.stdout.readline()))
        try:
            assert not select.select([server], [], [], 0)[0], "the broker died with its starter thread"
            owner.kill()
            assert select.select([server], [], [], TIMEOUT_S)[0], "the broker outlived its owner"
        finally:
            os.close(server)


def test_start_stop_start(tmp_path: Path) -> None:
    server = sleeper(tmp_path)
    with server:
        first = server.pid
        with pytest.raises(RuntimeError, match="runs already"):
            server.start()
        server.pause()
        server.resume()
    assert not server.alive
    with server:
        assert server.pid != first
        assert server.log() == "up\n"
        server.kill()
        assert not server.alive
    assert server.log_path.read_text() == "up\nup\n"


def test_a_paused_server_can_be_terminated(tmp_path: Path) -> None:
    with sleeper(tmp_path) as server:
        server.pause()
    assert not server.alive


def test_a_deaf_server_is_killed(tmp_path: Path) -> None:
    server = sleeper(tmp_path, DEAF)
    server.start()
    server.terminate(timeout_s=0.1)
    assert not server.alive


def test_a_server_survives_the_thread_that_started_it(tmp_path: Path) -> None:
    server = sleeper(tmp_path)
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    with os.fdopen(os.pidfd_open(server.pid)) as process:
        assert not select.select([process], [], [], 0.2)[0]
    server.terminate()


def test_failure_to_start_carries_the_log(tmp_path: Path) -> None:
    complaint = [sys.executable, "-c", "import sys; sys.exit('no such disk')"]
    with pytest.raises(ServerFailedError, match=r"status 1 at its start(.|\n)*no such disk"):
        sleeper(tmp_path, complaint).start()
    with pytest.raises(ServerFailedError, match=r"no-such-program: No such file"):
        sleeper(tmp_path, ["no-such-program"]).start()


def test_a_server_that_is_never_ready_is_killed(tmp_path: Path) -> None:
    mute = sleeper(tmp_path, [sys.executable, "-c", "import signal; signal.pause()"], timeout_s=0.2)
    with pytest.raises(ServerFailedError, match="ready: not within"):
        mute.start()
    assert not mute.alive


@pytest.mark.real
def test_a_taken_port_is_a_failure(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with pytest.raises(ServerFailedError, match="Address already in use"):
        Mosquitto(tmp_path / "second", port=mosquitto.port).start()


def test_free_ports_differ() -> None:
    ports = {free_port() for _ in range(50)}
    assert len(ports) == 50
    assert all(map(port_is_free, ports))


def test_require_skips_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = ServerMissingError("needs mosquitto: apt-get install mosquitto")
    monkeypatch.delenv("MILLSTREAM_REQUIRE_REAL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install mosquitto"):
        require(reason)
    monkeypatch.setenv("MILLSTREAM_REQUIRE_REAL", "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install mosquitto"):
        require(reason)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.fail.Exception, match="apt-get install maven"):
        require("mvn")

"""What deploy/Dockerfile and deploy/compose.yaml run, run here: from the wheel, in an environment without the checkout.

No container engine is needed. The environment sees the installed dependencies, and of ours only what the wheel holds.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.embedded import MOCK_PARTITIONS, Brokers, embedded_brokers
from tests.deployment.plant import PlantUnderTest
from tests.deployment.shipped import DAEMONS, DEPLOY, ROOT, environment, mounts, services
from tests.servers.binaries import find_binary
from tests.servers.kafka.libraries import kafka_libraries
from tests.servers.kafka.metadata import known_broker_ports
from tests.servers.mosquitto import Mosquitto
from tests.servers.ports import free_port
from tests.servers.processes import Server
from tests.servers.require import require
from tests.servers.waiting import wait_until

PLANT = "/etc/millstream/plant.toml"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
ENTRYPOINT: list[str] = json.loads(re.findall(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.MULTILINE)[0])
CHECK: list[str] = json.loads(re.findall(r"^HEALTHCHECK .+\\\n +CMD (.+)$", DOCKERFILE, re.MULTILINE)[0])
WARM_UP = re.findall(r"^RUN python - <<'EOF'\n(.+?)^EOF$", DOCKERFILE, re.MULTILINE | re.DOTALL)[0]


class Installed:
    """The wheel in an environment of its own. `folder` is where its commands run: nothing of ours is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bin = folder / "environment" / "bin"
        self._environment = {"PATH": f"{self._bin}{os.pathsep}{os.defpath}", "HOME": str(folder / "nowhere")}

    @classmethod
    def build(cls, folder: Path) -> Installed:
        """Build the wheel, install it."""
        _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
        (wheel,) = folder.glob("*.whl")
        _run(sys.executable, "-m", "venv", str(folder / "environment"), cwd=folder)
        installed = cls(folder)
        purelib = installed.said("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        # As a path only: .pth files in there are not followed, so the checkout, installed as editable, is not seen.
        Path(purelib, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        installed.said("python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel))
        return installed

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        """What a command of the image finds: what the image sets, and no more of this process's own."""
        return {**self._environment, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **more}

    def program(self, name: str) -> str:
        """Its absolute path."""
        return str(self._bin / name)

    def said(self, program: str, *arguments: str, environment: dict[str, str] | None = None, stdin: str = "") -> str:
        """Run a command of the image to its good end; its standard output."""
        return _run(
            self.program(program),
            *arguments,
            cwd=self.folder,
            environment=self.environment(environment or {}),
            stdin=stdin,
        )


def _run(*command: str, cwd: Path, environment: dict[str, str] | None = None, stdin: str = "") -> str:
    done = subprocess.run(
        command, cwd=cwd, env=environment, input=stdin, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed.build(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def kernels(installed: Installed) -> Path:
    """The image's cache of machine code, as its build makes it."""
    cache = installed.folder / "kernels"
    installed.said("python", "-", environment={"NUMBA_CACHE_DIR": str(cache)}, stdin=WARM_UP)
    return cache


@pytest.fixture(scope="module")
def brokers() -> Iterator[Brokers]:
    with embedded_brokers() as found:
        yield found


def test_the_environment_holds_the_wheel_and_not_the_checkout(installed: Installed) -> None:
    said = installed.said("python", "-c", "import deploy, ingest, models, stream; print(deploy.__file__)")
    assert said.startswith(str(installed.folder / "environment"))


def test_the_entrypoint_says_its_version_and_its_commands(installed: Installed) -> None:
    (program,) = ENTRYPOINT
    assert re.fullmatch(r"millstream \d+\.\d+\.\d+\n", installed.said(program, "--version"))
    assert "gateway" in installed.said(program, "--help")


def test_the_plants_that_are_shipped_are_accepted(installed: Installed) -> None:
    for plant in sorted((DEPLOY / "plants").glob("*.toml")):
        assert "settings    ok" in installed.said(ENTRYPOINT[0], "check", "--offline", "--config", str(plant))


def test_the_build_compiles_the_kernels_that_the_worker_loads(installed: Installed, kernels: Path) -> None:
    # What is compiled is written: new files, or an index with one entry more.
    compiled = {path: path.stat().st_mtime_ns for path in kernels.rglob("*.nb?")}
    assert {path.suffix for path in compiled} == {".nbi", ".nbc"}
    installed.said("python", "-", environment={"NUMBA_CACHE_DIR": str(kernels)}, stdin=WARM_UP)
    assert {path: path.stat().st_mtime_ns for path in kernels.rglob("*.nb?")} == compiled


@pytest.mark.parametrize("name", DAEMONS)
def test_the_commands_of_compose_become_ready_and_stop(
    name: str, installed: Installed, kernels: Path, brokers: Brokers, tmp_path: Path
) -> None:
    command = [*ENTRYPOINT, *services()[name]["command"]]
    known = subprocess.run(
        [installed.program(command[0]), command[1], "--help"], capture_output=True, timeout=60, check=False
    )
    if known.returncode == 2:
        pytest.skip(f"this version has no command {command[1]!r}")
    port = free_port()
    variables = environment(services()[name]) | {
        "NUMBA_CACHE_DIR": str(kernels),
        "HTTP_PORT": str(port),
        f"MILLSTREAM__{name.upper()}__HTTP": f"127.0.0.1:{port}",
        "MILLSTREAM__MQTT__HOST": "127.0.0.1",
        "MILLSTREAM__MQTT__PORT": str(brokers.mqtt_port),
        "MILLSTREAM__KAFKA__BOOTSTRAP": brokers.kafka,
        "MILLSTREAM__KAFKA__TOPICS__READINGS__PARTITIONS": str(MOCK_PARTITIONS),
    }
    if volume := {"notifier": "outbox", "worker": "snapshots"}.get(name):
        setting = f"MILLSTREAM__{name.upper()}__STATE_DIR"
        assert (volume, variables[setting], "rw") in mounts(services()[name])
        assert f'"{variables[setting]}"' in re.findall(r"^VOLUME .+$", DOCKERFILE, re.MULTILINE)[0]
        variables[setting] = str(tmp_path / "state")
    plant = next(source for source, target, _ in mounts(services()[name]) if target == PLANT)
    command = [installed.program(command[0]), *command[1:]]
    command[command.index(PLANT)] = str(DEPLOY / plant)
    healthy = [installed.program(CHECK[0]), *CHECK[1:]]

    def check() -> bool:
        done = subprocess.run(healthy, env=installed.environment(variables), capture_output=True, check=False)
        return done.returncode == 0

    daemon = Server(
        name,
        command,
        directory=tmp_path,
        ready=lambda: PlantUnderTest.is_ready(port),
        environment=installed.environment(variables),
    )
    assert not check()
    with daemon:
        wait_until(check, timeout_s=30, what="the image's health check")
        assert PlantUnderTest.page(port, "/healthz") == "ok\n"
        assert f'millstream_build_info{{part="{name}"' in PlantUnderTest.page(port)
    assert "Traceback" not in daemon.log()


# --- the brokers' settings ----------------------------------------------------------------------------------------


@pytest.mark.real
def test_mosquitto_starts_with_the_shipped_settings(tmp_path: Path) -> None:
    require("mosquitto")
    broker = Mosquitto(tmp_path)
    shipped = (DEPLOY / "mosquitto/mosquitto.conf").read_text()
    moved = shipped.replace("listener 1883", f"listener {broker.port} 127.0.0.1").replace("/mosquitto/data/", "./")
    assert moved.count(str(broker.port)) == 1
    config = tmp_path / "shipped.conf"
    config.write_text(f"{moved}\nuser root\n")
    command = [find_binary("mosquitto"), "-c", str(config)]
    server = Server("shipped", command, directory=tmp_path, ready=lambda: " running" in server.log())
    with server:
        pass
    complaints = [line for line in server.log().splitlines() if "Error" in line or "Warning" in line]
    assert [line for line in complaints if "run as root" not in line] == []


@pytest.mark.real
@pytest.mark.timeout(300)
def test_kafka_starts_with_the_shipped_settings(tmp_path: Path) -> None:
    require("java", "mvn")
    java = [find_binary("java"), "-Xmx384m", "-XX:TieredStopAtLevel=1", "-cp", f"{kafka_libraries(print)}/*"]
    given = environment(services()["kafka"])
    cluster = given.pop("CLUSTER_ID")
    del given["KAFKA_HEAP_OPTS"]  # read by the start script
    ports = {port: free_port() for port in ("9092", "9093", "19092")}
    # As the image turns variables into properties: KAFKA_NODE_ID becomes node.id.
    lines = []
    for name, value in given.items():
        moved = re.sub(r":(9092|9093|19092)\b", lambda found: f":{ports[found[1]]}", value)
        lines.append(f"{name.removeprefix('KAFKA_').replace('_', '.').lower()}={moved}")
    text = "\n".join(lines).replace("/var/lib/kafka/data", str(tmp_path / "data")).replace("//kafka:", "//127.0.0.1:")
    text = text.replace("INSIDE://:", "INSIDE://127.0.0.1:").replace("OUTSIDE://:", "OUTSIDE://127.0.0.1:")
    properties = tmp_path / "server.properties"
    properties.write_text(text + "\n")
    _run(*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", f"--config={properties}", cwd=tmp_path)
    outside = int(ports["9092"])
    with ExitStack() as started:
        server = Server(
            "kafka",
            [*java, "kafka.Kafka", str(properties)],
            directory=tmp_path,
            ready=lambda: outside in known_broker_ports(outside),
        )
        started.callback(server.kill)
        server.start()

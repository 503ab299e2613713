"""A Kafka cluster of one or three nodes whose nodes can be killed, stopped and started again."""

import base64
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Self

from tests.servers.binaries import find_binary
from tests.servers.kafka.libraries import kafka_libraries, locked
from tests.servers.kafka.metadata import known_broker_ports
from tests.servers.kafka.settings import NodeAddress, node_properties
from tests.servers.ports import free_port
from tests.servers.processes import Server, ServerFailedError
from tests.servers.waiting import wait_until

# A quick start with little CPU: without the second compiler it takes 2.5 s of CPU instead of 4.3 s.
_JVM = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")
_FORMAT_TIMEOUT_S = 60
_MEMBERSHIP_TIMEOUT_S = 30
_ARCHIVE_TIMEOUT_S = 60


class KafkaCluster:
    """Apache Kafka on loopback, KRaft mode, every node both broker and controller.

    Nodes are numbered from 0 (Kafka's own ids start at 1) and keep port and data over a restart. `directory`
    holds data and logs and can be given again later; without it a temporary one goes with `close`.
    `ports` are the client ports; `settings` override or add broker settings.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        ports: Sequence[int] = (),
        directory: Path | None = None,
        settings: Mapping[str, str] | None = None,
        jvm: Sequence[str] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        if nodes not in (1, 3) or (ports and len(ports) != nodes):
            raise ValueError("a cluster has one node or three, and a port for each if any")
        self._temporary = directory is None
        self.directory = (directory or _temporary_directory()).resolve()
        self._settings = dict(settings or {})
        self._say = say
        self._jvm = jvm
        self._addresses = [
            NodeAddress(i + 1, client_port=ports[i] if ports else free_port(), controller_port=free_port())
            for i in range(nodes)
        ]
        self._servers: list[Server] = []

    @property
    def bootstrap(self) -> str:
        """The `bootstrap_servers` of a client: "host:port", comma-separated, of all nodes, dead or alive."""
        return ",".join(f"127.0.0.1:{node.client_port}" for node in self._addresses)

    @property
    def alive(self) -> list[bool]:
        """For each node whether its process runs."""
        return [server.alive for server in self._servers]

    def start(self) -> None:
        """Start all nodes and return when each sees all.

        Downloads Kafka on first use; ServerMissingError if it cannot be had.
        """
        libraries = kafka_libraries(self._say)
        self._say(f"Starting {len(self._addresses)} Kafka node(s)…")
        options = _archived(libraries) if self._jvm is None else self._jvm
        java = [find_binary("java"), *_JVM, *options, *_logging(), "-cp", f"{libraries}/*"]
        self._format(java)
        command = [*java, "kafka.Kafka"]
        self._servers = [
            Server(
                f"node-{i}",
                [*command, str(self._properties(i))],
                directory=self.directory,
                ready=partial(_sees_itself, node.client_port),
            )
            for i, node in enumerate(self._addresses)
        ]
        with ExitStack() as on_failure:
            on_failure.callback(self.kill)
            self._start_together(self._servers)
            on_failure.pop_all()

    def stop(self, timeout_s: float = 15.0) -> None:
        """Shut all nodes down in order; data and ports stay, `start` continues with them."""
        if self._servers:
            with ThreadPoolExecutor(len(self._servers)) as pool:
                list(pool.map(lambda server: server.terminate(timeout_s), self._servers))

    def kill(self) -> None:
        """SIGKILL all nodes, a power cut; data and ports stay."""
        for server in self._servers:
            server.kill()

    def kill_node(self, i: int) -> None:
        """SIGKILL: no goodbye to the others, nothing flushed."""
        self._servers[i].kill()

    def stop_node(self, i: int) -> None:
        """SIGTERM: a controlled shutdown that moves the node's leaderships first."""
        self._servers[i].terminate()

    def start_node(self, i: int) -> None:
        """Start a killed or stopped node and return when all running nodes see it; needs a majority of them."""
        self._start_together([self._servers[i]])

    def pause_node(self, i: int) -> None:
        """SIGSTOP: the node keeps its connections and answers nothing."""
        self._servers[i].pause()

    def resume_node(self, i: int) -> None:
        """End of `pause_node`."""
        self._servers[i].resume()

    def heal(self) -> None:
        """Resume and start whatever a test has paused, stopped or killed."""
        for server in self._servers:
            if server.paused:
                server.resume()
        self._start_together([server for server in self._servers if not server.alive])

    def close(self) -> None:
        """Stop all nodes and remove the temporary directory, if it is one."""
        if self._temporary:
            self.kill()  # in order takes seconds, and nobody will read this data
            shutil.rmtree(self.directory, ignore_errors=True)
        else:
            self.stop()

    def __enter__(self) -> Self:
        with ExitStack() as on_failure:
            on_failure.callback(self.close)
            self.start()
            on_failure.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_together(self, servers: Sequence[Server]) -> None:
        # Not one after the other: a node is not ready before a majority of the controllers is there.
        if servers:
            with ThreadPoolExecutor(len(servers)) as pool:
                list(pool.map(Server.start, servers))
        nodes = zip(self._addresses, self._servers, strict=True)
        running = {node.client_port for node, server in nodes if server.alive and not server.paused}
        wait_until(
            lambda: all(running <= known_broker_ports(port) for port in running),
            timeout_s=_MEMBERSHIP_TIMEOUT_S,
            what="every Kafka node sees every other",
        )

    def _data(self, i: int) -> Path:
        return self.directory / f"node-{i}"

    def _properties(self, i: int) -> Path:
        return self.directory / f"node-{i}.properties"

    def _format(self, java: Sequence[str]) -> None:
        """Write every node's properties, and give new data directories their identity."""
        self.directory.mkdir(parents=True, exist_ok=True)
        before = len(list(self.directory.glob("node-*.properties")))
        if before not in (0, len(self._addresses)):
            raise ServerFailedError(f"{self.directory} holds {before} node(s), not {len(self._addresses)}")
        id_file = self.directory / "cluster.id"
        if not id_file.exists():
            id_file.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
        cluster_id = id_file.read_text()
        for i, node in enumerate(self._addresses):
            text = node_properties(node, self._addresses, self._data(i), self._settings)
            self._properties(i).write_text(text)
        new = [i for i in range(len(self._addresses)) if not (self._data(i) / "meta.properties").exists()]
        if new:
            with ThreadPoolExecutor(len(new)) as pool:
                list(pool.map(lambda i: self._format_node(java, cluster_id, i), new))

    def _format_node(self, java: Sequence[str], cluster_id: str, i: int) -> None:
        options = [f"--cluster-id={cluster_id}", f"--config={self._properties(i)}"]
        run = subprocess.run(
            [*java, "kafka.tools.StorageTool", "format", *options],
            capture_output=True,
            text=True,
            timeout=_FORMAT_TIMEOUT_S,
            check=False,
        )
        if run.returncode != 0:
            raise ServerFailedError(f"formatting the storage of Kafka node {i} failed:\n{run.stdout}{run.stderr}")


def _archived(libraries: Path) -> list[str]:
    """Options for a JVM that finds Kafka's classes as they are once loaded: half the CPU of a start.

    A node that nobody uses makes the archive, once. One of another JVM's or other jars' is not taken by the JVM,
    which then starts as without.
    """
    archive = libraries.parent / "classes.jsa"
    with suppress(OSError), locked(libraries.parent / ".classes.lock"):
        if not archive.exists():
            # Beside its place and renamed when whole, as with the jars.
            fresh = libraries.parent / ".classes-fresh.jsa"
            fresh.unlink(missing_ok=True)
            with KafkaCluster(jvm=[f"-XX:ArchiveClassesAtExit={fresh}"]) as unused:
                unused.stop(_ARCHIVE_TIMEOUT_S)
            fresh.rename(archive)
    return [f"-XX:SharedArchiveFile={archive}", "-Xlog:disable"] if archive.exists() else []


def _temporary_directory() -> Path:
    return Path(tempfile.gettempdir()) / f"millstream-kafka-{uuid.uuid4().hex[:12]}"


def _sees_itself(port: int) -> bool:
    return port in known_broker_ports(port)


def _logging() -> list[str]:
    """Warnings, and the two lines that say that a node is up or down, to stderr."""
    simple = "-Dorg.slf4j.simpleLogger"
    return [
        f"{simple}.defaultLogLevel=warn",
        f"{simple}.log.kafka.server.KafkaRaftServer=info",
        f"{simple}.showDateTime=true",
        f"{simple}.dateTimeFormat=HH:mm:ss.SSS",
    ]

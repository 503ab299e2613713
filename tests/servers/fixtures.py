"""Fixtures of the real servers; a plugin, named in the top-level conftest.py.

Every test that uses one of them is marked `real`, so `-m "not real"` leaves the quick ones.
"""

import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.servers.binaries import ServerMissingError
from tests.servers.kafka import KafkaCluster
from tests.servers.mosquitto import Mosquitto
from tests.servers.prometheus import Prometheus
from tests.servers.require import require
from tests.servers.s3 import S3

PrometheusFactory = Callable[[Sequence[tuple[str, str, str]]], Prometheus]

_REAL = frozenset({"kafka", "kafka_node", "kafka_cluster3", "mosquitto", "prometheus_factory", "s3", "s3_strict"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a real server."""
    for item in items:
        if isinstance(item, pytest.Function) and not _REAL.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session")
def _shared_kafka() -> Iterator[KafkaCluster]:
    with _kafka(nodes=1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> str:
    """The bootstrap "host:port" of one Kafka node, shared by the whole run: take names from `topic_prefix`.

    With MILLSTREAM_TEST_KAFKA=host:port in the environment it is that one, else one is started at first use.
    """
    running = os.environ.get("MILLSTREAM_TEST_KAFKA")
    if running:
        return running
    cluster: KafkaCluster = request.getfixturevalue("_shared_kafka")
    return cluster.bootstrap


@pytest.fixture
def kafka_node(_shared_kafka: KafkaCluster) -> Iterator[KafkaCluster]:
    """The same node, to be paused or killed: tests run one after the other, and it is well again after each."""
    yield _shared_kafka
    _shared_kafka.heal()


@pytest.fixture(scope="module")
def kafka_cluster3() -> Iterator[KafkaCluster]:
    """Three Kafka nodes for the tests of one module; who breaks one calls `heal()` at the end."""
    with _kafka(nodes=3) as cluster:
        yield cluster


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A fresh Mosquitto on a free port, with persistence: it can be restarted with its sessions."""
    require("mosquitto")
    with Mosquitto(tmp_path / "mosquitto", persistence=True) as broker:
        yield broker


@pytest.fixture
def prometheus_factory(tmp_path: Path) -> Iterator[PrometheusFactory]:
    """Call it with scrapes, (job, "host:port", "/path") each, for a running Prometheus."""
    require("prometheus")
    with ExitStack() as started:

        def start(scrapes: Sequence[tuple[str, str, str]]) -> Prometheus:
            return started.enter_context(Prometheus(tmp_path / f"prometheus-{uuid.uuid4().hex[:8]}", scrapes))

        yield start


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A server that speaks S3, for the tests of one module; who pauses it resumes it."""
    with _s3(tmp_path_factory.mktemp("s3"), strict=False) as server:
        yield server


@pytest.fixture
def s3_strict(tmp_path: Path) -> Iterator[S3]:
    """One that lets nobody in."""
    with _s3(tmp_path / "s3", strict=True) as server:
        yield server


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """A start for names of topics and groups that no other test and no other run uses."""
    readable = re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name)[:60].strip("-")
    return f"{readable}-{uuid.uuid4().hex[:8]}"


@contextmanager
def _kafka(nodes: int) -> Iterator[KafkaCluster]:
    with ExitStack() as started:
        try:
            cluster = started.enter_context(KafkaCluster(nodes))
        except ServerMissingError as missing:
            require(missing)
        else:
            yield cluster


@contextmanager
def _s3(directory: Path, *, strict: bool) -> Iterator[S3]:
    with ExitStack() as started:
        try:
            server = started.enter_context(S3(directory, strict=strict))
        except ServerMissingError as missing:
            require(missing)
        else:
            yield server

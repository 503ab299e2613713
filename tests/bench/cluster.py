"""librdkafka's mock cluster in a process of its own, so that its CPU is in nobody's figure.

`python -m tests.bench.cluster` prints the bootstrap address and lives until its stdin closes.
Topics appear on first use with 4 partitions; about 5 MB is kept per partition, then the oldest
records go. One consumer per group, no deduplication, no fencing: it measures, it proves nothing.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.bench.daemon import REPOSITORY

PARTITIONS = 4
KEPT_BYTES_PER_PARTITION = 5_000_000
METADATA_DEADLINE_S = 10.0
STOP_DEADLINE_S = 10.0
POLL_S = 0.05
LOG_ERRORS = 3  # syslog level: without it the client notes on stderr that it is a mock


class Cluster:
    """The process of a mock cluster. bootstrap: where it listens."""

    def __init__(self, process: subprocess.Popen[str], bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._process = process

    def fall_silent(self) -> None:
        """From now on nobody answers: connections stay, as when a machine hangs."""
        self._process.send_signal(signal.SIGSTOP)

    def speak(self) -> None:
        """Answer again, what came in the meantime first."""
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A fresh cluster."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.cluster"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        bootstrap = process.stdout.readline().strip()
        if not bootstrap:
            raise RuntimeError("the mock cluster ended before it printed its address")
        yield Cluster(process, bootstrap)
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def mock_cluster() -> Iterator[str]:
    """Bootstrap address of a fresh cluster."""
    with cluster() as running:
        yield running.bootstrap


def create_topic(bootstrap: str, topic: str) -> None:
    """Asking for a topic's metadata creates it: consumers that subscribe first need it to exist."""
    Producer({"bootstrap.servers": bootstrap}).list_topics(topic, timeout=METADATA_DEADLINE_S)


def wait_records(bootstrap: str, topic: str, at_least: int, deadline_s: float = 120.0) -> int:
    """Wait until the topic has had so many records, and return how many: for who does not say what it produced."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "count"})
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    until = time.monotonic() + deadline_s
    try:
        while (have := sum(consumer.get_watermark_offsets(one)[1] for one in partitions)) < at_least:
            if time.monotonic() > until:
                raise RuntimeError(f"{have} records in {topic}, {at_least} wanted")
            time.sleep(POLL_S)
        return int(have)
    finally:
        consumer.close()


def main() -> None:
    # The cluster lives as long as this client; the address given here is ignored.
    owner = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored", "log_level": LOG_ERRORS})
    brokers = owner.list_topics(timeout=METADATA_DEADLINE_S).brokers.values()
    print(",".join(f"{broker.host}:{broker.port}" for broker in brokers), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

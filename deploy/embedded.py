"""Brokers inside the package: nothing to install but `millstream[local]`.

The Kafka side is librdkafka's mock cluster, which lives as long as its producer: real sockets, in-memory log, about
5 MB kept per partition, one member per group, no durability. For trying out and for fast tests; not for a plant.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ingest.contract.errors import StopError

_START_TIMEOUT_S = 15.0
MOCK_PARTITIONS = 4
"""What the mock cluster gives every topic; it cannot be set."""


@dataclass(frozen=True, slots=True)
class Brokers:
    """Where they listen, on loopback."""

    mqtt_port: int
    kafka: str


def free_port(preferred: int = 0) -> int:
    """A free TCP port on loopback: `preferred` if nobody has it."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StopError("no free port on 127.0.0.1")


@contextmanager
def embedded_brokers() -> Iterator[Brokers]:
    """Start both, and stop them. Raises StopError when the extra is not installed or a broker does not start."""
    try:
        import iotcore
        from confluent_kafka import KafkaException, Producer
    except ImportError as error:
        raise StopError("embedded brokers need the extra: pip install 'millstream[local]'") from error
    # The mock cluster belongs to this producer: it ends when the producer is collected.
    options: dict[str, Any] = {"test.mock.num.brokers": 1, "bootstrap.servers": "embedded", "log_level": 2}
    owner = Producer(options)
    try:
        found = owner.list_topics(timeout=_START_TIMEOUT_S)
    except KafkaException as error:
        raise StopError(f"the embedded Kafka did not start: {error}") from error
    kafka = ",".join(f"{broker.host}:{broker.port}" for broker in found.brokers.values())
    mqtt = iotcore.Broker(port=free_port(), listen="127.0.0.1", max_payload_size=4_194_304)
    try:
        # Ctrl-C on a terminal reaches the broker's process too; what it still holds is wanted.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            mqtt.start()
        finally:
            signal.signal(signal.SIGINT, before)
        yield Brokers(mqtt.port, kafka)
    finally:
        mqtt.stop()
        del owner

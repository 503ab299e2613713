"""The server.properties of one test node."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NodeAddress:
    """Where one node listens on 127.0.0.1."""

    node_id: int
    client_port: int
    controller_port: int


def node_properties(node: NodeAddress, cluster: Sequence[NodeAddress], data: Path, overrides: Mapping[str, str]) -> str:
    """Text of server.properties for a combined broker and controller that keeps its log in `data`."""
    replicas = str(len(cluster))
    quorum_in_sync = str(len(cluster) // 2 + 1)
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(node.node_id),
        "controller.quorum.voters": ",".join(f"{n.node_id}@127.0.0.1:{n.controller_port}" for n in cluster),
        "listeners": f"PLAINTEXT://127.0.0.1:{node.client_port},CONTROLLER://127.0.0.1:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.client_port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        # Internal topics: they must survive the loss of a node, and few partitions are created faster.
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": quorum_in_sync,
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": quorum_in_sync,
        # Tests of failures wait for these: a dead broker is noticed in 4 s (default 9), a member sooner.
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "500",
        "group.min.session.timeout.ms": "500",
        "group.initial.rebalance.delay.ms": "0",
        # The cleaner's default of 128 MB would not fit beside the rest into the small heap.
        "log.cleaner.dedupe.buffer.size": "8388608",
        "num.network.threads": "2",
        "num.io.threads": "4",
        **overrides,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())

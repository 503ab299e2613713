"""Apache Kafka for tests: fetched from Maven Central once, run as KRaft nodes on loopback."""

from tests.servers.kafka.cluster import KafkaCluster

__all__ = ["KafkaCluster"]

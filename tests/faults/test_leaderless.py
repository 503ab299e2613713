"""Row 6, in part: some partitions have no leader for a while. They spool; all others flow and are acknowledged."""

from __future__ import annotations

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from ingest.contract.partition import partition_of
from tests.faults.conftest import Site
from tests.faults.stream import assert_in_order, numbers_in_log
from tests.servers.kafka import KafkaCluster
from tests.servers.waiting import wait_until

PARTITIONS = 6
MACHINES = 20  # of the sender
MESSAGES = 2_000


@pytest.fixture
def kafka(kafka_cluster3: KafkaCluster) -> str:
    """Three nodes, in place of the one that all share."""
    return kafka_cluster3.bootstrap


async def leaders(kafka: str, topic: str) -> dict[int, int]:
    """Kafka's number of the node that leads, by partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
        return {one["partition"]: one["leader"] for one in described["partitions"]}
    finally:
        await admin.close()


@pytest.mark.fault(6)
@pytest.mark.timeout(180)
async def test_partitions_without_a_leader_spool_and_the_others_flow(site: Site, kafka_cluster3: KafkaCluster) -> None:
    site.set(KAFKA__TOPICS__READINGS__PARTITIONS=str(PARTITIONS), GATEWAY__SPOOL__AFTER="4s", GATEWAY__MAX_BATCH="200")
    topic = f"{site.plant.prefix}.readings"
    paths = [f"demo/assembly/line-01/press-{number:02d}/temperature" for number in range(MACHINES)]
    partition = [partition_of(path, PARTITIONS) for path in paths]
    with site.plant.gateway:
        site.sender.send(MESSAGES)
        site.wait_settled()
        leader = await leaders(site.kafka, topic)
        # The node that leads the partition of the first machine; none has a copy of what it has.
        gone = leader[partition[0]]
        without = {number for number in set(partition) if leader[number] == gone}
        assert without < set(partition)
        away = [number for number in range(MACHINES) if partition[number] in without]
        kafka_cluster3.kill_node(gone - 1)
        try:
            for round_ in range(2, 5):
                site.sender.send(MESSAGES)
                wait_until(
                    lambda: site.tap.acknowledged == site.sender.sent, timeout_s=60, what="all acknowledged, without it"
                )
                site.plant.check_ledger()
                assert site.plant.gateway_metric("spooling_partitions") == len(without)
                to_spool = len(away) * (site.sender.sent - MESSAGES) // MACHINES
                assert site.plant.gateway_metric("messages_spooled_total") == to_spool
                assert site.plant.gateway_metric("messages_produced_total") == round_ * MESSAGES - to_spool
        finally:
            kafka_cluster3.heal()
        site.wait_settled()
        assert site.plant.gateway_metric("messages_in_flight") == 0
        site.sender.send(MESSAGES)
        site.wait_settled()
    found = await numbers_in_log(site.kafka, topic)
    assert set(found) == set(range(site.sender.sent))
    await assert_in_order(site.kafka, topic)

"""Rows 4 and 5: brokers go away and come back."""

from __future__ import annotations

import psutil
import pytest

from tests.faults.conftest import Site
from tests.faults.stream import assert_in_order, numbers_in_log
from tests.servers.kafka import KafkaCluster
from tests.servers.waiting import wait_until


async def assert_all_in_log(site: Site, *, once: bool = False) -> None:
    topic = f"{site.plant.prefix}.readings"
    found = await numbers_in_log(site.kafka, topic)
    assert set(found) == set(range(site.sender.sent))
    if once:
        assert set(found.values()) == {1}
    await assert_in_order(site.kafka, topic)


@pytest.mark.fault(4)
@pytest.mark.timeout(180)
@pytest.mark.parametrize("session", ["kept", "lost"])
async def test_the_mqtt_broker_restarts_while_kafka_is_slow_to_confirm(
    session: str, site: Site, kafka_node: KafkaCluster
) -> None:
    site.set(GATEWAY__MAX_BATCH="50", MQTT__RECEIVE_MAXIMUM="200", GATEWAY__SPOOL__AFTER="10m")
    with site.plant.gateway:
        site.sender.send(10)
        site.wait_metric("messages_acknowledged_total", 10)
        kafka_node.pause_node(0)
        site.sender.send(100)
        site.wait_metric("messages_in_flight", 100)
        before = len(site.tap.connections)
        site.mosquitto.restart() if session == "kept" else site.mosquitto.restart_forgetting()
        wait_until(
            lambda: len(site.tap.connections) > before and site.plant.gateway_metric("mqtt_connected") == 1,
            timeout_s=60,
            what="connected again",
        )
        # The same message ids, other messages: what Kafka confirms of the old ones must not acknowledge these.
        site.sender.send(60)
        site.wait_metric("messages_received_total", 170)
        assert not site.tap.connections[-1].acknowledged
        kafka_node.resume_node(0)
        site.wait_metric("messages_in_flight", 0)
        wait_until(
            lambda: len(site.tap.connections[-1].acknowledged) == len(site.tap.connections[-1].published),
            timeout_s=60,
            what="all of the new connection acknowledged",
        )
        wait_until(lambda: site.plant.gateway_metric("messages_in_flight") == 0, timeout_s=60, what="nothing in flight")
        site.plant.check_ledger()
        site.tap.assert_in_order()
    await assert_all_in_log(site)


@pytest.mark.fault(5)
@pytest.mark.timeout(180)
async def test_kafka_is_away_and_messages_go_to_the_spool_and_then_to_kafka_in_order(
    site: Site, kafka_node: KafkaCluster
) -> None:
    site.set(GATEWAY__SPOOL__AFTER="500ms", GATEWAY__MAX_BATCH="200")
    with site.plant.gateway:
        site.sender.send(2_000)
        site.wait_settled()
        kafka_node.pause_node(0)
        site.sender.send(1_000)
        site.wait_metric("messages_spooled_total", 1)
        memory = psutil.Process(site.plant.gateway.pid).memory_info().rss
        site.sender.send(20_000)
        wait_until(lambda: site.tap.acknowledged == site.sender.sent, timeout_s=60, what="acknowledged from the spool")
        assert site.plant.gateway_metric("messages_in_flight") == 0
        assert site.plant.gateway_metric("backlog_seconds") > 0
        grown = psutil.Process(site.plant.gateway.pid).memory_info().rss - memory
        assert grown < 64 * 2**20
        kafka_node.resume_node(0)
        site.wait_settled()
    await assert_all_in_log(site, once=True)


@pytest.mark.fault(5)
@pytest.mark.timeout(180)
async def test_sigterm_while_kafka_is_away_ends_in_time_and_the_next_life_drains(
    site: Site, kafka_node: KafkaCluster
) -> None:
    site.set(GATEWAY__SPOOL__AFTER="500ms", GATEWAY__MAX_BATCH="200")
    with site.plant.gateway:
        site.sender.send(1_000)
        site.wait_settled()
        kafka_node.pause_node(0)
        site.sender.send(1_000)
        site.wait_metric("messages_spooled_total", 1)
        site.plant.gateway.terminate(timeout_s=30)
        assert "unconfirmed=0" in site.plant.gateway.log() or '"unconfirmed": 0' in site.plant.gateway.log()
        kafka_node.resume_node(0)
        site.plant.gateway.start()
        site.wait_settled()
    await assert_all_in_log(site)

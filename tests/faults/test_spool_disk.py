"""Rows 10 and 11: the spool's disk refuses, is full, or gives back something else than was written."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.deployment.logs import read_readings
from tests.faults.conftest import Site
from tests.faults.stream import assert_in_order, numbers_in_log
from tests.servers.waiting import wait_until

MESSAGES = 3_000
NOTE_TOPIC = "factory/demo/assembly/line-01/press-01/note"


def noise(number: int) -> bytes:
    """3,500 characters that lz4 finds little in, each number its own."""
    return random.Random(number).randbytes(1_750).hex().encode()


def segments(site: Site) -> list[Path]:
    return sorted((site.plant.directory / "state").rglob("*.seg"))


async def assert_all_in_log(site: Site) -> None:
    topic = f"{site.plant.prefix}.readings"
    assert set(await numbers_in_log(site.kafka, topic)) == set(range(site.sender.sent))
    await assert_in_order(site.kafka, topic)


@pytest.mark.fault(10)
@pytest.mark.timeout(180)
@pytest.mark.parametrize("failure", ["spool-append=enospc", "spool-fsync=eio", "spool-append=erofs"])
async def test_a_disk_that_refuses_once_is_tried_again(failure: str, site: Site) -> None:
    site.set(GATEWAY__MAX_BATCH="100")
    site.make_session()
    site.without_kafka()
    site.fail_at(failure)
    site.sender.send(MESSAGES)
    site.plant.gateway.start()
    wait_until(lambda: site.tap.acknowledged == site.sender.sent, timeout_s=60, what="all acknowledged from the spool")
    assert site.plant.gateway_metric("spool_failures_total", reason="disk") >= 1
    site.plant.check_ledger()
    site.plant.gateway.terminate()
    site.with_kafka()
    site.fail_at("")
    with site.plant.gateway:
        site.wait_settled()
    await assert_all_in_log(site)


@pytest.mark.fault(10)
@pytest.mark.timeout(180)
async def test_a_disk_that_refuses_for_good_stops_acknowledging_and_nothing_else(site: Site) -> None:
    site.set(GATEWAY__MAX_BATCH="100")
    site.make_session()
    site.without_kafka()
    site.fail_at("spool-append=enospc:1+")
    site.sender.send(MESSAGES)
    before = site.tap.acknowledged
    site.plant.gateway._ready = lambda: True  # it never is
    site.plant.gateway.start()
    wait_until(lambda: "No space left" in site.plant.gateway.log(), timeout_s=30, what="the disk's error said")
    assert not site.plant.is_ready(site.plant.gateway_port)
    assert site.plant.gateway.alive
    site.plant.gateway.terminate(timeout_s=30)
    assert site.tap.acknowledged == before
    site.with_kafka()
    site.fail_at("")
    site.plant.gateway._ready = lambda: site.plant.is_ready(site.plant.gateway_port)
    with site.plant.gateway:
        site.wait_settled()
    await assert_all_in_log(site)


@pytest.mark.fault(10)
@pytest.mark.timeout(180)
async def test_a_full_spool_leaves_messages_with_the_broker_until_kafka_is_back(site: Site) -> None:
    site.set(GATEWAY__MAX_BATCH="500", MQTT__RECEIVE_MAXIMUM="1000")
    site.make_session()
    site.without_kafka()
    site.set(GATEWAY__SPOOL__MAX_BYTES=str(16 * 2**20), GATEWAY__SPOOL__SEGMENT_BYTES=str(2**20))
    notes = [(NOTE_TOPIC, b'{"value":"%b"}' % noise(number)) for number in range(6_000)]
    site.sender.send_raw(notes)
    site.plant.gateway.start()
    site.wait_metric("spool_failures_total", 1, reason="full")
    assert site.tap.acknowledged < len(notes)
    assert site.plant.gateway_metric("messages_dropped_total") == 0
    site.plant.check_ledger()
    site.plant.gateway.terminate(timeout_s=30)
    site.with_kafka()
    with site.plant.gateway:
        wait_until(
            lambda: (
                site.plant.gateway_metric("mqtt_connected") == 1
                and not any(
                    site.plant.gateway_metric(name)
                    for name in ("messages_in_flight", "messages_waiting", "backlog_bytes", "spooling_partitions")
                )
                and len(site.tap.connections[-1].acknowledged) == len(site.tap.connections[-1].published) > 0
            ),
            timeout_s=60,
            what="all of it in Kafka",
        )
        site.tap.assert_in_order()
    readings = await read_readings(site.kafka, f"{site.plant.prefix}.readings")
    there = {text for one in readings if one.text is not None for text in one.text.decode() if text is not None}
    assert there == {noise(number).decode() for number in range(6_000)}


@pytest.mark.fault(11)
@pytest.mark.timeout(180)
async def test_a_spool_that_was_damaged_is_said_and_what_can_be_read_is_delivered(site: Site) -> None:
    site.set(KAFKA__TOPICS__READINGS__PARTITIONS="1")
    site.make_session()
    site.without_kafka()
    site.plant.gateway.start()
    for _ in range(30):
        site.sender.send(MESSAGES // 30)
        wait_until(lambda: site.tap.acknowledged == site.sender.sent, timeout_s=60, what="acknowledged from the spool")
    site.plant.gateway.kill()
    (segment,) = segments(site)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0x40
    segment.write_bytes(data[:-7])  # a flipped bit in the middle, and a torn end
    site.with_kafka()
    with site.plant.gateway:
        wait_until(
            lambda: not any(site.plant.gateway_metric(name) for name in ("backlog_bytes", "spooling_partitions")),
            timeout_s=60,
            what="the spool drained",
        )
        assert site.plant.gateway_metric("spool_damaged_bytes_total") > 0
        assert "the spool is damaged" in site.plant.gateway.log()
        assert list((site.plant.directory / "state").rglob("damaged/*"))
    topic = f"{site.plant.prefix}.readings"
    lost = set(range(site.sender.sent)) - set(await numbers_in_log(site.kafka, topic))
    assert 0 < len(lost) <= 200  # the record with the flipped bit, and the torn one
    await assert_in_order(site.kafka, topic)

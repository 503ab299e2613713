"""Row 30: topic filters come and go with a reload, and over restarts."""

from __future__ import annotations

import os
import signal

import pytest

from tests.deployment.logs import read_readings
from tests.faults.conftest import Site
from tests.servers.waiting import wait_until

SECOND = '[[route]]\ntopic = "yard/{site}/{machine}/{quantity}"\n\n'


def with_yard(config: str) -> str:
    return config.replace("[[route]]", SECOND + "[[route]]", 1)


def reload(site: Site, config: str) -> None:
    done = site.plant.gateway_metric("reloads_total")
    site.plant.config.write_text(config)
    os.kill(site.plant.gateway.pid, signal.SIGHUP)
    wait_until(lambda: site.plant.gateway_metric("reloads_total") > done, timeout_s=30, what="the settings read")


def yard(value: int) -> list[tuple[str, bytes]]:
    return [("yard/demo/crane-01/load", b'{"value":%d,"ts":%d}' % (value, 1_700_000_000_000 + value))]


@pytest.mark.fault(30)
@pytest.mark.timeout(120)
async def test_a_removed_filter_is_really_unsubscribed(site: Site) -> None:
    one_route = site.plant.config.read_text()
    with site.plant.gateway:
        site.sender.send_raw(yard(1))
        site.sender.send(5)
        site.wait_metric("messages_received_total", 5)
        reload(site, with_yard(one_route))
        site.sender.send_raw(yard(2))
        site.wait_metric("messages_produced_total", 6)
        reload(site, one_route)
        site.sender.send_raw(yard(3))
        site.sender.send(5)
        site.wait_metric("messages_produced_total", 11)
        assert site.plant.gateway_metric("messages_received_total") == 11
        # Wrong settings change nothing.
        reload(site, one_route.replace("[[route]]", "[[rout]]"))
        assert site.plant.gateway_metric("reloads_total", result="refused") == 1
        site.sender.send(5)
        site.wait_metric("messages_produced_total", 16)
        reload(site, with_yard(one_route))
    # A session outlives the gateway: what the settings lost in the meantime is unsubscribed, too.
    site.plant.config.write_text(one_route)
    site.sender.send_raw(yard(4))  # the broker kept this one for the old filter
    with site.plant.gateway:
        site.wait_metric("messages_received_total", 1)
        site.sender.send_raw(yard(5))
        site.sender.send(5)
        site.wait_metric("messages_produced_total", 5)
        assert site.plant.gateway_metric("messages_received_total") == 6
        assert site.plant.gateway_metric("messages_quarantined_total", reason="no_route") == 1
        site.plant.check_ledger()
        site.tap.assert_in_order()
    readings = await read_readings(site.kafka, f"{site.plant.prefix}.readings")
    yards = [
        value
        for one in readings
        for sensor, value in zip(one.sensor.decode(), one.value.tolist(), strict=True)
        if sensor == "demo/crane-01/load"
    ]
    assert yards == [2]

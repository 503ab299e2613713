"""Row 1: the gateway is killed at every step of a message's way; nothing acknowledged is lost."""

from __future__ import annotations

import contextlib

import pytest

from tests.faults.conftest import Site
from tests.faults.stream import assert_in_order, numbers_in_log
from tests.servers.processes import ServerFailedError
from tests.servers.waiting import wait_until

KILLED_AT = ["received", "decoded", "produced", "confirmed", "puback-queued"]
MESSAGES = 5_000


def live_until_killed(site: Site, failpoint: str) -> None:
    """One life of the gateway, which ends at the failpoint."""
    site.fail_at(f"{failpoint}=kill:3")
    with contextlib.suppress(ServerFailedError):  # it may be dead before anybody saw it ready
        site.plant.gateway.start()

    def died() -> bool:
        # What the broker kept may come in one burst, which is one step: there has to be another, and a third.
        if site.plant.gateway.alive:
            site.sender.send(50)
        return not site.plant.gateway.alive

    wait_until(died, timeout_s=60, what=f"death at {failpoint}")


@pytest.mark.fault(1)
@pytest.mark.timeout(240)
async def test_kill_9_at_every_step_loses_nothing(site: Site) -> None:
    site.set(GATEWAY__MAX_BATCH="100", MQTT__RECEIVE_MAXIMUM="400")
    site.make_session()
    site.sender.send(MESSAGES - 1)  # the broker keeps them for the session
    for failpoint in KILLED_AT:
        live_until_killed(site, failpoint)
    site.without_kafka()
    live_until_killed(site, "spooled")
    site.with_kafka()
    site.fail_at("")
    with site.plant.gateway:
        site.wait_settled()
    topic = f"{site.plant.prefix}.readings"
    assert set(await numbers_in_log(site.kafka, topic)) == set(range(site.sender.sent))
    await assert_in_order(site.kafka, topic)

"""Kafka falls silent under load: the gateway's memory, and whether all is acknowledged from the spool meanwhile."""

import math
import time
from dataclasses import dataclass

from tests.bench.cluster import cluster, create_topic
from tests.bench.gateways import KAFKA_TOPIC, PRODUCED, Load, publishing
from tests.bench.measure import Figure
from tests.bench.mosquitto import mosquitto
from tests.bench.product import Product, product, wait_for
from tests.bench.turns import Say

OUTAGE_S = 60.0
# What publisher, broker, gateway and disk keep up with on two cores.
PER_S = 50_000
# Before it: what a gateway in use has allocated is allocated.
WARM_UP_S = 5.0
# From the beginning of the outage to the first look: the spool takes over (`gateway.spool.after`), and then what came
# in the meantime and waited in the broker.
SETTLED_AFTER_S = 5.0
SAMPLE_S = 0.5
CATCH_UP_DEADLINE_S = 120.0
DRAIN_DEADLINE_S = 120.0

ACKNOWLEDGED = "millstream_gateway_messages_acknowledged_total"
SPOOLED = "millstream_gateway_messages_spooled_total"
BACKLOG = "millstream_gateway_backlog_bytes"


@dataclass(frozen=True, slots=True)
class Outage:
    """before_mib: resident memory when it began. memory_mib: likewise, every SAMPLE_S from SETTLED_AFTER_S to the end.

    offered: messages, so many a second; spooled: those that went by way of the spool.
    """

    before_mib: float
    memory_mib: list[float]
    offered: int
    offered_per_s: float
    spooled: int

    @property
    def growth_mib(self) -> float:
        """Of the peak over the first sample."""
        return max(self.memory_mib) - self.memory_mib[0]


def kafka_away(outage_s: float = OUTAGE_S, rate_per_s: int = PER_S) -> Outage:
    """Offer `rate_per_s` before and during an outage; Kafka comes back only when all is acknowledged."""
    before = round(rate_per_s * WARM_UP_S)
    load = Load(before + round(rate_per_s * outage_s), rate_per_s=rate_per_s)
    with mosquitto() as mqtt, cluster() as kafka:
        create_topic(kafka.bootstrap, KAFKA_TOPIC)
        with product("gateway", kafka.bootstrap, mqtt) as gateway, publishing(mqtt, load) as publisher:
            try:
                gateway.wait_total(PRODUCED, before)
                before_mib = gateway.memory_mib()
                kafka.fall_silent()
                began_s = time.monotonic()
                memory_mib = _watch(gateway, outage_s)
                if publisher.wait(CATCH_UP_DEADLINE_S):
                    raise RuntimeError("the publisher failed")
                offered = load.messages - before
                offered_per_s = offered / (time.monotonic() - began_s)
                gateway.wait_total(ACKNOWLEDGED, load.messages, CATCH_UP_DEADLINE_S)
                outage = Outage(before_mib, memory_mib, offered, offered_per_s, int(gateway.total(SPOOLED)))
            finally:
                kafka.speak()
                publisher.kill()
            # All that was acknowledged reaches Kafka, too.
            wait_for(lambda: -gateway.total(BACKLOG), 0, DRAIN_DEADLINE_S)
            return outage


def _watch(gateway: Product, outage_s: float) -> list[float]:
    began_s = time.monotonic()
    time.sleep(SETTLED_AFTER_S)
    found = []
    while time.monotonic() - began_s < outage_s:
        found.append(gateway.memory_mib())
        time.sleep(SAMPLE_S)
    return found


def outage(outage_s: float, say: Say) -> list[Figure]:
    """One outage: it takes as long as it takes."""
    seen = kafka_away(outage_s)
    if seen.spooled < math.floor(seen.offered * 0.9):
        raise RuntimeError(f"only {seen.spooled} of {seen.offered} messages went to the spool")
    unit = f"MiB in {outage_s:g} s at {round(seen.offered_per_s, -3):,.0f} messages/s"
    first, most, last = seen.memory_mib[0], max(seen.memory_mib), seen.memory_mib[-1]
    say(
        f"gateway without Kafka for {outage_s:g} s: {seen.before_mib:.0f} MiB before, {first:.0f} after "
        f"{SETTLED_AFTER_S:g} s, then at most {most:.0f}, {last:.0f} at the end; all acknowledged, {seen.spooled:,} "
        "messages from the spool"
    )
    return [Figure("gateway_peak_memory_growth_mib_kafka_away", seen.growth_mib, unit)]

"""The gateway at full rate and at modest ones, beside the stock client and a bridge with a Rust core."""

from functools import partial
from operator import attrgetter

from tests.bench.gateways import Load, millstream, millstream_shared, mq_bridge, stock
from tests.bench.measure import Figure
from tests.bench.turns import Say, in_turn, median

MESSAGES = 200_000
BRIDGE_MESSAGES = 50_000
BASELINE_MESSAGES = 10_000
# Counted for so long, once topics are known and the pace is found.
OFFERED_S = 3.0
WARM_UP_S = 2.0
OFFERED_PER_S = {"1k": 1_000, "10k": 10_000}
SHARED = "messages/s (publisher, broker and Kafka on the same cores)"

_cpu_us = attrgetter("cpu_us")
_per_s = attrgetter("per_s")


def full_rate(runs: int, say: Say) -> list[Figure]:
    """CPU per message at QoS 1, acknowledged after Kafka, and QoS 0: as fast as the broker takes and gives."""
    found = []
    for qos, suffix in ((1, ""), (0, "_qos0")):
        name = f"gateway_cpu_us_per_message{suffix}"
        ways = {
            "ours": partial(millstream, Load(MESSAGES, qos)),
            "stock": partial(stock, Load(BASELINE_MESSAGES, qos)),
            "mq-bridge": partial(mq_bridge, Load(BRIDGE_MESSAGES, qos)),
        }
        costs = in_turn(f"{name} µs", ways, _cpu_us, runs, say)
        ours, usual, bridge = (median(costs[way], _cpu_us) for way in ways)
        found.append(Figure.cost(name, ours, "µs", usual))
        found.append(Figure.cost(f"{name}_vs_mq_bridge", ours, "µs", bridge))
    return found


def offered(runs: int, say: Say) -> list[Figure]:
    """CPU per message at rates that leave the gateway idle most of the time: what is done per batch shows."""
    found = []
    for said, rate_per_s in OFFERED_PER_S.items():
        warm_up = round(rate_per_s * WARM_UP_S)
        load = Load(warm_up + round(rate_per_s * OFFERED_S), rate_per_s=rate_per_s, warm_up=warm_up)
        name = f"gateway_cpu_us_per_message_{said}_offered"
        costs = in_turn(
            f"{name} µs", {"ours": partial(millstream, load), "stock": partial(stock, load)}, _cpu_us, runs, say
        )
        ours, usual = (median(costs[way], _cpu_us) for way in costs)
        found.append(Figure.cost(name, ours, "µs", usual))
    return found


def throughput(runs: int, say: Say) -> list[Figure]:
    """Messages a second at QoS 1 with one process and with two on disjoint filters; two are held against one."""
    load = Load(MESSAGES)
    ways = {
        "one process": partial(millstream_shared, load, 1),
        "two": partial(millstream_shared, load, 2),
        "stock": partial(stock, Load(BASELINE_MESSAGES)),
    }
    costs = in_turn("gateway_messages_per_s", ways, _per_s, runs, say)
    one, two, usual = (median(costs[way], _per_s) for way in ways)
    return [
        Figure.rate("gateway_messages_per_s_1_process", one, SHARED, usual),
        Figure.rate("gateway_messages_per_s_2_processes", two, SHARED, one),
    ]

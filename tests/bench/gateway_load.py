"""The gateway at full rate and at modest ones, beside the stock client and a bridge with a Rust core."""

from functools import partial

from tests.bench.gateways import Load, millstream, millstream_backlog, mq_bridge, stock, stock_backlog
from tests.bench.measure import Figure
from tests.bench.turns import Say, medians

MESSAGES = 200_000
BRIDGE_MESSAGES = 50_000
BASELINE_MESSAGES = 10_000
# A second's work and more, for all that progress is asked for twenty times a second.
BACKLOG_MESSAGES = 300_000
# Counted for so long, once topics are known and the pace is found.
OFFERED_S = 2.5
WARM_UP_S = 1.5
OFFERED_PER_S = {"1k": 1_000, "10k": 10_000}
SHARED = "messages/s, broker and Kafka on the same cores"


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
        ours, usual, bridge = medians(name, "µs", ways, runs, say)
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
        ways = {"ours": partial(millstream, load), "stock": partial(stock, load)}
        ours, usual = medians(name, "µs", ways, runs, say)
        found.append(Figure.cost(name, ours, "µs", usual))
    return found


def throughput(runs: int, say: Say) -> list[Figure]:
    """Messages a second out of a backlog in the broker, QoS 1, by one process and by two on disjoint filters.

    Two are held against one. On two cores, which broker and Kafka share with them, more than one cannot give much.
    """
    ways = {
        "one process": partial(millstream_backlog, Load(BACKLOG_MESSAGES), 1),
        "two": partial(millstream_backlog, Load(BACKLOG_MESSAGES), 2),
        "stock": partial(stock_backlog, Load(BASELINE_MESSAGES)),
    }
    one, two, usual = medians("gateway_messages_per_s", "messages/s", ways, runs, say)
    return [
        Figure.rate("gateway_messages_per_s_1_process", one, SHARED, usual),
        Figure.rate("gateway_messages_per_s_2_processes", two, SHARED, one),
    ]

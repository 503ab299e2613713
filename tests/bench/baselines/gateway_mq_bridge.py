"""A gateway by way of a bridge with a Rust core: mq-bridge, MQTT in, Kafka out, one record per message.

python -m tests.bench.baselines.gateway_mq_bridge --mqtt host:port --kafka host:port --topic T
    --filter 'f/#' --qos 1

At QoS 1 its PUBACK leaves after Kafka has confirmed, as ours does. It does less: a payload goes through unread, and the
record does not say which MQTT topic it came from (its key is an id of the bridge's own: sensors are not kept together).
"""

import argparse
import signal
from typing import Any

import mq_bridge

from tests.bench.baselines.protocol import announce_ready

# The cheapest of what was tried that keeps the order of messages: its default of 100 costs twice as much.
QUEUE_CAPACITY = 5_000
RECEIVE_MAXIMUM = 65_535


def configuration(options: argparse.Namespace) -> dict[str, Any]:
    """The route, with the bridge's defaults but for what is bounded too narrowly for a comparison."""
    mqtt = {
        "url": f"tcp://{options.mqtt}",
        "topic": options.filter,
        "client_id": "gateway-mq-bridge",
        "qos": options.qos,
        "protocol": "v5",
        "max_inflight": RECEIVE_MAXIMUM,
        "queue_capacity": QUEUE_CAPACITY,
        # Its words for "acknowledge when Kafka has it".
        "delayed_ack": False,
    }
    kafka = {"url": options.kafka, "topic": options.topic, "create_topic": False, "delayed_ack": False}
    return {"input": {"mqtt": mqtt}, "output": {"kafka": kafka}}


def main() -> None:
    parser = argparse.ArgumentParser(description="Forward MQTT messages to Kafka with mq-bridge.")
    parser.add_argument("--mqtt", required=True, metavar="HOST:PORT")
    parser.add_argument("--kafka", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--filter", default="f/#")
    parser.add_argument("--qos", type=int, choices=(0, 1), default=1)
    # Blocked before the bridge starts its threads, so that none of them takes it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    route = mq_bridge.Route.from_config(configuration(parser.parse_args()), "bench")
    route.start()
    announce_ready()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    route.stop()
    route.join()


if __name__ == "__main__":
    main()

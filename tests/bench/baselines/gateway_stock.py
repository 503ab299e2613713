"""A gateway the usual way: paho's network thread, then one decode, one check and one `send` per message.

python -m tests.bench.baselines.gateway_stock --mqtt host:port --kafka host:port --topic T
    --filter 'f/#' --qos 1
"""

import argparse
import asyncio
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import paho.mqtt.client as mqtt
from aiokafka import AIOKafkaProducer
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.bench.baselines.protocol import (
    announce,
    announce_ready,
    cancel,
    report_progress,
    stop_event_on_sigterm,
)

RECEIVE_MAXIMUM = 65_535
SESSION_EXPIRY_S = 3_600
STOP_DEADLINE_S = 10.0
LATEST_TIMESTAMP_MS = 253_402_300_799_000  # the end of the year 9999

# paho does not annotate this constructor.
make_properties: Callable[..., Any] = Properties


@dataclass
class Counts:
    received: int = 0
    rejected: int = 0
    produced: int = 0
    failed: int = 0


def decode(payload: bytes | bytearray) -> tuple[int, float] | None:
    """Timestamp in ms and value, or None when the payload is not a reading."""
    try:
        fields = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(fields, dict):
        return None
    timestamp_ms, value = fields.get("ts"), fields.get("value")
    # JSON's true is an int to isinstance.
    if isinstance(timestamp_ms, bool) or isinstance(value, bool):
        return None
    if not isinstance(timestamp_ms, int) or not 0 < timestamp_ms <= LATEST_TIMESTAMP_MS:
        return None
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return timestamp_ms, float(value)


class StockGateway:
    def __init__(self, client: mqtt.Client, producer: Any, kafka_topic: str) -> None:
        self.counts = Counts()
        self._client = client
        self._producer = producer
        self._kafka_topic = kafka_topic
        self._messages: asyncio.Queue[mqtt.MQTTMessage] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        """Runs in paho's thread. The queue is unbounded; at QoS 1 the Receive Maximum bounds it."""
        self._loop.call_soon_threadsafe(self._messages.put_nowait, message)

    async def forward(self) -> None:
        while True:
            await self._forward_one(await self._messages.get())

    async def _forward_one(self, message: mqtt.MQTTMessage) -> None:
        self.counts.received += 1
        reading = decode(message.payload)
        if reading is None:
            self.counts.rejected += 1
            # Acknowledged all the same: a bad message stays bad however often it is redelivered.
            self._client.ack(message.mid, message.qos)
            return
        timestamp_ms, value = reading
        sensor = message.topic
        record = orjson.dumps({"sensor": sensor, "ts": timestamp_ms, "value": value})
        sent: asyncio.Future[Any] = await self._producer.send(self._kafka_topic, record, key=sensor.encode())
        sent.add_done_callback(lambda done: self._settle(done, message))

    def _settle(self, sent: asyncio.Future[Any], message: mqtt.MQTTMessage) -> None:
        if sent.cancelled() or sent.exception() is not None:
            # Not acknowledged: the broker keeps it and delivers it again to the next session.
            self.counts.failed += 1
            return
        self.counts.produced += 1
        self._client.ack(message.mid, message.qos)


def connect_properties() -> Any:
    properties = make_properties(PacketTypes.CONNECT)
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    properties.SessionExpiryInterval = SESSION_EXPIRY_S
    return properties


async def run(options: argparse.Namespace) -> None:
    stop = stop_event_on_sigterm()
    loop = asyncio.get_running_loop()
    subscribed = asyncio.Event()
    producer = AIOKafkaProducer(bootstrap_servers=options.kafka, acks="all", enable_idempotence=True, linger_ms=20)
    await producer.start()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="gateway-stock", protocol=mqtt.MQTTv5, manual_ack=True)
    gateway = StockGateway(client, producer, options.topic)

    def on_connect(_c: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        if not reason.is_failure:
            client.subscribe(options.filter, qos=options.qos)

    def on_subscribe(_c: mqtt.Client, _u: Any, _mid: int, reasons: list[Any], _p: Any) -> None:
        if not any(reason.is_failure for reason in reasons):
            loop.call_soon_threadsafe(subscribed.set)

    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_message = gateway.on_message
    host, _, port = options.mqtt.rpartition(":")
    client.connect(host, int(port), clean_start=False, properties=connect_properties())
    client.loop_start()
    await subscribed.wait()
    announce_ready()

    forwarding = asyncio.create_task(gateway.forward())
    reporting = asyncio.create_task(report_progress("produced", lambda: gateway.counts.produced))
    stopping = asyncio.create_task(stop.wait())
    # A dead forwarder must end the process: a gateway that only looks alive would hang the harness.
    await asyncio.wait({forwarding, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if forwarding.done():
        forwarding.result()
    await cancel(forwarding, reporting)
    async with asyncio.timeout(STOP_DEADLINE_S):
        await producer.stop()
    client.disconnect()
    client.loop_stop()
    announce(asdict(gateway.counts))


def main() -> None:
    parser = argparse.ArgumentParser(description="Forward MQTT messages to Kafka, one send per message.")
    parser.add_argument("--mqtt", required=True, metavar="HOST:PORT")
    parser.add_argument("--kafka", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--filter", default="f/#")
    parser.add_argument("--qos", type=int, choices=(0, 1), default=1)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()

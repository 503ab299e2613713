"""Row 18: too much of it: the largest packet there is, and what makes a Kafka record larger than allowed.

A payload that is inflated on its way in does not exist: no decoder decompresses anything, MQTT does not, and our
WebSocket offers no compression. (Sparkplug's own way of packing is sent as a bomb in `test_bad_payloads.py`.)
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

import msgspec
import pytest

from tests.bench.raw_publisher import connect, remaining_length
from tests.deployment.logs import read_readings, read_topic
from tests.faults.conftest import Site
from tests.faults.stream import numbers_in_log, reasons_in_quarantine

MIB = 2**20
WAVES = """[[class]]
name = "wave"
match = ["wave/**"]
kind = "waveform"
waveform = { features = ["rms"], keep_raw = true }

"""
WAVE = "in/wave/press-01/vibration"


def publish_zeros(port: int, topic: bytes, size: int) -> None:
    """A PUBLISH of QoS 1 whose payload is that many zeros, made on the way; returns when the broker has it."""
    chunk = memoryview(bytes(MIB))
    with connect("127.0.0.1", port) as connection:
        head = len(topic).to_bytes(2) + topic + b"\0\1"
        connection.sendall(b"\x32" + remaining_length(len(head) + size) + head)
        for at in range(0, size, MIB):
            connection.sendall(chunk[: size - at])
        assert connection.recv(4, socket.MSG_WAITALL) == b"\x40\2\0\1"


def peak_bytes(site: Site) -> int:
    """The most memory that the gateway's process ever had."""
    status = Path(f"/proc/{site.plant.gateway.pid}/status").read_text()
    return 1_024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


@pytest.mark.fault(18)
@pytest.mark.timeout(180)
async def test_the_largest_packet_of_mqtt_leaves_a_stub_in_quarantine_and_no_memory_in_use(site: Site) -> None:
    site.set(MQTT__PORT=str(site.mosquitto.port))  # the tap would hold it whole
    topic = b"factory/demo/assembly/line-01/press-01/huge"
    size = 268_435_455 - 2 - len(topic) - 2 - 1  # MQTT 5 has properties, if only their length
    with site.plant.gateway:
        site.sender.send(100)
        site.wait_metric("messages_acknowledged_total", 100)
        before = peak_bytes(site)
        publish_zeros(site.mosquitto.port, topic, size)
        site.sender.send(100)
        site.wait_metric("messages_acknowledged_total", 201)
        assert site.quarantined() == {"too_large": 1}
        assert peak_bytes(site) - before < 32 * MIB
        site.plant.check_ledger()
        site.plant.gateway.terminate()
        # It was acknowledged: the broker has forgotten it.
        site.plant.gateway.start()
        site.sender.send(1)
        site.wait_metric("messages_acknowledged_total", 1)
        assert site.plant.gateway_metric("messages_received_total") == 1
    (stub,) = await read_topic(site.kafka, f"{site.plant.prefix}.quarantine")
    assert stub.headers["topic"] == topic
    assert stub.value is not None
    assert 0 < len(stub.value) <= 65_536
    assert set(await numbers_in_log(site.kafka, f"{site.plant.prefix}.readings")) == set(range(201))


@pytest.mark.fault(18)
@pytest.mark.timeout(180)
async def test_what_makes_more_than_a_record_is_split_and_a_waveform_that_does_stops_nobody(site: Site) -> None:
    text = '[[route]]\ntopic = "in/{kind}/{machine}/{quantity}"\n\n'
    text += '[[route]]\ntopic = "rows/{machine}"\npath = "rows/{machine}/{field}"\n'
    text += 'options = { values = ["*"] }\n\n'
    site.configure(text, WAVES)
    limit = 131_072
    site.set(KAFKA__TOPICS__WAVEFORMS__NAME=f"{site.plant.prefix}.waveforms")
    site.set(GATEWAY__MAX_PAYLOAD_BYTES=str(16 * MIB), GATEWAY__MAX_RECORD_BYTES=str(limit))
    noise = random.Random(18)
    fields = {f"field-{number:04d}": noise.randbytes(2_000).hex() for number in range(2_000)}
    samples = [noise.random() for _ in range(60_000)]
    small = samples[:1_000]
    with site.plant.gateway:
        site.sender.send_raw(
            [
                ("rows/press-01", msgspec.json.encode(fields)),
                (WAVE, msgspec.json.encode({"value": samples})),
                (WAVE, msgspec.json.encode({"value": small})),
            ]
        )
        site.wait_settled(3, timeout_s=20)
        assert site.quarantined() == {"too_large": 1}
        assert site.plant.gateway_metric("records_produced_total") > len(fields) * 4_000 / limit
    assert await reasons_in_quarantine(site.kafka, f"{site.plant.prefix}.quarantine") == [(WAVE.encode(), "too_large")]
    records = await read_topic(site.kafka, f"{site.plant.prefix}.readings")
    assert max(len(one.value or b"") for one in records) <= limit
    readings = await read_readings(site.kafka, f"{site.plant.prefix}.readings")
    there = {
        sensor: text
        for one in readings
        if one.text is not None
        for sensor, text in zip(one.sensor.decode(), one.text.decode(), strict=True)
        if text is not None
    }
    assert there == {f"rows/press-01/{name}": text for name, text in fields.items()}
    # The features of both waveforms are there, the samples of that which fits into a record.
    assert sum(sensor == "wave/press-01/vibration.rms" for one in readings for sensor in one.sensor.decode()) == 2
    assert len(await read_topic(site.kafka, f"{site.plant.prefix}.waveforms")) == 1

"""Rows 15 and 16: payloads of every format that are no readings, and times that cannot be."""

from __future__ import annotations

import gzip
import random
import time
from collections import Counter
from datetime import UTC, datetime
from math import inf, isfinite, nan

import cbor2
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest.contract.errors import Reason
from ingest.contract.readings import MAX_TS_US, MIN_TS_US, Quality
from ingest.contract.sensors import check_path
from ingest.decoders import DECODERS
from tests.bench.raw_publisher import remaining_length
from tests.conformance.payloads import payloads_of
from tests.conformance.payloads.sparkplug_b import bd_seq, metric, payload
from tests.conformance.test_decoders import HOSTILE
from tests.deployment.logs import read_readings
from tests.faults.conftest import Site
from tests.faults.stream import reasons_in_quarantine
from tests.servers.fixtures import PrometheusFactory
from tests.servers.prometheus import promtool_check_metrics
from tests.servers.waiting import wait_until

GOOD = 60
"""Good messages of each format among the bad ones."""
MIB = 2**20
YEAR_2199_US = 7_258_032_000_000_000

# --- row 15: a value in each format, and the reason for which it is set aside; None: it is a reading ----------------

TEXTS = {
    "json": b'{"value":%b}',
    "kepware": b'{"values":[{"id":"t","v":%b,"q":true}]}',
    "opcua_json": b'{"MessageType":"ua-data","Messages":[{"Payload":{"t":{"Value":%b}}}]}',
    "senml": b'[{"n":"t","v":%b}]',
    "plain": b"%b",
    "influx": b"m v=%b",
}
VALUES: dict[bytes, tuple[str | None, ...]] = {
    b"NaN": ("syntax", "syntax", "syntax", "syntax", "number", "number"),
    b"Infinity": ("syntax", "syntax", "syntax", "syntax", "number", "number"),
    b"-Infinity": ("syntax", "syntax", "syntax", "syntax", "number", "number"),
    b"1e400": ("number",) * 6,
    b"9" * 5_000: ("number",) * 6,
    b"[" * 100_000: ("too_deep", "too_deep", "too_deep", "too_deep", "too_large", "type"),
    b'"\\ud800"': ("syntax", "syntax", "syntax", "syntax", None, None),  # six characters for the last two
    b'"\\u0000"': (None, None, None, "type", None, None),
    b'"12.5"': (None, None, None, "type", None, None),
    b"null": (None, None, None, "type", None, "type"),
    b"true": (None, None, None, "type", None, None),
}
DEEP: object = 1
for _ in range(500):
    DEEP = [DEEP]
OBJECTS: list[tuple[object, str | None]] = [
    (nan, "number"),
    (inf, "number"),
    (-inf, "number"),
    (DEEP, "too_deep"),
    ("x" * 65_536, "too_large"),
    ({"a": 1}, "type"),
    ("\0", None),
    ("12.5", None),
    (None, None),
    (True, None),
]
LONG = "x" * 65_536
LONG_NAMES = {
    "influx": f"m {LONG}=1".encode(),
    "kepware": b'{"values":[{"id":"%b","v":1}]}' % LONG.encode(),
    "opcua_json": b'{"%b":1}' % LONG.encode(),
    "senml": b'[{"n":"%b","v":1}]' % LONG.encode(),
    "sparkplug_b": payload(bd_seq(0), metric(LONG, 1.0), seq=0),
}

# --- row 16: a time in each format, and the µs or the reason that it becomes ----------------------------------------

_S = 1_700_000_000
_ALL_UNITS: dict[int, int | str] = {
    -1: "timestamp",
    0: "timestamp",
    _S: _S * 10**6,
    _S * 1_000: _S * 10**6,
    _S * 10**6: _S * 10**6,
    _S * 10**9: _S * 10**6,
    253_402_300_799: "timestamp",  # the end of the year 9999
    253_402_300_799_000: "timestamp",
    YEAR_2199_US // 1_000: YEAR_2199_US,  # the worker's to judge
}
TIMES: dict[str, dict[int, int | str]] = {
    "json": _ALL_UNITS,
    "cbor": _ALL_UNITS,
    "msgpack": _ALL_UNITS,
    "kepware": _ALL_UNITS,
    "influx": dict.fromkeys(_ALL_UNITS, "timestamp") | {_S * 10**9: _S * 10**6, YEAR_2199_US * 1_000: YEAR_2199_US},
    "senml": {
        _S: _S * 10**6,
        _S * 1_000: "timestamp",
        253_402_300_799: "timestamp",
        YEAR_2199_US // 10**6: YEAR_2199_US,
    },
    "sparkplug_b": {2**64 - 1: "timestamp", _S: "timestamp", _S * 1_000: _S * 10**6, 253_402_300_799_000: "timestamp"},
    "opcua_json": {-1: "timestamp", _S: _S * 10**6, 253_402_300_799: "timestamp", YEAR_2199_US // 10**6: YEAR_2199_US},
}


def timed(decoder: str, value: int, at: int) -> bytes:
    """A payload with a time, in whatever unit `at` is (OPC UA: seconds, written out)."""
    match decoder:
        case "json":
            return b'{"value":%d,"ts":%d}' % (value, at)
        case "kepware":
            return b'{"values":[{"id":"t","v":%d,"t":%d}]}' % (value, at)
        case "influx":
            return b"m v=%d %d" % (value, at)
        case "senml":
            return b'[{"n":"t","v":%d,"t":%d}]' % (value, at)
        case "cbor":
            return cbor2.dumps({"value": value, "ts": at})
        case "msgpack":
            return msgspec.msgpack.encode({"value": value, "ts": at})
        case "sparkplug_b":
            return payload(bd_seq(0), metric("t", float(value), timestamp=at), seq=0, ms=at)
        case "opcua_json":
            text = datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z").encode()
            return b'{"MessageType":"ua-data","Messages":[{"Payload":{"t":{"Value":%d,"SourceTimestamp":"%b"}}}]}' % (
                value,
                text,
            )
    raise ValueError(decoder)


def good(decoder: str, number: int, base_s: int) -> tuple[str, bytes]:
    """The message that says `number`, of a good device, `number` seconds after `base_s`."""
    at_s = base_s + number
    if decoder == "plain":
        return topic_of(decoder, "good"), b"%d" % number
    if decoder == "sparkplug_b":
        body = metric("t", float(number), born=number == 0, timestamp=at_s * 1_000)
        if number == 0:
            return "spBv1.0/G/NBIRTH/good", payload(bd_seq(0), body, seq=0, ms=at_s * 1_000)
        return "spBv1.0/G/NDATA/good", payload(body, seq=number, ms=at_s * 1_000)
    scale = {"influx": 10**9, "senml": 1, "opcua_json": 1}.get(decoder, 1_000)
    return topic_of(decoder, "good"), timed(decoder, number, at_s * scale)


def topic_of(decoder: str, machine: str, quantity: str = "value") -> str:
    return f"in/{decoder}/{machine}/{quantity}" if decoder != "sparkplug_b" else f"spBv1.0/G/NBIRTH/{machine}"


def routes() -> str:
    """One for every decoder; the sensors of a message are below `decoder/machine/`."""
    text = ""
    for name in DECODERS.table:
        if name == "sparkplug_b":
            text += '[[route]]\ntopic = "spBv1.0/{rest...}"\npath = "{field}"\n'
            text += 'decoder = "sparkplug_b"\noptions = { max_nodes = 5000 }\n\n'
            continue
        per_field = DECODERS.create(name, {}).names_fields
        last = "{id}" if name == "kepware" else "{field}" if per_field else "{quantity}"
        text += f'[[route]]\ntopic = "in/{name}/{{machine}}/{{quantity}}"\n'
        text += f'path = "{name}/{{machine}}/{last}"\ndecoder = "{name}"\n\n'
    return text


CLASSES = """[[class]]
name = "good"
match = ["*/good/**"]
windows = ["1h"]
reporting = "periodic"
series = ["value", "mean", "samples"]
models = []

"""


class Sent:
    """Bad messages, each of a machine of its own, so that what became of it can be told; and what should have."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.expected: dict[str, int | str | None] = {}
        """By topic: a reason, a time in µs, or None for a reading of any time. Not there: that is the decoder's."""

    def add(
        self, decoder: str, body: bytes, *expected: int | str | None, kind: str = "NBIRTH", by: str = "bad"
    ) -> None:
        machine = f"{by}-{len(self.messages):04d}"
        topic = topic_of(decoder, machine, "state" if by == "bad" else "value").replace("NBIRTH", kind)
        self.messages.append((topic, body))
        if expected:
            self.expected[topic] = expected[0]


def bad_messages() -> Sent:
    sent = Sent()
    for name in DECODERS.table:
        for body in [*HOSTILE, *payloads_of(name).hostile]:
            sent.add(name, body)
            if name == "sparkplug_b" and len(body) < 10_000:
                for kind in ("NDATA", "NDEATH", "NCMD"):
                    sent.add(name, body, kind=kind)
    for value, reasons in VALUES.items():
        for name, reason in zip(TEXTS, reasons, strict=True):
            sent.add(name, TEXTS[name] % value, reason)
    for one, reason in OBJECTS:
        sent.add("cbor", cbor2.dumps({"value": one}), reason)
        sent.add("msgpack", msgspec.msgpack.encode({"value": one}), reason)
        if isinstance(one, float):
            sent.add("sparkplug_b", payload(bd_seq(0), metric("t", one), seq=0), reason)
    sent.add("cbor", cbor2.dumps({"value": 10**5_000}), "number")
    for name, body in LONG_NAMES.items():
        sent.add(name, body, "name")
    for name, times in TIMES.items():
        for at, becomes in times.items():
            sent.add(name, timed(name, 1, at), becomes, by="clock")
    # Sparkplug's compression, which is not in its specification: nothing unpacks it.
    bomb = gzip.compress(bytes(64 * MIB))
    packed = b"\x22\x12SPBV1.0_COMPRESSED\x2a" + remaining_length(len(bomb)) + bomb
    sent.add("sparkplug_b", packed, "no_birth", kind="NDATA")
    return sent


@pytest.mark.fault(15)
@pytest.mark.fault(16)
@pytest.mark.timeout(180)
async def test_bad_payloads_of_every_format_are_set_aside_and_the_rest_is_undisturbed(
    site: Site, prometheus_factory: PrometheusFactory
) -> None:
    site.configure(routes(), CLASSES)
    site.set(KAFKA__TOPICS__READINGS__PARTITIONS="1")  # one watermark for all of them
    base_s = int(time.time()) - 2 * GOOD
    sent = bad_messages()
    random.Random(15).shuffle(sent.messages)
    usual = [[good(name, number, base_s) for name in DECODERS.table] for number in range(GOOD)]
    step = -(-len(sent.messages) // (GOOD - 2))
    with site.plant.gateway, site.plant.worker:
        site.sender.send_raw(usual[0])
        site.wait_settled(len(DECODERS.table))
        before = site.resident_bytes
        for number in range(1, GOOD - 1):
            site.sender.send_raw(sent.messages[(number - 1) * step : number * step] + usual[number])
            if number == GOOD // 2:
                site.sender.send_raw([(topic_of("json", "good"), timed("json", -1, YEAR_2199_US))])
        site.sender.send_raw(usual[-1])
        count = len(sent.messages) + GOOD * len(DECODERS.table) + 1
        # What nodes are asked comes back to who subscribed to all of their namespace.
        wait_until(
            lambda: site.plant.gateway_metric("messages_received_total") == count + asked(site),
            timeout_s=60,
            what="all received, and no more",
        )
        site.wait_settled(count + asked(site))
        assert site.resident_bytes - before < 96 * MIB
        counted = site.quarantined()
        requests = asked(site)
        dropped = int(site.plant.gateway_metric("messages_dropped_total"))
        produced = int(site.plant.gateway_metric("readings_produced_total"))
        site.plant.wait_folded(produced)
        site.assert_pages_parse()
        for port, path in ((site.plant.worker_port, "/metrics/sensors"), (site.plant.gateway_port, "/metrics")):
            promtool_check_metrics(site.plant.page(port, path))
        windows = good_windows(site)
        future = site.plant.worker_metric("readings_total", verdict="future")
        assert site.plant.gateway.alive
        assert site.plant.worker.alive

    # Every bad message is in quarantine under a known reason, the same in Kafka as in the metric, or has readings that
    # can be, or was counted as one without any.
    aside = await reasons_in_quarantine(site.kafka, f"{site.plant.prefix}.quarantine")
    assert Counter(reason for _, reason in aside) == counted
    reasons = {topic.decode(): reason for topic, reason in aside}
    assert len(reasons) == len(aside)
    assert set(reasons.values()) <= {reason.value for reason in Reason}
    times: dict[str, int] = {}
    values: dict[str, list[float]] = {}
    for one in await read_readings(site.kafka, f"{site.plant.prefix}.readings"):
        texts = one.text.decode() if one.text is not None else [None] * len(one)
        rows = zip(
            one.sensor.decode(), one.ts_us.tolist(), one.value.tolist(), one.quality.tolist(), texts, strict=True
        )
        for sensor, ts_us, value, quality, text in rows:
            assert sensor is not None
            assert check_path(sensor) == sensor
            assert MIN_TS_US <= ts_us < MAX_TS_US
            assert isfinite(value) or text is not None or quality == Quality.BAD
            machine = "/".join(sensor.split("/")[:2])
            times[machine] = ts_us
            if machine.endswith("/good") and ts_us < YEAR_2199_US:
                values.setdefault(machine, []).append(value)
    assert sum(map(len, values.values())) < produced
    machines = {topic: machine_of(topic) for topic, _ in sent.messages}
    nothing = [topic for topic, machine in machines.items() if topic not in reasons and machine not in times]
    assert len(nothing) + requests == dropped
    for topic, expected in sent.expected.items():
        found = reasons.get(topic, times.get(machines[topic]))
        assert found == expected if expected is not None else isinstance(found, int), (topic, found, expected)

    # And the good ones are there, once each, in order; times in the year 2199 beside them have moved no window.
    assert values == {machine_of(topic): list(map(float, range(GOOD))) for topic, _ in usual[0]}
    mean = sum(range(GOOD)) / GOOD
    assert windows.keys() == values.keys()
    for samples, found_mean in windows.values():
        assert samples == GOOD
        assert found_mean == pytest.approx(mean)
    assert future == 1 + sum(becomes == YEAR_2199_US for one in TIMES.values() for becomes in one.values())


def asked(site: Site) -> int:
    return int(site.plant.gateway_metric("requests_total"))


def machine_of(topic: str) -> str:
    parts = topic.split("/")
    return f"{parts[1]}/{parts[2]}" if parts[0] == "in" else f"G/{parts[3]}"


def good_windows(site: Site) -> dict[str, tuple[float, float]]:
    """(readings, mean) in the last hour of each good sensor."""
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(site.plant.page(site.plant.worker_port, "/metrics/sensors")):
        for sample in family.samples:
            if sample.labels.get("window") == "1h":
                found[sample.name.removeprefix("millstream_sensor_"), sample.labels["sensor"]] = sample.value
    return {
        "/".join(sensor.split("/")[:2]): (count, found["mean", sensor])
        for (series, sensor), count in found.items()
        if series == "samples"
    }

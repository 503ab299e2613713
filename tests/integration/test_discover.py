"""`millstream discover` on a real Mosquitto: what it drafts loads, and reads what was said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

import cbor2
import msgspec
import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from deploy.registries import read_settings
from ingest.batcher import Batcher
from ingest.contract.class_settings import ClassSettings
from ingest.contract.classes import ClassTable, Kind, Reporting
from ingest.contract.sensors import TopicPattern
from ingest.contract.settings import Settings
from ingest.decoders import DECODERS
from ingest.decoders.sparkplug.schema import Payload
from ingest.packets import Burst
from ingest.topic_table import Route
from tests.servers.binaries import ServerMissingError
from tests.servers.mosquitto import Mosquitto
from tests.servers.ports import free_port
from tests.servers.processes import Server
from tests.servers.require import require
from tests.servers.waiting import wait_until

COMMAND = [
    sys.executable,
    "-c",
    "import typer; from deploy.commands.discover import discover; typer.run(discover)",
]
Messages = list[tuple[str, bytes]]

FORMATS = {
    "sparkplug_b": "spBv1.0/",
    "senml": "senml/",
    "kepware": "kepware/",
    "opcua_json": "opcua/",
    "influx": "telegraf/",
    "cbor": "cbor/",
    "msgpack": "msgpack/",
}
GARBAGE: Messages = [
    ("cam/1/image", b"\xff\xd8\xff\xe0\x00"),
    ("log/1", b'{"value": '),
    ("report/1", b"<xml/>"),
    ("wave/1", b"[1, 2, 3]"),
]


def readable(turn: int) -> Messages:
    """JSON of three shapes, bare numbers and booleans, as a plant says them in its `turn`."""
    out: Messages = []
    now_s = time.time()
    for at in range(1, 9):
        machine = f"factory/bremen/line-{at % 2 + 1}/press-{at:02d}"
        value = {"ts": round(now_s * 1000), "value": 20.5 + turn % 3 + at}
        out += [(f"{machine}/{what}", json.dumps(value).encode()) for what in ("temperature", "pressure")]
        fields = {"timestamp": now_s, "speed_rpm": 1.5 * turn, "torque": 2.5, "state": ("RUN", "STOP")[turn % 2]}
        out.append((f"cells/cell-{at}/status", json.dumps(fields).encode()))
        meter = {"time": "2026-01-01T00:00:00Z", "reading": 100 + turn, "unit": "kWh", "q": 192}
        out.append((f"energy/meters/meter-{at}", json.dumps(meter).encode()))
        out.append((f"plc/db{at}/level", str(turn * 0.5 + at).encode()))
        out.append((f"doors/hall-{at}/open", (b"true", b"false")[(turn + at) % 2]))
    return out


def binary_and_other(turn: int) -> Messages:
    """The same plant in other formats: two machines each, as their products write them."""
    now_ms, value = round(time.time() * 1_000), 20.5 + turn % 3
    out: Messages = []
    for at in (1, 2):
        senml = [{"bn": f"hall/m{at}/", "n": "temp", "u": "Cel", "v": value}, {"n": "run", "vb": turn % 2 == 0}]
        out.append((f"senml/m{at}", json.dumps(senml).encode()))
        rows = [{"id": f"Ch{at}.Press.temp", "v": value, "q": True, "t": now_ms}]
        out.append((f"kepware/gw{at}", json.dumps({"timestamp": now_ms, "values": rows}).encode()))
        payload = {"Oil": {"Value": value, "SourceTimestamp": "2026-01-01T00:00:00Z"}}
        network = {"MessageType": "ua-data", "Messages": [{"DataSetWriterId": at, "Payload": payload}]}
        out.append((f"opcua/plc{at}", json.dumps(network).encode()))
        out.append((f"telegraf/gw{at}", b"cpu,host=gw%d idle=%f %d" % (at, value, now_ms * 1_000_000)))
        out.append((f"cbor/dev{at}/level", cbor2.dumps({"ts": now_ms, "value": value, "unit": "m"})))
        nested = {"ts": now_ms, "motor": {"temp": value, "rpm": 900.0 + turn}}
        out.append((f"msgpack/dev{at}", msgspec.msgpack.encode(nested)))
        node = Payload(timestamp=now_ms, seq=0)
        node.metrics.add(name="oil/temp", alias=1, datatype=10, double_value=value)
        out.append((f"spBv1.0/Plant/NBIRTH/edge{at}", node.SerializeToString()))
        # Its birth was long ago: nobody who only listens can know what alias 7 is.
        unknown = Payload(timestamp=now_ms, seq=1)
        unknown.metrics.add(alias=7, double_value=value)
        out.append((f"spBv1.0/Plant/NDATA/old{at}", unknown.SerializeToString()))
    return out


class Plant:
    """Publishes a turn every 100 ms, from a thread."""

    def __init__(self, port: int) -> None:
        self._commands: SimpleQueue[str] = SimpleQueue()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _data, message: self._commands.put(message.topic)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe([("spBv1.0/+/NCMD/#", 1), ("spBv1.0/+/DCMD/#", 1)])
        self._stop = Event()
        self._thread = Thread(target=self._play, daemon=True)

    def __enter__(self) -> SimpleQueue[str]:
        """Topics of commands to Sparkplug's nodes."""
        self._thread.start()
        return self._commands

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _play(self) -> None:
        turn = 0
        while not self._stop.wait(0.1):
            for topic, payload in readable(turn) + binary_and_other(turn) + GARBAGE:
                self._client.publish(topic, payload, qos=1)
            turn += 1


def discover(
    *arguments: str | Path, environment: dict[str, str] | None = None, timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **(environment or {})}
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s, check=False, env=environ
    )


def read_by(settings: Settings, messages: Messages) -> set[str]:
    """The topics of messages that the routes in the settings turn into readings."""
    routes = [
        Route(one.topic, TopicPattern.parse(one.topic, one.path), DECODERS.create(one.decoder, one.options))
        for one in settings.route
    ]
    batcher = Batcher.alone(routes, partitions=4, max_sensors=10_000, max_payload_bytes=100_000)
    burst = Burst([topic.encode() for topic, _ in messages], [payload for _, payload in messages], [0] * len(messages))
    batch = batcher.batch(burst, np.full(len(messages), time.time_ns() // 1_000, np.int64))
    return {topic for topic, _ in messages} - {refused.topic.decode() for refused in batch.refused}


def class_of(settings: Settings, sensor: str) -> ClassSettings:
    table = ClassTable(settings.classes)
    return table.classes[table.index_of(sensor)]


def test_a_mixed_plant_is_drafted_and_read(mosquitto: Mosquitto, tmp_path: Path) -> None:
    output = tmp_path / "plant.toml"
    with Plant(mosquitto.port) as commands:
        done = discover(f"mqtt://{mosquitto.address}", "--for", "4s", "-o", output)
    assert done.returncode == 0, done.stderr
    settings = read_settings(output, with_models=True)
    assert settings.mqtt.port == mosquitto.port
    said = readable(7)
    assert len(read_by(settings, said)) >= 0.95 * len({topic for topic, _ in said})
    others = {topic for topic, _ in binary_and_other(7)}
    unborn = {topic for topic in others if "/NDATA/" in topic}
    assert read_by(settings, binary_and_other(7)) == others - unborn
    for decoder, prefix in FORMATS.items():
        assert [one.decoder for one in settings.route if one.topic.startswith(prefix)] == [decoder]
    assert f"reads       {len(readable(7)) + len(others - unborn)} of" in done.stdout
    assert "note        2 of 4 nodes were heard without the births" in done.stdout
    assert "not read    6 topics: 2 × no_birth" in done.stdout
    assert commands.empty()  # nobody was asked for anything
    for topic, _ in GARBAGE:
        assert topic in done.stdout
    assert class_of(settings, "line-1/press-02/temperature").unit == "Cel"
    assert class_of(settings, "cell-1/state").kind is Kind.ENUM
    assert class_of(settings, "hall-1/open").kind is Kind.BOOL
    assert class_of(settings, "meter-1").kind is Kind.COUNTER
    assert class_of(settings, "meter-1").unit == "kW.h"
    assert [one.name for one in tmp_path.iterdir() if one.name.endswith(".draft")] == []


def test_the_simulated_plant_is_drafted(mosquitto: Mosquitto, tmp_path: Path) -> None:
    output, config = tmp_path / "plant.toml", tmp_path / "simulator.toml"
    config.write_text(f'[mqtt]\nport = {mosquitto.port}\n[[route]]\ntopic = "factory/{{rest...}}"\n')
    simulate = [sys.executable, "-m", "deploy", "simulate", "--config", str(config), "--sensors", "400"]
    simulate += ["--period", "200ms", "--fault-every", "0s"]
    simulator = Server("simulator", simulate, directory=tmp_path, ready=lambda: "connected" in simulator.log())
    command = [*COMMAND, f"mqtt://{mosquitto.address}", "--for", "9s", "-o", str(output), "--topic", "factory/#"]
    listening = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        # A state is told when it changes: who wants to hear the first one has to be there before.
        wait_until(lambda: "millstream-discover" in mosquitto.server.log(), timeout_s=30, what="discover connected")
        with simulator:
            said, _ = listening.communicate(timeout=60)
    finally:
        listening.kill()
        listening.wait()
    assert listening.returncode == 0, said
    settings = read_settings(output, with_models=True)
    (route,) = settings.route
    assert route.topic == "factory/demo/{area}/{line}/{machine}/{quantity}"
    assert (route.decoder, route.options) == ("json", {"time_unit": "ms"})
    machine = "assembly/line-01/press-01"
    temperature = class_of(settings, f"{machine}/temperature")
    assert (temperature.kind, temperature.reporting, temperature.unit) == (Kind.GAUGE, None, "Cel")
    assert class_of(settings, f"{machine}/parts").kind is Kind.COUNTER
    assert class_of(settings, f"{machine}/state").kind is Kind.ENUM
    running = class_of(settings, f"{machine}/running")
    assert (running.kind, running.reporting) == (Kind.BOOL, Reporting.ON_CHANGE)
    assert len([line for line in output.read_text().splitlines() if line]) < 50
    assert "(100.0%)" in said


def test_an_interrupt_ends_listening_and_the_draft_is_written(mosquitto: Mosquitto, tmp_path: Path) -> None:
    output = tmp_path / "plant.toml"
    command = [*COMMAND, f"mqtt://{mosquitto.address}", "--for", "1h", "-o", str(output)]
    listening = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        with Plant(mosquitto.port):
            assert listening.stderr is not None
            assert " messages" in listening.stderr.readline()
            listening.send_signal(signal.SIGINT)
            said, _ = listening.communicate(timeout=30)
    finally:
        listening.kill()
        listening.wait()
    assert listening.returncode == 0
    assert "drafted" in said
    assert read_settings(output, with_models=False).route


def test_a_silent_broker_and_one_that_says_only_garbage_leave_no_file(mosquitto: Mosquitto, tmp_path: Path) -> None:
    output = tmp_path / "plant.toml"
    done = discover(f"mqtt://{mosquitto.address}", "--for", "500ms", "-o", output)
    assert (done.returncode, output.exists()) == (1, False)
    assert "heard nothing in" in done.stderr
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()
    for topic, payload in GARBAGE:
        client.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    done = discover(f"mqtt://{mosquitto.address}", "--for", "500ms", "-o", output)
    assert (done.returncode, output.exists()) == (1, False)
    assert "nothing that was heard can be read" in done.stderr
    assert "cam/1/image" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_missing_broker_is_told_at_once(tmp_path: Path) -> None:
    output = tmp_path / "plant.toml"
    port = free_port()
    done = discover(f"mqtt://anna:secret@127.0.0.1:{port}", "--for", "1h", "-o", output)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}: " in done.stderr
    assert "refused" in done.stderr
    assert "secret" not in done.stderr + done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mosquitto]:
    """A Mosquitto that asks for a user and a password: anna, secret."""
    require("mosquitto")
    directory = tmp_path / "guarded"
    directory.mkdir()
    passwords = directory / "passwords"
    # The password is "secret", hashed as Mosquitto wants it: PBKDF2 with SHA-512, 101 rounds.
    passwords.write_text(_hashed("anna", b"secret"))
    passwords.chmod(0o600)
    extra = [f"password_file {passwords}", "allow_anonymous false"]
    with Mosquitto(directory, extra=extra) as broker:
        yield broker


def _hashed(user: str, password: bytes) -> str:
    from base64 import b64encode
    from hashlib import pbkdf2_hmac

    salt = b"123456789012"
    digest = pbkdf2_hmac("sha512", password, salt, 101)
    return f"{user}:$7$101${b64encode(salt).decode()}${b64encode(digest).decode()}\n"


@pytest.mark.real
def test_wrong_credentials_are_told_and_right_ones_are_not_written(guarded: Mosquitto, tmp_path: Path) -> None:
    output = tmp_path / "plant.toml"
    done = discover(f"mqtt://anna:wrong@{guarded.address}", "--for", "1h", "-o", output)
    assert (done.returncode, output.exists()) == (1, False)
    assert "uthori" in done.stderr
    assert "wrong" not in done.stderr
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set("anna", "secret")
    client.connect(guarded.host, guarded.port)
    client.loop_start()
    client.publish("plant/m1/temp", b"21.5", qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    password = {"MILLSTREAM__MQTT__PASSWORD": "secret"}
    for address, environment in ((f"anna:secret@{guarded.address}", {}), (f"anna@{guarded.address}", password)):
        done = discover(f"mqtt://{address}", "--for", "1s", "-o", output, "--force", environment=environment)
        assert done.returncode == 0, done.stderr
        assert 'username = "anna"' in output.read_text()
        assert "secret" not in output.read_text() + done.stdout + done.stderr


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[tuple[Mosquitto, Path]]:
    """A Mosquitto that speaks TLS, and its certificate."""
    require("mosquitto")
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    try:
        subprocess.run([*make.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        require(ServerMissingError("needs openssl: apt-get install openssl"))
    extra = [f"cafile {certificate}", f"certfile {certificate}", f"keyfile {key}"]
    with Mosquitto(tmp_path / "encrypted", extra=extra) as broker:
        yield broker, certificate


@pytest.mark.real
def test_tls_where_there_is_none_and_none_where_there_is(
    encrypted: tuple[Mosquitto, Path], mosquitto: Mosquitto, tmp_path: Path
) -> None:
    broker, certificate = encrypted
    output = tmp_path / "plant.toml"
    for address, hint in (
        (f"mqtt://{broker.address}", "That is mqtts://"),
        (f"mqtts://{mosquitto.address}", "does the broker speak TLS on this port?"),
        (f"mqtts://{broker.address}", "--ca-file names the one that signed it"),
    ):
        done = discover(address, "--for", "1h", "-o", output)
        assert (done.returncode, output.exists()) == (1, False)
        assert hint in done.stderr
        assert "Traceback" not in done.stderr
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.tls_set(str(certificate))
    client.connect(broker.host, broker.port)
    client.loop_start()
    client.publish("plant/m1/temp", b"21.5", qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    done = discover(f"mqtts://{broker.address}", "--for", "1s", "-o", output, "--ca-file", certificate)
    assert done.returncode == 0, done.stderr
    settings = read_settings(output, with_models=False)
    assert (settings.mqtt.tls.enabled, settings.mqtt.tls.ca_file) == (True, str(certificate))


@pytest.mark.real
def test_a_broker_is_heard_over_websocket(tmp_path: Path) -> None:
    require("mosquitto")
    output = tmp_path / "plant.toml"
    with Mosquitto(tmp_path / "web", websockets=True) as broker:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.connect(broker.host, broker.port)
        client.loop_start()
        client.publish("plant/m1/temp", b"21.5", qos=1, retain=True).wait_for_publish(10)
        client.disconnect()
        client.loop_stop()
        done = discover(f"ws://{broker.host}:{broker.websockets_port}/mqtt", "--for", "500ms", "-o", output)
    assert done.returncode == 0, done.stderr
    settings = read_settings(output, with_models=False)
    assert (settings.mqtt.transport, settings.mqtt.port) == ("websockets", broker.websockets_port)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["http://h"], "there is no http:// here"),
        (["mqtt://h", "--for", "60"], "--for: a duration is a number with a unit"),
        (["mqtt://h", "--for", "0s"], "--for: between a moment and 7d"),
        (["mqtt://h", "--topic", "a/#/b"], "--topic a/#/b: + and # stand for whole levels"),
        (["mqtt://h", "--topic", "$SYS/#"], "what the broker says of itself"),
        (["mqtt://h", "-o", "nowhere/plant.toml"], "cannot be written there"),
        (["mqtt://h", "-o", "plant.toml"], "exists already; --force overwrites it"),
        (["mqtt://h", "--max-topics", "0"], "Invalid value"),
        ([], "Missing argument"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_done(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plant.toml").write_text("# mine\n")
    done = discover(*(arguments if "-o" in arguments else [*arguments, "-o", "new.toml"]))
    assert done.returncode == 2
    assert said in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["plant.toml"]
    assert (tmp_path / "plant.toml").read_text() == "# mine\n"


def test_help_has_an_example() -> None:
    done = discover("--help")
    assert done.returncode == 0
    assert "Example: millstream discover mqtt://broker.plant.example --for 60s -o" in " ".join(done.stdout.split())

"""`millstream up`: simulator, gateway and worker on embedded brokers, as processes, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

import aiohttp
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client.parser import text_string_to_metric_families

from deploy.daemons import until_signal
from deploy.embedded import MOCK_PARTITIONS, Brokers, embedded_brokers, free_port
from ingest.contract.errors import StopError

_ALERTS = "millstream.alerts"
_REPORT_S = 2.0
_STOP_S = 15.0
# So much of the past is played at once, so that the models are warm from the start.
_HISTORY = "4m"

Say = Callable[[str], None]


class _Child:
    """One of our own commands as a process; its log goes to a file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @classmethod
    async def start(cls, folder: Path, env: dict[str, str], name: str, *arguments: str) -> _Child:
        log = folder / f"{name}.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "deploy", name, *arguments, env=env, stdout=out, stderr=out
            )
        return cls(name, process, log)

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), _STOP_S)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()

    def check(self) -> None:
        if self.process.returncode is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
            raise StopError(f"{self.name} ended with exit code {self.process.returncode}; its last words:\n{tail}")


async def run_local(*, sensors: int, seed: int, fault_every_s: float, duration_s: float | None, say: Say) -> None:
    """Run until a signal or the end of `duration_s`. Raises StopError."""
    with tempfile.TemporaryDirectory(prefix="millstream-") as name, embedded_brokers() as brokers:
        folder = Path(name)
        ports = {"gateway": free_port(9101), "worker": free_port(9102)}
        say(f"mqtt        127.0.0.1:{brokers.mqtt_port} (embedded)")
        say(f"kafka       {brokers.kafka} (embedded)")
        with as_file(files("deploy") / "plants" / "demo.toml") as config:
            env = _environment(brokers, ports)
            children: list[_Child] = []
            try:
                for part in ("gateway", "worker"):
                    say(f"{part:<11} http://127.0.0.1:{ports[part]}/metrics")
                    children.append(await _Child.start(folder, env, part, "--config", str(config)))
                say(f"sensors     http://127.0.0.1:{ports['worker']}/metrics/sensors")
                play = _play(children, folder, env, config, ports, brokers, sensors, seed, fault_every_s, say)
                if duration_s is not None:
                    play = _for_a_while(play, duration_s)
                await until_signal(play)
            finally:
                say("stopping …")
                # Upstream first, so that each one's last words still reach the next.
                for child in reversed(children[2:]):
                    await child.stop()
                for child in children[:2]:
                    await child.stop()
    say("stopped")


async def _for_a_while(work: object, duration_s: float) -> None:
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    try:
        await asyncio.wait([task], timeout=duration_s)
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _environment(brokers: Brokers, ports: dict[str, int]) -> dict[str, str]:
    settings = {
        "MQTT__HOST": "127.0.0.1",
        "MQTT__PORT": str(brokers.mqtt_port),
        # The embedded broker speaks 3.1.1 only; no need to find that out each time.
        "MQTT__PROTOCOL": "3.1.1",
        "KAFKA__BOOTSTRAP": brokers.kafka,
        "KAFKA__TOPICS__READINGS__PARTITIONS": str(MOCK_PARTITIONS),
        "GATEWAY__HTTP": f"127.0.0.1:{ports['gateway']}",
        "WORKER__HTTP": f"127.0.0.1:{ports['worker']}",
    }
    return {**os.environ, **{f"MILLSTREAM__{name}": value for name, value in settings.items()}}


async def _play(
    children: list[_Child],
    folder: Path,
    env: dict[str, str],
    config: Path,
    ports: dict[str, int],
    brokers: Brokers,
    sensors: int,
    seed: int,
    fault_every_s: float,
    say: Say,
) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        for part in ("gateway", "worker"):
            await _until_ready(http, part, ports[part], children, say)
        arguments = [
            *("--config", str(config), "--sensors", str(sensors), "--seed", str(seed)),
            *("--fault-every", f"{fault_every_s}s", "--history", _HISTORY, "--truth", str(folder / "truth.csv")),
        ]
        children.append(await _Child.start(folder, env, "simulate", *arguments))
        say(f"simulator   {sensors} sensors, a fault every {fault_every_s:g} s or so; Ctrl-C to stop")
        async with asyncio.TaskGroup() as group:
            group.create_task(_print_alerts(brokers.kafka, say))
            group.create_task(_print_rates(http, ports, children, say))


async def _until_ready(http: aiohttp.ClientSession, part: str, port: int, children: list[_Child], say: Say) -> None:
    said = ""
    while True:
        for child in children:
            child.check()
        try:
            async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                if answer.status == 200:
                    return
                waiting = (await answer.text()).strip()
        except aiohttp.ClientError:
            waiting = "starting"
        if waiting != said:
            said = waiting
            say(f"{part:<11} {waiting} …")
        await asyncio.sleep(0.2)


async def _print_alerts(kafka: str, say: Say) -> None:
    """Read the alerts topic as any consumer would."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(_ALERTS, number) for number in range(MOCK_PARTITIONS)])
        async for record in consumer:
            alert = msgspec.json.decode(record.value)
            say(
                f"alert       {alert['phase']:<9}{alert['sensor']}  value {alert['value']:.4g}"
                f"  score {alert['score']:.2f}  ({alert['model'] or alert['rule']})"
            )
    except KafkaError as error:
        raise StopError(f"the alerts topic cannot be read: {error}") from error
    finally:
        await consumer.stop()


async def _print_rates(http: aiohttp.ClientSession, ports: dict[str, int], children: list[_Child], say: Say) -> None:
    before: dict[str, float] = {}
    while True:
        await asyncio.sleep(_REPORT_S)
        for child in children:
            child.check()
        now: dict[str, float] = {}
        for part in ("gateway", "worker"):
            async with http.get(f"http://127.0.0.1:{ports[part]}/metrics") as answer:
                now |= _sums(await answer.text())
        if before:
            received, produced, folded = (
                (now[name] - before[name]) / _REPORT_S
                for name in (
                    "millstream_gateway_messages_received_total",
                    "millstream_gateway_readings_produced_total",
                    "millstream_worker_readings_total",
                )
            )
            say(
                f"rates       received {received:,.0f}/s  produced {produced:,.0f}/s  folded {folded:,.0f}/s  "
                f"in flight {now['millstream_gateway_messages_in_flight']:.0f}  "
                f"sensors {now['millstream_worker_sensors']:.0f}  "
                f"folded in all {now['millstream_worker_readings_total']:,.0f}"
            )
        before = now


def _sums(text: str) -> dict[str, float]:
    """Each metric's sum over its labels."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums

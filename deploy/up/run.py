"""The run itself: start in order, watch, stop in order, draw the balance."""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import aiohttp

from deploy.daemons import until_signal
from deploy.embedded import MOCK_PARTITIONS, embedded_brokers, free_port
from deploy.registries import read_settings
from deploy.up.alerts import Alerts
from deploy.up.balance import Balance, balance, read_truth
from deploy.up.children import Child
from deploy.up.figures import Reader
from deploy.up.receiver import Receiver
from deploy.up.view import View
from ingest.contract.clock import SystemClock
from ingest.contract.http import split_endpoint
from ingest.contract.settings import Settings
from stream.notify.signing import new_secret

_SHOW_S = 2.0
_FIRST_TIME = "the first time, kernels are compiled, which takes minutes"
_READY_POLL_S = 0.2
# How long what is under way may take to arrive, once the simulator has stopped.
_SETTLE_S = 15.0
# So much of the past is played at once, so that the models are warm from the start.
_HISTORY = "4m"
_SENT = re.compile(r"^(\d+) messages sent, (\d+) not confirmed", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    config: settings; None for the demonstration plant. simulator: play a plant on embedded brokers; otherwise the
    brokers are those of the settings. report: where to write the balance as JSON.
    """

    config: Path | None = None
    simulator: bool = True
    sensors: int = 200
    seed: int = 1
    rate_per_s: float | None = None
    fault_every_s: float = 10.0
    duration_s: float | None = None
    report: Path | None = None


class Run:
    """One `millstream up`."""

    def __init__(self, plan: Plan, view: View) -> None:
        self._plan = plan
        self._view = view
        self._clock = SystemClock()
        self._children: list[Child] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._simulator: Child | None = None
        self._ready = False

    async def run(self) -> Balance:
        """Until a signal or the end of the duration. Raises StopError or SettingsError."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="millstream-")))
            config = self._plan.config or stack.enter_context(as_file(files("deploy") / "plants" / "demo.toml"))
            secret = new_secret()
            receiver = Receiver(secret, self._view.say)
            async with AsyncExitStack() as later:
                url = await later.enter_async_context(receiver.serve())
                settings, environment = self._settings(config, folder, url, secret, stack)
                timeout = aiohttp.ClientTimeout(total=10)
                http = await later.enter_async_context(aiohttp.ClientSession(timeout=timeout))
                return await self._with(folder, config, settings, environment, http, receiver)

    def _settings(
        self, config: Path, folder: Path, receiver: str, secret: str, stack: ExitStack
    ) -> tuple[Settings, dict[str, str]]:
        """The settings as the daemons will see them, and the environment that makes them so."""
        own = read_settings(config, with_models=True)
        changes = {
            "GATEWAY__HTTP": f"127.0.0.1:{free_port(split_endpoint(own.gateway.http)[1])}",
            "WORKER__HTTP": f"127.0.0.1:{free_port(split_endpoint(own.worker.http)[1])}",
            "NOTIFIER__HTTP": f"127.0.0.1:{free_port(split_endpoint(own.notifier.http)[1])}",
        }
        if self._plan.simulator:
            brokers = stack.enter_context(embedded_brokers())
            changes |= {
                "MQTT__HOST": "127.0.0.1",
                "MQTT__PORT": str(brokers.mqtt_port),
                # The embedded broker speaks 3.1.1 only; no need to find that out each time.
                "MQTT__PROTOCOL": "3.1.1",
                "KAFKA__BOOTSTRAP": brokers.kafka,
                "KAFKA__TOPICS__READINGS__PARTITIONS": str(MOCK_PARTITIONS),
                "GATEWAY__STATE_DIR": str(folder),
                "WORKER__STATE_DIR": str(folder),
                "NOTIFIER__STATE_DIR": str(folder),
                "NOTIFIER__START": "earliest",
                "WEBHOOK": json.dumps([{"name": "here", "url": receiver, "secret": secret, "allow_private": True}]),
            }
        environment = {**os.environ, **{f"MILLSTREAM__{name}": value for name, value in changes.items()}}
        return read_settings(config, with_models=True, environ=environment), environment

    async def _with(
        self,
        folder: Path,
        config: Path,
        settings: Settings,
        environment: Mapping[str, str],
        http: aiohttp.ClientSession,
        receiver: Receiver,
    ) -> Balance:
        started_s = self._clock.monotonic_s()
        endpoints = {
            "gateway": settings.gateway.http,
            "worker": settings.worker.http,
            "notifier": settings.notifier.http,
        }
        ports = {part: split_endpoint(endpoint)[1] for part, endpoint in endpoints.items()}
        reader = Reader(http, ports)
        alerts = Alerts(settings.kafka, self._view.say)
        truth = folder / "truth.csv"
        embedded = " (embedded)" if self._plan.simulator else ""
        brokers = ", ".join(f"{one.host}:{one.port}" for one in settings.brokers)
        self._view.head(f"mqtt        {brokers}{embedded}")
        self._view.head(f"kafka       {','.join(settings.kafka.bootstrap)}{embedded}")
        for part, port in ports.items():
            self._view.head(f"{part:<11} http://127.0.0.1:{port}/metrics")
        self._view.head(f"sensors     http://127.0.0.1:{ports['worker']}/metrics/sensors")

        async def work() -> None:
            for part in ports:
                await self._start(Child(part, folder, environment, "--config", str(config)))
            for part in ports:
                await self._until_ready(reader, part)
            self._ready = True
            following = asyncio.create_task(alerts.follow())
            self._watchers.append(following)
            if self._plan.simulator:
                await self._start_simulator(folder, environment, config, truth)
            while True:
                self._view.show(await reader.read(), alerts.open.values(), self._clock.monotonic_s())
                await asyncio.sleep(_SHOW_S)

        try:
            await until_signal(_for(work(), self._plan.duration_s))
        finally:
            self._view.say("stopping …" if self._ready else f"stopping before all of it had started: {_FIRST_TIME} …")
            if self._simulator is not None:
                await self._simulator.stop()
                await self._settle(reader, self._sent())
            seconds = self._clock.monotonic_s() - started_s
            figures = await reader.read()
            for watcher in self._watchers:
                watcher.cancel()
            await asyncio.gather(*self._watchers, return_exceptions=True)
            for child in self._children:
                await child.stop()
        return balance(
            figures,
            sent=self._sent(),
            truth=read_truth(truth),
            fired=alerts.fired.values(),
            until_us=self._clock.now_us(),
            webhooks_delivered=receiver.delivered,
            restarts=sum(child.restarts for child in self._children),
            seconds=seconds,
        )

    async def _start(self, child: Child) -> None:
        await child.start()
        self._children.append(child)
        self._watchers.append(asyncio.create_task(child.watch(self._view.say)))

    async def _until_ready(self, reader: Reader, part: str) -> None:
        said = ""
        while waiting := await reader.ready(part):
            if waiting != said:
                said = waiting
                self._view.say(f"{part:<11} {waiting} …")
            await asyncio.sleep(_READY_POLL_S)

    async def _start_simulator(self, folder: Path, environment: Mapping[str, str], config: Path, truth: Path) -> None:
        plan = self._plan
        # Each machine of eight sensors sends some five messages a period.
        period_s = 1.0 if plan.rate_per_s is None else max(0.001, plan.sensors * 0.64 / plan.rate_per_s)
        child = Child(
            "simulate",
            folder,
            environment,
            *("--config", str(config), "--sensors", str(plan.sensors), "--seed", str(plan.seed)),
            *("--period", f"{period_s * 1000:.0f}ms", "--fault-every", f"{plan.fault_every_s}s"),
            *("--history", _HISTORY, "--truth", str(truth)),
            once=True,
        )
        self._simulator = child
        await self._start(child)
        self._view.say(
            f"simulator   {plan.sensors} sensors, a fault every {plan.fault_every_s:g} s or so; Ctrl-C to stop"
        )

    async def _settle(self, reader: Reader, sent: int | None) -> None:
        """Until all that was sent has been folded, or it takes too long."""
        until_s = self._clock.monotonic_s() + _SETTLE_S
        while self._clock.monotonic_s() < until_s:
            figures = await reader.read()
            done = (
                figures.in_flight == 0
                and figures.deliveries_pending == 0
                and figures.folded + figures.gated >= figures.readings_produced
            )
            if done and figures.received >= (sent or 0):
                return
            await asyncio.sleep(_READY_POLL_S)

    def _sent(self) -> int | None:
        """What the simulator said that the broker has confirmed."""
        if self._simulator is None:
            return None
        found = _SENT.findall(self._simulator.log.read_text(errors="replace"))
        return sum(int(sent) - int(unconfirmed) for sent, unconfirmed in found)


async def _for(work: object, duration_s: float | None) -> None:
    """Run for a while, or to the end."""
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    try:
        await asyncio.wait([task], timeout=duration_s)
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def lines_of(found: Balance) -> list[str]:
    """The balance for a person."""
    sent = "" if found.sent is None else f"sent {found.sent:,}  "
    empty = f"without readings {found.empty:,}  " if found.empty else ""
    lines = [
        f"balance     {sent}received {found.received:,}  produced {found.produced:,}  folded {found.folded:,}  "
        f"{empty}quarantined {found.quarantined:,}  gated {found.dropped:,}  in flight {found.in_flight:,}: "
        + ("balanced" if found.balanced else "NOT BALANCED"),
    ]
    if found.webhooks_delivered:
        lines.append(f"webhooks    {found.webhooks_delivered:,} delivered")
    if found.faults:
        kinds = ", ".join(
            f"{kind} {alerted} of {injected}" for kind, (injected, alerted) in sorted(found.faults.items())
        )
        lines.append(f"faults      alerted {found.faults_alerted} of {found.faults_injected}: {kinds}")
    return lines


def write_report(found: Balance, path: Path) -> None:
    """As JSON; whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_text(json.dumps(found.as_json(), indent=2) + "\n", encoding="utf-8")
    draft.replace(path)

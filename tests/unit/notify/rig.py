"""What the notifier's tests share: alerts as the worker writes them, a clock, an outbox, a receiver."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from standardwebhooks import Webhook

from ingest.contract.notifier_settings import NotifierSettings, WebhookSettings
from stream.effects import Description, alert_record, digest_records
from stream.fold.alerts import Phase, Transition
from stream.fold.backlog import Digest, Episode
from stream.notify.alert import AlertRecord
from stream.notify.intake import Intake
from stream.notify.outbox import Outbox

NOW_US = 1_750_000_000_000_000
S_US = 1_000_000
HOUR_US = 3_600 * S_US
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD_SECRET = "whsec_b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQt"


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.wall_us = NOW_US
        self.at_s = 0.0

    def now_us(self) -> int:
        return self.wall_us

    def monotonic_s(self) -> float:
        return self.at_s


def webhook(name: str = "one", url: str = "http://127.0.0.1:9/hook", **other: Any) -> WebhookSettings:
    return WebhookSettings.model_validate({"name": name, "url": url, "secret": SECRET, "allow_private": True, **other})


def notifier(**settings: Any) -> NotifierSettings:
    return NotifierSettings.model_validate(settings)


def transition(alert: str = "a1", phase: Phase = Phase.FIRING, **other: Any) -> Transition:
    values: dict[str, Any] = {
        "id": alert,
        "phase": phase,
        "sensor": "bremen/line-01/press-02/temperature",
        "rule": "anomaly",
        "revision": "r1",
        "severity": "warning",
        "at_us": NOW_US - S_US,
        "since_us": NOW_US - 2 * S_US,
        "value": 81.5,
        "score": 1.25,
        "model": "ewma_z",
    }
    return Transition(**{**values, **other})


def missed(number: int = 1, sensor: str = "bremen/line-01/press-02/temperature", severity: str = "warning") -> Episode:
    """An episode that was over before anybody was told."""
    since_us = NOW_US - HOUR_US + number * S_US
    return Episode(-1.5, since_us, since_us + S_US, f"m{number}", sensor, "anomaly", severity)


class Topic:
    """One partition of an alerts topic."""

    def __init__(self, partition: int = 0) -> None:
        self.partition = partition
        self.records: list[AlertRecord] = []

    def add(
        self,
        alert: str = "a1",
        phase: Phase = Phase.FIRING,
        *,
        generation: int = 1,
        of: int = 0,
        written_us: int = NOW_US,
        extra: dict[str, Any] | None = None,
        headers: dict[str, bytes] | None = None,
        **other: Any,
    ) -> AlertRecord:
        """A transition as the worker publishes it; extra: fields that newer workers add."""
        what = Description({"site": "bremen"}, "", "", "default", armed=True)
        out = alert_record(
            transition(alert, phase, **other), what, partition=of, generation=generation, group="worker", offset=0
        )
        assert out.value is not None
        value = msgspec.json.encode({**msgspec.json.decode(out.value), **(extra or {})})
        return self.put(value, {**dict(out.headers), **(headers or {})}, written_us)

    def add_digest(self, *missed: Episode, digest: str = "d1", more: int = 0, generation: int = 1) -> AlertRecord:
        """What came and went at a site, as the worker publishes it."""

        def describe(_: str) -> Description:
            return Description({"site": "bremen"}, "Presse", "", "default", armed=True)

        [(_, out)] = digest_records(
            Digest(digest, "bremen", NOW_US - S_US, missed, more), describe, others_armed=True,
            partition=0, generation=generation, group="worker", offset=0, alerts_partitions=1,
        )  # fmt: skip
        return self.put(out.value, dict(out.headers))

    def put(self, value: bytes | None, headers: dict[str, bytes], written_us: int = NOW_US) -> AlertRecord:
        record = AlertRecord(self.partition, len(self.records), written_us, tuple(headers.items()), value)
        self.records.append(record)
        return record


class Taking:
    """An intake and its outbox."""

    def __init__(self, directory: Path, *webhooks: WebhookSettings, **settings: Any) -> None:
        self.settings = notifier(**settings)
        self.path = directory / "outbox.sqlite3"
        self.outbox = Outbox(self.path)
        self.intake = Intake(self.settings, webhooks or (webhook(),), self.outbox)
        self.names = [one.name for one in webhooks or (webhook(),)]

    def due(self, name: str = "one", now_us: int = NOW_US) -> list[tuple[str, str]]:
        """What is to be sent now."""
        rows, _ = self.outbox.due(name, now_us, now_us + HOUR_US, 100, ())
        return [(row.alert, row.phase) for row in rows]

    def all(self, name: str = "one") -> list[tuple[str, str]]:
        """Everything that waits, in the order in which it would be sent if all were delivered."""
        found: list[tuple[str, str]] = []
        while rows := self.outbox.due(name, NOW_US, NOW_US + HOUR_US, 100, ())[0]:
            found += [(row.alert, row.phase) for row in rows]
            self.outbox.done([row.seq for row in rows], NOW_US)
        return found


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """A local HTTP server that verifies what it gets with the official library and answers as `answers` says.

    answers: status codes or handlers, used up in order; then 204.
    """

    def __init__(self, *answers: int | Handler, secret: str = SECRET) -> None:
        self.answers = list(answers)
        self.secret = secret
        self.got: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.busy = 0
        self.most_at_once = 0
        self._changed = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.busy += 1
        self.most_at_once = max(self.most_at_once, self.busy)
        try:
            body, headers = await request.read(), dict(request.headers)
            self.got.append(Webhook(self.secret).verify(body, headers))
            self.bodies.append(body)
            self.headers.append(headers)
            self.ids.append(headers["webhook-id"])
            self._changed.set()
            answer = self.answers.pop(0) if self.answers else 204
            return web.Response(status=answer) if isinstance(answer, int) else await answer(request)
        finally:
            self.busy -= 1
            self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a request made it true."""
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Its URL."""
        app = web.Application()
        app.router.add_post("/hook", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}/hook"
        finally:
            await runner.cleanup()

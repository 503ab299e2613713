"""A webhook receiver as anybody would write one: verifies the signature, answers, and prints what it was told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from deploy.up.children import Say

_MAX_BODY_BYTES = 65_536


class Receiver:
    """Counts deliveries by their id: one that comes twice is one."""

    def __init__(self, secret: str, say: Say) -> None:
        self._webhook = Webhook(secret)
        self._say = say
        self._seen: set[str] = set()

    @property
    def delivered(self) -> int:
        """Different deliveries that were signed right."""
        return len(self._seen)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Listen on a free port of loopback; yields the URL."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_post("/", self._take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.text()
        try:
            self._webhook.verify(body, dict(request.headers))
        except WebhookVerificationError as error:
            self._say(f"webhook     refused: {error}")
            return web.Response(status=401)
        who = request.headers["webhook-id"]
        if who not in self._seen:
            self._seen.add(who)
            told = json.loads(body)
            self._say(f"webhook     {told['type']:<15}{told['data']['sensor']}  signed, {len(body)} bytes")
        return web.Response(status=204)

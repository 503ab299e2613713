"""A receiver of webhooks as a process of its own, which verifies each with the official library.

    python receiver.py PORT SECRET OLD_SECRET FILE

Appends a line of JSON to FILE for each request: endpoint, webhook id, status. /good accepts, /old accepts what the old
secret signed, /flaky fails every third request and takes it the next time, /hang never answers. Paths end in a token.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

_LATENCY_S = 0.004


class Receiver:
    def __init__(self, secret: str, old_secret: str, log: Path) -> None:
        self._keys = {"old": Webhook(old_secret)}
        self._key = Webhook(secret)
        self._log = log.open("a", buffering=1)
        self._requests = 0

    async def receive(self, request: web.Request) -> web.Response:
        endpoint, body = request.match_info["endpoint"], await request.read()
        status, got = 204, None
        try:
            got = self._keys.get(endpoint, self._key).verify(body, dict(request.headers))
        except WebhookVerificationError as error:
            status, got = 401, str(error)
        self._requests += 1
        if endpoint == "flaky" and self._requests % 3 == 0:
            status = 500
        line = {"endpoint": endpoint, "id": request.headers.get("webhook-id"), "status": status, "got": got}
        if endpoint == "hang":
            self._log.write(json.dumps({**line, "status": 0}) + "\n")
            await asyncio.Event().wait()
        await asyncio.sleep(_LATENCY_S)
        # Accepted is what was about to be answered: whether the answer arrives is the network's business.
        self._log.write(json.dumps(line) + "\n")
        return web.Response(status=status)


def main() -> None:
    port, secret, old_secret, log = sys.argv[1:]
    app = web.Application()
    app.router.add_post("/{endpoint}/{token}", Receiver(secret, old_secret, Path(log)).receive)
    web.run_app(app, host="127.0.0.1", port=int(port), access_log=None, print=None, shutdown_timeout=0.1)


if __name__ == "__main__":
    main()

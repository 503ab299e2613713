"""The small HTTP server of every daemon: its metrics, its health, its readiness.

Loopback unless the settings say otherwise. Requests are bounded: no bodies, short headers, a time limit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from ingest.contract.errors import StopError
from ingest.contract.observe import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Page = Callable[[], bytes | Awaitable[bytes]]
Complaints = Callable[[], list[str]]


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Host and port.

    >>> split_endpoint("[::1]:9101")
    ('::1', 9101)
    """
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


@asynccontextmanager
async def serve(
    endpoint: str, pages: Mapping[str, Page], unhealthy: Complaints, unready: Complaints
) -> AsyncIterator[str]:
    """Serve `pages` (text format metrics), `/healthz` and `/readyz`; yields the URL.

    unhealthy, unready: what is wrong now, one line each; an empty list is a 200. A port of 0 takes a free one.
    Raises StopError when the address cannot be bound.
    """
    app = web.Application(client_max_size=1024)
    for path, page in pages.items():
        app.router.add_get(path, _page(page))
    app.router.add_get("/healthz", _probe(unhealthy))
    app.router.add_get("/readyz", _probe(unready))
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=30)
    await runner.setup()
    host, port = split_endpoint(endpoint)
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise StopError(
            f"cannot listen on {endpoint}: {error.strerror or error}; set another `http` address"
        ) from error
    try:
        bound = runner.addresses[0][1]
        yield f"http://{'[' + host + ']' if ':' in host else host}:{bound}"
    finally:
        await runner.cleanup()


def _page(page: Page) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        body = page()
        content = body if isinstance(body, bytes) else await body
        return web.Response(body=content, headers={"Content-Type": CONTENT_TYPE})

    return answer


def _probe(complaints: Complaints) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        wrong = complaints()
        return web.Response(text="\n".join(wrong or ["ok"]) + "\n", status=503 if wrong else 200)

    return answer

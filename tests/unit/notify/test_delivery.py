"""One attempt, against a local receiver that verifies with the official library."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from ingest.contract.clock import SystemClock
from stream.notify.delivery import Answer, Outcome, Poster
from tests.unit.notify.rig import SECRET, Receiver, webhook

BODY = b'{"type":"alert.firing"}'


async def post(url: str, **settings: Any) -> Answer:
    async with Poster(webhook(url=url, **settings), SystemClock(), 4) as poster:
        return await poster.post("a1_firing", BODY)


async def post_to(receiver: Receiver, **settings: Any) -> Answer:
    async with receiver.serving() as url:
        return await post(url, **settings)


@asynccontextmanager
async def raw_server(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The URL of a server that is none of HTTP's."""
    handling: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.append(asyncio.create_task(handle(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
        await asyncio.gather(*handling)


async def test_delivered_and_verified() -> None:
    receiver = Receiver()
    assert (await post_to(receiver)).outcome is Outcome.DELIVERED
    assert receiver.got == [{"type": "alert.firing"}]
    assert receiver.ids == ["a1_firing"]
    assert receiver.headers[0]["Content-Type"] == "application/json"
    assert receiver.headers[0]["User-Agent"].startswith("millstream/")


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.DELIVERED),
        (299, Outcome.DELIVERED),
        (400, Outcome.FAILED),
        (404, Outcome.FAILED),
        (410, Outcome.GONE),
        (429, Outcome.BUSY),
        (500, Outcome.FAILED),
        (503, Outcome.BUSY),
    ],
)
async def test_what_a_status_means(status: int, outcome: Outcome) -> None:
    answer = await post_to(Receiver(status))
    assert (answer.outcome, answer.reason, answer.asked_us) == (outcome, f"status {status}", None)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_is_not_followed(status: int) -> None:
    receiver = Receiver()

    async def elsewhere(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": str(request.url)})

    receiver.answers = [elsewhere]
    assert (await post_to(receiver)).outcome is Outcome.REDIRECTED
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_in_seconds_and_as_a_date(status: int) -> None:
    async def seconds(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": "120"})

    async def date(_: web.Request) -> web.Response:
        then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=120)
        return web.Response(status=status, headers={"Retry-After": then.strftime("%a, %d %b %Y %H:%M:%S GMT")})

    assert await post_to(Receiver(seconds)) == (Outcome.BUSY, f"status {status}", 120_000_000)
    asked_us = (await post_to(Receiver(date))).asked_us
    assert asked_us is not None
    assert 0 < asked_us <= 120_000_000


async def test_one_that_hangs_is_given_up_in_time() -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    started_s = time.monotonic()
    answer = await post_to(Receiver(hang), timeout="200ms")
    assert answer == (Outcome.FAILED, "no answer within 0.2 s", None)
    assert time.monotonic() - started_s < 10


async def test_one_that_takes_the_connection_and_says_nothing_at_all() -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(silence) as url:
        answer = await post(url, timeout="200ms")
    assert answer.reason == "no answer within 0.2 s"


async def test_an_endless_answer_is_not_read() -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Length": str(10 * 2**30)})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)
            sent += 65_536

    assert (await post_to(Receiver(endless))).outcome is Outcome.DELIVERED
    # What the sockets' buffers hold, not ten gigabytes.
    assert sent < 64 * 2**20


async def test_a_slow_answer_counts_by_its_status() -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        await asyncio.Event().wait()
        return response

    assert (await post_to(Receiver(drip), timeout="500ms")).outcome is Outcome.DELIVERED


async def test_endless_headers_are_a_failure() -> None:
    async def headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n")

    async with raw_server(headers) as url:
        assert (await post(url)).outcome is Outcome.FAILED


async def test_nobody_there() -> None:
    async with Receiver().serving() as url:
        pass
    answer = await post(url)
    assert answer.outcome is Outcome.FAILED
    assert answer.reason.startswith("no connection: ")


async def test_a_name_that_leads_inside_is_refused_at_connect_time() -> None:
    receiver = Receiver()
    async with receiver.serving() as url:
        poster = Poster(webhook(url=url.replace("127.0.0.1", "localhost")), SystemClock(), 4)
        # As if a public name had been changed to lead here after it was checked.
        poster._private = False
        async with poster:
            answer = await poster.post("a1_firing", BODY)
    assert answer == (Outcome.REFUSED, "the address is not public, and allow_private is not set", None)
    assert receiver.got == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1", "[::ffff:127.0.0.1]"])
async def test_other_ways_to_write_loopback_get_nowhere_either(host: str) -> None:
    receiver = Receiver()
    async with receiver.serving() as url:
        poster = Poster(webhook(url=url), SystemClock(), 4)
        poster._private = False
        poster._url = URL(url.replace("127.0.0.1", host))
        async with poster:
            answer = await poster.post("a1_firing", BODY)
    assert answer.outcome in (Outcome.REFUSED, Outcome.FAILED)
    assert receiver.got == []


async def test_a_name_that_is_not_known() -> None:
    answer = await post("https://no-such-host.invalid/token")
    assert answer.outcome is Outcome.FAILED
    assert "token" not in answer.reason


async def test_what_is_said_of_failures_names_no_secret() -> None:
    answers = [
        await post_to(Receiver(500)),
        await post("https://127.0.0.1:9/geheim"),
        await post("http://127.0.0.1:9/geheim"),
    ]
    for answer in answers:
        assert "geheim" not in json.dumps(answer)
        assert SECRET not in json.dumps(answer)


async def test_a_connection_is_used_again() -> None:
    peers = []

    async def remember(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.append(request.transport.get_extra_info("peername"))
        return web.Response(text="thank you")

    receiver = Receiver(remember, remember)
    async with receiver.serving() as url, Poster(webhook(url=url), SystemClock(), 4) as poster:
        for _ in range(2):
            assert (await poster.post("a1_firing", BODY)).outcome is Outcome.DELIVERED
    assert len(set(peers)) == 1

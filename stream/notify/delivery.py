"""One attempt: the only file of the notifier that knows aiohttp's client.

Bounded in every direction: 15 s in all with name, connection and encryption, no redirects, no proxies, no cookies, and
of the answer's body a few KiB for a second at most (only so that the connection can be used again): the status says it
all. What is said about a failure names neither the URL nor the secret.
"""

from __future__ import annotations

import asyncio
import ssl
from enum import StrEnum
from importlib.metadata import version
from typing import NamedTuple

import aiohttp

from ingest.contract.clock import Clock
from ingest.contract.notifier_settings import WebhookSettings
from ingest.contract.section import TlsSettings
from ingest.contract.tls import tls_context
from ingest.contract.url_guard import ForbiddenAddressError, check_url, guarded_socket
from stream.notify.schedule import retry_after_us
from stream.notify.signing import Signer

_BODY_BYTES = 4_096
_BODY_S = 1.0
_HEADER_BYTES = 8_190
_BUSY = (429, 503)
_GONE = 410


class Outcome(StrEnum):
    """What became of an attempt: a closed set, so that it can be a metric's label."""

    DELIVERED = "delivered"
    """2xx."""
    FAILED = "failed"
    """Any other status, no answer, no connection."""
    BUSY = "busy"
    """429 or 503: the receiver asks for a pause."""
    REDIRECTED = "redirected"
    """3xx: never followed."""
    REFUSED = "refused"
    """By us: the address is not public."""
    GONE = "gone"
    """410: the receiver wants no more."""
    EXPIRED = "expired"
    """Given up: too old."""


class Answer(NamedTuple):
    """outcome, for people why, and the pause that the receiver asked for."""

    outcome: Outcome
    reason: str
    asked_us: int | None = None


class Poster:
    """Posts to one webhook. Use it as a context manager."""

    def __init__(self, webhook: WebhookSettings, clock: Clock, concurrency: int) -> None:
        """Raises StopError when a certificate file cannot be used."""
        self._url = check_url(webhook.url.get_secret_value(), allow_private=webhook.allow_private)
        self._signer = Signer(webhook)
        self._clock = clock
        self._timeout_s = webhook.timeout / 1e6
        self._private = webhook.allow_private
        self._tls = tls_context(TlsSettings(enabled=True, ca_file=webhook.ca_file))
        self._concurrency = concurrency
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Poster:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._concurrency,
                ssl=self._tls,
                socket_factory=guarded_socket(allow_private=self._private),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "Content-Type": "application/json",
                "User-Agent": f"millstream/{version('millstream')}",
                # An answer that unpacks to gigabytes stays packed.
                "Accept-Encoding": "identity",
            },
            auto_decompress=False,
            trust_env=False,
            raise_for_status=False,
            timeout=aiohttp.ClientTimeout(total=None),
            max_line_size=_HEADER_BYTES,
            max_field_size=_HEADER_BYTES,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, message_id: str, body: bytes) -> Answer:
        """Sign and send it; never raises."""
        assert self._session is not None
        headers = self._signer.headers(message_id, body, self._clock.now_us())
        answer: Answer | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._session.post(self._url, data=body, headers=headers, allow_redirects=False)
                try:
                    answer = self._judge(response)
                    if await _read(response):
                        response.release()
                finally:
                    response.close()
        except TimeoutError:
            # A status that came in time counts, even if the rest did not.
            return answer or Answer(Outcome.FAILED, f"no answer within {self._timeout_s:g} s")
        except Exception as error:  # noqa: BLE001  # whatever it was: it is tried again, and the others go on
            return answer or _explained(error)
        return answer

    def _judge(self, response: aiohttp.ClientResponse) -> Answer:
        status = response.status
        reason = f"status {status}"
        if 200 <= status < 300:
            return Answer(Outcome.DELIVERED, reason)
        if 300 <= status < 400:
            return Answer(Outcome.REDIRECTED, f"{reason}: redirects are not followed")
        if status == _GONE:
            return Answer(Outcome.GONE, reason)
        if status in _BUSY:
            return Answer(
                Outcome.BUSY, reason, retry_after_us(response.headers.get("Retry-After"), self._clock.now_us())
            )
        return Answer(Outcome.FAILED, reason)


async def _read(response: aiohttp.ClientResponse) -> bool:
    """Read a small body to its end; False if it is not small, or slow. The answer stands in any case."""
    left = _BODY_BYTES
    try:
        async with asyncio.timeout(_BODY_S):
            while left > 0:
                chunk = await response.content.read(left)
                if not chunk:
                    return True
                left -= len(chunk)
    except (TimeoutError, aiohttp.ClientError, OSError):
        return False
    return False


def _explained(error: Exception) -> Answer:
    """In our own words: the library's may contain the URL, and in it a token."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ForbiddenAddressError):
            return Answer(Outcome.REFUSED, str(cause))
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        wrong = error.certificate_error
        detail = wrong.verify_message if isinstance(wrong, ssl.SSLCertVerificationError) else type(wrong).__name__
        return Answer(Outcome.FAILED, f"its certificate is not accepted: {detail}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Answer(Outcome.FAILED, "its name is not known")
    if isinstance(error, aiohttp.ClientConnectorError):
        inner = error.os_error
        return Answer(Outcome.FAILED, f"no connection: {inner.strerror or type(inner).__name__}")
    return Answer(Outcome.FAILED, f"no answer: {type(error).__name__}")

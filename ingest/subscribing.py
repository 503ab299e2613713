"""Subscribing: what `SessionFilters` wants is asked of the broker, and its answers are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt.subscribeoptions import SubscribeOptions

from ingest.bulk_client import BulkClient
from ingest.contract.errors import ReconnectError
from ingest.subscriptions import Request, SessionFilters, Subscription


@dataclass(slots=True)
class _Round:
    """Requests under way, and what was refused of those answered: filter → why."""

    done: asyncio.Future[bool]
    open: dict[int, Request] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class RefusedError(ReconnectError):
    """The broker does not let us have these. `filters`: which."""

    def __init__(self, refused: dict[str, str]) -> None:
        self.filters = list(refused)
        super().__init__(f"subscription refused: {'; '.join(refused.values())}")


class Subscriber:
    """Asks on behalf of one session, on whatever connection it has."""

    def __init__(self, filters: SessionFilters) -> None:
        self.filters = filters
        self._rounds: list[_Round] = []

    async def begin(self, client: BulkClient, *, session_present: bool, version5: bool) -> bool:
        """On a new connection: subscribe everything wanted and nothing else. As `change`."""
        requests = self.filters.connected(session_present)
        while requests:
            if not await self._ask(client, requests, version5=version5):
                return False
            requests = self.filters.changes()  # what was wanted may have changed meanwhile
        return True

    async def change(self, client: BulkClient, *, version5: bool) -> bool:
        """Ask for what is new and gone; False if the connection is lost before the last answer. Raises RefusedError."""
        return await self._ask(client, self.filters.changes(), version5=version5)

    def lost(self) -> None:
        """The connection is gone: no answer will come."""
        for one in self._rounds:
            if not one.done.done():
                one.done.set_result(False)
        self._rounds.clear()

    def answered(self, mid: int, reasons: Iterable[Any]) -> None:
        """SUBACK or UNSUBACK."""
        asked = next((one for one in self._rounds if mid in one.open), None)
        if asked is None:
            return
        request = asked.open.pop(mid)
        # MQTT 3.1.1 gives no reasons for UNSUBACK.
        pairs = zip(request.subscriptions, reasons, strict=False)
        refused = {one.filter: said for one, reason in pairs if (said := _refusal(one, request, reason))}
        self.filters.answered(request, list(refused))
        asked.refused.update(refused)
        if not asked.open:
            self._rounds.remove(asked)
            if not asked.done.done():
                asked.done.set_result(True)

    async def _ask(self, client: BulkClient, requests: list[Request], *, version5: bool) -> bool:
        asked = _Round(asyncio.get_running_loop().create_future())
        for request in requests:
            if request.gone:
                _, mid = client.unsubscribe([one.filter for one in request.subscriptions])
            else:
                _, mid = client.subscribe([(one.filter, _options(one.qos, version5)) for one in request.subscriptions])
            if mid is None:
                return False
            asked.open[mid] = request
        if requests:
            self._rounds.append(asked)
            if not await asked.done:
                return False
        if asked.refused:
            raise RefusedError(asked.refused)
        return True


def _options(qos: int, version5: bool) -> Any:
    if not version5:
        return qos
    # A reconnect is no reason to hear all retained messages again.
    return SubscribeOptions(qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)


def _refusal(one: Subscription, request: Request, reason: Any) -> str:
    """Why the broker did not do as asked; empty if it did."""
    if reason.is_failure:
        return f"{one.filter}: {reason}"
    if not request.gone and reason.value < one.qos:
        return f"{one.filter}: QoS {reason.value} is all the broker grants; set qos = 0 if messages may be lost"
    return ""

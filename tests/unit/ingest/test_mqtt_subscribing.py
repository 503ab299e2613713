"""Answers to SUBSCRIBE and UNSUBSCRIBE: which are refusals, and what happens to those that never come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from ingest.contract.errors import ReconnectError
from ingest.subscribing import RefusedError, Subscriber
from ingest.subscriptions import SessionFilters, Subscription


class Client:
    """Counts packets; without a connection there are none."""

    def __init__(self) -> None:
        self.sent: list[list[str]] = []
        self.is_connected = True

    def subscribe(self, topics: list[tuple[str, Any]]) -> tuple[int, int | None]:
        return self.unsubscribe([f"+{name}" for name, _ in topics])

    def unsubscribe(self, topics: list[str]) -> tuple[int, int | None]:
        self.sent.append(topics)
        return (0, len(self.sent)) if self.is_connected else (4, None)


def granted(qos: int) -> ReasonCode:
    return ReasonCode(PacketTypes.SUBACK, identifier=qos)


def begun(*wanted: str, remembered: tuple[str, ...] = ()) -> tuple[Subscriber, Client, asyncio.Task[bool]]:
    client: Any = Client()
    subscriber = Subscriber(SessionFilters([Subscription(one, 1) for one in wanted], remembered))
    return subscriber, client, asyncio.create_task(subscriber.begin(client, session_present=True, version5=True))


async def test_it_is_done_when_all_is_answered() -> None:
    subscriber, client, done = begun("a", remembered=("b",))
    await asyncio.sleep(0)
    assert client.sent == [["+a"], ["b"]]
    subscriber.answered(99, [granted(1)])
    subscriber.answered(1, [granted(1)])
    await asyncio.sleep(0)
    assert not done.done()
    subscriber.answered(2, [])  # as MQTT 3.1.1 answers
    assert await done
    assert subscriber.filters.held == ["a"]


@pytest.mark.parametrize(("code", "said"), [(135, "a: Not authorized"), (0, "a: QoS 0 is all the broker grants")])
async def test_a_refusal_is_told_with_its_filter(code: int, said: str) -> None:
    subscriber, _, done = begun("a", "b")
    await asyncio.sleep(0)
    subscriber.answered(1, [granted(code), granted(1)])
    with pytest.raises(RefusedError, match=f"subscription refused: {said}") as caught:
        await done
    assert isinstance(caught.value, ReconnectError)
    assert caught.value.filters == ["a"]


async def test_an_answer_that_never_comes_is_not_waited_for_when_the_connection_is_gone() -> None:
    subscriber, _, done = begun("a")
    await asyncio.sleep(0)
    subscriber.lost()
    assert not await done
    client: Any = Client()
    client.is_connected = False
    assert not await subscriber.begin(client, session_present=True, version5=False)


async def test_what_is_wanted_meanwhile_is_asked_for_on_the_same_connection() -> None:
    subscriber, client, done = begun("a")
    await asyncio.sleep(0)
    subscriber.filters.want([Subscription("b", 0)])
    subscriber.answered(1, [granted(1)])
    await asyncio.sleep(0)
    assert client.sent == [["+a"], ["+b"], ["a"]]
    subscriber.answered(2, [granted(0)])
    subscriber.answered(3, [granted(0)])
    assert await done

"""Order, concurrency, retries: a sender on an outbox, with a receiver that the test plays."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.notify.delivery import Answer, Outcome
from stream.notify.disk import Disk
from stream.notify.outbox import Outbox, Row
from stream.notify.schedule import Schedule
from stream.notify.sender import Sender, SteadyClock
from tests.unit.notify.rig import HOUR_US, NOW_US, S_US, FakeClock, notifier

OK = Answer(Outcome.DELIVERED, "status 200")
ERROR = Answer(Outcome.FAILED, "status 500")
GONE = Answer(Outcome.GONE, "status 410")


class Endpoint:
    """Requests wait here until the test answers them."""

    def __init__(self) -> None:
        self.open: dict[str, asyncio.Future[Answer]] = {}
        self.log: list[str] = []
        self._changed = asyncio.Event()

    async def post(self, message_id: str, body: bytes) -> Answer:
        assert message_id not in self.open
        future = self.open[message_id] = asyncio.get_running_loop().create_future()
        self.log.append(message_id)
        self._changed.set()
        try:
            answer: Answer = await future
            return answer
        finally:
            del self.open[message_id]

    async def requests(self, *message_ids: str) -> None:
        """Wait until exactly these are open."""
        async with asyncio.timeout(20):
            while set(self.open) != set(message_ids):
                self._changed.clear()
                await self._changed.wait()

    def answer(self, message_id: str, answer: Answer) -> None:
        self.open[message_id].set_result(answer)


class Told:
    """What the sender said."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, Outcome, float | None]] = []
        self.expirations = 0
        self.disabled_ones: list[str] = []
        self._changed = asyncio.Event()

    def attempted(self, webhook: str, row: Row, answer: Answer, retry_in_s: float | None) -> None:
        self.attempts.append((row.message_id, answer.outcome, retry_in_s))
        self._changed.set()

    def expired(self, webhook: str, count: int) -> None:
        self.expirations += count

    def disabled(self, webhook: str) -> None:
        self.disabled_ones.append(webhook)

    async def times(self, count: int) -> None:
        """Wait until so many attempts were concluded."""
        async with asyncio.timeout(20):
            while len(self.attempts) < count:
                self._changed.clear()
                await self._changed.wait()


class Store:
    """An outbox and its thread; the test uses the outbox itself only while nothing is sent."""

    def __init__(self, path: Path) -> None:
        self.outbox, self.disk, self.failures = Outbox(path), Disk(self), 0

    def disk_failed(self, reason: str, retry_in_s: float) -> None:
        self.failures += 1


class Sending:
    """A sender for one webhook, its endpoint, its clock."""

    def __init__(self, store: Store, name: str = "one", **settings: Any) -> None:
        self.store, self.name = store, name
        self.clock, self.endpoint, self.told = FakeClock(), Endpoint(), Told()
        self.sender = Sender(
            name,
            notifier(**settings),
            store.outbox,
            store.disk,
            self.endpoint,
            Schedule(notifier(**settings), lambda: 0.5),
            self.told,
            SteadyClock(self.clock).now_us,
        )
        self.task: asyncio.Task[None] | None = None

    async def put(self, *messages: str) -> None:
        def write() -> None:
            with self.store.outbox.transaction():
                for one in messages:
                    alert, phase = one.split("_")
                    self.store.outbox.put(self.name, alert, phase, "bremen/t", b"{}", NOW_US, NOW_US)

        await self.store.disk.run(write)
        self.sender.wake()

    def later(self, seconds: float) -> None:
        self.clock.at_s += seconds
        self.sender.wake()

    async def __aenter__(self) -> Sending:
        self.task = asyncio.create_task(self.sender.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.task is not None
        await self.sender.drain(0.0)
        await self.task


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = Store(tmp_path / "x.sqlite3")
    yield one
    one.disk.close()
    one.outbox.close()


async def test_resolved_is_never_sent_before_firing_is_through(store: Store) -> None:
    async with Sending(store) as it:
        await it.put("a_firing", "a_resolved", "b_firing")
        await it.endpoint.requests("a_firing", "b_firing")
        it.endpoint.answer("b_firing", OK)
        it.endpoint.answer("a_firing", ERROR)
        await it.told.times(2)
        it.later(4.9)
        await it.put("c_firing")
        await it.endpoint.requests("c_firing")
        it.later(0.1)
        await it.endpoint.requests("c_firing", "a_firing")
        it.endpoint.answer("a_firing", OK)
        await it.endpoint.requests("c_firing", "a_resolved")
        it.endpoint.answer("a_resolved", OK)
        it.endpoint.answer("c_firing", OK)
        await it.told.times(5)
    assert store.outbox.waiting() == {}
    assert it.endpoint.log == ["a_firing", "b_firing", "c_firing", "a_firing", "a_resolved"]
    assert it.told.attempts[1] == ("a_firing", Outcome.FAILED, 5.0)


async def test_pauses_grow_and_then_it_is_given_up(store: Store) -> None:
    async with Sending(store, give_up="1m", retry_first="10s", retry_longest="20s") as it:
        await it.put("a_firing", "a_resolved")
        for count in (1, 2, 3):
            await it.endpoint.requests("a_firing")
            it.endpoint.answer("a_firing", ERROR)
            await it.told.times(count)
            it.later(20)
        await it.endpoint.requests("a_firing")
        it.endpoint.answer("a_firing", ERROR)
        await it.told.times(4)
        assert [retry_in_s for _, _, retry_in_s in it.told.attempts] == [10, 20, 20, None]
        assert it.told.expirations == 1
        # What waited behind it is not held up by it any more.
        await it.endpoint.requests("a_resolved")


async def test_no_more_at_once_than_set(store: Store) -> None:
    async with Sending(store, concurrency=2) as it:
        await it.put("a_firing", "b_firing", "c_firing", "d_firing")
        await it.endpoint.requests("a_firing", "b_firing")
        it.endpoint.answer("b_firing", OK)
        await it.endpoint.requests("a_firing", "c_firing")
        it.endpoint.answer("a_firing", OK)
        await it.endpoint.requests("c_firing", "d_firing")


async def test_one_that_hangs_delays_no_other_webhook_and_no_other_alert(store: Store) -> None:
    async with Sending(store, "slow") as slow, Sending(store, "fast") as fast:
        for it in (slow, fast):
            await it.put("a_firing", "b_firing")
            await it.endpoint.requests("a_firing", "b_firing")
        for message in ("a_firing", "b_firing"):
            fast.endpoint.answer(message, OK)
        slow.endpoint.answer("b_firing", OK)
        await fast.told.times(2)
        await slow.put("c_firing")
        await slow.endpoint.requests("a_firing", "c_firing")


async def test_a_receiver_that_asks_for_a_pause_gets_it_for_everything(store: Store) -> None:
    async with Sending(store) as it:
        await it.put("a_firing")
        await it.endpoint.requests("a_firing")
        it.endpoint.answer("a_firing", Answer(Outcome.BUSY, "status 429", 120 * S_US))
        await it.told.times(1)
        assert it.told.attempts == [("a_firing", Outcome.BUSY, 120.0)]
        await it.put("b_firing")
        it.later(119)
        assert await it.sender._start_due() == 1.0
        assert it.endpoint.open == {}
        it.later(1)
        await it.endpoint.requests("a_firing", "b_firing")


async def test_410_disables_it_until_the_next_start(store: Store) -> None:
    async with Sending(store) as it:
        await it.put("a_firing")
        await it.endpoint.requests("a_firing")
        it.endpoint.answer("a_firing", GONE)
        await it.told.times(1)
        await it.put("b_firing")
        it.later(3600)
        assert await it.sender._start_due() == 60.0
        assert it.endpoint.open == {}
        assert it.told.disabled_ones == ["one"]
    async with Sending(store) as again:
        again.later(3600)
        await again.endpoint.requests("a_firing", "b_firing")


async def test_killed_between_2xx_and_its_record_it_is_sent_once_more_under_the_same_id(store: Store) -> None:
    async with Sending(store) as it:
        await it.put("a_firing", "a_resolved")
        await it.endpoint.requests("a_firing")
        # The receiver has it; what follows its answer never happens.
    async with Sending(store) as again:
        await again.endpoint.requests("a_firing")
        again.endpoint.answer("a_firing", OK)
        await again.endpoint.requests("a_resolved")
        again.endpoint.answer("a_resolved", OK)
        await again.told.times(2)
    assert [*it.endpoint.log, *again.endpoint.log] == ["a_firing", "a_firing", "a_resolved"]


async def test_the_end_waits_for_what_is_under_way(store: Store) -> None:
    async with Sending(store) as it:
        await it.put("a_firing", "a_resolved")
        await it.endpoint.requests("a_firing")
        draining = asyncio.create_task(it.sender.drain(20))
        await asyncio.sleep(0)
        it.endpoint.answer("a_firing", OK)
        await draining
        assert it.endpoint.log == ["a_firing"]
    assert store.outbox.waiting()["one"].rows == 1


async def test_a_failing_disk_delays_and_repeats_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    done, failures = Outbox.done, [sqlite3.OperationalError("disk I/O error")]

    def fails_once(self: Outbox, seqs: list[int], now_us: int) -> None:
        if failures:
            raise failures.pop()
        done(self, seqs, now_us)

    monkeypatch.setattr(Outbox, "done", fails_once)
    async with Sending(store) as it:
        await it.put("a_firing")
        await it.endpoint.requests("a_firing")
        it.endpoint.answer("a_firing", OK)
        await it.told.times(1)
    assert store.failures == 1
    assert it.endpoint.log == ["a_firing"]
    assert store.outbox.waiting() == {}


def test_who_sets_the_clock_moves_no_pause() -> None:
    clock = FakeClock()
    steady = SteadyClock(clock)
    clock.wall_us -= HOUR_US
    clock.at_s += 5
    assert steady.now_us() == NOW_US + 5 * S_US

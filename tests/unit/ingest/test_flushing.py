"""Readings wait for company, but no longer than the linger, and never while the broker waits for us.

The broker here always has more to send, and allows `window` unacknowledged messages; time is a number.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from math import log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.flushing import SMALLEST_WINDOW, FlushPolicy

LINGER_S = 0.2
CONFIRM_S = 0.01


@dataclass
class Stream:
    """A broker with a full queue, the gateway's policy, and a log that confirms after a while."""

    window: int
    reads: list[int]
    policy: FlushPolicy
    now_s: float = 0.0
    pending: int = 0
    unacknowledged: int = 0
    received: int = 0
    waits: list[float] = field(default_factory=list)
    """When a batch left only because of its age, with nothing else under way: the stream stood still for that long."""

    def __post_init__(self) -> None:
        self.confirmations: list[tuple[float, int]] = []
        self.oldest_s = 0.0

    def flush(self) -> None:
        heapq.heappush(self.confirmations, (self.now_s + CONFIRM_S, self.pending))
        self.pending = 0
        self.policy.flushed()

    def fill(self) -> None:
        """The broker sends until its window is full; it comes in reads of all sizes."""
        while self.unacknowledged < self.window:
            count = min(self.reads[self.received % len(self.reads)], self.window - self.unacknowledged)
            if not self.pending:
                self.oldest_s = self.now_s
            self.pending += count
            self.unacknowledged += count
            self.received += count
            if self.policy.received(self.pending, self.unacknowledged, self.now_s):
                self.flush()

    def run(self, messages: int) -> None:
        while self.received < messages:
            self.fill()
            wait_s = self.policy.wait_s(self.now_s)
            if self.pending:
                assert wait_s is not None
                assert self.now_s + wait_s <= self.oldest_s + LINGER_S + 1e-9
            due_s = self.confirmations[0][0] if self.confirmations else float("inf")
            if wait_s is not None and self.now_s + wait_s < due_s:
                if not self.confirmations:
                    self.waits.append(self.now_s)
                self.now_s += wait_s
                self.flush()
                continue
            assert self.confirmations, "the broker waits for us, and we for it"
            self.now_s, count = heapq.heappop(self.confirmations)
            self.unacknowledged -= count


FRACTIONS = st.lists(st.floats(0.003, 1), min_size=1, max_size=5)


@pytest.mark.parametrize("window", [SMALLEST_WINDOW, 100, 1_000, 65_535])
@settings(max_examples=40, deadline=None)
@given(fractions=FRACTIONS, max_batch=st.sampled_from([10, 5_000]))
def test_the_stream_waits_out_the_linger_ever_more_rarely(window: int, fractions: list[float], max_batch: int) -> None:
    reads = [max(1, int(fraction * window)) for fraction in fractions]
    stream = Stream(window, reads, FlushPolicy(LINGER_S, max_batch, 20_000))
    stream.run(200 * window)
    # Once while it learns, then after 1, 2, 4 … batches that were sent because the window was full.
    assert len(stream.waits) <= 2 + log2(max(1, 200 * window / min(window, max_batch)))


@pytest.mark.parametrize("burst", [1, SMALLEST_WINDOW, 50])
def test_bursts_as_large_as_the_first_guess_do_not_leave_as_batches_of_that_size(burst: int) -> None:
    # A thousand messages a second in bursts of 20, from a broker with a large window: once 50 batches a second.
    policy, batches, pending, now_s = FlushPolicy(LINGER_S, 5_000, 20_000), 0, 0, 0.0
    for _ in range(10_000 // burst):
        pending += burst
        flush = policy.received(pending, pending, now_s)
        now_s += burst / 1_000
        if flush or policy.wait_s(now_s) == 0.0:
            policy.flushed()
            batches, pending = batches + 1, 0
    assert batches <= 2 * 10.0 / LINGER_S


@pytest.mark.parametrize("window", [1, 5, SMALLEST_WINDOW - 1])
def test_a_window_below_the_smallest_costs_a_linger_each_and_never_more(window: int) -> None:
    stream = Stream(window, [1], FlushPolicy(LINGER_S, 5_000, 20_000))
    stream.run(50 * window)
    assert len(stream.waits) <= 50
    assert stream.now_s <= 51 * (LINGER_S + CONFIRM_S)


@pytest.mark.parametrize("window", [1, 5, SMALLEST_WINDOW - 1])
def test_a_window_that_we_ask_for_is_never_starved(window: int) -> None:
    # Receive Maximum below the smallest window: then it is known, and nothing has to be learned.
    stream = Stream(window, [1], FlushPolicy(LINGER_S, 5_000, window))
    stream.run(50 * window)
    assert stream.waits == []


def test_a_large_window_is_used_for_large_batches() -> None:
    policy = FlushPolicy(LINGER_S, 100_000, 20_000)
    for unacknowledged in range(1, 1_001):
        policy.received(unacknowledged, unacknowledged, 0.0)
    policy.flushed()  # the linger ran out, and no more had come
    # Under 1,000 unacknowledged there is no reason to hurry any more.
    assert not any(policy.received(count, count, 0.0) for count in range(1, 1_000))
    assert policy.received(1_000, 1_000, 0.0)


def test_a_new_connection_is_learned_anew() -> None:
    policy = FlushPolicy(LINGER_S, 5_000, 20_000)
    policy.received(500, 500, 0.0)
    policy.flushed()
    policy.new_connection()
    assert not policy.received(SMALLEST_WINDOW, SMALLEST_WINDOW, 0.0)  # put to the test
    policy.flushed()
    assert policy.received(SMALLEST_WINDOW, SMALLEST_WINDOW, 0.0)


def test_size_alone_is_reason_enough() -> None:
    policy = FlushPolicy(LINGER_S, 10, 20_000)
    assert not policy.received(9, 0, 0.0)  # QoS 0: nothing to acknowledge
    assert policy.received(10, 0, 0.0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_the_oldest_message_sets_the_time(steps_s: list[float]) -> None:
    policy = FlushPolicy(LINGER_S, 5_000, 20_000)
    assert policy.wait_s(0.0) is None
    now_s = 0.0
    for step_s in steps_s:
        policy.received(1, 0, now_s)
        assert policy.wait_s(now_s) == pytest.approx(max(0.0, LINGER_S - now_s))
        now_s += step_s
    policy.flushed()
    assert policy.wait_s(now_s) is None

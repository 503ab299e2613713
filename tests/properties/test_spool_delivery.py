"""Delivery between a log and a disk that answer when, and as, they are told: order per lane, none lost, none twice."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingest.contract.failpoints import armed
from ingest.contract.log_writer import Outgoing
from ingest.delivery import Delivery, Outcome
from ingest.spool import Spool, lane, segment
from tests.unit.ingest.deliveries import AFTER_S, IN_MEMORY, Events, HeldDisk, Kafka, number_of
from tests.unit.ingest.gateways import StillClock

TOPIC = "readings"
LANES = st.integers(0, 2)
DISK_ERRORS = st.sampled_from(
    ["", "", "", "spool-append=enospc", "spool-fsync=eio", "spool-read=eio", "spool-advance=erofs"]
)


class DeliveryMachine(RuleBasedStateMachine):
    """Three lanes; writes, disk operations and time wait for the next rule."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="delivery", dir=IN_MEMORY))
        self.loop = asyncio.new_event_loop()
        self.kafka = Kafka()
        self.clock = StillClock()
        self.numbers = 0
        self.taken: defaultdict[int, list[int]] = defaultdict(list)
        self.waiting: list[tuple[int, list[int], asyncio.Future[Outcome]]] = []
        self.safe: set[int] = set()
        self.crashed = False
        self.open()

    def open(self) -> None:
        self.disk = HeldDisk()
        self.events = Events()
        self.spool = Spool(self.directory, 3_000, 600)

        async def make() -> Delivery:
            return Delivery(self.kafka, self.spool, self.events, self.clock, AFTER_S, self.disk)

        self.delivery = self.loop.run_until_complete(make())
        self.settle()

    def settle(self) -> None:
        """Let everything happen that waits for nobody."""

        async def quiet() -> None:
            self.delivery.look()
            for _ in range(30):
                await asyncio.sleep(0)

        self.loop.run_until_complete(quiet())
        for _, numbers, future in self.waiting:
            if future.done():
                future.result()
                self.safe.update(numbers)
        self.waiting = [one for one in self.waiting if not one[2].done()]

    def close(self) -> None:
        async def closing() -> None:
            end = asyncio.create_task(self.delivery.close())
            while not end.done():
                self.disk.answer_all()
                await asyncio.sleep(0)

        self.loop.run_until_complete(closing())
        self.settle_closed()
        self.spool.close()

    def settle_closed(self) -> None:
        for _, numbers, future in self.waiting:
            if future.done() and not future.cancelled():
                self.safe.update(numbers)
        self.waiting = []

    @rule(partition=LANES, count=st.integers(1, 3), size=st.integers(0, 300))
    def deliver(self, partition: int, count: int, size: int) -> None:
        numbers = list(range(self.numbers, self.numbers + count))
        self.numbers += count
        self.taken[partition] += numbers

        async def give() -> asyncio.Future[Outcome]:
            return self.delivery.deliver(TOPIC, partition, [Outgoing(b"%d:" % n + b"x" * size) for n in numbers])

        self.waiting.append((partition, numbers, self.loop.run_until_complete(give())))
        self.settle()

    @precondition(lambda self: self.kafka.open())
    @rule(data=st.data())
    def kafka_confirms(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.kafka.open())).confirm()
        self.settle()

    @precondition(lambda self: self.disk.waiting)
    @rule(data=st.data(), errors=DISK_ERRORS)
    def disk_answers(self, data: st.DataObject, errors: str) -> None:
        failpoint = armed(errors)
        with patch.object(segment, "failpoint", failpoint), patch.object(lane, "failpoint", failpoint):
            self.disk.answer(data.draw(st.integers(0, len(self.disk.waiting) - 1)))
        self.settle()

    @rule(for_s=st.sampled_from([0.5, AFTER_S, 60.0]))
    def time_passes(self, for_s: float) -> None:
        self.clock.s += for_s
        self.settle()

    @rule()
    def restart(self) -> None:
        """What was not safe is gone; the broker would send it again, as later messages."""
        self.close()
        self.kafka.forget()
        self.crashed = True
        self.open()

    @rule()
    def all_is_well(self) -> None:
        for _ in range(400):
            self.clock.s += 20.0
            for write in self.kafka.open():
                write.confirm()
            self.disk.answer_all()
            self.settle()
            if not self.waiting and not self.delivery.spooling and not self.kafka.open() and not self.disk.waiting:
                break
        else:
            raise AssertionError("not drained")
        assert self.delivery.backlog_bytes == 0
        assert self.delivery.backlog_seconds(self.clock.us + 1_000_000) == 0.0
        assert self.delivery.unready() == []
        assert self.spool.used_bytes == 0
        for partition, taken in self.taken.items():
            arrived = self.kafka.log[partition]
            assert self.safe.intersection(taken) <= set(arrived)
            if not self.crashed:
                assert arrived == taken

    @invariant()
    def each_lane_is_in_order(self) -> None:
        for partition, arrived in self.kafka.log.items():
            first = list(dict.fromkeys(arrived))
            assert first == sorted(first)
            assert set(first) <= set(self.taken[partition])
            if not self.crashed:
                assert first == arrived == self.taken[partition][: len(arrived)]

    @invariant()
    def what_is_safe_is_in_the_log_or_on_disk(self) -> None:
        in_log = {number for arrived in self.kafka.log.values() for number in arrived}
        on_disk = b"".join(path.read_bytes() for path in sorted(self.directory.glob("lanes/*/*.seg")))
        for number in self.safe - in_log:
            assert b"%d:" % number in on_disk

    @invariant()
    def only_what_comes_off_the_disk_says_when_it_was_sent_and_each_says_it_once(self) -> None:
        for write in self.kafka.writes:
            for one in write.records:
                sent = [value for name, value in one.headers if name == "sent"]
                assert sent in ([], [b"%d" % self.clock.us])
                # What says it has waited was told to be safe before, or its sender died.
                assert not sent or self.crashed or number_of(one) in self.safe

    @invariant()
    def one_write_at_a_time_in_a_lane(self) -> None:
        partitions = [write.partition for write in self.kafka.open()]
        assert len(partitions) == len(set(partitions))

    def teardown(self) -> None:
        self.all_is_well()
        self.close()
        self.loop.close()
        shutil.rmtree(self.directory)


TestDelivery = DeliveryMachine.TestCase
TestDelivery.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)

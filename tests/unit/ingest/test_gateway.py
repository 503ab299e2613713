"""A message is acknowledged when, and only when, it is in the log."""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.contract.errors import StopError
from ingest.contract.readings import Flag
from ingest.contract.wire import Kind, decode_readings, envelope_of
from ingest.decoders import Decoded, Messages
from ingest.decoders.base import Drop, Dropped, Request
from ingest.delivery import Outcome
from ingest.packets import Burst
from tests.unit.ingest.gateways import NOW_US, QUARANTINE, READINGS, Bench, Write, turn


async def test_nothing_is_acknowledged_before_the_log_has_it() -> None:
    bench = Bench()
    bench.receive(b"01", b"02")
    await turn()
    assert bench.link.acknowledged == []
    assert bench.gateway.in_flight == 2
    (write,) = bench.log.writes
    write.confirm()
    await turn()
    assert bench.link.acknowledged == [(1, b"01"), (1, b"02")]
    assert bench.gateway.in_flight == 0


async def test_a_record_says_where_it_comes_from() -> None:
    bench = Bench()
    bench.receive(b"01", b"02", topic=b"f/press-01/temp")
    bench.receive(b"03")
    await turn()
    first, second = bench.log.writes
    (record,) = first.records
    assert record.value is not None
    assert decode_readings(record.value).sensor.decode() == ["press-01/temp"] * 2
    envelope = envelope_of(record.headers)
    assert (envelope.kind, envelope.source, envelope.seq) == (Kind.READINGS, "millstream-gateway", 0)
    assert (envelope.arrival_us, envelope.partitions) == (NOW_US, 4)
    assert record.timestamp_ms == NOW_US // 1000
    assert envelope_of(second.records[0].headers).seq == 1
    assert first.topic == READINGS


async def test_confirmations_out_of_order_wait_for_each_other() -> None:
    bench = Bench()
    for mid in (b"01", b"02", b"03"):
        bench.receive(mid)
    await turn()
    first, second, third = bench.log.writes
    third.confirm()
    await turn()
    assert bench.link.acknowledged == []
    first.confirm()
    await turn()
    assert bench.link.acknowledged == [(1, b"01")]
    second.confirm()
    await turn()
    assert bench.link.acknowledged == [(1, b"01"), (1, b"02"), (1, b"03")]


async def test_a_batch_over_several_partitions_waits_for_all_of_them() -> None:
    bench = Bench(max_batch=100, linger="0s", receive_maximum=1)
    for machine in range(8):
        bench.receive(b"%02d" % machine, topic=b"f/m%d/x" % machine)
    await turn()
    *others, last = bench.log.writes
    for write in others:
        write.confirm()
    await turn()
    acknowledged = len(bench.link.acknowledged)
    assert acknowledged < 8
    last.confirm()
    await turn()
    assert [mid for _, mid in bench.link.acknowledged] == [b"%02d" % machine for machine in range(8)]


async def test_what_cannot_be_read_is_acknowledged_when_it_is_in_quarantine() -> None:
    bench = Bench()
    bench.receive(b"01", payload=b"not json")
    await turn()
    (write,) = bench.log.writes
    assert write.topic == QUARANTINE
    assert bench.link.acknowledged == []
    write.confirm()
    await turn()
    assert bench.link.acknowledged == [(1, b"01")]


async def test_a_new_connection_voids_all_message_ids() -> None:
    bench = Bench()
    bench.receive(b"01")
    await turn()
    bench.reconnect()
    bench.receive(b"01", payload=b'{"value":2}')  # the same id, another message
    await turn()
    old, new = bench.log.writes
    old.confirm()
    await turn()
    assert bench.link.acknowledged == []
    assert bench.gateway.in_flight == 1
    new.confirm()
    await turn()
    assert bench.link.acknowledged == [(2, b"01")]


async def test_what_waited_for_company_keeps_its_connection() -> None:
    bench = Bench(max_batch=100)
    bench.receive(b"01")
    bench.reconnect()
    bench.receive(b"07")
    bench.reconnect()
    await turn()
    assert len(bench.log.writes) == 2
    for write in bench.log.writes:
        write.confirm()
    await turn()
    assert bench.link.acknowledged == []
    assert bench.gateway.in_flight == 0


class Received(NamedTuple):
    """A message and the writes that carry it."""

    epoch: int
    mid: bytes
    writes: list[Write]


def assert_safe_and_in_order(received: list[Received], acknowledged: list[tuple[int, bytes]]) -> None:
    known = [(one.epoch, one.mid) for one in received]
    places = [known.index(one) for one in acknowledged]
    assert places == sorted(set(places))
    if places:  # all that came before the youngest acknowledged is safe, on whatever connection it came
        assert all(write.done.done() for one in received[: places[-1] + 1] for write in one.writes)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["receive", "confirm", "reconnect"]), max_size=30), st.integers(0, 2**32))
def test_whatever_happens_acknowledged_means_safe_and_in_order(steps: list[str], seed: int) -> None:
    async def play() -> None:
        chance, bench, received = random.Random(seed), Bench(), list[Received]()
        for step in steps:
            if step == "receive":
                before, mid = len(bench.log.writes), len(received).to_bytes(2, "big")
                bench.receive(mid, payload=chance.choice([b'{"value":1}', b"?"]))
                await turn()
                received.append(Received(bench.link.epoch, mid, bench.log.writes[before:]))
            elif step == "reconnect":
                bench.reconnect()
            elif waiting := bench.log.open():
                chance.choice(waiting).confirm()
                await turn()
            assert_safe_and_in_order(received, bench.link.acknowledged)
        for write in bench.log.open():
            write.confirm()
        await turn()
        assert bench.gateway.in_flight == 0
        last = [(one.epoch, one.mid) for one in received if one.epoch == bench.link.epoch]
        assert [one for one in bench.link.acknowledged if one[0] == bench.link.epoch] == last
        assert bench.total("messages_received_total") == len(received)
        done = bench.total("messages_produced_total") + bench.total("messages_quarantined_total")
        assert done == len(received)

    asyncio.run(play())


# --- life -----------------------------------------------------------------------------------------------------------


async def test_a_writer_that_gives_up_ends_the_gateway() -> None:
    bench = Bench()
    running = asyncio.create_task(bench.intake.run())
    await turn()
    bench.receive(b"01")
    await turn()
    bench.log.writes[0].done.set_exception(StopError("message.max.bytes"))
    with pytest.raises(StopError, match=r"message\.max\.bytes"):
        await asyncio.wait_for(running, 5)
    assert bench.link.acknowledged == []
    assert bench.gateway.in_flight == 1


class Broken:
    """A decoder with a mistake in it."""

    names_fields = False

    def decode(self, messages: Messages) -> Decoded:
        raise ZeroDivisionError


async def test_a_mistake_of_ours_ends_the_gateway_and_is_not_lost_in_a_callback() -> None:
    bench = Bench(decoder=Broken())
    running = asyncio.create_task(bench.intake.run())
    await turn()
    bench.receive(b"01")
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(running, 5)
    assert bench.link.acknowledged == []


async def test_age_alone_sends_a_batch() -> None:
    bench = Bench(max_batch=100, linger="0s")
    running = asyncio.create_task(bench.intake.run())
    await turn()
    bench.receive(b"01")
    await turn()
    assert len(bench.log.writes) == 1
    running.cancel()


async def test_draining_sends_what_waits_and_counts_what_is_left() -> None:
    bench = Bench(max_batch=100)
    bench.receive(b"01", b"02")
    left = await bench.gateway.drain(0.01)
    assert len(bench.log.writes) == 1
    assert left == 2
    assert bench.link.acknowledged == []


async def test_draining_acknowledges_what_is_confirmed_in_time() -> None:
    bench = Bench(max_batch=100)
    bench.receive(b"01")
    draining = asyncio.create_task(bench.gateway.drain(5))
    await turn()
    bench.log.writes[0].confirm()
    assert await draining == 0
    assert bench.link.acknowledged == [(1, b"01")]


# --- backpressure ---------------------------------------------------------------------------------------------------


async def test_reading_stops_when_too_much_is_in_flight_and_goes_on_when_it_is_not() -> None:
    bench = Bench(receive_maximum=5)  # twice that is the most
    for mid in range(11):
        assert bench.link.reading
        bench.receive(b"%02d" % mid)
    assert not bench.link.reading
    assert bench.gateway.unready() == ["reading is paused: too much in flight"]
    await turn()
    for write in bench.log.writes[:6]:
        write.confirm()
    await turn()
    assert not bench.link.reading
    bench.log.writes[6].confirm()
    await turn()
    assert bench.link.reading
    assert bench.gateway.unready() == []


async def test_a_new_connection_is_paused_too_while_too_much_is_in_flight() -> None:
    # It reads again at first; once nothing noticed, and memory filled while Kafka was away.
    bench = Bench(receive_maximum=5)
    for mid in range(11):
        bench.receive(b"%02d" % mid)
    bench.reconnect()
    assert bench.link.reading
    bench.receive(b"99")
    assert not bench.link.reading


async def test_a_large_batch_becomes_several_records_in_order() -> None:
    bench = Bench(max_batch=20_000, max_record_bytes=131_072)
    chance = random.Random(1)
    payloads = [b'{"value":%r}' % chance.random() for _ in range(40_000)]
    bench.intake.received(Burst([b"f/a/x"] * 40_000, payloads, [0x32] * 40_000, [b"01"] * 40_000))
    await turn()
    (write,) = bench.log.writes
    assert len(write.records) > 1
    assert all(record.value is not None and len(record.value) <= 131_072 for record in write.records)
    values = [value for record in write.records for value in decode_readings(record.value or b"").value.tolist()]
    assert values == [float(payload[9:-1]) for payload in payloads]
    assert [envelope_of(record.headers).seq for record in write.records] == list(range(len(write.records)))


async def test_the_wall_clock_may_step_back_within_a_batch() -> None:
    bench = Bench(max_batch=3)
    for mid, us in ((b"01", NOW_US), (b"02", NOW_US - 10_000_000), (b"03", NOW_US - 5_000_000)):
        bench.clock.us = us
        bench.receive(mid)
    await turn()
    (write,) = bench.log.writes
    stamps = decode_readings(write.records[0].value or b"").ts_us.tolist()
    assert stamps == [NOW_US, NOW_US + 1, NOW_US + 2]
    assert envelope_of(write.records[0].headers).arrival_us == NOW_US


async def test_unready_says_what_is_wrong() -> None:
    bench = Bench()
    bench.link.is_up = False
    bench.log.wrong.append("the disk is full")
    assert bench.gateway.unready() == [
        "not connected to the MQTT broker",
        "the disk is full",
    ]


# --- what batches bring besides readings -----------------------------------------------------------------------------


async def test_a_spooled_batch_is_acknowledged_and_counted_as_spooled() -> None:
    bench = Bench()
    bench.receive(b"01")
    await turn()
    bench.log.writes[0].confirm(Outcome.SPOOLED)
    await turn()
    assert bench.link.acknowledged == [(1, b"01")]
    assert bench.total("messages_spooled_total") == 1
    assert bench.total("messages_produced_total") == 0
    assert bench.total("messages_in_flight") == 0


class Asking:
    """A decoder that wants something published for every message."""

    names_fields = False

    def decode(self, messages: Messages) -> Decoded:
        count = len(messages.payloads)
        return Decoded(
            dropped=[Dropped(at, Drop.CONTROL) for at in range(count)], requests=[Request("ask", b"?")] * count
        )


async def test_a_decoders_request_goes_to_the_broker_that_its_message_came_from() -> None:
    bench = Bench(decoder=Asking())
    bench.receive(b"01")
    await turn()
    assert bench.link.published == [("ask", b"?")]
    assert bench.link.acknowledged == [(1, b"01")]
    assert bench.total("messages_dropped_total") == 1
    bench.link.is_up = False
    bench.receive(b"02")
    await turn()
    assert bench.total("requests_total") == 2


async def test_reading_stops_when_too_many_bytes_are_in_flight() -> None:
    bench = Bench(max_in_flight_bytes=2**20, receive_maximum=1_000)
    for mid in range(3):
        bench.intake.received(Burst([b"f/a/x"], [b'{"value":1}'], [0x32], [mid.to_bytes(2, "big")], 400_000))
    assert not bench.link.reading
    await turn()
    for write in bench.log.writes[:2]:
        write.confirm()
    await turn()
    assert bench.link.reading


async def test_a_quarantine_record_says_how_its_message_came() -> None:
    bench = Bench(max_batch=2)
    bench.clock.us = NOW_US + 7
    bench.intake.received(
        Burst([b"f/a/x"] * 2, [b'{"value":1}', b"?"], [0x32, 0x3B], [b"01", b"02"])  # retained, sent again
    )
    await turn()
    (record,) = next(write for write in bench.log.writes if write.topic == QUARANTINE).records
    headers = dict(record.headers)
    assert (headers["arrival"], headers["position"]) == (b"%d" % (NOW_US + 7), b"1")
    assert int(headers["flags"]) == Flag.RETAINED | Flag.REDELIVERED

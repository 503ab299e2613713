"""The worker keeps its promise: an offset is committed only when all that follows from the log before it is said."""

from __future__ import annotations

import asyncio
import json

import pytest

from ingest.contract.errors import IncompatibleError
from ingest.contract.kafka_client import Backoff
from stream import worker as worker_module
from stream.consumer import Bounds, OutOfRangeError
from stream.notes import read_note
from tests.unit.stream.fakes import Rig, lost, reading
from tests.unit.stream.logs import (
    START_US,
    Batch,
    record_of,
)

# --- committing ---------------------------------------------------------------------------------------------------


async def test_an_alert_is_published_and_then_committed(rig: Rig) -> None:
    await rig.assign(0)

    await rig.consumer.deliver({0: [reading(0, 1.0), reading(1, 99.0)]})

    ((_, alert),) = rig.writer.to("millstream.alerts")
    told = json.loads(alert.value or b"")
    assert (told["phase"], told["sensor"]) == ("firing", "site/machine/t")
    assert told["labels"] == {"site": "site", "area": "machine", "quantity": "t"}
    assert dict(alert.headers)["offset"] == b"1"
    assert rig.consumer.commits == []
    rig.clock.at_s = 6.0
    await rig.consumer.deliver({})
    assert rig.consumer.commits == [{0: 2}]
    await rig.consumer.deliver({})
    assert rig.consumer.commits == [{0: 2}]
    assert rig.counted("alert_transitions_total", phase="firing", armed="no") == 1


async def test_nothing_is_committed_while_an_effect_is_not_confirmed(rig: Rig) -> None:
    await rig.assign(0)
    rig.writer.confirms.clear()
    rig.clock.at_s = 6.0

    rig.consumer.put({0: [reading(0, 99.0)]})
    await rig.writer.asked.wait()
    revoking = asyncio.create_task(rig.worker.revoked({0}))
    for _ in range(10):
        await asyncio.sleep(0)

    assert rig.consumer.commits == []
    assert not revoking.done()
    rig.writer.confirms.set()
    await revoking
    assert rig.consumer.commits == [{0: 1}]
    assert len(rig.writer.to("millstream.alerts")) == 1


async def test_a_worker_stopped_before_an_effect_was_confirmed_leaves_its_record_to_the_next(rig: Rig) -> None:
    """It once committed what it had folded: the alert was never published by anybody."""
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 1.0)]})
    rig.writer.confirms.clear()
    rig.consumer.put({0: [reading(1, 99.0)]})
    await rig.writer.asked.wait()

    await rig.stop()
    await rig.worker.drain()

    assert rig.writer.to("millstream.alerts") == []
    assert rig.consumer.commits == [{0: 1}]


async def test_a_worker_asked_to_end_finishes_what_is_on_its_way(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled while it published, it once committed what was before: the next owner said it all again."""
    monkeypatch.setattr(worker_module, "_FINISH_S", 30.0)
    await rig.assign(0)
    rig.writer.confirms.clear()
    rig.consumer.put({0: [reading(0, 99.0)]})
    await rig.writer.asked.wait()

    stopping = asyncio.create_task(rig.stop())
    await asyncio.sleep(0)
    rig.writer.confirms.set()
    await stopping
    await rig.worker.drain()

    assert len(rig.writer.to("millstream.alerts")) == 1
    assert rig.consumer.commits[-1] == {0: 1}


async def test_a_worker_stopped_by_a_record_leaves_what_it_folded_before_it_in_that_poll_to_the_next(rig: Rig) -> None:
    await rig.assign(0, 1)
    await rig.consumer.deliver({0: [reading(0, 1.0)]})
    foreign = record_of(2, Batch(START_US), partitions=7)

    rig.consumer.put({1: [reading(0, 99.0)], 0: [reading(1, 99.0), foreign]})
    with pytest.raises(IncompatibleError):
        await rig.running
    await rig.worker.drain()

    assert rig.writer.to("millstream.alerts") == []
    assert rig.consumer.commits == [{0: 1, 1: 0}]


async def test_a_stopping_worker_commits_what_is_done(rig: Rig) -> None:
    await rig.assign(0, 1)
    await rig.consumer.deliver({0: [reading(0, 99.0)], 1: [reading(0, 1.0), reading(1, 2.0)]})

    await rig.stop()
    await rig.worker.drain()

    # What is quick first; then with the snapshots that were made meanwhile.
    assert rig.consumer.commits == [{0: 1, 1: 2}, {0: 1, 1: 2}]
    assert [read_note(rig.consumer.metadata[at]).snapshot_id for at in (0, 1)] == [
        (await rig.store.list(at))[0].id for at in (0, 1)
    ]


async def test_a_failed_commit_is_made_good_by_the_next(rig: Rig) -> None:
    await rig.assign(0)
    rig.consumer.failures.append(lost())
    rig.clock.at_s = 6.0
    await rig.consumer.deliver({0: [reading(0, 1.0)]})
    assert rig.consumer.commits == []
    assert rig.counted("commits_total", outcome="failed") == 1

    rig.clock.at_s = 12.0
    await rig.consumer.deliver({})

    assert rig.consumer.commits == [{0: 1}]


# --- rebalances ---------------------------------------------------------------------------------------------------


async def test_a_revoked_partition_is_committed_and_forgotten(rig: Rig) -> None:
    await rig.assign(0, 1)
    await rig.consumer.deliver({0: [reading(0, 5.0)], 1: [reading(0, 6.0)]})
    assert (await rig.worker.sensors_page()).count(b"millstream_sensor_value{") == 2

    await rig.worker.revoked({0})

    assert rig.consumer.commits == [{0: 1}]
    page = await rig.worker.sensors_page()
    assert b"_value{" in page
    assert b"} 5.0" not in page
    await rig.consumer.deliver({0: [reading(1, 99.0)]})
    assert rig.writer.to("millstream.alerts") == []


async def test_records_of_a_partition_that_is_not_restored_yet_wait(rig: Rig) -> None:
    rig.consumer.failures = [lost() for _ in range(100)]
    rig.worker.assigned({0})

    await rig.consumer.deliver({0: [reading(0, 99.0)]})
    assert rig.worker.unready() == ["1 partitions are being restored"]
    rig.clock.at_s = 60.0
    await rig.worker.revoked({0})

    assert rig.writer.written == []
    assert rig.consumer.commits == []
    assert rig.worker.unready() == ["no partition assigned yet"]


async def test_a_restore_that_fails_is_tried_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "next_s", lambda _: 0.0)
    rig.consumer.failures = [lost(), lost()]

    await rig.assign(0)

    assert rig.consumer.resumed == [(0, 0)]
    assert rig.worker.unready() == []


# --- where to begin -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "since", "begin", "live"),
    [
        (Bounds(3, 50, None), None, 3, 3),  # a new group takes all there is
        (Bounds(3, 50, 40), None, 40, 40),  # nothing arrived in the last hour
        (Bounds(3, 50, 40), 20, 20, 40),
        (Bounds(3, 50, 40), 45, 40, 40),
        (Bounds(30, 50, 40), 20, 30, 40),
        (Bounds(3, 50, 50), 50, 50, 50),
        (Bounds(45, 50, 40), 45, 45, 45),  # retention overtook us
        (Bounds(0, 10, 40), 0, 0, 0),  # the topic was made anew
    ],
)
async def test_it_begins_an_hour_before_its_last_commit_and_speaks_from_there_on(
    rig: Rig, bounds: Bounds, since: int | None, begin: int, live: int
) -> None:
    rig.consumer.log[2] = bounds
    if since is not None:
        rig.consumer.since[2] = since

    await rig.assign(2)

    assert rig.consumer.resumed == [(2, begin)]
    rig.clock.at_s = 6.0
    await rig.consumer.deliver({2: [reading(at, 99.0 if at % 2 else 1.0) for at in range(begin, live + 3)]})
    said = [int(dict(alert.headers)["offset"]) for _, alert in rig.writer.to("millstream.alerts")]
    assert said
    assert min(said) >= live
    assert rig.consumer.commits == [{2: live + 3}]
    assert rig.counted("refolded_readings_total") == live - begin


async def test_it_commits_nothing_until_it_is_past_the_last_commit(rig: Rig) -> None:
    rig.consumer.log[0] = Bounds(0, 50, 10)
    rig.consumer.since[0] = 0
    await rig.assign(0)
    rig.clock.at_s = 6.0

    await rig.consumer.deliver({0: [reading(at, 1.0) for at in range(9)]})
    # The group is asked for its word, and told what it knows.
    assert rig.consumer.commits == [{0: 10}]
    rig.clock.at_s = 12.0
    await rig.consumer.deliver({0: [reading(9, 1.0), reading(10, 1.0)]})

    assert rig.consumer.commits == [{0: 10}, {0: 11}]


async def test_a_partition_that_retention_overtook_is_begun_anew_and_the_gap_is_told(rig: Rig) -> None:
    await rig.assign(0)
    await rig.consumer.deliver({0: [reading(0, 5.0)]})
    rig.consumer.log[0] = Bounds(100, 200, 1)

    rig.consumer.put(OutOfRangeError({0}))
    while len(rig.consumer.resumed) < 2:
        await asyncio.sleep(0)
    await rig.consumer.polled()
    rig.clock.at_s = 6.0
    await rig.consumer.deliver({0: [reading(100, 7.0)]})

    assert rig.consumer.resumed == [(0, 0), (0, 100)]
    assert rig.counted("gap_records_total") == 99
    assert rig.consumer.commits[-1] == {0: 101}
    page = await rig.worker.sensors_page()
    assert b"} 7.0" in page


async def test_a_partition_that_is_out_of_range_again_while_it_is_restored_is_restored_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.assign(0)
    asked, answer = asyncio.Event(), asyncio.Event()

    async def bounds(partition: int) -> Bounds:
        asked.set()
        await answer.wait()
        return Bounds(100, 200, 1)

    monkeypatch.setattr(rig.consumer, "bounds", bounds)
    await rig.consumer.deliver(OutOfRangeError({0}))
    await asked.wait()
    await rig.consumer.deliver(OutOfRangeError({0}))
    answer.set()
    await rig.consumer.deliver({})
    for _ in range(10):
        await asyncio.sleep(0)

    assert rig.consumer.resumed == [(0, 0), (0, 100)]
    assert rig.worker.unready() == []


async def test_records_that_are_missing_in_the_middle_are_counted(rig: Rig) -> None:
    await rig.assign(0)

    await rig.consumer.deliver({0: [reading(0, 1.0), reading(5, 1.0)]})

    assert rig.counted("gap_records_total") == 4

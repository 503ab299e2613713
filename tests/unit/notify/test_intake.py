"""What goes into the outbox, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.fold.alerts import Phase
from stream.notify.intake import GENERATION_MEMORY_US, Drop, Intake
from stream.notify.outbox import Outbox
from tests.unit.notify.rig import HOUR_US, NOW_US, S_US, Taking, Topic, webhook


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    one = Taking(tmp_path)
    yield one
    one.outbox.close()


def test_firing_and_resolved_are_sent_in_order(taking: Taking) -> None:
    topic = Topic(partition=2)
    topic.add("a", Phase.FIRING)
    topic.add("b", Phase.FIRING)
    topic.add("a", Phase.RESOLVED)
    taken = taking.intake.take(topic.records, NOW_US)
    assert (taken.records, taken.queued, taken.dropped) == (3, {"one": 3}, {})
    assert taking.outbox.position(2) == 3
    assert taking.all() == [("a", "firing"), ("b", "firing"), ("a", "resolved")]


def test_each_webhook_gets_what_it_wants(tmp_path: Path) -> None:
    all_of_it, line_7 = webhook("all"), webhook("line-7", match=["*/line-07/**"], severities=["critical"])
    taking = Taking(tmp_path, all_of_it, line_7)
    topic = Topic()
    topic.add("a", sensor="bremen/line-07/p/t", severity="critical")
    topic.add("b", sensor="bremen/line-07/p/t", severity="warning")
    topic.add("c", sensor="bremen/line-01/p/t", severity="critical")
    taking.intake.take(topic.records, NOW_US)
    assert len(taking.all("all")) == 3
    assert taking.all("line-7") == [("a", "firing")]
    taking.outbox.close()


def test_a_lower_generation_is_dropped_per_partition_of_the_readings(taking: Taking) -> None:
    topic = Topic()
    topic.add("a", generation=5, of=0)
    topic.add("late", generation=4, of=0)
    topic.add("b", generation=4, of=1)
    topic.add("c", generation=5, of=0)
    topic.add("d", generation=6, of=0)
    topic.add("e", generation=5, of=0)
    topic.add("f", generation=-1, of=0)
    taken = taking.intake.take(topic.records, NOW_US)
    assert taken.dropped == {Drop.OLD_GENERATION: 3}
    assert [alert for alert, _ in taking.all()] == ["a", "b", "c", "d"]
    assert taken.remarks[0] == (Drop.OLD_GENERATION, 0, 1, "generation 4, 5 was heard of this partition")


def test_what_waits_in_another_partition_of_the_topic_is_no_late_word(taking: Taking) -> None:
    """After a rebalance, alerts of one partition once made those that waited in the others be dropped."""
    first, second = Topic(0), Topic(1)
    first.add("new", generation=6)
    second.add("waits", generation=5)
    second.add("follows", generation=6)
    second.add("late", generation=5)

    assert taking.intake.take(first.records, NOW_US).dropped == {}
    assert taking.intake.take(second.records, NOW_US).dropped == {Drop.OLD_GENERATION: 1}
    assert [alert for alert, _ in taking.all()] == ["new", "waits", "follows"]


def test_generations_are_remembered_over_a_restart(taking: Taking) -> None:
    topic = Topic()
    taking.intake.take([topic.add("a", generation=5)], NOW_US)
    taking.outbox.close()
    taking.outbox = Outbox(taking.path)
    again = Intake(taking.settings, [webhook()], taking.outbox)
    assert again.take([topic.add("late", generation=4)], NOW_US).dropped == {Drop.OLD_GENERATION: 1}


def test_a_group_that_counts_from_one_again_is_believed_after_an_hour_or_under_its_own_name(taking: Taking) -> None:
    topic = Topic()
    topic.add("a", generation=50)
    topic.add("b", generation=1, written_us=NOW_US + GENERATION_MEMORY_US - 1)
    topic.add("c", generation=1, written_us=NOW_US + GENERATION_MEMORY_US)
    topic.add("d", generation=2, written_us=NOW_US + GENERATION_MEMORY_US)
    topic.add("e", generation=1, headers={"group": b"another"}, written_us=NOW_US + GENERATION_MEMORY_US)
    taken = taking.intake.take(topic.records, NOW_US + GENERATION_MEMORY_US)
    assert taken.dropped == {Drop.OLD_GENERATION: 1}
    assert [alert for alert, _ in taking.due(now_us=NOW_US + 2 * GENERATION_MEMORY_US)] == ["a", "c", "d", "e"]


def test_what_was_published_twice_is_sent_once_even_after_it_was_sent(taking: Taking) -> None:
    topic = Topic()
    taking.intake.take([topic.add("a", generation=1)], NOW_US)
    assert taking.all() == [("a", "firing")]
    assert taking.intake.take([topic.add("a", generation=2)], NOW_US).dropped == {Drop.DUPLICATE: 1}
    assert taking.all() == []


def test_what_is_only_observed_is_not_sent(taking: Taking) -> None:
    topic = Topic()
    topic.add("a", extra={"armed": False})
    topic.add("b", extra={"armed": True})
    # Armed meanwhile: nobody has heard of it, so nobody has to hear that it is over.
    topic.add("a", Phase.RESOLVED, extra={"armed": True})
    taken = taking.intake.take(topic.records, NOW_US)
    assert taken.dropped == {Drop.UNARMED: 1, Drop.NEVER_FIRED: 1}
    assert taking.all() == [("b", "firing")]


def test_pending_is_optional_and_so_is_its_end(tmp_path: Path) -> None:
    taking = Taking(tmp_path, webhook("usual"), webhook("early", phases=["pending", "firing", "resolved"]))
    topic = Topic()
    topic.add("over", Phase.PENDING)
    topic.add("over", Phase.RESOLVED)
    for phase in (Phase.PENDING, Phase.FIRING, Phase.RESOLVED):
        topic.add("real", phase)
    assert taking.intake.take(topic.records, NOW_US).dropped == {Drop.NEVER_FIRED: 1}
    assert taking.all("usual") == [("real", "firing"), ("real", "resolved")]
    assert len(taking.all("early")) == 5
    taking.outbox.close()


def test_the_end_of_what_began_before_our_time_is_sent(taking: Taking) -> None:
    taking.intake.take([Topic().add("a", Phase.RESOLVED)], NOW_US)
    assert taking.all() == [("a", "resolved")]


def test_old_alerts_page_nobody(taking: Taking) -> None:
    topic = Topic()
    topic.add("old", written_us=NOW_US - 25 * HOUR_US)
    topic.add("new", written_us=NOW_US - 23 * HOUR_US)
    assert taking.intake.take(topic.records, NOW_US).dropped == {Drop.TOO_OLD: 1}
    assert taking.all() == [("new", "firing")]


def test_bad_records_stop_nothing(taking: Taking) -> None:
    topic = Topic()
    topic.put(b"{", {"kind": b"alert"})
    topic.put(None, {})
    topic.put(b"{}", {})
    topic.add("a")
    taken = taking.intake.take(topic.records, NOW_US)
    assert taken.dropped == {Drop.UNREADABLE: 2}
    assert taking.outbox.position(0) == 4
    assert taking.all() == [("a", "firing")]


def test_the_outbox_is_bounded_per_webhook(tmp_path: Path) -> None:
    taking = Taking(tmp_path, webhook("slow"), webhook("fast"), max_waiting=3)
    topic = Topic()
    for number in range(3):
        topic.add(f"a{number}")
    taking.intake.take(topic.records, NOW_US)
    assert len(taking.all("fast")) == 3
    taken = taking.intake.take([topic.add("b1"), topic.add("b2")], NOW_US)
    assert (taken.queued, taken.dropped) == ({"fast": 2}, {Drop.OVERFLOW: 2})
    assert len(taking.all("slow")) == 3
    taking.outbox.close()


def test_the_sites_time_zone(tmp_path: Path) -> None:
    taking = Taking(tmp_path, time_zone="UTC", time_zones={"bremen": "Europe/Berlin"})
    taking.intake.take([Topic().add("a")], NOW_US)
    rows, _ = taking.outbox.due("one", NOW_US, NOW_US + S_US, 10, ())
    assert b'"local_time":"2025-06-15T17:06:39.000+02:00"' in rows[0].body
    taking.outbox.close()

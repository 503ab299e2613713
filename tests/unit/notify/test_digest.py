"""From a digest on the topic to one message, for each webhook what concerns it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingest.contract.errors import IncompatibleError
from stream.fold.alerts import Phase
from stream.notify.digest import SHOWN
from stream.notify.intake import Drop
from tests.unit.notify.rig import HOUR_US, NOW_US, Taking, Topic, missed, webhook


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    one = Taking(
        tmp_path,
        webhook("all"),
        webhook("line-07", match=["*/line-07/**"], severities=["critical"]),
        webhook("no-digests", phases=["firing", "resolved"]),
        time_zones={"bremen": "Europe/Berlin"},
    )
    yield one
    one.outbox.close()


def body(taking: Taking, name: str) -> dict[str, Any]:
    rows, _ = taking.outbox.due(name, NOW_US, NOW_US + HOUR_US, 10, ())
    (row,) = rows
    assert row.message_id == "d1_digest"
    found: dict[str, Any] = json.loads(row.body)
    return found


def test_a_digest_is_one_message_of_what_came_and_went(taking: Taking) -> None:
    taken = taking.intake.take([Topic().add_digest(missed(1), missed(2))], NOW_US)

    assert (taken.queued, taken.dropped) == ({"all": 1}, {})
    assert body(taking, "all") == {
        "type": "alert.digest",
        "timestamp": "2025-06-15T15:06:39.000Z",
        "data": {
            "id": "d1",
            "site": "bremen",
            "phase": "digest",
            "text": "bremen: 2 alerts came and went while data was late",
            "count": 2,
            "more": 0,
            "since": "2025-06-15T14:06:41.000Z",
            "until": "2025-06-15T14:06:43.000Z",
            "at": "2025-06-15T15:06:39.000Z",
            "local_time": "2025-06-15T17:06:39.000+02:00",
            "worst": [
                {
                    "id": f"m{number}",
                    "sensor": "bremen/line-01/press-02/temperature",
                    "display_name": "Presse",
                    "rule": "anomaly",
                    "severity": "warning",
                    "peak_score": 1.5,
                    "since": f"2025-06-15T14:06:4{number}.000Z",
                    "until": f"2025-06-15T14:06:4{number + 1}.000Z",
                }
                for number in (1, 2)
            ],
        },
    }


def test_each_webhook_is_told_of_what_concerns_it(taking: Taking) -> None:
    others = [missed(number) for number in range(1, 40)]
    own = missed(40, "bremen/line-07/p/t", "critical")

    taken = taking.intake.take([Topic().add_digest(*others, own, more=5)], NOW_US)

    assert taken.queued == {"all": 1, "line-07": 1}
    everything, part = body(taking, "all")["data"], body(taking, "line-07")["data"]
    assert (everything["count"], everything["more"], len(everything["worst"])) == (40, 5, SHOWN)
    assert (part["count"], part["more"]) == (1, 5)
    assert [one["sensor"] for one in part["worst"]] == ["bremen/line-07/p/t"]


def counted(topic: Topic, site: str = "bremen", **change: Any) -> None:
    """A digest that lists nothing."""
    good = topic.add_digest(missed(), more=5)
    value = {**msgspec.json.decode(good.value or b""), "worst": [], "count": 5, "site": site, **change}
    topic.records[-1] = good._replace(value=msgspec.json.encode(value))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"severity": "critical"}, {"all", "line-07"}),
        ({"severity": "warning"}, {"all"}),  # nothing is severer than that
        ({"severity": "unheard of"}, {"all", "line-07"}),
        ({"count": 0}, set()),
    ],
    ids=["critical", "warning", "unheard of", "none"],
)
def test_what_is_only_counted_is_told_to_whomever_it_may_concern(
    taking: Taking, change: dict[str, Any], told: set[str]
) -> None:
    topic = Topic()
    counted(topic, **change)

    assert taking.intake.take(topic.records, NOW_US).queued == dict.fromkeys(told, 1)

    if "all" in told:
        data = body(taking, "all")["data"]
        assert data["text"] == "bremen: 5 alerts came and went while data was late; of which sensors is not known"
        assert (data["count"], data["more"], data["worst"]) == (0, 5, [])
        assert (data["since"], data["until"]) == ("2025-06-15T14:06:41.000Z", "2025-06-15T14:06:42.000Z")


def test_what_is_only_counted_of_one_site_is_not_told_at_another(tmp_path: Path) -> None:
    taking, topic = Taking(tmp_path, webhook("hamburg", match=["hamburg/**"]), webhook("all")), Topic()
    counted(topic)

    assert taking.intake.take(topic.records, NOW_US).queued == {"all": 1}
    taking.outbox.close()


def test_a_digest_that_was_published_twice_is_sent_once(taking: Taking) -> None:
    topic = Topic()
    taking.intake.take([topic.add_digest(missed(), generation=1)], NOW_US)

    taken = taking.intake.take([topic.add_digest(missed(), generation=2)], NOW_US)

    assert (taken.queued, taken.dropped) == ({}, {Drop.DUPLICATE: 1})
    assert taking.all("all") == [("d1", "digest")]


def test_a_digest_of_a_lower_fence_is_the_late_word_of_who_has_lost_the_partition(taking: Taking) -> None:
    topic, epoch = Topic(), 1 << 32
    topic.add("a", Phase.FIRING, generation=2**31 * epoch - 1)
    topic.add_digest(missed(), generation=(2**31 - 2) * epoch + 5)

    assert taking.intake.take(topic.records, NOW_US).dropped == {Drop.OLD_GENERATION: 1}
    assert taking.all("all") == [("a", "firing")]


@pytest.mark.parametrize("generation", [2**63, -(2**63) - 1, 10**1_000])
def test_a_fence_that_no_database_holds_is_refused(taking: Taking, generation: int) -> None:
    topic = Topic()
    topic.add("a", headers={"generation": b"%d" % generation})
    topic.add("b", generation=2**63 - 1)

    assert taking.intake.take(topic.records, NOW_US).dropped == {Drop.UNREADABLE: 1}
    assert taking.all("all") == [("b", "firing")]


@pytest.mark.parametrize(
    "change",
    [
        {"id": "a b"},
        {"phase": "FIRING"},
        {"at_us": 0},
        {"worst": [{"id": "m", "sensor": "s/t", "since_us": NOW_US, "until_us": 2**62}]},
        {"worst": None},
        {"count": "many"},
    ],
    ids=str,
)
def test_what_is_no_digest_is_counted_and_read_over(taking: Taking, change: dict[str, Any]) -> None:
    topic = Topic()
    good = topic.add_digest(missed())
    topic.records[0] = good._replace(value=msgspec.json.encode({**msgspec.json.decode(good.value or b""), **change}))
    topic.add("a")

    assert taking.intake.take(topic.records, NOW_US).dropped == {Drop.UNREADABLE: 1}
    assert taking.all("all") == [("a", "firing")]


def test_a_digest_of_a_newer_version_stops_the_reader(taking: Taking) -> None:
    good = Topic().add_digest(missed())

    with pytest.raises(IncompatibleError, match="upgrade"):
        taking.intake.take([good._replace(headers=tuple({**dict(good.headers), "schema": b"2.0"}.items()))], NOW_US)

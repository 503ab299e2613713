"""What `millstream alerts` says of what stands on the alerts topic."""

from __future__ import annotations

import msgspec

from deploy.commands.alerts import Alert, lines_of_open, lines_of_would, take
from deploy.up.alerts import Alerts
from ingest.contract.kafka_settings import KafkaSettings
from tests.unit.notify.rig import Topic, missed

AT_US = 1_700_000_000_000_000
S_US = 1_000_000


def alert(phase: str, *, armed: bool = True, sensor: str = "a/t", since_s: int = 0, before: str = "") -> Alert:
    """As read from the topic; `before`: an earlier phase of the same alert."""
    body = {
        "sensor": sensor,
        "rule": "hot",
        "severity": "critical",
        "armed": armed,
        "since_us": AT_US + since_s * S_US,
        "value": 61.25,
        "score": 0.875,
    }
    earlier = Alert.of({**body, "phase": before}, None) if before else None
    return Alert.of({**body, "phase": phase}, earlier)


def test_only_firing_alerts_are_open_and_the_newest_comes_first() -> None:
    found = [
        alert("firing", sensor="a/old"),
        alert("pending", sensor="a/pending"),
        alert("resolved", sensor="a/over", before="firing"),
        alert("firing", sensor="a/new", since_s=60),
    ]
    assert lines_of_open(found) == [
        "2 alerts are open:",
        "critical  a/new  hot since 2023-11-14 22:14:20 UTC, value 61.25, score 0.88",
        "critical  a/old  hot since 2023-11-14 22:13:20 UTC, value 61.25, score 0.88",
    ]


def test_an_open_alert_of_an_unarmed_plant_says_that_nobody_was_told() -> None:
    (_, line) = lines_of_open([alert("firing", armed=False)])
    assert line.endswith("(observe-only: nobody was told)")


def test_many_open_alerts_are_counted_and_not_all_listed() -> None:
    lines = lines_of_open([alert("firing", sensor=f"a/{i}") for i in range(23)])
    assert lines[0] == "23 alerts are open:"
    assert len(lines) == 22
    assert lines[-1].strip() == "and 3 more"


def test_nothing_is_said_of_nothing() -> None:
    assert lines_of_open([]) == ["0 alerts are open"]
    assert lines_of_would([]) == ["would have alerted 0 times"]


def test_would_have_alerted_counts_what_fired_unarmed_even_if_it_is_over() -> None:
    found = [
        alert("firing", armed=False),
        alert("resolved", armed=False, since_s=60, before="firing"),
        alert("pending", armed=False),
        alert("resolved", armed=False, before="pending"),
        alert("firing"),
        alert("resolved", before="firing"),
    ]
    lines = lines_of_would(found)
    assert lines[:2] == [
        "would have alerted 2 times:",
        "     2 ×  a/t  hot, last 2023-11-14 22:14:20 UTC, value 61.25",
    ]
    assert len(lines) == 3
    assert "armed = true" in lines[2]


def test_a_digest_on_the_topic_is_no_alert() -> None:
    topic, found, said = Topic(), dict[str, Alert](), list[str]()
    topic.add("a1")
    topic.add_digest(missed(1), missed(2), more=3)
    following = Alerts(KafkaSettings(), said.append)
    for record in topic.records:
        body = msgspec.json.decode(record.value or b"")
        take(found, body)
        following.take(body)

    assert list(found) == list(following.open) == list(following.fired) == ["a1"]
    assert said[1] == "alerts      5 came and went at bremen while data was late"


def test_an_open_alert_explains_itself_as_far_as_its_record_does() -> None:
    body = {
        "sensor": "a/t", "phase": "firing", "rule": "odd", "severity": "warning", "since_us": AT_US, "value": 9.0,
        "score": 1.5, "model": "running_range", "band": [5.0, 6.125], "data_quality": "uncertain",
        "recent_alerts": 4.9, "budget_share": 0.245,
    }  # fmt: skip

    def ending(**other: object) -> str:
        (_, line) = lines_of_open([Alert.of({**body, **other}, None)])
        return line.partition("score 1.50, ")[2]

    assert ending() == "by running_range, expected 5 to 6.125, data uncertain, 24% of the budget"
    assert ending(band=[None, 80.0], model=None, data_quality="good", recent_alerts=0.0) == "expected at most 80"
    assert ending(band=[1.0, None], model=None, data_quality="good", recent_alerts=None) == "expected at least 1"

"""What leaves: a record for each transition and digest, under its id, and the late rows of each record."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.class_settings import EVERYTHING_ELSE, ClassSettings
from ingest.contract.log_writer import Outgoing
from ingest.contract.settings import PlantSettings
from ingest.contract.wire import Kind, decode_readings, envelope_of
from stream.effects import (
    LISTED,
    Description,
    alert_record,
    alerts_partition,
    digest_records,
    is_armed,
    late_records,
    may_be_armed,
)
from stream.fold.alerts import Phase, Transition
from stream.fold.backlog import Digest, Episode
from stream.fold.gate import RING, Verdict
from tests.unit.stream.logs import HOUR_US, PARTITIONS, S_US, START_US, Batch, Row, examples, fold_log, plan_of

FIRING = Transition(
    id="0f" * 16,
    phase=Phase.FIRING,
    sensor="s/l/m/Ölstand",
    rule="high",
    revision="abcd",
    severity="critical",
    at_us=START_US + 5,
    since_us=START_US,
    value=1e99,
    score=1e9,
    model=None,
)


OIL = Description({"site": "s"}, "Oil", "L", "levels", armed=False)


def test_who_is_armed() -> None:
    plant, part = PlantSettings(armed=True), PlantSettings(armed_paths=["demo/line-01/**"])
    usual = ClassSettings(name="a", match=["**"])
    quiet, loud = usual.model_copy(update={"armed": False}), usual.model_copy(update={"armed": True})
    # A new plant alerts nobody.
    assert not is_armed("demo/line-01/t", usual, PlantSettings())
    assert is_armed("demo/line-01/t", usual, plant)
    assert is_armed("demo/line-01/t", usual, part)
    assert not is_armed("demo/line-02/t", usual, part)
    assert not is_armed("demo/line-01/t", quiet, plant)
    assert is_armed("demo/line-02/t", loud, PlantSettings())


def test_a_transition_becomes_a_record_that_says_all_of_it() -> None:
    record = alert_record(FIRING, OIL, partition=3, generation=7, group="night", offset=42)

    assert record.key == FIRING.id.encode()
    assert json.loads(record.value or b"") == {
        "id": FIRING.id,
        "phase": "firing",
        "armed": False,
        "sensor": "s/l/m/Ölstand",
        "display_name": "Oil",
        "labels": {"site": "s"},
        "class": "levels",
        "unit": "L",
        "rule": "high",
        "revision": "abcd",
        "severity": "critical",
        "at_us": START_US + 5,
        "since_us": START_US,
        "value": 1e99,
        "band": None,
        "score": 1e9,
        "model": None,
        "boundary": 1.0,
        "recent_alerts": 0.0,
        "budget_share": 0.0,
        "data_quality": "good",
        "together": 1,
        "node": None,
    }
    assert dict(record.headers) == {
        "schema": b"1.0",
        "content-type": b"application/json",
        "kind": b"alert",
        "group": b"night",
        "partition": b"3",
        "generation": b"7",
        "offset": b"42",
    }


def test_the_same_transition_is_the_same_record_to_the_byte() -> None:
    first, second = (alert_record(FIRING, OIL, partition=0, generation=1, group="g", offset=2) for _ in range(2))

    assert first == second


@examples(50)
@given(site=st.text(min_size=1).filter(lambda name: "/" not in name), partitions=st.integers(1, 100))
def test_all_alerts_of_a_site_go_to_one_partition(site: str, partitions: int) -> None:
    found = {alerts_partition(path, partitions) for path in (site, f"{site}/a", f"{site}/b/c/d")}

    assert len(found) == 1
    assert 0 <= found.pop() < partitions


def test_sites_spread_over_partitions() -> None:
    assert len({alerts_partition(f"site-{at}/x", 8) for at in range(200)}) == 8


def test_a_fence_of_an_epoch_and_a_generation_is_written_in_full() -> None:
    fence = (2**31 - 1 << 32) | (2**32 - 1)
    record = alert_record(FIRING, OIL, partition=0, generation=fence, group="g", offset=2)

    assert dict(record.headers)["generation"] == b"9223372036854775807"


# --- digests ------------------------------------------------------------------------------------------------------


def episode(number: int, severity: str = "warning", sensor: str = "s/l/m/t") -> Episode:
    return Episode(
        -9.0 + number / 1e3, START_US + number, START_US + number + S_US, f"{number:032x}", sensor, "hot", severity
    )


def records_of_digest(
    episodes: list[Episode], more: int = 0, *, others_armed: bool = True
) -> list[tuple[int, Outgoing]]:
    """Only sensors that end with t are armed."""
    digest = Digest("d" * 32, "s", START_US + HOUR_US, tuple(episodes), more)

    def describe(sensor: str) -> Description:
        return Description({"site": "s"}, "Oil", "L", "levels", armed=sensor.endswith("t"))

    return digest_records(
        digest, describe, others_armed=others_armed,
        partition=3, generation=7, group="night", offset=42, alerts_partitions=5,
    )  # fmt: skip


def test_a_digest_becomes_a_record_where_its_sites_alerts_are() -> None:
    [(partition, record)] = records_of_digest([episode(2, "critical"), episode(1), episode(3, sensor="s/l/m/quiet-x")])

    assert partition == alerts_partition("s/l/m/t", 5)
    assert record.key == b"d" * 32
    assert json.loads(record.value or b"") == {
        "id": "d" * 32,
        "phase": "digest",
        "armed": True,
        "site": "s",
        "severity": "critical",
        "at_us": START_US + HOUR_US,
        "since_us": START_US + 1,
        "until_us": START_US + 2 + S_US,
        "count": 2,
        "worst": [
            {
                "id": f"{number:032x}",
                "sensor": "s/l/m/t",
                "display_name": "Oil",
                "rule": "hot",
                "severity": severity,
                "since_us": START_US + number,
                "until_us": START_US + number + S_US,
                "peak_score": 9.0 - number / 1e3,
            }
            for number, severity in ((2, "critical"), (1, "warning"))
        ],
    }
    assert dict(record.headers) == {
        "schema": b"1.0",
        "content-type": b"application/json",
        "kind": b"digest",
        "group": b"night",
        "partition": b"3",
        "generation": b"7",
        "offset": b"42",
    }


def test_nobody_hears_of_sensors_that_are_not_armed() -> None:
    assert records_of_digest([episode(1, sensor="s/l/m/x")]) == []
    assert records_of_digest([episode(1, sensor="s/l/m/x")], more=100, others_armed=False) == []


def test_what_is_only_counted_is_told_where_it_may_be_of_sensors_that_are_armed() -> None:
    """A thousand episodes of sensors that are not armed took all places."""
    kept = [episode(number, "warning", "s/l/m/x") for number in range(5)]

    [(_, record)] = records_of_digest(kept, more=100)
    [(_, none_kept)] = records_of_digest([], more=100)

    value = json.loads(record.value or b"")
    assert (value["count"], value["worst"], value["severity"]) == (100, [], "warning")
    assert (value["since_us"], value["until_us"]) == (START_US, START_US + 4 + S_US)
    value = json.loads(none_kept.value or b"")
    assert (value["count"], value["worst"], value["severity"]) == (100, [], "critical")
    assert value["since_us"] == value["until_us"] == value["at_us"]


@pytest.mark.parametrize(
    ("plant", "armed", "there"),
    [
        ({}, [None, False], False),
        ({}, [None, True], True),
        ({"armed": True}, [None, False], True),
        ({"armed": True}, [False], False),
        ({"armed_paths": ["s/**"]}, [None], True),
        ({"armed_paths": ["*/l/m"]}, [None], True),
        ({"armed_paths": ["**/t"]}, [None], True),
        ({"armed_paths": ["other/**"]}, [None], False),
    ],
    ids=str,
)
def test_whether_a_site_may_have_sensors_that_are_armed(
    plant: dict[str, object], armed: list[bool | None], there: bool
) -> None:
    classes = [ClassSettings(name=f"c{at}", match=["**"], armed=one) for at, one in enumerate(armed)]

    assert may_be_armed("s", classes, PlantSettings.model_validate(plant)) is there


def test_a_digest_lists_so_many_and_counts_all() -> None:
    [(_, record)] = records_of_digest([episode(number) for number in range(LISTED + 20)], more=7)

    value = json.loads(record.value or b"")
    assert (len(value["worst"]), value["count"]) == (LISTED, LISTED + 27)


# --- late readings ------------------------------------------------------------------------------------------------


def late_of(log: list[Batch], max_record_bytes: int = 10**6) -> list[list[Outgoing]]:
    return [
        late_records(effects, partition=2, generation=7, group="night", max_record_bytes=max_record_bytes)
        for effects in fold_log(plan_of(EVERYTHING_ELSE), log).effects
    ]


USUAL = Batch(START_US, tuple(Row("s/t", START_US - at * S_US, 1.0) for at in range(RING, 0, -1)))
OLD = tuple(Row("s/t", START_US - HOUR_US - at * S_US, float(at), None, 0, 2) for at in range(50))


def test_late_rows_leave_as_they_came_and_say_where_from() -> None:
    fresh = Row("s/t", START_US + 1, 5.0)

    usual, [record], tick = late_of([USUAL, Batch(START_US + 5, (*OLD[:2], fresh)), Batch(START_US + 9)])

    assert usual == tick == []
    found = decode_readings(record.value or b"")
    assert found.sensor.decode() == ["s/t", "s/t"]
    assert found.ts_us.tolist() == [row.ts_us for row in OLD[:2]]
    assert found.value.tolist() == [0.0, 1.0]
    assert found.flags.tolist() == [2, 2]
    envelope = envelope_of(record.headers)
    assert (envelope.kind, envelope.arrival_us, envelope.partitions) == (Kind.READINGS, START_US + 5, PARTITIONS)
    headers = dict(record.headers)
    assert [headers[name] for name in ("group", "partition", "generation", "offset")] == [b"night", b"2", b"7", b"1"]
    assert record.timestamp_ms == (START_US + 5) // 1000


def test_as_many_late_rows_leave_as_are_counted_in_records_that_kafka_takes() -> None:
    log = [USUAL, Batch(START_US + 5, OLD)]

    records = late_of(log, max_record_bytes=1_300)[1]

    rows = [ts_us for one in records for ts_us in decode_readings(one.value or b"").ts_us.tolist()]
    assert rows == [row.ts_us for row in OLD]
    assert len(rows) == fold_log(plan_of(EVERYTHING_ELSE), log).count(Verdict.LATE)
    assert len(records) > 1
    assert all(len(one.value or b"") <= 1_300 or len(decode_readings(one.value or b"")) == 1 for one in records)

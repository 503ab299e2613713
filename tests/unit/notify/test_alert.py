"""From a record to a body."""

from __future__ import annotations

import json
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from ingest.contract.errors import IncompatibleError, QuarantineError
from stream.fold.alerts import Phase
from stream.notify.alert import message, read_alert
from tests.unit.notify.rig import Topic


def test_the_workers_record_becomes_the_body() -> None:
    alert, origin = read_alert(Topic().add("a1", Phase.FIRING, generation=7, of=3))
    assert (origin.group, origin.partition, origin.generation) == ("worker", 3, 7)
    assert alert.message_id == "a1_firing"
    assert json.loads(message(alert, ZoneInfo("Europe/Berlin"), {"plot": "https://g/?s={sensor}"})) == {
        "type": "alert.firing",
        "timestamp": "2025-06-15T15:06:39.000Z",
        "data": {
            "id": "a1",
            "sensor": "bremen/line-01/press-02/temperature",
            "display_name": None,
            "labels": {"site": "bremen"},
            "value": 81.5,
            "unit": None,
            "band": None,
            "score": 1.25,
            "model": "ewma_z",
            "boundary": 1.0,
            "recent_alerts": 0.0,
            "budget_share": 0.0,
            "data_quality": "good",
            "rule": "anomaly",
            "severity": "warning",
            "phase": "firing",
            "since": "2025-06-15T15:06:38.000Z",
            "at": "2025-06-15T15:06:39.000Z",
            "local_time": "2025-06-15T17:06:39.000+02:00",
            "together": 1,
            "node": None,
            "links": {"plot": "https://g/?s=bremen%2Fline-01%2Fpress-02%2Ftemperature"},
        },
    }


def test_what_newer_workers_add_is_passed_on_or_read_over() -> None:
    extra = {"unit": "Cel", "band": [40, 80], "display_name": "Öl", "new": 1}
    alert, _ = read_alert(Topic().add(extra=extra))
    data = json.loads(message(alert, UTC, {}))["data"]
    assert (data["unit"], data["band"], data["display_name"]) == ("Cel", [40, 80], "Öl")
    assert data["links"] == {}
    assert alert.armed


def test_a_value_that_is_no_number_is_null() -> None:
    alert, _ = read_alert(Topic().add(value=float("nan"), score=float("inf"), model=None))
    data = json.loads(message(alert, UTC, {}))["data"]
    assert data["value"] is data["score"] is data["model"] is None


def test_the_worker_group_where_the_record_has_it() -> None:
    assert read_alert(Topic().add(headers={"group": b"night-shift"}))[1].group == "night-shift"


@pytest.mark.parametrize(
    "headers",
    [
        {"schema": b""},
        {"schema": b"x"},
        {"kind": b"tick"},
        {"generation": b"one"},
        {"partition": b""},
        {"group": b"\xff"},
    ],
)
def test_headers_that_are_not_ours(headers: dict[str, bytes]) -> None:
    with pytest.raises(QuarantineError):
        read_alert(Topic().add(headers=headers))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"id": "a"}',
        b"[" * 100_000,
        b'{"id":"a\\r\\nx: y","phase":"firing","sensor":"s","at_us":1750000000000000,"since_us":1750000000000000}',
        b'{"id":"","phase":"firing","sensor":"s","at_us":1750000000000000,"since_us":1750000000000000}',
        b'{"id":"a","phase":"Fi ring","sensor":"s","at_us":1750000000000000,"since_us":1750000000000000}',
        b'{"id":"a","phase":"firing","sensor":"s","at_us":253402300799000000,"since_us":1750000000000000}',
        b'{"id":"a","phase":"firing","sensor":"s","at_us":-1,"since_us":1750000000000000}',
        b'{"id":"a","phase":"firing","sensor":"\\ud800","at_us":1750000000000000,"since_us":1750000000000000}',
    ],
)
def test_values_that_are_no_alert(value: bytes) -> None:
    topic = Topic()
    good = topic.add()
    with pytest.raises(QuarantineError):
        read_alert(topic.put(value, {name: content or b"" for name, content in good.headers}))


def test_a_newer_version_stops_the_daemon() -> None:
    with pytest.raises(IncompatibleError, match="upgrade it"):
        read_alert(Topic().add(headers={"schema": b"2.0"}))

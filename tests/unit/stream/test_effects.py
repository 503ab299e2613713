"""What leaves: one record for each transition, under the id of its alert."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.class_settings import ClassSettings
from ingest.contract.settings import PlantSettings
from stream.effects import Description, alert_record, alerts_partition, is_armed
from stream.fold.alerts import Phase, Transition
from tests.unit.stream.logs import START_US, examples

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

"""`millstream_sensor_quality`: one state of a closed set for each sensor, the same that alerts and lists say."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from prometheus_client.parser import text_string_to_metric_families

from deploy.sensors.explained import explained
from ingest.contract.class_settings import SILENT, ClassSettings, ModelSettings
from ingest.contract.classes import Kind
from ingest.contract.readings import Quality
from ingest.contract.settings import PlantSettings
from stream.exposition import SensorPage
from stream.fold.commands import Maintain
from stream.fold.data_quality import SHOWN
from stream.fold.partition import PartitionFold
from tests.properties.test_commands import command
from tests.unit.stream.logs import (
    MINUTE_US,
    PLANT,
    S_US,
    START_US,
    Batch,
    Row,
    examples,
    fold_log,
    fold_records,
    logs,
    plan_of,
    records_of,
)

WORDS = {one.name.lower() for one in SHOWN}
DULL = [ModelSettings(name="ewma_z", options={"warm_up": 20})]
CLASS = ClassSettings(
    name="all", match=["**"], models=DULL, rules=[SILENT], range=(-1e6, 1e6), warm_up=5, series=["value", "quality"]
)
UNSHOWN = CLASS.model_copy(update={"name": "unshown", "match": ["unshown/**"], "series": ["value"]})
TEXT = CLASS.model_copy(update={"name": "text", "match": ["text/**"], "kind": Kind.TEXT, "models": []})
PLAN = plan_of(UNSHOWN, TEXT, CLASS)


def qualities(fold: PartitionFold) -> dict[str, str]:
    """By sensor; each has one at most."""
    page = SensorPage([]).render([fold]).decode()
    families = [one for one in text_string_to_metric_families(page) if one.name == "millstream_sensor_quality"]
    found = [one for family in families for one in family.samples]
    assert all(one.value == 1 and set(one.labels) == {"sensor", "quality"} for one in found)
    assert max(Counter(one.labels["sensor"] for one in found).values(), default=1) == 1
    return {one.labels["sensor"]: one.labels["quality"] for one in found}


def second(at: int, sensors: tuple[str, ...]) -> Batch:
    at_us = START_US + at * S_US
    return Batch(at_us, tuple(Row(f"{name}/1/t", at_us, 20.0 + at % 3) for name in sensors))


def test_each_sensor_has_the_worst_that_is_to_be_said() -> None:
    names = ("good", "doubt", "broken", "quiet", "unshown")
    log = [second(at, names) for at in range(0, 400, 5)]
    log += [second(at, ("good", "doubt", "broken", "unshown")) for at in range(400, 450, 5)]
    at_us = START_US + 450 * S_US
    log.append(
        Batch(
            at_us,
            (
                Row("good/1/t", at_us, 20.0),
                Row("doubt/1/t", at_us, 20.0, quality=Quality.UNCERTAIN),
                Row("broken/1/t", at_us, 1e9),
                Row("new/1/t", at_us, 20.0),
                Row("text/1/t", at_us, text="on"),
                Row("unshown/1/t", at_us, 20.0),
            ),
        )
    )
    records = records_of(log)
    expected = {"good": "good", "doubt": "uncertain", "broken": "refused", "quiet": "silent", "new": "warming"}
    expected = {f"{name}/1/t": word for name, word in expected.items()} | {"text/1/t": "good"}
    assert qualities(fold_records(PLAN, records).fold) == expected
    begin = command(len(records), Maintain("m1", "b*/**", at_us, at_us + MINUTE_US), at_us)
    assert qualities(fold_records(PLAN, [*records, begin]).fold) == expected | {"broken/1/t": "maintenance"}


@examples(30)
@given(logs())
def test_it_is_what_lists_and_alerts_say(log: list[Batch]) -> None:
    plan = plan_of(*(one.model_copy(update={"series": ["quality"]}) for one in PLANT))
    fold = fold_log(plan, log).fold
    told = explained(fold.state.freeze(), plan.definitions, plan.classes.classes)
    said = {name: one.quality.partition(":")[0] for name, one in told.items() if one.quality is not None}
    found = qualities(fold)
    assert set(found) == set(said)
    assert set(found.values()) <= WORDS
    assert {name: word for name, word in found.items() if word != "silent"} == {
        name: word for name, word in said.items() if found[name] != "silent"
    }


@pytest.mark.parametrize("label", ["quality", "reason"])
def test_no_level_of_a_path_is_called_as_a_label_of_the_page(label: str) -> None:
    """A label twice, and Prometheus refuses the whole page."""
    with pytest.raises(ValueError, match="is a label that Millstream or Prometheus sets"):
        PlantSettings(levels=["site", label])

"""`sensors ls` says why a sensor's latest reading was refused, and how often a counter began anew."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from deploy.registries import read_settings
from deploy.sensors.known import Known, json_line, read_known, table
from ingest.contract.class_settings import EVERYTHING_ELSE, ClassSettings, ModelSettings
from ingest.contract.classes import Kind
from stream.fold.commands import Maintain
from stream.fold.partition import PartitionFold
from stream.fold.plan import Plan
from stream.fold.state import Frozen
from stream.snapshot import Snapshot
from stream.snapshot_store import SnapshotStore, open_objects
from tests.properties.test_commands import command
from tests.unit.stream.logs import PARTITIONS, S_US, START_US, Batch, Row, fold_log, plan_of, records_of

PLAN = plan_of(ClassSettings(name="pieces", match=["**/pieces"], kind=Kind.COUNTER), EVERYTHING_ELSE)
ROWS = [
    Batch(START_US + at * S_US, tuple(Row(sensor, START_US + at * S_US, x) for sensor, x in now.items()))
    for at, now in enumerate(
        (
            {"a/t": 20.0, "a/pieces": 65_530.0, "b/t": 20.0},
            {"a/t": 65_535.0, "a/pieces": 3.0, "b/t": 21.0},
            {"a/pieces": 4.0},
            {"a/pieces": 0.0},
            {"a/pieces": 5.0},
            {"a/pieces": 0.0},
        )
    )
]


async def known_from(folder: Path, frozen: Frozen, plan: Plan = PLAN) -> Known:
    config = folder / "plant.toml"
    config.write_text(
        f"""
        [[route]]
        topic = "f/{{machine}}/{{quantity}}"
        [worker.snapshots]
        url = "{(folder / "snapshots").as_uri()}"
        [kafka.topics.readings]
        partitions = 1
        """
    )
    settings = read_settings(config, with_models=False)
    worker, topic = settings.worker, settings.kafka.topics.readings.name
    store = SnapshotStore(open_objects(worker.snapshots, worker.state_dir), worker.group, topic, 1)
    definitions = plan.definitions.to_bytes()
    await store.put(Snapshot(worker.group, topic, 0, 1, 1, START_US, definitions, frozen))
    store.close()
    return await read_known(settings)


async def test_reasons_are_shown_where_there_are_any(tmp_path: Path) -> None:
    known = await known_from(tmp_path, fold_log(PLAN, ROWS).fold.state.freeze())

    lines = list(table(known.chosen(None, None)))
    assert lines[0].split()[-1] == "REMARKS"
    assert [line.split("  ")[-1] for line in lines[1:]] == ["1 rollover; 2 resets", "refused: sentinel", "0"]
    assert next(table(known.chosen("b/*", None))).split()[-1] == "PARTITION"
    told = {one["sensor"]: one for one in map(json.loads, map(json_line, known.sensors.values()))}
    assert [told[name]["refused"] for name in ("a/t", "b/t")] == ["sentinel", None]
    assert [told[name]["data_quality"] for name in ("a/t", "b/t")] == ["refused: sentinel", "good"]
    assert (told["b/t"]["score"], told["a/pieces"]["score"]) == (0.0, None)
    assert (told["a/pieces"]["rollovers"], told["a/pieces"]["resets"]) == (1, 2)


async def test_snapshots_of_an_earlier_version_can_still_be_listed(tmp_path: Path) -> None:
    frozen = fold_log(PLAN, ROWS).fold.state.freeze()
    sensors = frozen.arrays["sensors"]
    earlier = sensors[[name for name in sensors.dtype.names or () if name not in ("refused", "rollovers", "resets")]]

    known = await known_from(tmp_path, replace(frozen, arrays={**frozen.arrays, "sensors": earlier.copy()}))

    assert [one.refused for one in known.sensors.values()] == ["", "", ""]


async def test_scores_are_explained_as_alerts_are(tmp_path: Path) -> None:
    usual = [Batch(START_US + at * S_US, (Row("a/t", START_US + at * S_US, 20.0 + at % 3),)) for at in range(200)]
    spike, now_us = Row("a/t", START_US + 200 * S_US, 500.0), START_US + 200 * S_US
    models = [ModelSettings(name="stuck"), ModelSettings(name="ewma_z")]
    plan = plan_of(
        ClassSettings(name="new", match=["new/**"], warm_up=50, models=models),
        EVERYTHING_ELSE.model_copy(update={"models": models}),
    )
    fold = PartitionFold(plan, PARTITIONS)
    rows = (spike, Row("new/t", now_us, 20.0), Row("repaired/t", now_us, 20.0))
    for record in records_of([*usual, Batch(now_us, rows)]):
        fold.fold(record)
    fold.fold(command(201, Maintain("m1", "repaired/**", now_us, now_us + 60 * S_US), now_us))
    row = fold.state.sensors[fold.state.slots.get("a/t")]
    row["spent"] = plan.definitions.alerts_per_day / 4

    known = await known_from(tmp_path, fold.state.freeze(), plan)

    told = {one["sensor"]: one for one in map(json.loads, map(json_line, known.sensors.values()))}
    assert {name: one["data_quality"] for name, one in told.items()} == {
        "a/t": "good", "new/t": "warming", "repaired/t": "maintenance"
    }  # fmt: skip
    assert told["a/t"]["model"] == "ewma_z"
    assert told["a/t"]["score"] > 1.0
    assert told["a/t"]["band"] == [row["low"], row["high"]]
    assert told["a/t"]["budget_share"] == 0.25
    assert np.isfinite(told["a/t"]["boundary"])
    remarks = {line.split()[0]: line for line in table(known.chosen(None, None))}
    assert "25% of the budget" in remarks["a/t"]
    assert remarks["new/t"].endswith("warming up")
    assert remarks["repaired/t"].endswith("in maintenance")

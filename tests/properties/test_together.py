"""What the budget, levels, maintenance, counters and other definitions do to each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ingest.contract.class_settings import ANOMALY, ClassSettings, ModelSettings
from ingest.contract.classes import Kind
from ingest.contract.readings import Flag, Quality
from stream.fold.alerts import Phase
from stream.fold.budget import reaching
from stream.fold.checking import wrong_rows
from stream.fold.commands import Maintain
from stream.fold.definitions import Definitions
from stream.fold.levels import Stage
from stream.fold.migrate import migrate
from stream.fold.partition import PartitionFold
from stream.fold.plan import Plan, make_plan
from stream.fold.scored import Scored
from stream.fold.state import PartitionState
from tests.properties.test_commands import command
from tests.properties.test_levels import AFTER, CLASS, PLAN, SENSOR, Run, values_of
from tests.unit.stream.logs import (
    MODELS,
    PARTITIONS,
    PLANT,
    S_US,
    START_US,
    Batch,
    Row,
    fold_log,
    plan_of,
    record_of,
    records_of,
)

USUAL = values_of([(100, 20.0)])


def with_(one: ClassSettings = CLASS, **changed: Any) -> ClassSettings:
    return one.model_copy(update=changed)


def state_after(values: list[float], one: ClassSettings = CLASS) -> PartitionState:
    return Run(plan_of(one)).hear(values).fold.state


def test_what_is_said_before_the_warm_up_is_over_spends_nothing_of_the_budget() -> None:
    spikes = [*USUAL, 90.0, *USUAL]

    warm, warming = state_after(spikes), state_after(spikes, with_(warm_up=1_000))

    assert warm.pools["peaks"].sum() >= warm.pools["spent"].sum() == 1.0
    # A new sensor brings a tenth of a peak along.
    assert reaching(warming.pools["peaks"][0], 1.0) <= 0.1
    assert warming.pools["spent"].sum() == 0.0
    assert warm.sensors["extra"][0] > warming.sensors["extra"][0] == 0.0


def test_who_comes_back_to_the_level_before_spends_nothing_of_the_budget() -> None:
    run = Run().hear(values_of([(100, 20.0), (130, 60.0)]))
    assert run.stage is Stage.SETTLED
    # As if nothing was in progress any more.
    run.fold.state.sensors["left"] = 0
    before = run.fold.state.pools.copy()

    run.hear(values_of([(5, 20.0)]))

    assert run.stage is Stage.SETTLED
    assert run.fold.state.pools.tobytes() == before.tobytes()


def test_a_rejected_level_is_scored_by_what_it_was_divided_by_which_is_nothing() -> None:
    shown: list[Scored] = []
    run = Run().hear(values_of([(100, 20.0), (50, 60.0)]))
    levels = run.fold.state.levels
    levels["stage"], levels["inside"], run.fold.state.may_hold = Stage.REJECTED, 0, True
    PartitionFold(PLAN, PARTITIONS, run.fold.state, watch=shown.append).fold(
        records_of([Batch(START_US + 200 * S_US, (Row(SENSOR, START_US + 200 * S_US, 60.0),))])[0]
    )

    assert shown[0].score[0] > 1.0
    assert shown[0].width.tolist() == [1.0]


def test_a_level_that_changed_as_the_repair_began_is_told_to_nobody() -> None:
    run = Run().hear(values_of([(100, 20.0), (AFTER, 60.0)]))
    assert run.fold.state.levels["stage"][0] == Stage.STEADY
    run.fold.state.episodes[:] = 0  # its alert was over
    run.fold.state.levels["told"] = 1

    now_us = run.fold.state.now_us
    run.take(command(0, Maintain("m1", "**", now_us, now_us + 3_600 * S_US), now_us))
    run.hear(values_of([(5, 60.0)]))

    assert run.of("level") == []
    assert run.stage is Stage.CALM


def test_a_counters_band_is_beside_the_value_as_people_see_it() -> None:
    models = [ModelSettings(name="ewma_z", options={"warm_up": 10})]
    counter = ClassSettings(name="c", match=["**"], kind=Kind.COUNTER, windows=["1m"], models=models, rules=[ANOMALY])
    shown: list[Scored] = []
    fold = PartitionFold(plan_of(counter), PARTITIONS, watch=shown.append)
    counts = [65_000.0 + 20.0 * at for at in range(100)]
    counts = [count % 65_536.0 for count in counts] + [20_000.0]

    told = []
    for at, count in enumerate(counts):
        at_us = START_US + at * S_US
        told += fold.fold(record_of(at, Batch(at_us, (Row("a/1/n", at_us, count),)))).transitions

    assert fold.state.sensors["offset"][0] == 65_536.0
    low, high = shown[-2].expected[0]
    assert low < counts[-2] < high < 20_000.0
    assert fold.state.sensors["high"][0] < 20_000.0
    (fired,) = (one for one in told if one.phase is Phase.FIRING and one.value == 20_000.0)
    assert fired.band is not None
    assert fired.band[1] is not None
    assert fired.band[1] < fired.value


def test_of_another_unit_no_time_of_excitement_goes_on() -> None:
    state = state_after([*USUAL, 90.0])
    assert state.sensors["left"][0] > 0

    same, _ = migrate(PLAN, state, plan_of(with_(level_after=7)))
    other, _ = migrate(plan_of(with_(unit="K")), state_after([*USUAL, 90.0], with_(unit="K")), plan_of(with_(unit="A")))

    assert same.sensors["left"][0] == state.sensors["left"][0]
    for name in ("left", "top", "bar", "spent", "extra"):
        assert other.sensors[name][0] == 0, name


def test_an_adopted_time_of_excitement_without_a_boundary_is_refused() -> None:
    state = state_after([*USUAL, 90.0])
    rows, named = state.row(0), np.ones(1, np.bool_)
    assert wrong_rows(PLAN, rows, named) is None

    rows["sensors"]["bar"] = 0.0

    assert wrong_rows(PLAN, rows, named) == "a time of excitement without its boundary"


@pytest.mark.parametrize("kind", [Kind.TEXT, Kind.GAUGE])
def test_who_cannot_alert_by_a_score_takes_nothing_of_the_budget(kind: Kind) -> None:
    silent = ClassSettings(name="silent", match=["**/x*"], kind=kind, windows=["1m"], rules=[])

    def daily(plan: Plan) -> float:
        fold, rows = PartitionFold(plan, 1), tuple(Row(f"a/1/x{at}", START_US, 1.0, "on") for at in range(50))
        fold.fold(record_of(0, Batch(START_US, (Row(SENSOR, START_US, 1.0), *rows)), partitions=1))
        fold.state.share_budget(plan, 20.0)
        return float(fold.state.pools["daily"][plan.pool_names.index("any")])

    assert daily(make_plan(Definitions([silent, CLASS], 1_000, 0), MODELS)) == pytest.approx(20.0)


@pytest.mark.parametrize("sizes", [(3,), (1, 1, 1), (2, 1)])
def test_a_death_and_a_newer_stored_message_say_the_same_together_and_one_by_one(sizes: tuple[int, ...]) -> None:
    name = "a/1/current"
    rows = [
        Row(name, START_US, 1.0),
        Row(name, START_US + 1, 1.0, quality=Quality.BAD),
        Row(name, START_US + 2, 1.0, flags=int(Flag.RETAINED)),
    ]
    log = [Batch(START_US, tuple(rows.pop(0) for _ in range(size))) for size in sizes]

    (row,) = fold_log(plan_of(*PLANT), log).fold.state.silences[:1]

    assert row["long_us"] == 0.0

"""river's detectors in the fold: any split and any death give the same bits, and no sensor meets another's objects."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.contract.class_settings import ClassSettings, ModelSettings, RuleSettings
from ingest.contract.errors import IncompatibleError
from stream.fold.alerts import Transition
from stream.fold.commands import Command, Rename, Retire
from stream.fold.definitions import Definitions
from stream.fold.forgetting import HOUR_US
from stream.fold.migrate import migrate, plan_from
from stream.fold.partition import PartitionFold
from stream.fold.plan import Plan, make_plan
from tests.conformance.river_detectors import EPOCH, PANIC, REGISTRY
from tests.properties.test_adopting import adoption
from tests.properties.test_commands import command
from tests.properties.test_fold import kept
from tests.unit.stream.logs import (
    FUTURE_US,
    PARTITIONS,
    S_US,
    START_US,
    Batch,
    Row,
    as_row,
    examples,
    record_of,
    records_of,
)


def model(detector: str, **options: Any) -> ModelSettings:
    return ModelSettings(name=f"river:anomaly.{detector}", options={"epoch": EPOCH, **options})


def plan_of(*classes: ClassSettings) -> Plan:
    return make_plan(Definitions(classes, 1_000, FUTURE_US), REGISTRY)


ODD = RuleSettings(name="odd", above=1.0, resolve_after="1s")
PUMPS = ClassSettings(
    name="pumps", match=["*/pump"], models=[model("Moody"), ModelSettings(name="ewma_z")], rules=[ODD]
)
FANS = ClassSettings(name="fans", match=["*/fan"], models=[model("Moody", slowness=9.0, threshold=4.0)], rules=[ODD])
REST = ClassSettings(name="rest", match=["**"], models=[model("GaussianScorer", grace_period=9)], rules=[ODD])
PLAN = plan_of(PUMPS, FANS, REST)
SENSORS = ("a/pump", "a/fan", "a/level", "b/pump")


def log_of(seed: int, batches: int = 30) -> list[Batch]:
    """Sensors at their own pace, some readings late or twice, spikes, and values at which a detector panics."""
    chance, now_us, log = random.Random(seed), START_US, list[Batch]()
    for _ in range(batches):
        now_us += 20 * S_US
        rows = []
        for _ in range(chance.choice((1, 20, 40))):
            value = chance.choice((PANIC, 60.0, -60.0)) if chance.random() < 0.02 else chance.gauss(5.0, 1.0)
            ts_us = now_us - chance.randrange(20 * S_US)
            rows.append(Row(chance.choice(SENSORS), ts_us, value))
        rows.sort(key=lambda row: (row.ts_us, row.sensor))
        log.append(Batch(now_us, (*rows, *chance.sample(rows, chance.choice((0, 0, 1))))))
    return log


def cut(batch: Batch, at: list[int]) -> list[Batch]:
    """The same readings in more records of the same arrival time."""
    edges = [0, *sorted({one % (len(batch.rows) + 1) for one in at}), len(batch.rows)]
    pieces = [batch.rows[begin:end] for begin, end in pairwise(edges) if begin < end]
    return [Batch(batch.arrival_us, piece) for piece in pieces]


@examples(25)
@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.lists(st.integers(0, 40), max_size=3), min_size=1, max_size=5),
    deaths=st.sets(st.integers(0, 120), max_size=6),
)
def test_any_split_of_a_log_and_any_death_give_the_same_bits_and_the_same_alerts(
    seed: int, cuts: list[list[int]], deaths: set[int]
) -> None:
    """deaths: numbers of records after which the process ends; the next one goes on from the snapshot."""
    log = log_of(seed)
    whole, split = PartitionFold(PLAN, PARTITIONS), PartitionFold(PLAN, PARTITIONS)
    said: list[Transition] = []
    for record in records_of(log):
        said += whole.fold(record).transitions
    pieces = [piece for at, batch in enumerate(log) for piece in cut(batch, cuts[at % len(cuts)])]
    found: list[Transition] = []
    for number, record in enumerate(records_of(pieces)):
        found += split.fold(record).transitions
        if number in deaths:
            split = kept(split)
    split.state.next_offset = whole.state.next_offset

    assert split.state.digest_parts() == whole.state.digest_parts()
    assert found == said


def test_the_generated_log_is_worth_its_name() -> None:
    fold = PartitionFold(PLAN, PARTITIONS)
    transitions = [one for record in records_of(log_of(1)) for one in fold.fold(record).transitions]

    assert {used.name for used in PLAN.models} == {"river:anomaly.Moody", "ewma_z", "river:anomaly.GaussianScorer"}
    assert {one.model for one in transitions} >= {"river:anomaly.Moody", "river:anomaly.GaussianScorer"}
    assert max(int(bank["restarts"].max()) for bank in fold.state.banks if "restarts" in bank.dtype.names) > 0


# --- no sensor meets another's objects ----------------------------------------------------------------------------


class Plant:
    """A fold, whose every reading is held against what a model's definition says of the row."""

    def __init__(self, plan: Plan = PLAN) -> None:
        self.fold = PartitionFold(plan, PARTITIONS)
        self.now_us = START_US

    def send(self, sensor: str, count: int, seed: int, level: float = 5.0) -> None:
        chance = random.Random(seed)
        for _ in range(count):
            self.now_us += S_US
            value, state = chance.gauss(level, 1.0), self.fold.state
            before = state.row(slot) if (slot := state.slots.get(sensor)) is not None else None
            record = record_of(state.next_offset, Batch(self.now_us, (Row(sensor, self.now_us, value),)))
            self.fold.fold(record)
            state = self.fold.state
            slot = state.slots.get(sensor)
            assert slot is not None
            for used in self.fold.plan.models:
                if used.bank == used.name or not used.uses[state.class_of[slot]]:
                    continue
                row = as_row(used.model.state) if before is None else before[f"bank.{used.bank}"][0]
                used.model.step(row, self.now_us, value, used.params[0])
                assert state.row(slot)[f"bank.{used.bank}"].tobytes() == row.tobytes()

    def tell(self, what: Command) -> None:
        done = self.fold.fold(command(self.fold.state.next_offset, what, self.now_us))
        assert done.applied is not None
        assert done.applied.outcome == "done"


MANY = 2 * EPOCH + 20


def test_who_has_a_slot_after_another_begins_with_nothing() -> None:
    plant = Plant()
    plant.send("a/pump", MANY, seed=1)
    plant.tell(Retire("a/pump"))
    plant.send("b/pump", MANY, seed=2, level=-9.0)

    assert plant.fold.state.slots.get("b/pump") == 0


def test_who_has_another_name_goes_on_and_who_has_another_class_begins_anew() -> None:
    plant = Plant()
    plant.send("a/pump", MANY, seed=1)
    plant.tell(Rename("a/pump", "c/pump"))
    plant.send("c/pump", EPOCH, seed=2)
    assert plant.fold.state.banks[0]["seen"][0] == MANY + EPOCH
    plant.tell(Rename("c/pump", "c/fan"))
    plant.send("c/fan", MANY, seed=3)
    plant.tell(Rename("c/fan", "c/pump"))
    plant.send("c/pump", MANY, seed=4)


def test_who_takes_over_anothers_models_goes_on_with_those() -> None:
    plant = Plant()
    plant.send("a/pump", MANY, seed=1)
    plant.send("b/pump", MANY, seed=2, level=-9.0)
    plant.tell(Rename("a/pump", "b/pump"))
    plant.send("b/pump", MANY, seed=3)
    plant.send("a/pump", MANY, seed=4, level=40.0)


def test_who_is_adopted_from_another_partition_goes_on() -> None:
    plant, other = Plant(), Plant()
    plant.send("a/pump", MANY, seed=1)
    other.send("b/pump", MANY, seed=2, level=-9.0)
    other.now_us = plant.now_us
    other.tell(adoption(plant.fold.state, "a/pump", "a/pump", PLAN.definitions.digest))
    other.send("a/pump", MANY, seed=3)
    other.tell(adoption(plant.fold.state, "a/pump", "b/pump", PLAN.definitions.digest))
    other.send("b/pump", MANY, seed=3)


def test_who_was_forgotten_comes_back_with_nothing() -> None:
    plan = make_plan(Definitions([PUMPS, FANS, REST], 1_000, FUTURE_US, forget_us=HOUR_US // 2), REGISTRY)
    plant = Plant(plan)
    plant.send("a/pump", MANY, seed=1)
    forgotten = 0
    while not forgotten:
        plant.now_us += 60 * S_US
        tick = record_of(plant.fold.state.next_offset, Batch(plant.now_us), tick=True)
        forgotten = plant.fold.fold(tick).forgotten
    plant.send("a/pump", MANY, seed=2, level=-9.0)

    assert plant.fold.state.banks[0]["seen"][0] == MANY


# --- definitions --------------------------------------------------------------------------------------------------


def test_classes_with_other_options_have_rows_of_their_own() -> None:
    banks = [used.bank for used in PLAN.models]

    assert len(set(banks)) == len(banks) == 4
    assert [used.uses.tolist() for used in PLAN.models] == [
        [True, False, False], [True, False, False], [False, True, False], [False, False, True],
    ]  # fmt: skip
    same = plan_of(ClassSettings(name="more", match=["x"], models=FANS.models), PUMPS, FANS, REST)
    assert sorted(used.bank for used in same.models) == sorted(banks)


def test_a_change_of_options_begins_anew_and_nothing_else_does() -> None:
    plant = Plant()
    for sensor in SENSORS:
        plant.send(sensor, MANY, seed=1)
    other = plan_of(FANS, PUMPS.model_copy(update={"models": [model("Moody", threshold=5.0)]}), REST)

    state, migration = migrate(PLAN, plant.fold.state, other)

    kept_banks = {used.bank: bank for used, bank in zip(other.models, state.banks, strict=True)}
    for used, bank in zip(PLAN.models, plant.fold.state.banks, strict=True):
        if used.bank in kept_banks:
            assert kept_banks[used.bank].tobytes() == bank.tobytes()
    pumps, _, fans, rest = (used.bank for used in PLAN.models)
    assert migration.models_reset == {pumps: 2, "ewma_z": 2}
    assert migration.models_kept == {fans: 1, rest: 1}
    after = Plant(other)
    after.fold, after.now_us = PartitionFold(other, PARTITIONS, state), plant.now_us
    for sensor in SENSORS:
        after.send(sensor, EPOCH, seed=2)


def test_definitions_travel_with_a_plugged_in_model() -> None:
    data = PLAN.definitions.to_bytes()

    plan = plan_from(data, REGISTRY)

    assert plan.definitions.digest == PLAN.definitions.digest
    assert [used.bank for used in plan.models] == [used.bank for used in PLAN.models]


@pytest.mark.parametrize("settings", [model("Moodier"), model("Moody", swiftness=1), model("HalfSpaceTrees")])
def test_a_detector_that_this_river_has_not_stops_the_fold(settings: ModelSettings) -> None:
    one = ClassSettings(name="all", match=["**"], models=[settings])
    data = Definitions([one], 1_000, FUTURE_US).to_bytes()

    with pytest.raises(IncompatibleError, match="another version of a model"):
        plan_from(data, REGISTRY)


def test_rows_of_sensors_without_the_model_stay_empty() -> None:
    plant = Plant()
    plant.send("a/level", MANY, seed=1)
    plant.send("a/pump", MANY, seed=1)
    pumps, _, fans, rest = plant.fold.state.banks

    assert (pumps["seen"][0], fans["seen"][0], rest["seen"][0]) == (0, 0, MANY)
    assert (pumps["seen"][1], fans["seen"][1], rest["seen"][1]) == (MANY, 0, 0)
    assert not np.frombuffer(pumps[:1].tobytes(), np.uint8).any()

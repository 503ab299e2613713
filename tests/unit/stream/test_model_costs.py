"""What models of other libraries cost, as it is exported and said."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from deploy.registries import model_registry
from models.cost import Costs
from models.river_model import RiverModel
from stream.model_costs import ModelCosts
from tests.conformance.river_detectors import play
from tests.unit.stream.fakes import FakeClock, Rig

NAME = "river:anomaly.HalfSpaceTrees"


class Shown:
    """Costs, and what is made of them."""

    def __init__(self) -> None:
        self.clock, self.costs, self.registry = FakeClock(), Costs(), CollectorRegistry()
        self.said: list[MutableMapping[str, Any]] = []
        self.model_costs = ModelCosts(self.registry, self.costs, self.clock.monotonic_s)

    def spend(self, seconds: float, readings: int, restarts: int = 0) -> None:
        cost = self.costs.of(NAME)
        cost.seconds += seconds
        cost.readings += readings
        cost.restarts += restarts

    def pass_s(self, seconds: float) -> list[str]:
        self.clock.at_s += seconds
        with capture_logs() as said:
            self.model_costs.look()
        self.said = said
        return [str(one["event"]).split(":")[0] for one in said]

    def value(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"millstream_worker_model_{name}", {"model": NAME})


TOO_MUCH = "a model takes more of a core than it can be given"


def test_what_was_spent_is_exported_once() -> None:
    shown = Shown()
    for _ in range(3):
        shown.spend(0.5, 100)
        shown.pass_s(1.0)
        shown.pass_s(1.0)

    assert shown.value("seconds_total") == 1.5
    assert shown.value("readings_total") == 300.0
    assert shown.value("rebuilds_total") == shown.value("restarts_total") == 0.0


def test_a_model_that_takes_more_than_half_a_core_is_said_once_in_five_minutes() -> None:
    shown, said = Shown(), list[list[str]]()
    for _ in range(11):
        shown.spend(45.0, 500_000)
        said.append(shown.pass_s(60.0))

    assert shown.value("core_ratio") == 0.75
    assert [bool(one) for one in said] == [at % 5 == 0 for at in range(11)]
    assert said[0] == [TOO_MUCH]
    assert {**shown.said[0], "event": ""} == {
        "event": "", "log_level": "warning", "part": "worker", "model": NAME, "core_ratio": 0.75,
        "readings_per_s": 8333.3, "us_per_reading": 90.0, "most_readings_per_s": 5555.6,
    }  # fmt: skip


def test_a_model_that_keeps_up_is_not_spoken_of() -> None:
    shown = Shown()
    for _ in range(5):
        shown.spend(29.0, 500_000)
        assert shown.pass_s(60.0) == []
    assert shown.pass_s(60.0) == []
    assert shown.value("core_ratio") == 0.0


def test_a_restart_is_said_and_not_each_of_a_thousand() -> None:
    shown = Shown()
    said = []
    for _ in range(1_000):
        shown.spend(0.0, 1, restarts=1)
        said += shown.pass_s(0.1)

    assert said == ["a model failed, and began anew for its sensor"]
    assert shown.value("restarts_total") == 1_000.0


def test_a_model_writes_down_what_it_takes_by_the_timer_it_is_given() -> None:
    ticks = iter(range(100))
    costs = Costs(lambda: float(next(ticks)))
    model = model_registry(costs=costs).create("river:anomaly.StandardAbsoluteDeviation", {})
    assert isinstance(model, RiverModel)
    bank, run = np.zeros(1, model.state), model.begin()
    play(model, bank, [1.0, 2.0, 3.0], run)
    play(model, bank, [1.0], run)

    cost = costs.of("river:anomaly.StandardAbsoluteDeviation")
    assert (cost.seconds, cost.readings) == (2.0, 4)


async def test_a_worker_exports_what_its_models_cost(rig: Rig) -> None:
    await rig.assign(0)
    rig.costs.of(NAME).readings += 5

    await rig.consumer.deliver({})
    await rig.consumer.deliver({})

    assert rig.counted("model_readings_total", model=NAME) == 5.0

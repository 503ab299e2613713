"""A plant has exactly the sensors that are described or asked for, each at a path of its own."""

import numpy as np
import pytest

from ingest.simulator.roster import Roster, lay_out
from tests.unit.simulator.reading_back import described, ours

QUANTITIES = ["temperature", "vibration", "pressure", "current", "speed", "parts", "running", "state"]
TWO = """
[plant]
levels = ["line", "machine", "quantity"]
[[group]]
name = "a"
machines = "a-{1..2}/m-{1..3}"
device_levels = 1
[[group.sensor]]
name = "x-{1..2}"
[[group]]
name = "b"
machines = "b/m-1"
[[group.sensor]]
name = "y"
"""


def demo(sensors: int | None = None) -> Roster:
    return lay_out(ours("demo"), sensors)


@pytest.mark.parametrize("sensors", [1, 7, 8, 9, 500, 10_001])
def test_exactly_as_many_sensors_as_asked_for(sensors: int) -> None:
    roster = demo(sensors)
    assert len(roster) == len(roster.template) == len(roster.machine) == len(roster.device) == sensors
    assert len(set(roster.paths)) == sensors


def test_the_demonstration_plant_has_the_paths_it_always_had() -> None:
    roster = demo(8 * 8 * 5)
    machines = list(dict.fromkeys(path.rpartition("/")[0] for path in roster.paths))
    assert machines[:4] == [
        f"demo/assembly/line-01/{one}" for one in ("press-01", "robot-01", "screwdriver-01", "press-02")
    ]
    assert [machines[at] for at in (8, 16, 24, 32)] == [
        "demo/machining/line-01/lathe-01",
        "demo/welding/line-01/welder-01",
        "demo/packing/line-01/filler-01",
        "demo/assembly/line-02/press-01",
    ]
    assert [path.rpartition("/")[2] for path in roster.paths[:8]] == QUANTITIES
    assert len(demo()) == 200


def test_every_machine_measures_everything_and_only_the_last_less() -> None:
    machines: dict[str, list[str]] = {}
    for path in demo(8 * 12 + 3).paths:
        machine, _, quantity = path.rpartition("/")
        machines.setdefault(machine, []).append(quantity)
    *whole, last = machines.values()
    assert whole == [QUANTITIES] * 12
    assert last == QUANTITIES[:3]


def test_devices_machines_and_fields() -> None:
    roster = lay_out(described(TWO))
    assert roster.paths[:4] == ["a-1/m-1/x-1", "a-1/m-1/x-2", "a-1/m-2/x-1", "a-1/m-2/x-2"]
    assert roster.paths[-1] == "b/m-1/y"
    assert roster.devices == [(0, "a-1"), (0, "a-2"), (1, "b/m-1")]
    assert roster.device.tolist() == [0] * 6 + [1] * 6 + [2]
    assert roster.machine.tolist() == [*np.repeat(range(6), 2).tolist(), 0]
    assert roster.group.tolist() == [0] * 12 + [1]
    assert [roster.field(sensor) for sensor in (0, 3, 12)] == ["m-1/x-1", "m-2/x-2", "y"]


def test_a_plant_without_an_open_range_does_not_grow() -> None:
    assert len(lay_out(described(TWO), 5)) == 5
    with pytest.raises(ValueError, match="has 13 sensors, not 14: only a range without an end grows"):
        lay_out(described(TWO), 14)


def test_an_open_range_needs_a_number() -> None:
    with pytest.raises(ValueError, match="somebody has to say how many"):
        lay_out(described(TWO.replace("{1..3}", "{1..}")))


def test_two_sensors_of_one_path_are_refused() -> None:
    with pytest.raises(ValueError, match="two sensors are called a-1/m-2/x-1"):
        lay_out(described(TWO.replace('"b/m-1"', '"a-1/m-2"').replace('"y"', '"x-1"')))

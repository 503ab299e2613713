"""The plant has exactly the sensors asked for, each at a path of its own."""

import pytest

from ingest.simulator.layout import QUANTITIES, lay_out, machine_path


@pytest.mark.parametrize("sensors", [1, 7, 8, 9, 500, 10_001])
def test_exactly_as_many_sensors_as_asked_for(sensors: int) -> None:
    laid_out = lay_out(sensors)
    assert len(laid_out) == sensors
    assert len({sensor.path for sensor in laid_out}) == sensors


def test_a_path_has_five_levels_and_ends_in_the_quantity() -> None:
    for sensor in lay_out(2_000, site="plant-7"):
        levels = sensor.path.split("/")
        assert len(levels) == 5
        assert levels[0] == "plant-7"
        assert levels[-1] == sensor.quantity


def test_every_machine_measures_everything_and_only_the_last_less() -> None:
    machines: dict[str, list[str]] = {}
    for sensor in lay_out(8 * 12 + 3):
        machines.setdefault(sensor.path.rpartition("/")[0], []).append(sensor.quantity)
    everything = [quantity.name for quantity in QUANTITIES]
    *whole, last = machines.values()
    assert whole == [everything] * 12
    assert last == everything[:3]


def test_a_plant_has_several_areas() -> None:
    assert {machine_path(machine, "demo").split("/")[1] for machine in range(32)} == {
        "assembly",
        "machining",
        "welding",
        "packing",
    }


def test_no_sensors_is_no_plant() -> None:
    with pytest.raises(ValueError, match="at least 1 sensor"):
        lay_out(0)


@pytest.mark.parametrize("site", ["", "a/b", "a+", "#", "$SYS", "a b", "a\x00b"])
def test_a_site_is_one_level_of_a_topic(site: str) -> None:
    with pytest.raises(ValueError, match="one level"):
        lay_out(1, site)

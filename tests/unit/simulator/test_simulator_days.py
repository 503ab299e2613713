"""Shifts, breaks between them, a planned stop: what a healthy plant does in a day."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.contract.errors import SettingsError
from ingest.simulator.plant import Plant
from tests.unit.simulator.reading_back import S_US, START_US, described
from tests.unit.simulator.test_simulator_signals import HEAD, values

H_US = 3_600 * S_US
MIDNIGHT_US = START_US // (24 * H_US) * 24 * H_US
MINUTES = 24 * 60


def by_minute(group: str, sensor: str) -> NDArray[np.float64]:
    """Shape (minutes of a day, 50): fifty machines from midnight on."""
    text = f'{HEAD}period = "1m"\n{group}\n[[group.sensor]]\nname = "x"\n{sensor}'
    rows = Plant(described(text), 3, MIDNIGHT_US, fault_every_s=0).advance(MIDNIGHT_US + 24 * H_US)
    order = np.lexsort((rows.sensor, (rows.ts_us - MIDNIGHT_US) // (60 * S_US)))
    return rows.value[order].reshape(MINUTES, 50)


BUSY = 'duty = { states = { idle = "1s", run = "99d" }, run = "run", cycle_s = [1, 1], load_share = [1, 1]'
LOAD = "load = { on = 10 }"


def test_heavy_tails_have_their_sigma_and_end_at_six() -> None:
    found = values('base = 10\nnoise = { kind = "laplace", sigma = 0.5 }', 2_000)
    assert found.std() == pytest.approx(0.5, rel=0.03)
    assert np.abs(found - 10).max() == pytest.approx(6 * 0.5, abs=1e-6)
    # Of normal noise one in 16,000 is beyond four sigma.
    assert np.mean(np.abs(found - 10) > 4 * 0.5) > 0.002


def test_each_shift_has_its_level_and_the_night_goes_on_after_midnight() -> None:
    found = by_minute("", "base = 100\nshifts = { levels = [1, 2, -3] }")[:, 0]
    levels = [-3] * 6 + [1] * 8 + [2] * 8 + [-3] * 2
    assert found.tolist() == np.repeat(np.array(levels) + 100.0, 60).tolist()


def test_a_shift_is_followed_as_slowly_as_is_said() -> None:
    found = by_minute("", 'decimals = 6\nshifts = { at = ["6h", "14h"], levels = [0, 10], settle = "30m" }')[:, 0]
    assert found[14 * 60 - 1] == pytest.approx(0.0, abs=1e-6)
    assert found[14 * 60 + 29] == pytest.approx(9.5, abs=0.05)


def test_all_machines_rest_in_a_break_each_a_little_later() -> None:
    breaks = 'breaks = { at = ["0h", "6h"], last = "20m", within = "10m" } }'
    found = by_minute(BUSY + ", " + breaks, LOAD)
    resting = found == 0.0
    assert resting[6 * 60 + 11 : 6 * 60 + 19].all()
    assert not resting[6 * 60 + 31 : 24 * 60 - 1].any()
    # Twenty minutes each, and not all the same ones.
    assert set(resting[6 * 60 - 1 : 7 * 60].sum(axis=0).tolist()) <= {20, 21}
    assert 5 < len(set(resting[6 * 60 : 7 * 60].argmax(axis=0).tolist())) <= 11


def test_a_planned_stop_is_once_and_cools_what_has_a_temperature() -> None:
    stop = BUSY + ', stop = { after = "10h", last = "2h" } }'
    load = by_minute(stop, LOAD)
    assert (load[10 * 60 : 12 * 60] == 0.0).all()
    assert not (load[12 * 60 :] == 0.0).any()
    assert not (load[1 : 10 * 60] == 0.0).any()
    warm = by_minute(stop, 'base = 60\nstopped = { value = 20, settle = "10m" }')[:, 0]
    assert warm[: 10 * 60].tolist() == [60.0] * 600
    assert warm[10 * 60 + 29] == pytest.approx(20 + 40 * np.exp(-3), abs=0.1)
    assert warm[12 * 60 - 1] == pytest.approx(20.0, abs=0.1)
    assert warm[12 * 60 + 29] == pytest.approx(60 - 40 * np.exp(-3), abs=0.1)


def test_breaks_and_stops_move_no_other_number() -> None:
    sensor = f'\n[[group.sensor]]\nname = "x"\n{LOAD}\nnoise = {{ sigma = 1 }}'
    plain, more = (
        Plant(described(HEAD + duty + sensor), 3, MIDNIGHT_US, fault_every_s=0).advance(MIDNIGHT_US + 300 * S_US)
        for duty in ("", 'duty = { breaks = { last = "1h" }, stop = { after = "1h", last = "1h" } }')
    )
    assert plain.value.tolist() == more.value.tolist()


def test_faults_stand_out_of_the_work_of_a_machine() -> None:
    text = f'{HEAD}[[group.sensor]]\nname = "x"\nload = {{ on = 120 }}\nnoise = {{ sigma = 0.01 }}'
    plant = Plant(described(text), 1, START_US, fault_every_s=5, fault_kinds=["spike"])
    plant.advance(START_US + 400 * S_US)
    assert min(abs(fault.magnitude) for fault in plant.faults) > 1.5 * 120


@pytest.mark.parametrize(
    ("group", "sensor", "said"),
    [
        ("", "shifts = { levels = [1, 2] }", "3 shifts have 2 levels"),
        ("", 'shifts = { at = ["6h", "2h"], levels = [1, 2] }', "in order"),
        ("", 'shifts = { at = ["6h", "24h"], levels = [1, 2] }', "below 24h"),
        ('duty = { breaks = { at = ["25h"] } }', LOAD, "below 24h"),
        ('duty = { breaks = { last = "0s" } }', LOAD, "greater than 0"),
        ('duty = { stop = { after = "1h" } }', LOAD, "missing"),
        ("", 'kind = "counter"\nstopped = { value = 1 }', "is for gauges"),
    ],
)
def test_what_no_day_can_be_is_said(group: str, sensor: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        described(f'{HEAD}{group}\n[[group.sensor]]\nname = "x"\n{sensor}\n')

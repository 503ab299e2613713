"""Healthy sensors do what their description says, and nothing that a fault does."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.simulator.plant import Plant
from ingest.simulator.rows import Rows
from tests.unit.simulator.reading_back import S_US, START_US, described, ours

HEAD = '[plant]\nlevels = ["machine", "quantity"]\n[[group]]\nname = "g"\nmachines = "m-{01..50}"\n'


def of(rows: Rows, sensor: int) -> Rows:
    return rows.take(rows.sensor == sensor)


def values(sensor: str, seconds: int, group: str = "", decimals: str = "decimals = 6\n") -> NDArray[np.float64]:
    """Shape (seconds, 50): what fifty periodic sensors of this description say every second."""
    text = HEAD + group + '\n[[group.sensor]]\nname = "x"\n' + decimals + sensor
    rows = Plant(described(text), 3, START_US, fault_every_s=0).advance(START_US + seconds * S_US)
    assert len(rows) == 50 * seconds
    order = np.lexsort((rows.sensor, (rows.ts_us - START_US) // S_US))
    return rows.value[order].reshape(seconds, 50)


def test_noise_has_its_sigma_and_never_strays() -> None:
    for kind in ("normal", "uniform"):
        found = values(f'base = 10\nnoise = {{ kind = "{kind}", sigma = 0.5 }}', 400)
        assert found.std() == pytest.approx(0.5, rel=0.03)
        assert np.abs(found - 10).max() <= 4.5 * 0.5 + 1e-6
        assert abs(np.corrcoef(found[:-1, 0], found[1:, 0])[0, 1]) < 0.2


def test_lognormal_noise_is_a_share_of_the_base_and_never_below_nothing() -> None:
    found = values('base = [1, 4]\nnoise = { kind = "lognormal", share = 0.2 }', 400)
    assert found.min() > 0
    assert np.log(found / np.median(found, axis=0)).std() == pytest.approx(0.2, rel=0.05)


def test_each_sensor_draws_its_own_base() -> None:
    found = values("base = [5, 7]", 1)
    assert len(set(found[0].tolist())) == 50
    assert 5 <= found.min() < 5.5 < 6.5 < found.max() <= 7


def test_wandering_is_slow_and_about_the_base() -> None:
    found = values('base = 60\nwander = { sigma = 0.5, tau = "1m" }', 600)
    assert found.std() == pytest.approx(0.5, rel=0.15)
    assert np.abs(np.diff(found, axis=0)).mean() < 0.1
    lag = np.mean([np.corrcoef(found[:-60, one], found[60:, one])[0, 1] for one in range(50)])
    assert 0.1 < lag < 0.6  # a time constant later, e^-1 of it is left


def test_a_day_is_highest_at_its_peak() -> None:
    text = HEAD + 'period = "10m"\n[[group.sensor]]\nname = "x"\nbase = 10\ndaily = { amplitude = 3, peak = "15h" }'
    midnight_us = START_US // (86_400 * S_US) * 86_400 * S_US
    rows = of(Plant(described(text), 1, midnight_us, fault_every_s=0).advance(midnight_us + 86_400 * S_US), 0)
    assert rows.value.max() == pytest.approx(13, abs=0.01)
    assert rows.value.min() == pytest.approx(7, abs=0.01)
    hour = (int(rows.ts_us[rows.value.argmax()]) - midnight_us) / 3.6e9
    assert hour == pytest.approx(15, abs=0.5)


def test_a_walk_stays_between_its_limits_and_gets_about() -> None:
    found = values("base = 100\nwalk = { low = -2, high = 3, step = 4 }", 900)
    assert found.min() >= 98
    assert found.max() <= 103
    assert found.min() < 98.5 < 102.5 < found.max()
    assert np.abs(np.diff(found, axis=0)).std() < 1


def test_setpoints_stay_and_are_followed_slowly() -> None:
    at_once = values('steps = { levels = [1, 5], stay = "30s" }', 600)
    assert set(at_once.ravel().tolist()) == {1.0, 5.0}
    # Half of the changes choose the same level again.
    assert np.count_nonzero(np.diff(at_once, axis=0)) / at_once.size == pytest.approx(1 / 60, rel=0.2)
    slow = values('steps = { levels = [1, 5], stay = "5m", settle = "30s" }', 600)
    assert np.abs(np.diff(slow, axis=0)).max() < 0.5
    assert ((slow > 1.5) & (slow < 4.5)).any()


def test_what_follows_a_machine_rests_with_it() -> None:
    duty = 'duty = { states = { off = "20s", on = "20s" }, run = "on", cycle_s = [4, 4], load_share = [0.5, 0.5] }'
    found = values("load = { on = 10, light = 0.3 }", 600, duty)
    assert set(found.ravel().tolist()) == {0.0, 3.0, 10.0}
    assert np.mean(found == 0.0) == pytest.approx(0.5, abs=0.1)


def test_counters_count_the_time_or_the_parts() -> None:
    found = values('kind = "counter"\ncount_s = [0.5, 2.0]', 100, decimals="").astype(int)
    steps = np.diff(found, axis=0)
    assert steps.min() >= 0
    assert (found[-1] - found[0] + 2 >= 50).all()
    assert (found[-1] - found[0] <= 200).all()


def test_switches_and_states_keep_their_times() -> None:
    text = HEAD + '[[group.sensor]]\nname = "b"\nkind = "bool"\nstay = ["30s", "10s"]\n'
    text += '[[group.sensor]]\nname = "e"\nkind = "enum"\nstates = { a = "10s", b = "20s", c = "30s" }\n'
    plant = Plant(described(text), 1, START_US, fault_every_s=0)
    rows = plant.advance(START_US + 1_200 * S_US)
    on_us, in_us = 0, dict.fromkeys("abc", 0)
    for sensor in range(100):
        mine = of(rows, sensor)
        said = mine.value.tolist() if sensor % 2 == 0 else mine.other.tolist()
        assert all(before != after for before, after in pairwise(said))
        ends = [*mine.ts_us[1:].tolist(), START_US + 1_200 * S_US]
        for value, since, until in zip(said, mine.ts_us.tolist(), ends, strict=True):
            if sensor % 2:
                in_us[value] += until - since
            elif value:
                on_us += until - since
    total_us = 50 * 1_200 * S_US
    assert on_us / total_us == pytest.approx(0.25, abs=0.04)
    assert [in_us[one] / total_us for one in "abc"] == pytest.approx([1 / 6, 2 / 6, 3 / 6], abs=0.05)


def test_a_waveform_has_its_tones() -> None:
    text = HEAD.replace("{01..50}", "1") + '[[group.sensor]]\nname = "w"\nkind = "waveform"\nsamples = 1000\n'
    text += "rate_hz = 1000\ntones = [{ hz = 50, amplitude = 2 }, { hz = 120, amplitude = 0.5 }]\n"
    text += "noise = { sigma = 0.01 }\n"
    rows = Plant(described(text), 1, START_US, fault_every_s=0).advance(START_US + 3 * S_US)
    assert len(rows) == 3
    for samples in rows.other:
        power = np.abs(np.fft.rfft(samples)) / 500
        assert power[50] == pytest.approx(2, abs=0.05)
        assert power[120] == pytest.approx(0.5, abs=0.05)
        assert np.delete(power, [50, 120]).max() < 0.1
    assert not np.array_equal(rows.other[0], rows.other[1])


# --- the demonstration plant -----------------------------------------------------------------------------------------


def test_healthy_gauges_stay_where_they_belong() -> None:
    plant = Plant(ours("demo"), 7, START_US, sensors=400, fault_every_s=0)
    rows = plant.advance(START_US + 600 * S_US)
    ranges = {"temperature": (40, 80), "vibration": (0.5, 7), "pressure": (4.8, 7.2), "speed": (590, 3050)}
    names = np.array([path.rpartition("/")[2] for path in plant.roster.paths])[rows.sensor]
    for name, (low, high) in ranges.items():
        assert low < rows.value[names == name].min()
        assert rows.value[names == name].max() < high
    assert plant.faults == []


def test_state_running_current_and_parts_of_a_machine_agree() -> None:
    plant = Plant(ours("demo"), 4, START_US, sensors=8, fault_every_s=0)
    rows = plant.advance(START_US + 3_600 * S_US)
    current, parts, running, state = (of(rows, sensor) for sensor in (3, 5, 6, 7))
    runs = [text == "run" for text in state.other]
    assert running.value.astype(bool).tolist() == [runs[0]] + [now for before, now in pairwise(runs) if now != before]
    assert 0.0 in current.value  # a machine at rest draws nothing
    assert (np.abs(np.diff(current.value)) > 0.5).all()
    assert (parts.value == np.floor(parts.value)).all()
    assert (np.diff(parts.value) >= 0).all()
    assert parts.value[-1] > parts.value[0]


# --- when -------------------------------------------------------------------------------------------------------


def test_load_is_even_within_the_period() -> None:
    plant = Plant(ours("demo"), 1, START_US, sensors=1_000, fault_every_s=0)
    plant.advance(START_US + S_US)
    rows = plant.advance(START_US + 2 * S_US)
    per_tenth = np.bincount((rows.at_us - START_US - S_US) // 100_000, minlength=10)
    assert per_tenth.min() > 0.7 * per_tenth.mean()
    assert per_tenth.max() < 1.3 * per_tenth.mean()


def test_periodic_sensors_read_once_a_period_whatever_is_described() -> None:
    plant = Plant(ours("demo"), 5, START_US, sensors=24, period_s=0.5, fault_every_s=0)
    rows = plant.advance(START_US + 20 * S_US)
    for sensor in range(24):
        if not plant.roster.said(sensor).is_on_change:
            assert set(np.diff(of(rows, sensor).ts_us).tolist()) == {500_000}
            assert len(of(rows, sensor)) == 40


def test_jitter_is_up_to_so_much_and_a_devices_readings_stay_together() -> None:
    text = HEAD + 'format = "kepware"\nperiod = "1s"\njitter = "300ms"\nclock_offset_s = [-5, 5]\n'
    text += '[[group.sensor]]\nname = "x"\n[[group.sensor]]\nname = "y"\n'
    rows = Plant(described(text), 1, START_US, fault_every_s=0).advance(START_US + 60 * S_US)
    offsets = set()
    for sensor in range(0, 100, 2):
        x, y = of(rows, sensor), of(rows, sensor + 1)
        assert x.at_us.tolist() == y.at_us.tolist()
        gaps = np.diff(x.at_us)
        assert 700_000 <= gaps.min() < gaps.max() <= 1_300_000
        (offset,) = set((x.ts_us - x.at_us).tolist())  # the clock of each device is off by one amount
        offsets.add(offset)
    assert len(offsets) == 50
    assert max(map(abs, offsets)) <= 5 * S_US
    assert (rows.at_us % 1_000 == 0).all()
    assert (rows.ts_us % 1_000 == 0).all()


@pytest.mark.parametrize("period_s", [0.0, -1.0, 0.0004, float("nan"), float("inf"), 1e6])
def test_impossible_periods_are_refused(period_s: float) -> None:
    with pytest.raises(ValueError, match="period must be"):
        Plant(ours("demo"), 1, 0, sensors=8, period_s=period_s)


def test_a_large_plant_is_one_row_per_reading_in_columns() -> None:
    plant = Plant(ours("demo"), 1, START_US, sensors=10_000)
    rows = plant.advance(START_US + 10 * S_US)
    periodic = sum(not plant.roster.said(sensor).is_on_change for sensor in range(10_000))
    assert periodic * 10 <= len(rows) < 10_000 * 10
    assert set(rows.sensor.tolist()) == set(range(10_000))
    columns = (rows.sensor, rows.at_us, rows.ts_us, rows.value, rows.other)
    assert [str(column.dtype) for column in columns] == ["int64", "int64", "int64", "float64", "object"]

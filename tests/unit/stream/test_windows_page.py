"""The page on windows says how large a sensor is: what it says is so."""

from __future__ import annotations

import re
from pathlib import Path

from ingest.contract.class_settings import EVERYTHING_ELSE
from stream.fold.alerts import EPISODE
from stream.fold.gate import RING
from stream.fold.levels import LEVEL
from stream.fold.rows import SENSOR
from stream.fold.silence import SILENCE
from stream.fold.sketch import SKETCH
from stream.fold.state import PartitionState
from stream.fold.windows import PANE
from tests.unit.stream.logs import plan_of

PAGE = (Path(__file__).parents[3] / "docs" / "windows.md").read_text()


def rows_of_the_table() -> dict[str, int]:
    """Bytes by the first two words of a part's name."""
    table = PAGE.partition("| part | bytes |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.+?) \| ([\d,]+) \|$", table, re.MULTILINE)
    return {" ".join(re.findall(r"[\w]+", part)[:2]): int(size.replace(",", "")) for part, size in rows}


def test_the_bytes_of_a_sensor_are_those_of_its_arrays() -> None:
    plan = plan_of(EVERYTHING_ELSE)
    state = PartitionState(plan)
    slots = state.class_of.size

    said = rows_of_the_table()

    assert said == {
        "sensor row": SENSOR.itemsize,
        "panes of": plan.panes * PANE.itemsize,
        "class and": state.class_of.itemsize + state.heard_us.itemsize,
        "alert episodes": len(EVERYTHING_ELSE.rules) * EPISODE.itemsize,
        "level and": LEVEL.itemsize,
        "gaps between": SILENCE.itemsize,
        **{f"model {used.name}": used.model.state.itemsize for used in plan.models},
        "sum by": state.nbytes() // slots,
        "sketch for": SKETCH.itemsize,
    }
    parts = [size for part, size in said.items() if part not in ("sum by", "sketch for")]
    assert sum(parts) == said["sum by"] <= 4 * 1024
    assert f"{plan.panes} of {PANE.itemsize} bytes" in PAGE
    assert f"of it {8 * RING} the ring of {RING} timestamps" in PAGE


def test_the_levels_are_those_of_the_default_windows() -> None:
    levels = [f"{count} × {width_us // 1_000_000} s" for width_us, _, count in plan_of(EVERYTHING_ELSE).levels.tolist()]

    assert " and ".join([", ".join(levels[:-1]), levels[-1]]) in PAGE.replace("\n", " ")

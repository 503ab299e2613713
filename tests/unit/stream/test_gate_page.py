"""The page on the gate and the worker's metrics know every verdict, and why a counter fell."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from stream.fold.counters import Turn
from stream.fold.gate import DEFAULT_SENTINELS, RING, Verdict
from stream.owned import Outcome
from stream.worker_events import WorkerEvents

PAGE = (Path(__file__).parents[3] / "docs" / "gate.md").read_text()


def test_every_verdict_has_a_line_in_order() -> None:
    table = PAGE.partition("| verdict |")[2].partition("\n\n")[0]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [one.name.lower() for one in Verdict]
    assert f"older than the last {RING} times" in table


def test_the_default_sentinels_are_those_of_the_page() -> None:
    said = PAGE.partition("a gauge has these: ")[2].partition("As each may")[0].replace("−", "-")

    found = [float(one) for one in re.findall(r"-?\d{4,}|3\.\d+e38", said)]
    assert sorted(found) == pytest.approx(sorted(DEFAULT_SENTINELS), rel=1e-8)


def test_each_verdict_and_each_turn_has_its_own_counter() -> None:
    registry = CollectorRegistry()
    events = WorkerEvents(registry)

    for at in range(2):
        events.folded(Outcome(verdicts=np.arange(len(Verdict)), turns=np.array([7, 11]) * at))

    for verdict in Verdict:
        said = registry.get_sample_value("millstream_worker_readings_total", {"verdict": verdict.name.lower()})
        assert said == 2 * verdict
    for turn, count in ((Turn.ROLLOVER, 7), (Turn.RESET, 11)):
        labels = {"turn": turn.name.lower()}
        assert registry.get_sample_value("millstream_worker_turns_total", labels) == count
        assert f'"{turn.name.lower()}"' in PAGE
